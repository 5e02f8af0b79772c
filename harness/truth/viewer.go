package truth

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"net"
	"sync"

	"github.com/spicelane/spicelane/harness/truth/catalogue"
	"github.com/spicelane/spicelane/harness/witness"
	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/canvas"
	"github.com/spicelane/spicelane/spice/wire"
)

// The hops of a picture that can be at fault.
const (
	HopServer  = "server"         // libspice-server
	HopClient  = "client"         // the headless client
	HopProxy   = "proxy"          // between server and client
	HopForeign = "foreign client" // a client of another project
)

// viewer is a client whose pictures are compared.
type viewer struct {
	name   string // "direct", "proxied"
	client *spice.Client
	look   func(*canvas.Image) // changes its pictures, see Config.Look; may be nil

	mu    sync.Mutex
	notes map[wire.ChannelID]*witness.Notes

	pause sync.Mutex // held while the client is to read nothing

	cells, pixel canvas.Image // memory
}

// dialViewer connects a client and records what it receives.
func dialViewer(ctx context.Context, name string, cfg spice.Config) (*viewer, error) {
	v := &viewer{name: name, notes: map[wire.ChannelID]*witness.Notes{}}
	spoil := cfg.Tap
	cfg.Tap = func(id wire.ChannelID) wire.Tap {
		var bad wire.Tap
		if spoil != nil {
			bad = spoil(id)
		}
		if id.Type != wire.ChannelDisplay && id.Type != wire.ChannelCursor {
			return bad
		}
		return wire.JoinTaps(v.of(id), bad)
	}
	// The limits are small, so that a catalogue of small pictures reaches them, too.
	cfg.PixmapCachePixels, cfg.GLZWindowPixels = 1<<20, 1<<20
	if cfg.DialFunc == nil {
		cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			return &pausable{Conn: conn, pause: &v.pause}, err
		}
	}
	var err error
	if v.client, err = spice.Dial(ctx, cfg); err != nil {
		return nil, fmt.Errorf("truth: %s client: %w", name, err)
	}
	return v, nil
}

// pausable is a connection from which nothing is read while pause is held.
type pausable struct {
	net.Conn
	pause *sync.Mutex
}

func (c *pausable) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.pause.Lock()
	defer c.pause.Unlock()
	return n, err
}

// of returns the recorded messages of a channel.
func (v *viewer) of(id wire.ChannelID) *witness.Notes {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.notes[id] == nil {
		v.notes[id] = witness.NewNotes(id)
	}
	return v.notes[id]
}

// streamed returns how many frames of streams the client has shown.
func (v *viewer) streamed() uint64 {
	ops := v.client.Stats().Ops
	return ops["stream_data"].Count + ops["stream_data_sized"].Count
}

// draws returns the number of recorded drawing messages that were not compared yet.
func (v *viewer) draws() int { return v.of(displayChannel).Draws() }

// forget drops all recorded messages.
func (v *viewer) forget() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, n := range v.notes {
		n.Clear()
	}
}

var (
	displayChannel = wire.ChannelID{Type: wire.ChannelDisplay}
	cursorChannel  = wire.ChannelID{Type: wire.ChannelCursor}
)

// await waits until a pixel of the primary surface has a value. Then the client has carried out
// everything that the server sent before it.
func (v *viewer) await(ctx context.Context, at image.Point, value, mask uint32) error {
	area := image.Rectangle{Min: at, Max: at.Add(image.Pt(1, 1))}
	return v.client.Await(ctx, func() bool {
		c, err := v.client.Cells(0, 0, area, &v.pixel)
		if err != nil || c.Width != 1 {
			return false
		}
		got := uint32(c.Pix[0]) | uint32(c.Pix[1])<<8 | uint32(c.Pix[2])<<16 | uint32(c.Pix[3])<<24
		return (got^value)&mask == 0
	})
}

// surface returns a surface as the client has it. The picture is valid until the next call.
func (v *viewer) surface(id uint32) (*canvas.Image, error) {
	c, err := v.client.Cells(0, id, image.Rectangle{}, &v.cells)
	if err == nil && v.look != nil {
		v.look(c)
	}
	return c, err
}

// cursorIsAt reports whether a client's pointer has the expected position and visibility.
func (v *viewer) cursorIsAt(want *catalogue.Cursor) bool {
	got, ok := v.client.Cursor(0)
	return ok && got.X == want.At.X && got.Y == want.At.Y && got.Visible == want.Visible
}

// cursorDiffers says how a client's pointer differs from the expected one; empty if it does not.
func (v *viewer) cursorDiffers(want *catalogue.Cursor) string {
	got, ok := v.client.Cursor(0)
	switch {
	case !ok:
		return "there is no pointer"
	case got.X != want.At.X || got.Y != want.At.Y:
		return fmt.Sprintf("the pointer is at %d,%d, want %d,%d", got.X, got.Y, want.At.X, want.At.Y)
	case got.Visible != want.Visible:
		return fmt.Sprintf("the pointer's visibility is %v, want %v", got.Visible, want.Visible)
	case want.Shape == nil:
		return ""
	case got.Shape == nil:
		return "the pointer has no shape"
	}
	s, w := got.Shape, want.Shape
	switch {
	case s.Width != w.Width || s.Height != w.Height:
		return fmt.Sprintf("the pointer has %d×%d pixels, want %d×%d", s.Width, s.Height, w.Width, w.Height)
	case s.HotX != w.Hot.X || s.HotY != w.Hot.Y:
		return fmt.Sprintf("the hot spot is at %d,%d, want %d,%d", s.HotX, s.HotY, w.Hot.X, w.Hot.Y)
	case !bytes.Equal(s.Pix, w.Pix):
		return "the pointer's pixels differ"
	case !bytes.Equal(s.Xor, w.Xor):
		return "the pointer's inverting pixels differ"
	}
	return ""
}
