package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Sizes of the buffers of a channel in bytes. A client sends little, and
// crypto/tls gives out one record (16 KiB) at a time anyway; pictures come in
// bulk. A session of six channels has half a MiB of them.
const (
	fromClientBuffer = 16 << 10
	fromServerBuffer = 64 << 10
)

// pump is one direction of a channel.
type pump struct {
	dst, src         net.Conn
	buffer           int // bytes
	scan             scanner
	traffic          *traffic
	total            prometheus.Counter
	srcGone, dstGone Reason // what it means that one of them has ended
	records          bool   // where TLS records end matters to dst, see write
	first            *end   // of both directions
	silence          *silence
	now              func() time.Time
}

// pumpEnd is how a pump ended. err is nil if src came to a proper end.
type pumpEnd struct {
	reason Reason
	err    error
}

// end is the first end of the two directions of a channel. An end is noted before
// it is passed on, since the other one may be the answer to it.
type end struct{ atomic.Pointer[pumpEnd] }

func (e *end) note(p pumpEnd) { e.CompareAndSwap(nil, &p) }

func (p *pump) run(ends chan<- error) {
	e := p.copy()
	p.first.note(e)
	ends <- e.err
}

// copy passes on what comes from src until it ends, and then ends that half of
// dst. It looks at each piece before it passes it on, and changes nothing.
func (p *pump) copy() pumpEnd {
	buf := make([]byte, p.buffer)
	for {
		n, err := p.src.Read(buf)
		if n > 0 {
			if err := p.scan.feed(buf[:n]); err != nil {
				return pumpEnd{ReasonFailed, err}
			}
			p.silence.broken(p.now())
			// Counted first: who got them finds them counted.
			p.traffic.messages.Store(p.scan.messages)
			p.traffic.bytes.Add(uint64(n))
			p.total.Add(float64(n))
			if err := p.write(buf[:n]); err != nil {
				return broken(p.dstGone, err)
			}
		}
		if errors.Is(err, io.EOF) {
			p.first.note(pumpEnd{p.srcGone, nil})
			if err := closeWrite(p.dst); err != nil {
				return broken(p.dstGone, err)
			}
			return pumpEnd{p.srcGone, nil}
		}
		if err != nil {
			return broken(p.srcGone, err)
		}
	}
}

// write passes on the piece that was scanned last. The last message that ends in
// it has its own TLS records: spice-gtk (0.42, spice_channel_iterate_read) takes
// one message whenever its socket can be read, and then waits for the socket,
// although OpenSSL may hold more of the same record. As long as there is another
// record it goes on.
func (p *pump) write(piece []byte) error {
	if at := p.scan.lastAt; p.records && at > 0 {
		if _, err := p.dst.Write(piece[:at]); err != nil {
			return err
		}
		piece = piece[at:]
	}
	_, err := p.dst.Write(piece)
	return err
}

// broken is the end by an error of one side's connection. That side has gone
// if it hung up with data on the way, which is how spice-gtk does it.
func broken(gone Reason, err error) pumpEnd {
	// ErrUnexpectedEOF is the end in the middle of a TLS record.
	for _, hangup := range []error{syscall.ECONNRESET, syscall.EPIPE, io.ErrUnexpectedEOF} {
		if errors.Is(err, hangup) {
			return pumpEnd{gone, err}
		}
	}
	return pumpEnd{ReasonFailed, err}
}

// closeWrite ends the direction towards the peer and leaves the other open. All
// conns that the proxy relays (TCP, unix, TLS) can do this.
func closeWrite(conn net.Conn) error {
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return fmt.Errorf("%T cannot end one direction", conn)
}

// relay runs both directions of a channel until both have ended, one has
// failed, ctx is done, or linger has passed since the first one ended. It
// closes both connections and returns why the channel ended.
func relay(ctx context.Context, linger time.Duration, fromClient, fromServer *pump) (Reason, error) {
	cut := sync.OnceFunc(func() {
		// The TLS layer would say goodbye first and wait for a peer that does
		// not read.
		closeNow(fromClient.src)
		closeNow(fromServer.src)
	})
	stop := context.AfterFunc(ctx, cut)
	defer stop()

	ends := make(chan error, 2)
	go fromClient.run(ends)
	go fromServer.run(ends)
	err := <-ends
	var lingering *time.Timer
	if err != nil {
		cut()
	} else {
		lingering = time.AfterFunc(linger, cut)
	}
	err2 := <-ends
	if lingering != nil {
		lingering.Stop()
	}
	if err == nil && err2 == nil {
		fromClient.src.Close()
		fromServer.src.Close()
	}
	cut()
	if ctx.Err() != nil {
		return ReasonSessionEnded, nil
	}
	// What came after it, be it the end of linger, is the consequence.
	e := fromClient.first.Load()
	return e.reason, e.err
}

// closeNow closes a connection without a word.
func closeNow(conn net.Conn) {
	if wrapped, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = wrapped.NetConn()
	}
	conn.Close()
}
