package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"image"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/wire"
)

// SpiceConsole is a [Console] on a SPICE session. Make it with
// [NewSpiceConsole].
type SpiceConsole struct {
	client atomic.Pointer[spice.Client]

	mu        sync.Mutex
	observers []*spiceObserver // replaced, never changed
	stop      func()           // ends the observation of client

	pictures sync.Pool // *spice.Picture, so that a look at a corner allocates no screen
}

// spiceObserver is one observer, wrapped so that stopping can wait for it.
type spiceObserver struct {
	mu sync.Mutex
	fn func(Notice)
}

// NewSpiceConsole makes a console of an open session. The caller still owns the
// client and closes it.
func NewSpiceConsole(client *spice.Client) *SpiceConsole {
	c := &SpiceConsole{}
	c.attach(client)
	return c
}

// Client returns the session that the console is on now.
func (c *SpiceConsole) Client() *spice.Client { return c.client.Load() }

// attach makes client the session that is shown.
func (c *SpiceConsole) attach(client *spice.Client) {
	c.client.Store(client)
	stop := client.Observe(c.notify)
	c.mu.Lock()
	c.stop = stop
	c.mu.Unlock()
}

// notify translates what happened in the session.
func (c *SpiceConsole) notify(e spice.Event) {
	switch e := e.(type) {
	case spice.Drawn:
		c.tell(Drawn{Channel: e.Channel, Surface: e.Surface, Rect: e.Rect, Op: e.Op, Received: e.Received, At: e.At})
	case spice.Latency:
		c.tell(Latency{e.Interval})
	case spice.AgentChanged:
		c.tell(AgentChanged{e.Connected})
	case spice.CursorChanged:
		c.tell(CursorChanged{})
	case spice.Ended:
		c.tell(AgentChanged{false})
		c.tell(Changed{})
	default:
		c.tell(Changed{})
	}
}

func (c *SpiceConsole) tell(n Notice) {
	c.mu.Lock()
	observers := c.observers
	c.mu.Unlock()
	for _, o := range observers {
		o.mu.Lock()
		if o.fn != nil {
			o.fn(n)
		}
		o.mu.Unlock()
	}
}

// Observe implements [Console].
func (c *SpiceConsole) Observe(fn func(Notice)) (stop func()) {
	o := &spiceObserver{fn: fn}
	c.mu.Lock()
	c.observers = append(slices.Clip(c.observers), o)
	c.mu.Unlock()
	return func() {
		c.mu.Lock()
		c.observers = slices.DeleteFunc(slices.Clone(c.observers), func(x *spiceObserver) bool { return x == o })
		c.mu.Unlock()
		o.mu.Lock()
		o.fn = nil
		o.mu.Unlock()
	}
}

// Status implements [Console].
func (c *SpiceConsole) Status() Status {
	client := c.Client()
	session := client.Session()
	stats := client.Stats()
	st := Status{
		SpiceConnected: true,
		AgentConnected: session.AgentConnected,
		Surfaces:       []Surface{},
		Session:        fmt.Sprintf("%08x", session.ConnectionID),
		GuestName:      session.Name,
		MouseMode:      "server",
	}
	if session.MouseMode&wire.MouseModeClient != 0 {
		st.MouseMode = "client"
	}
	for _, ch := range stats.Channels {
		st.Channels = append(st.Channels, ch.Channel)
		for _, n := range ch.In {
			st.Messages += n
		}
	}
	for what, n := range stats.Unsupported {
		st.Unsupported = append(st.Unsupported, Unsupported{What: what, Count: n})
	}
	slices.SortFunc(st.Unsupported, func(a, b Unsupported) int { return cmp.Compare(a.What, b.What) })
	select {
	case <-client.Done():
		st.SpiceConnected, st.AgentConnected = false, false
		st.Error = "closed"
		if err := client.Wait(); err != nil {
			st.Error = err.Error()
		}
		return st
	default:
	}
	for _, s := range client.Surfaces() {
		trusted := s.Problem == ""
		st.Surfaces = append(st.Surfaces, Surface{ChannelID: s.Channel, SurfaceID: s.ID, Width: s.Width, Height: s.Height, Trusted: &trusted})
	}
	return st
}

// SendKey implements [Console].
func (c *SpiceConsole) SendKey(ctx context.Context, code uint16, down bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return c.Client().Key(code, down)
}

// Snapshot implements [Console].
func (c *SpiceConsole) Snapshot(channel uint8, surface uint32, r image.Rectangle) (*Picture, error) {
	if r.Empty() {
		p, err := c.Client().Snapshot(channel, surface, nil)
		if err != nil {
			return nil, noSurface(err)
		}
		return &Picture{
			Pix: p.Pix, Stride: p.Stride, Width: p.Width, Height: p.Height,
			Surface: image.Pt(p.Width, p.Height), Drawn: p.Drawn,
		}, nil
	}
	buf, _ := c.pictures.Get().(*spice.Picture)
	p, err := c.Client().Snapshot(channel, surface, buf)
	if err != nil {
		return nil, noSurface(err)
	}
	defer c.pictures.Put(p)
	r = r.Intersect(image.Rect(0, 0, p.Width, p.Height))
	out := &Picture{
		Pix: make([]byte, 0, 4*r.Dx()*r.Dy()), Stride: 4 * r.Dx(), Width: r.Dx(), Height: r.Dy(),
		Surface: image.Pt(p.Width, p.Height), Drawn: p.Drawn,
	}
	for y := r.Min.Y; y < r.Max.Y; y++ {
		out.Pix = append(out.Pix, p.Pix[y*p.Stride+4*r.Min.X:y*p.Stride+4*r.Max.X]...)
	}
	return out, nil
}

