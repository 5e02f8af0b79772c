package proxy

import (
	"context"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/spicelane/spicelane/spice/link"
	"github.com/spicelane/spicelane/spice/recording"
	"github.com/spicelane/spicelane/spice/wire"
)

// One key for all proxies: making one takes longer than most tests.
func init() { generateKey = sync.OnceValues(link.GenerateKey) }

// ScanMessages feeds a stream to a scanner in pieces of the given sizes, the
// last of which is repeated, and returns how many messages it saw, the body
// of the first one of type find, and what may be passed on.
func ScanMessages(stream []byte, mini bool, find uint16, judge func(kind uint16, size uint32) error, sizes ...int) (messages uint64, found, passed []byte, err error) {
	s := scanner{mini: mini, judge: judge}
	if find != 0 {
		s.watched = []watch{{find, func(body []byte) error {
			if found == nil {
				found = append([]byte{}, body...)
			}
			return nil
		}}}
	}
	var carry []byte
	for len(stream) > 0 && err == nil {
		n := min(max(sizes[0], 1), len(stream))
		if len(sizes) > 1 {
			sizes = sizes[1:]
		}
		piece := append(carry, stream[:n]...)
		var pass int
		pass, err = s.feed(piece)
		passed = append(passed, piece[:pass]...)
		carry = slices.Clone(piece[pass:])
		stream = stream[n:]
	}
	return s.messages, found, passed, err
}

// Relay passes a channel on until it ends, and returns why it did.
func Relay(ctx context.Context, linger time.Duration, client, server net.Conn) (Reason, error) {
	ch := newChannel(nil, wire.ChannelID{}, "", time.Now())
	direction := func(dst, src net.Conn, srcGone, dstGone Reason) *pump {
		return &pump{dst: dst, src: src, buffers: clientBuffers, scan: scanner{mini: true}, traffic: &traffic{},
			total: prometheus.NewCounter(prometheus.CounterOpts{}), latency: prometheus.NewHistogram(prometheus.HistogramOpts{}),
			srcGone: srcGone, dstGone: dstGone, first: &ch.first, silence: &ch.silence, now: time.Now, writing: newGate()}
	}
	return relay(ctx, linger, direction(server, client, ReasonClientClosed, ReasonServerClosed), direction(client, server, ReasonServerClosed, ReasonClientClosed))
}

// Records are the writes to a client that each piece of a console's stream is passed
// on with.
func Records(mini bool, pieces ...[]byte) (records [][][]byte, err error) {
	dst := &writes{}
	p := pump{dst: dst, scan: scanner{mini: mini}, records: true}
	var carry []byte
	for _, piece := range pieces {
		dst.all = nil
		piece = append(carry, piece...)
		n, err := p.scan.feed(piece)
		if err != nil {
			return nil, err
		}
		carry = slices.Clone(piece[n:])
		if n > 0 {
			if err := p.write(piece[:n]); err != nil {
				return nil, err
			}
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

// Held returns how many sessions the proxy keeps in memory.
func (p *Proxy) Held() int {
	p.sessions.mu.Lock()
	defer p.sessions.mu.Unlock()
	return max(len(p.sessions.byID), len(p.sessions.byToken))
}

// Judge returns why the firewall would not let a message pass, "" if it would.
func Judge(t wire.ChannelType, from wire.Direction, kind uint16, size uint32) string {
	return policyOf(t, from).judge(kind, size)
}

// OfferedCaps returns what the proxy announces for a console that it has not linked yet.
func OfferedCaps(t wire.ChannelType) wire.Caps { return offeredCaps[t] }

// Drain lets the proxy say that it shuts down, and nothing else.
func (p *Proxy) Drain() { p.draining.Store(true) }

// Recorded returns the messages of a stream that comes in pieces, as a recording gets them. The
// last of the sizes is repeated.
func Recorded(stream []byte, mini bool, sizes ...int) []recording.Message {
	var all collected
	m := messages{mini: mini, from: wire.FromServer, to: &all}
	for len(stream) > 0 {
		n := min(max(sizes[0], 1), len(stream))
		if len(sizes) > 1 {
			sizes = sizes[1:]
		}
		m.feed(stream[:n])
		stream = stream[n:]
	}
	return all.messages
}

// collected keeps all messages.
type collected struct {
	messages []recording.Message
	stopped  bool
}

func (c *collected) Message(d wire.Direction, h wire.Header, body []byte) {
	c.messages = append(c.messages, recording.Message{From: d, Header: h, Body: slices.Clone(body)})
}

func (c *collected) done() bool { return c.stopped }

func (c *collected) stop() { c.stopped = true }

// Upgrade answers the HTTP request of a connection and returns its WebSocket.
func Upgrade(ctx context.Context, conn net.Conn, origins ...string) (net.Conn, error) {
	web, err := upgrade(ctx, conn, conn, origins)
	if err != nil {
		return nil, err
	}
	return web, nil
}
