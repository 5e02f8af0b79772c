// Package controltest has a console for tests of the control socket. The test makes the console's
// screen and events, and the console records the keys that it receives. It does not model a guest;
// use lanes for that.
package controltest

import (
	"context"
	"fmt"
	"image"
	"slices"
	"sync"
	"time"

	"github.com/spicelane/spicelane/spice/control"
	"github.com/spicelane/spicelane/spice/control/server"
)

// Key is one key event that the console received.
type Key struct {
	Code uint16
	Down bool
}

// String returns the make code in hex, with a leading - for a release.
func (k Key) String() string {
	if k.Down {
		return fmt.Sprintf("%02x", k.Code)
	}
	return fmt.Sprintf("-%02x", k.Code)
}

// Console is a [server.Console] in memory. Make it with [New].
type Console struct {
	// OnKey is called for each key before it is recorded; an error refuses the key. Set it before
	// the console is used.
	OnKey func(ctx context.Context, k Key) error

	// StuckLocks makes the guest ignore its lock keys.
	StuckLocks bool

	held server.HeldKeys

	mu        sync.Mutex
	locks     control.Locks
	status    control.Status
	surfaces  map[[2]uint32]*server.Picture
	keys      []Key
	keyed     chan struct{}
	observers map[*observer]bool
}

type observer struct {
	mu sync.Mutex
	fn func(server.Notice)
}

// New makes a connected console with one primary surface of w×h pixels that shows a gradient.
func New(w, h int) *Console {
	c := &Console{
		status:    control.Status{SPICEConnected: true},
		surfaces:  map[[2]uint32]*server.Picture{},
		keyed:     make(chan struct{}),
		observers: map[*observer]bool{},
	}
	c.AddSurface(0, 0, w, h)
	return c
}

// AddSurface adds or replaces a surface and fills it with a gradient that differs from surface to
// surface.
func (c *Console) AddSurface(channel uint8, surface uint32, w, h int) {
	pic := &server.Picture{Pix: make([]byte, 4*w*h), Stride: 4 * w, Width: w, Height: h, Surface: image.Pt(w, h)}
	for y := range h {
		for x := range w {
			p := pic.Pix[y*pic.Stride+4*x:]
			p[0], p[1], p[2] = byte(x), byte(y), byte(x+y)+byte(surface)*16+channel
		}
	}
	c.mu.Lock()
	c.surfaces[[2]uint32{uint32(channel), surface}] = pic
	c.status.Surfaces = slices.DeleteFunc(c.status.Surfaces, func(s control.Surface) bool {
		return s.ChannelID == channel && s.SurfaceID == surface
	})
	trusted := true
	c.status.Surfaces = append(c.status.Surfaces, control.Surface{ChannelID: channel, SurfaceID: surface, Width: w, Height: h, Trusted: &trusted})
	c.mu.Unlock()
	c.Notify(server.Changed{})
}

// RemoveSurfaces removes all surfaces.
func (c *Console) RemoveSurfaces() {
	c.mu.Lock()
	clear(c.surfaces)
	c.status.Surfaces = nil
	c.mu.Unlock()
	c.Notify(server.Changed{})
}

// SetAgent connects or disconnects the guest's agent.
func (c *Console) SetAgent(connected bool) {
	c.mu.Lock()
	c.status.AgentConnected = connected
	c.mu.Unlock()
	c.Notify(server.AgentChanged{Connected: connected})
}

// Draw changes pixels of a surface. fn gets them in the byte order B, G, R, X; r is reported as
// drawn.
func (c *Console) Draw(channel uint8, surface uint32, r image.Rectangle, fn func(pix []byte, stride int)) {
	now := time.Now()
	c.mu.Lock()
	pic := c.surfaces[[2]uint32{uint32(channel), surface}]
	fn(pic.Pix, pic.Stride)
	pic.Drawn = now
	c.mu.Unlock()
	c.Notify(server.Drawn{Channel: channel, Surface: surface, Rect: r, Op: "draw_copy", At: now})
}

