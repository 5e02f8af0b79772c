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

	"github.com/spicelane/spicelane/spice/wire"
)

// Sizes of the buffers of a direction, in bytes. A client sends little, and crypto/tls returns one
// record (16 KiB) at a time; pictures come in bulk. A direction takes a buffer when there is
// something to read, and frees it when that is passed on. So a channel holds at most one of each
// and a batch, if its peers do not read.
const (
	fromClientBuffer = 16 << 10
	fromServerBuffer = 128 << 10

	// lastWord is how long a peer may take to read what precedes the end.
	lastWord = time.Second

	// A batch is what one system call writes: four full TLS records, which add 22 to 29 bytes to
	// each 16 KiB. The client reads the first half of a piece while the other one is encrypted.
	batchBuffer = 64<<10 + 1<<10
)

// buffers are the free buffers of one size.
type buffers struct{ sync.Pool }

func newBuffers(size int) *buffers {
	return &buffers{sync.Pool{New: func() any {
		b := make([]byte, size)
		return &b
	}}}
}

func (b *buffers) get() *[]byte    { return b.Get().(*[]byte) }
func (b *buffers) put(buf *[]byte) { b.Put(buf) }

var (
	clientBuffers = newBuffers(fromClientBuffer)
	serverBuffers = newBuffers(fromServerBuffer)
	batchBuffers  = newBuffers(batchBuffer)
)

// pump is one direction of a channel.
type pump struct {
	dst, src         net.Conn
	buffers          *buffers
	scan             scanner
	inspect          *inspector // nil: no rules
	record           *messages  // nil: the session is not recorded
	traffic          *traffic
	total            prometheus.Counter
	latency          prometheus.Observer // from reading a piece to having written it
	srcGone, dstGone Reason              // the reasons if one of them has ended
	records          bool                // dst needs TLS records to end with messages, see write
	first            *end                // of both directions
	silence          *silence
	refused          func() // called when the firewall has refused a message
	now              func() time.Time

	poll, dstPoll *pollConn // of src and dst; nil if they have none
	carry         [wire.FullHeaderSize]byte
	carried       int // bytes of an incomplete header, at the start of carry

	// writing is held by the writer to dst. It also guards scan and carried, because the proxy's
	// own messages must be between two others.
	writing gate
}

// gate is a mutex whose Lock can have a time limit.
type gate chan struct{}

func newGate() gate { return make(gate, 1) }

func (g gate) lock()   { g <- struct{}{} }
func (g gate) unlock() { <-g }

// lockWithin reports whether it got the gate in time.
func (g gate) lockWithin(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case g <- struct{}{}:
		return true
	case <-timer.C:
		return false
	}
}

// pumpEnd is how a pump ended. err is nil if src came to a proper end.
type pumpEnd struct {
	reason Reason
	err    error
}

// end is the first end of the two directions of a channel. An end is recorded before it is passed
// on, because the other end may be the answer to it.
type end struct{ atomic.Pointer[pumpEnd] }

func (e *end) note(p pumpEnd) { e.CompareAndSwap(nil, &p) }

// watch calls see for each message of a type that passes.
func (p *pump) watch(kind uint16, see func(body []byte) error) {
	p.scan.watched = append(p.scan.watched, watch{kind, see})
}

// run copies until the end of this direction, and reports it.
func (p *pump) run(ctx context.Context, ended func(err error)) {
	e := p.copy(ctx)
	p.first.note(e)
	ended(e.err)
}

