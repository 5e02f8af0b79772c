package qemu

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/spicelane/spicelane/internal/ctxio"
)

// serialInput is the connection to the guest's serial port, opened at the first write.
type serialInput struct {
	mu      sync.Mutex
	conn    net.Conn
	drained chan struct{}
	closed  bool
}

// WriteSerial sends bytes to the guest's first serial port, as if typed on a terminal. It blocks
// while the guest does not read them, until ctx ends.
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
		// The guest's output also goes to the log. If it were not read here, the guest would wait.
		go drain(conn, in.drained)
	}
	n, err := ctxio.Write(ctx, in.conn, p)
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