// Notify passes a notice to all observers.
func (c *Console) Notify(n server.Notice) {
	c.mu.Lock()
	obs := make([]*observer, 0, len(c.observers))
	for o := range c.observers {
		obs = append(obs, o)
	}
	c.mu.Unlock()
	for _, o := range obs {
		o.mu.Lock()
		if o.fn != nil {
			o.fn(n)
		}
		o.mu.Unlock()
	}
}

// Keys returns the keys received so far.
func (c *Console) Keys() []Key {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.keys)
}

// AwaitKeys waits until at least n key events have been received.
func (c *Console) AwaitKeys(ctx context.Context, n int) error {
	for {
		c.mu.Lock()
		have, keyed := len(c.keys), c.keyed
		c.mu.Unlock()
		if have >= n {
			return nil
		}
		select {
		case <-keyed:
		case <-ctx.Done():
			return fmt.Errorf("controltest: %d of %d keys: %w", have, n, ctx.Err())
		}
	}
}

// Observers returns the number of observers.
func (c *Console) Observers() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.observers)
}

// Status implements [server.Console].
func (c *Console) Status() control.Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := c.status
	st.Surfaces = slices.Clone(st.Surfaces)
	st.HadSurface = true // New makes a surface
	return st
}

// SendKey implements [server.Console].
func (c *Console) SendKey(ctx context.Context, code uint16, down bool) error {
	k := Key{code, down}
	if c.OnKey != nil {
		if err := c.OnKey(ctx, k); err != nil {
			return err
		}
	}
	c.held.Note(code, down)
	c.mu.Lock()
	locks := c.locks
	if down && !c.StuckLocks {
		switch code {
		case control.KeyCapsLock:
			c.locks.Caps = !c.locks.Caps
		case control.KeyNumLock:
			c.locks.Num = !c.locks.Num
		}
	}
	switched := locks != c.locks
	c.keys = append(c.keys, k)
	close(c.keyed)
	c.keyed = make(chan struct{})
	c.mu.Unlock()
	if switched {
		c.Notify(server.LocksChanged{})
	}
	return nil
}

// SetLocks changes the lock keys that are on in the guest.
func (c *Console) SetLocks(locks control.Locks) {
	c.mu.Lock()
	c.locks = locks
	c.mu.Unlock()
	c.Notify(server.LocksChanged{})
}

// Locks implements [server.Keyboard].
func (c *Console) Locks() control.Locks {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.locks
}

// Held implements [server.Keyboard].
func (c *Console) Held() []uint16 { return c.held.Held() }

// Snapshot implements [server.Console].
func (c *Console) Snapshot(channel uint8, surface uint32, r image.Rectangle) (*server.Picture, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	pic, ok := c.surfaces[[2]uint32{uint32(channel), surface}]
	if !ok {
		return nil, server.ErrNoSurface
	}
	whole := image.Rect(0, 0, pic.Width, pic.Height)
	if r.Empty() {
		r = whole
	}
	r = r.Intersect(whole)
	out := &server.Picture{Stride: 4 * r.Dx(), Width: r.Dx(), Height: r.Dy(), Surface: whole.Max, Drawn: pic.Drawn}
	for y := r.Min.Y; y < r.Max.Y; y++ {
		row := pic.Pix[y*pic.Stride:]
		out.Pix = append(out.Pix, row[4*r.Min.X:4*r.Max.X]...)
	}
	return out, nil
}

// Observe implements [server.Console].
func (c *Console) Observe(fn func(server.Notice)) (stop func()) {
	o := &observer{fn: fn}
	c.mu.Lock()
	c.observers[o] = true
	c.mu.Unlock()
	return func() {
		c.mu.Lock()
		delete(c.observers, o)
		c.mu.Unlock()
		o.mu.Lock()
		o.fn = nil
		o.mu.Unlock()
	}
}
