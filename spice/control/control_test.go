package control_test

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
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/spicelane/spicelane/spice/control"
	"github.com/spicelane/spicelane/spice/control/controltest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// socketPath is a path short enough for a socket, whatever the test is called.
func socketPath(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ctl")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

// open serves a console and returns the path of its socket.
func open(t testing.TB, cfg control.Config) (path string, srv *control.Server) {
	t.Helper()
	path = socketPath(t)
	srv, err := control.Open(path, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { srv.Close() })
	return path, srv
}

// within bounds a test that waits; nothing in it takes a second.
func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// dial returns a driver; a server that is still cleaning up is waited for.
func dial(t testing.TB, path string) *control.Driver {
	t.Helper()
	d, err := control.DriverConfig{}.DialWait(within(t), path)
	require.NoError(t, err)
	t.Cleanup(func() { d.Close() })
	return d
}

// raw is a connection that speaks bytes.
type raw struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader
}

func dialRaw(t testing.TB, path string) *raw {
	t.Helper()
	conn, err := net.Dial("unix", path)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	return &raw{t, conn, bufio.NewReader(conn)}
}

func (r *raw) send(lines ...string) {
	r.t.Helper()
	_, err := r.conn.Write([]byte(strings.Join(lines, "\n") + "\n"))
	require.NoError(r.t, err)
}

func (r *raw) line() string {
	r.t.Helper()
	s, err := r.r.ReadString('\n')
	require.NoError(r.t, err)
	return strings.TrimSuffix(s, "\n")
}

func (r *raw) hello() {
	r.t.Helper()
	r.send(`{"id":0,"method":"hello","params":{"client_name":"test","protocol_version":"1.2"}}`)
	require.Contains(r.t, r.line(), `"ok":true`)
}

// fakeScan reads a digest that the tests put into the region: the frame counter
// in the first pixel, and in the second whether it is whole.
func fakeScan(pix []byte, stride, w, h int) (control.Digest, error) {
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

// drawDigest draws what fakeScan reads into the corner of a w×h surface.
func drawDigest(c *controltest.Console, w, h int, counter uint32, kind byte) {
	r := control.DefaultDigestRegion(w, h)
	c.Draw(0, 0, r, func(pix []byte, stride int) {
		at := pix[r.Min.Y*stride+4*r.Min.X:]
		binary.LittleEndian.PutUint32(at, counter)
		at[4] = kind
	})
}

var everything = image.Rect(0, 0, 320, 240)

// noticer lets conform cause events.
func noticer(c *controltest.Console) func(n int) {
	var counter atomic.Uint32
	return func(n int) {
		for range n {
			c.Notify(control.Drawn{Rect: everything, Op: "draw_copy", At: time.Now()})
		}
		if n == 1 {
			c.Notify(control.Latency{Interval: 1500 * time.Microsecond})
			drawDigest(c, 320, 240, counter.Add(1), 1)
		}
	}
}