func noSurface(err error) error {
	if errors.Is(err, spice.ErrNoSurface) {
		return ErrNoSurface
	}
	return err
}

// MouseMove implements [Pointer].
func (c *SpiceConsole) MouseMove(ctx context.Context, channel uint8, x, y int, relative bool) error {
	if relative {
		return c.Client().MouseMove(ctx, x, y)
	}
	return c.Client().MousePosition(ctx, channel, x, y)
}

// MouseButton implements [Pointer].
func (c *SpiceConsole) MouseButton(ctx context.Context, button int, down bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return c.Client().MouseButton(wire.MouseButton(button), down)
}

// ClipboardGet implements [Clipboard].
func (c *SpiceConsole) ClipboardGet(ctx context.Context) (string, error) {
	b, err := c.Client().ClipboardGet(ctx, wire.SelectionClipboard, wire.ClipboardUTF8)
	return string(b), noAgent(err)
}

// ClipboardSet implements [Clipboard].
func (c *SpiceConsole) ClipboardSet(ctx context.Context, text string) error {
	return noAgent(c.Client().ClipboardSet(ctx, wire.SelectionClipboard, map[wire.ClipboardType][]byte{wire.ClipboardUTF8: []byte(text)}))
}

// SetDisplay implements [Resizer]: the guest is to have one monitor of that size.
func (c *SpiceConsole) SetDisplay(ctx context.Context, width, height int) error {
	return noAgent(c.Client().SetMonitors(ctx, []wire.AgentMonitor{{Width: uint32(width), Height: uint32(height), Depth: 32}}))
}

// noAgent is a lack of the agent as an answer of the protocol.
func noAgent(err error) error {
	if errors.Is(err, spice.ErrAgent) {
		return errorf(CodeAgentNotConnected, "the guest's agent has gone")
	}
	return err
}

// Cursor implements [CursorSource]: the pointer of the primary display.
func (c *SpiceConsole) Cursor() Cursor {
	channel := uint8(0)
	if all := c.Client().Surfaces(); len(all) > 0 {
		channel = all[0].Channel // primary ones come first, then by channel
	}
	cur, ok := c.Client().Cursor(channel)
	if !ok {
		return Cursor{}
	}
	out := Cursor{Visible: cur.Visible, X: cur.X, Y: cur.Y}
	if sh := cur.Shape; sh != nil {
		out.HotX, out.HotY, out.Width, out.Height, out.Pix, out.Xor = sh.HotX, sh.HotY, sh.Width, sh.Height, sh.Pix, sh.Xor
	}
	return out
}

// Stats implements [StatsSource].
func (c *SpiceConsole) Stats() any { return c.Client().Stats() }

// RedialConsole is a [SpiceConsole] that can be cut off and come back: it
// offers the verbs disconnect and reconnect.
type RedialConsole struct {
	*SpiceConsole
	dial     func(context.Context) (*spice.Client, error)
	changing sync.Mutex // held while the session is replaced
}

// NewRedialConsole makes a console that opens its sessions with dial, the first
// one now. Close ends the session that is open then.
func NewRedialConsole(ctx context.Context, dial func(context.Context) (*spice.Client, error)) (*RedialConsole, error) {
	client, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	return &RedialConsole{SpiceConsole: NewSpiceConsole(client), dial: dial}, nil
}

// Disconnect implements [Reconnector]: it ends the session.
func (c *RedialConsole) Disconnect(context.Context) error { return c.Close() }

// Close ends the session.
func (c *RedialConsole) Close() error {
	c.changing.Lock()
	defer c.changing.Unlock()
	return c.Client().Close()
}

// Reconnect implements [Reconnector]: it ends the session and opens another.
func (c *RedialConsole) Reconnect(ctx context.Context) error {
	c.changing.Lock()
	defer c.changing.Unlock()
	if err := c.Client().Close(); err != nil {
		return err
	}
	next, err := c.dial(ctx)
	if err != nil {
		return err
	}
	c.mu.Lock()
	stop := c.stop
	c.mu.Unlock()
	stop()
	c.attach(next)
	c.tell(AgentChanged{next.Session().AgentConnected})
	c.tell(Changed{})
	return nil
}

var (
	_ Console      = (*SpiceConsole)(nil)
	_ Pointer      = (*SpiceConsole)(nil)
	_ Clipboard    = (*SpiceConsole)(nil)
	_ Resizer      = (*SpiceConsole)(nil)
	_ CursorSource = (*SpiceConsole)(nil)
	_ StatsSource  = (*SpiceConsole)(nil)
	_ Reconnector  = (*RedialConsole)(nil)
)
