package spicetest

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// PipeBuffer is how many bytes each direction of a Pipe buffers before writes block.
const PipeBuffer = 256 << 10

// Pipe returns the two ends of a connection within the process. Unlike net.Pipe it is buffered, so
// both ends can write first, and it has the half-close of TCP.
func Pipe() (client, server *PipeConn) {
	up, down := newHalf(), newHalf()
	return &PipeConn{in: down, out: up}, &PipeConn{in: up, out: down}
}

// half is one direction.
type half struct {
	mu      sync.Mutex
	changed *sync.Cond
	buf     []byte
	// ended is set when nothing more will be written, deaf when nothing more will be read.
	ended, deaf bool
	read, write deadline
}

// deadline is the time after which waiting on a half fails.
type deadline struct {
	timer  *time.Timer
	passed bool
	sets   int
}

func newHalf() *half {
	h := &half{}
	h.changed = sync.NewCond(&h.mu)
	return h
}

func (h *half) setDeadline(d *deadline, t time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
	}
	d.sets++
	d.passed = false
	if t.IsZero() {
		return
	}
	wait := time.Until(t)
	if wait <= 0 {
		d.passed = true
		h.changed.Broadcast()
		return
	}
	set := d.sets
	d.timer = time.AfterFunc(wait, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if d.sets == set {
			d.passed = true
			h.changed.Broadcast()
		}
	})
}

func (h *half) set(flag *bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	*flag = true
	h.changed.Broadcast()
}

// PipeConn is one end of a Pipe.
type PipeConn struct {
	in, out *half
	once    sync.Once
}

// Read reads what the other end wrote; io.EOF after its Close or CloseWrite.
func (c *PipeConn) Read(p []byte) (int, error) {
	h := c.in
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.deaf:
			return 0, net.ErrClosed
		case h.read.passed:
			return 0, os.ErrDeadlineExceeded
		case len(h.buf) > 0:
			n := copy(p, h.buf)
			if h.buf = h.buf[n:]; len(h.buf) == 0 {
				h.buf = nil
			}
			h.changed.Broadcast()
			return n, nil
		case h.ended:
			return 0, io.EOF
		case len(p) == 0:
			return 0, nil
		}
		h.changed.Wait()
	}
}

// Write blocks while the buffer is full; io.ErrClosedPipe after the other end's
// Close.
func (c *PipeConn) Write(p []byte) (int, error) {
	h := c.out
	h.mu.Lock()
	defer h.mu.Unlock()
	for n := 0; ; {
		switch {
		case h.ended:
			return n, net.ErrClosed
		case h.deaf:
			return n, io.ErrClosedPipe
		case h.write.passed:
			return n, os.ErrDeadlineExceeded
		case n == len(p):
			return n, nil
		}
		if room := min(PipeBuffer-len(h.buf), len(p)-n); room > 0 {
			h.buf = append(h.buf, p[n:n+room]...)
			n += room
			h.changed.Broadcast()
			continue
		}
		h.changed.Wait()
	}
}

// CloseWrite closes this direction; the other end reads io.EOF after the buffered data.
func (c *PipeConn) CloseWrite() error {
	c.out.set(&c.out.ended)
	return nil
}

// Close ends both directions.
func (c *PipeConn) Close() error {
	c.once.Do(func() {
		c.out.set(&c.out.ended)
		c.in.set(&c.in.deaf)
		_ = c.SetDeadline(time.Time{}) // stops the timers
	})
	return nil
}

// SetDeadline limits reads and writes.
func (c *PipeConn) SetDeadline(t time.Time) error {
	_ = c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

// SetReadDeadline limits reads; then they fail with os.ErrDeadlineExceeded.
func (c *PipeConn) SetReadDeadline(t time.Time) error {
	c.in.setDeadline(&c.in.read, t)
	return nil
}

// SetWriteDeadline limits writes; then they fail with os.ErrDeadlineExceeded.
func (c *PipeConn) SetWriteDeadline(t time.Time) error {
	c.out.setDeadline(&c.out.write, t)
	return nil
}

// LocalAddr returns "pipe".
func (*PipeConn) LocalAddr() net.Addr { return pipeAddr{} }

// RemoteAddr returns "pipe".
func (*PipeConn) RemoteAddr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }
