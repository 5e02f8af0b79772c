package controltest

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spicelane/spicelane/spice/control"
	"github.com/spicelane/spicelane/spice/control/server"
)

// patience limits the waits of a test; on an idle host nothing takes a second.
const patience = 20 * time.Second

// SocketPath returns a path that is short enough for a socket, however long the test's name is.
func SocketPath(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "ctl")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

// Open serves a console until the test ends and returns the path of its socket.
func Open(tb testing.TB, cfg server.Config) (path string, srv *server.Server) {
	tb.Helper()
	path = SocketPath(tb)
	srv, err := server.Open(path, cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { srv.Close() })
	return path, srv
}

// Pipe serves a console on one connection inside the process until the test ends, for tests in a
// testing/synctest bubble. It returns the client's end.
func Pipe(tb testing.TB, cfg server.Config) net.Conn {
	tb.Helper()
	ours, theirs := net.Pipe()
	l := &pipeListener{conns: make(chan net.Conn, 1), closed: make(chan struct{})}
	l.conns <- theirs
	srv := server.New(cfg)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := srv.Serve(l); !errors.Is(err, server.ErrClosed) {
			tb.Errorf("serve on a pipe: %v", err)
		}
	}()
	tb.Cleanup(func() {
		ours.Close()
		srv.Close()
		<-done
	})
	return ours
}

// pipeListener accepts a single connection.
type pipeListener struct {
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// Within returns a context that limits the waits of a test.
func Within(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	tb.Cleanup(cancel)
	return ctx
}

// Dial returns a driver, which is closed when the test ends. It waits for a server that is still
// cleaning up.
func Dial(tb testing.TB, path string) *control.Driver {
	tb.Helper()
	d, err := control.DriverConfig{}.DialWait(Within(tb), path)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { d.Close() })
	return d
}

// Raw is a connection for raw lines.
type Raw struct {
	tb   testing.TB
	Conn net.Conn
	r    *bufio.Reader
}

// DialRaw connects to a socket, without sending hello.
func DialRaw(tb testing.TB, path string) *Raw {
	tb.Helper()
	conn, err := net.Dial("unix", path)
	if err == nil {
		tb.Cleanup(func() { conn.Close() })
		err = conn.SetDeadline(time.Now().Add(patience))
	}
	if err != nil {
		tb.Fatal(err)
	}
	return RawOn(tb, conn)
}

// RawOn returns a connection for raw lines.
func RawOn(tb testing.TB, conn net.Conn) *Raw { return &Raw{tb, conn, bufio.NewReader(conn)} }

// Send writes lines.
func (r *Raw) Send(lines ...string) {
	r.tb.Helper()
	if _, err := r.Conn.Write([]byte(strings.Join(lines, "\n") + "\n")); err != nil {
		r.tb.Fatal(err)
	}
}

// Line reads a line, without its newline.
func (r *Raw) Line() string {
	r.tb.Helper()
	s, err := r.r.ReadString('\n')
	if err != nil {
		r.tb.Fatal(err)
	}
	return strings.TrimSuffix(s, "\n")
}

// Hello sends hello and reads the answer.
func (r *Raw) Hello() {
	r.tb.Helper()
	r.Send(`{"id":0,"method":"hello","params":{"client_name":"test","protocol_version":"1.2"}}`)
	if line := r.Line(); !strings.Contains(line, `"ok":true`) {
		r.tb.Fatalf("hello is answered %s", line)
	}
}

// Scan reads a digest that [DrawDigest] has drawn into the region: the frame counter in the first
// pixel, and in the second whether it is complete.
func Scan(pix []byte, stride, w, h int) (control.Digest, error) {
	switch pix[4] {
	case 1:
		n := binary.LittleEndian.Uint32(pix)
		return control.Digest{
			FrameCounter: n, FramebufferHash: n * 7,
			Events:        []json.RawMessage{json.RawMessage(`{"keypress":{"scancode":0,"timestamp_ms":138550,"unicode":"\r"}}`)},
			ChannelHashes: map[string]uint32{"keypress": n},
		}, nil
	case 2:
		return control.Digest{}, errors.New("the code is damaged")
	default:
		return control.Digest{}, fmt.Errorf("nothing there: %w", control.ErrNoDigest)
	}
}

// DrawDigest draws a digest for [Scan] into the corner of a w×h surface: kind 1 is complete, 2
// damaged.
func DrawDigest(c *Console, w, h int, counter uint32, kind byte) {
	r := server.DefaultDigestRegion(w, h)
	c.Draw(0, 0, r, func(pix []byte, stride int) {
		at := pix[r.Min.Y*stride+4*r.Min.X:]
		binary.LittleEndian.PutUint32(at, counter)
		at[4] = kind
	})
}

// Noticer returns a function with which the checks of package conform cause events on a console of
// 320×240 pixels.
func Noticer(c *Console) func(n int) {
	var counter atomic.Uint32
	everything := image.Rect(0, 0, 320, 240)
	return func(n int) {
		for range n {
			c.Notify(server.Drawn{Rect: everything, Op: "draw_copy", At: time.Now()})
		}
		if n == 1 {
			c.Notify(server.Latency{Interval: 1500 * time.Microsecond})
			DrawDigest(c, 320, 240, counter.Add(1), 1)
		}
	}
}
