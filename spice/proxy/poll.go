package proxy

import (
	"net"
	"sync"
	"syscall"
)

// errNoData says that a pollConn has nothing to read now. It is temporary, like an expired
// deadline: crypto/tls keeps a partial record and can be called again.
var errNoData net.Error = noData{}

type noData struct{}

func (noData) Error() string   { return "no data yet" }
func (noData) Timeout() bool   { return true }
func (noData) Temporary() bool { return true }

// pollConn is a socket whose reader can wait for data without holding a buffer, so thousands of
// silent channels share a few buffers. Its writer can collect its output, so that several TLS
// records take one system call.
type pollConn struct {
	net.Conn
	raw  syscall.RawConn
	poll *poller // used only by the reader

	// nowait makes Read return errNoData instead of waiting. Only the reader sets it.
	nowait bool

	mu    sync.Mutex // of the writers: TLS answers a key update while it reads
	batch []byte     // written since collect; nil if nothing is collected
}

// newPollConn wraps a socket. It returns other connections unchanged.
func newPollConn(conn net.Conn) net.Conn {
	sys, ok := conn.(syscall.Conn)
	if !ok || !canPoll {
		return conn
	}
	raw, err := sys.SyscallConn()
	if err != nil {
		return conn
	}
	return &pollConn{Conn: conn, raw: raw, poll: newPoller()}
}

// CloseWrite closes the direction towards the peer.
func (c *pollConn) CloseWrite() error { return closeWrite(c.Conn) }

// collect collects all output from now on in buf, until flush.
func (c *pollConn) collect(buf []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.batch = buf[:0]
}

// flush writes the collected output, and returns its memory.
func (c *pollConn) flush() (buf []byte, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	buf, c.batch = c.batch, nil
	if len(buf) > 0 {
		_, err = c.Conn.Write(buf)
	}
	return buf, err
}

// Write writes b, or collects it. What would not fit is written first.
func (c *pollConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.batch == nil {
		return c.Conn.Write(b)
	}
	if len(c.batch)+len(b) > cap(c.batch) {
		if _, err := c.Conn.Write(c.batch); err != nil {
			return 0, err
		}
		c.batch = c.batch[:0]
	}
	c.batch = append(c.batch, b...)
	return len(b), nil
}

// pollOf returns the pollConn that a connection reads from; nil if there is none.
func pollOf(conn net.Conn) *pollConn {
	if wrapped, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = wrapped.NetConn()
	}
	poll, _ := conn.(*pollConn)
	return poll
}