// copy passes on what comes from src until it ends, and then ends that direction of dst. It
// inspects each piece before it passes it on, and changes nothing.
func (p *pump) copy(ctx context.Context) pumpEnd {
	if p.poll = pollOf(p.src); p.poll != nil {
		p.poll.nowait = true
	}
	p.dstPoll = pollOf(p.dst)
	for {
		buf, n, err := p.next()
		if n > 0 {
			if ended, e := p.pass(ctx, (*buf)[:p.carried+n]); ended {
				p.buffers.put(buf)
				return e
			}
		}
		if buf != nil {
			p.buffers.put(buf)
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

// next waits for data and only then takes a buffer. The buffer begins with what was carried over; n
// is how much has been read after that. The caller has to free the buffer, if there is one.
func (p *pump) next() (buf *[]byte, n int, err error) {
	for {
		buf = p.buffers.get()
		copy(*buf, p.carry[:p.carried])
		n, err = p.src.Read((*buf)[p.carried:])
		if p.poll == nil || err != errNoData {
			return buf, n, err
		}
		if n > 0 {
			return buf, n, nil
		}
		p.buffers.put(buf)
		if err = p.poll.wait(); err != nil {
			return nil, 0, err
		}
	}
}

// pass passes on a piece as far as it is allowed, and keeps an incomplete header at its end for the
// next piece. It reports whether that was the end.
func (p *pump) pass(ctx context.Context, piece []byte) (bool, pumpEnd) {
	began := time.Now()
	p.writing.lock()
	defer p.writing.unlock()
	before := p.scan.messages
	n, err := p.scan.feed(piece)
	// Count first, so that a receiver of these messages finds them counted.
	p.silence.broken(p.now())
	p.traffic.messages.Store(p.scan.messages)
	p.traffic.bytes.Add(uint64(n))
	p.total.Add(float64(n))
	p.carried = copy(p.carry[:], piece[n:])
	if p.record != nil {
		p.record.feed(piece[:n])
	}
	if err != nil {
		p.carried = 0
		reason := ReasonFailed
		if errors.As(err, new(*RefusedError)) {
			reason = ReasonFirewall
		}
		// Record it before passing on what precedes the message: the peer may answer by
		// disconnecting.
		p.first.note(pumpEnd{reason, err})
		_ = p.dst.SetWriteDeadline(time.Now().Add(lastWord))
		_ = p.write(piece[:n])
		if reason == ReasonFirewall && p.refused != nil {
			p.refused()
		}
		return true, pumpEnd{reason, err}
	}
	p.inspect.wait(ctx, p.scan.messages-before)
	if n == 0 {
		return false, pumpEnd{}
	}
	if err := p.write(piece[:n]); err != nil {
		return true, broken(p.dstGone, err)
	}
	p.latency.Observe(time.Since(began).Seconds())
	return false, pumpEnd{}
}

// farewell sends the client of a main channel a notice of why its session ends. It does so only if
// that takes almost no time: between two messages, and with room in the socket.
func (p *pump) farewell(text string) {
	if !p.writing.lockWithin(lastWord / 10) {
		return
	}
	defer p.writing.unlock()
	if p.scan.left > 0 {
		return
	}
	messages := []wire.ServerMessage{
		&wire.Notify{Time: uint64(p.now().UnixNano()), Severity: wire.NotifyWarn, Visibility: notifyHigh, Message: text},
		&wire.Disconnecting{Time: uint64(p.now().UnixNano())},
	}
	var out []byte
	for _, m := range messages {
		body := m.Append(nil)
		h := wire.Header{Type: m.MessageType(), Size: uint32(len(body))}
		if p.scan.mini {
			out = h.AppendMini(out)
		} else {
			p.scan.serial++
			h.Serial = p.scan.serial
			out = h.AppendFull(out)
		}
		out = append(out, body...)
	}
	_ = p.dst.SetWriteDeadline(time.Now().Add(lastWord / 10))
	_, _ = p.dst.Write(out)
}

// notifyHigh is SPICE_NOTIFY_VISIBILITY_HIGH (spice/enums.h).
const notifyHigh = 2

// write passes on the piece that was scanned last. The last message that ends in it gets separate
// TLS records. spice-gtk (0.42, spice_channel_iterate_read) reads one message whenever its socket
// is readable. Then it waits for the socket, although OpenSSL may hold more of the same record. If
// there is another record, it continues.
func (p *pump) write(piece []byte) (err error) {
	if !p.records {
		_, err = p.dst.Write(piece)
		return err
	}
	if p.dstPoll != nil {
		batch := batchBuffers.get()
		p.dstPoll.collect(*batch)
		defer func() {
			var flushErr error
			*batch, flushErr = p.dstPoll.flush()
			batchBuffers.put(batch)
			if err == nil {
				err = flushErr
			}
		}()
	}
	if at := p.scan.lastAt; at > 0 {
		if _, err := p.dst.Write(piece[:at]); err != nil {
			return err
		}
		piece = piece[at:]
	}
	_, err = p.dst.Write(piece)
	return err
}

// broken returns the end for an error of one side's connection. If that side closed it with data in
// flight, as spice-gtk does, it has simply ended.
func broken(gone Reason, err error) pumpEnd {
	// ErrUnexpectedEOF means the end in the middle of a TLS record.
	for _, hangup := range []error{syscall.ECONNRESET, syscall.EPIPE, io.ErrUnexpectedEOF} {
		if errors.Is(err, hangup) {
			return pumpEnd{gone, err}
		}
	}
	return pumpEnd{ReasonFailed, err}
}

// closeWrite closes the direction towards the peer and leaves the other one open. All conns that
// the proxy relays (TCP, unix, TLS, WebSocket) support it.
func closeWrite(conn net.Conn) error {
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return fmt.Errorf("%T cannot end one direction", conn)
}

// relay runs both directions of a channel until both have ended, one has failed, ctx is done, or
// linger has passed since the first one ended. It closes both connections and returns why the
// channel ended.
func relay(ctx context.Context, linger time.Duration, fromClient, fromServer *pump) (Reason, error) {
	relaying, over := context.WithCancel(ctx)
	defer over()
	cut := sync.OnceFunc(func() {
		over() // a direction may be waiting for the firewall's rate
		// TLS would first send a close alert and wait for a peer that does not read.
		closeNow(fromClient.src)
		closeNow(fromServer.src)
	})
	stop := context.AfterFunc(ctx, cut)
	defer stop()

	var once sync.Once
	var lingering *time.Timer
	ends := make(chan error, 2)
	ended := func(err error) {
		if err != nil {
			cut()
		} else {
			once.Do(func() { lingering = time.AfterFunc(linger, cut) })
		}
		ends <- err
	}
	// One direction uses this goroutine, so an idle channel costs little but its stacks.
	go fromClient.run(relaying, ended)
	fromServer.run(relaying, ended)
	err, err2 := <-ends, <-ends
	if lingering != nil {
		lingering.Stop()
	}
	if err == nil && err2 == nil {
		fromClient.src.Close()
		fromServer.src.Close()
	}
	cut()
	if e := fromClient.first.Load(); ctx.Err() != nil && e.reason != ReasonFirewall {
		return ReasonSessionEnded, nil
	}
	// Whatever came after it, such as the end of linger, is a consequence.
	e := fromClient.first.Load()
	return e.reason, e.err
}

// closeNow closes a connection without a TLS close alert.
func closeNow(conn net.Conn) {
	if wrapped, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = wrapped.NetConn()
	}
	conn.Close()
}
