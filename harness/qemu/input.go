package qemu

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// serialInput is the way to the guest's serial port, opened at the first
// write.
type serialInput struct {
	mu      sync.Mutex
	conn    net.Conn
	drained chan struct{}
	closed  bool
}

// WriteSerial sends bytes to the guest's first serial port, as if typed on a
// terminal. It blocks while the guest does not take them, until ctx ends.
func (m *Machine) WriteSerial(ctx context.Context, p []byte) (int, error) {
	in := &m.input
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed {
		return 0, fmt.Errorf("write to the serial console: %w", m.Err())
	}
	if in.conn == nil {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "unix", m.cfg.socket(serialSocket))
		if err != nil {
			return 0, fmt.Errorf("write to the serial console: %w", err)
		}
		in.conn, in.drained = conn, make(chan struct{})
		// What the guest says comes through the log as well; left unread
		// here it would make the guest wait.
		go drain(conn, in.drained)
	}
	n, err := writeUntil(ctx, in.conn, p)
	if err != nil {
		err = fmt.Errorf("write to the serial console: %w", err)
	}
	return n, err
}

func drain(conn net.Conn, drained chan<- struct{}) {
	defer close(drained)
	io.Copy(io.Discard, conn)
}

func (in *serialInput) close() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.closed = true
	if in.conn != nil {
		in.conn.Close()
		<-in.drained
	}
}

// writeUntil writes p or what of it goes until ctx ends.
func writeUntil(ctx context.Context, conn net.Conn, p []byte) (int, error) {
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(interrupted)
		conn.SetWriteDeadline(time.Unix(1, 0)) // long ago: ends a write under way
	})
	n, err := conn.Write(p)
	if !stop() {
		<-interrupted
		conn.SetWriteDeadline(time.Time{})
		if err != nil {
			err = context.Cause(ctx)
		}
	}
	return n, err
}
