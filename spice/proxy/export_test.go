package proxy

import (
	"context"
	"net"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/spicelane/spicelane/spice/wire"
)

// ScanMessages feeds a stream to a scanner in pieces of the given sizes, the
// last of which is repeated, and returns how many messages it saw and the body
// of the first one of type find.
func ScanMessages(stream []byte, mini bool, find uint16, sizes ...int) (messages uint64, found []byte, err error) {
	s := scanner{mini: mini, find: find, found: func(body []byte) error {
		found = slices.Clone(body)
		return nil
	}}
	for len(stream) > 0 && err == nil {
		n := min(max(sizes[0], 1), len(stream))
		if len(sizes) > 1 {
			sizes = sizes[1:]
		}
		err = s.feed(stream[:n])
		stream = stream[n:]
	}
	return s.messages, found, err
}

// Relay passes a channel on until it ends, and returns why it did.
func Relay(ctx context.Context, linger time.Duration, client, server net.Conn) (Reason, error) {
	ch := newChannel(nil, wire.ChannelID{}, "", time.Now())
	direction := func(dst, src net.Conn, srcGone, dstGone Reason) *pump {
		return &pump{dst: dst, src: src, buffer: 1 << 10, scan: scanner{mini: true}, traffic: &traffic{},
			total: prometheus.NewCounter(prometheus.CounterOpts{}), srcGone: srcGone, dstGone: dstGone,
			first: &ch.first, silence: &ch.silence, now: time.Now}
	}
	return relay(ctx, linger, direction(server, client, ReasonClientClosed, ReasonServerClosed), direction(client, server, ReasonServerClosed, ReasonClientClosed))
}

// Records are the writes to a client that each piece of a console's stream is passed
// on with.
func Records(mini bool, pieces ...[]byte) (records [][][]byte, err error) {
	dst := &writes{}
	p := pump{dst: dst, scan: scanner{mini: mini}, records: true}
	for _, piece := range pieces {
		dst.all = nil
		if err := p.scan.feed(piece); err != nil {
			return nil, err
		}
		if err := p.write(piece); err != nil {
			return nil, err
		}
		records = append(records, dst.all)
	}
	return records, nil
}

type writes struct {
	net.Conn
	all [][]byte
}

func (w *writes) Write(b []byte) (int, error) {
	w.all = append(w.all, slices.Clone(b))
	return len(b), nil
}

// Held is how many sessions the proxy keeps in memory.
func (p *Proxy) Held() int {
	p.sessions.mu.Lock()
	defer p.sessions.mu.Unlock()
	return max(len(p.sessions.byID), len(p.sessions.byToken))
}
