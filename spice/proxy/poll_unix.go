//go:build linux || darwin || freebsd

package proxy

import (
	"io"
	"os"
	"syscall"
)

const canPoll = true

// poller has the functions with which a reader asks the kernel. They are made once, because a
// closure for each read would be an allocation for each read.
type poller struct {
	buf []byte
	one [1]byte
	n   int
	err error

	read, peek func(fd uintptr) bool
}

func newPoller() *poller {
	p := &poller{}
	p.read = func(fd uintptr) bool {
		for {
			if p.n, p.err = syscall.Read(int(fd), p.buf); p.err != syscall.EINTR {
				return true
			}
		}
	}
	p.peek = func(fd uintptr) bool {
		// Ask again inside the poller: data that came since the last Read would not wake the
		// reader.
		_, _, p.err = syscall.Recvfrom(int(fd), p.one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		return p.err != syscall.EAGAIN && p.err != syscall.EINTR
	}
	return p
}

// Read reads what is available. With nowait it returns errNoData if nothing is.
func (c *pollConn) Read(b []byte) (int, error) {
	if !c.nowait || len(b) == 0 {
		return c.Conn.Read(b)
	}
	p := c.poll
	p.buf = b
	closed := c.raw.Read(p.read)
	p.buf = nil
	switch {
	case closed != nil:
		return 0, closed
	case p.err == syscall.EAGAIN:
		return 0, errNoData
	case p.err != nil:
		return 0, os.NewSyscallError("read", p.err)
	case p.n == 0:
		return 0, io.EOF
	}
	return p.n, nil
}

// wait blocks until there is something to read: data, the end or an error.
func (c *pollConn) wait() error {
	if closed := c.raw.Read(c.poll.peek); closed != nil {
		return closed
	}
	// The kernel reports an error only once; the next Read would see the end instead.
	return os.NewSyscallError("read", c.poll.err)
}
