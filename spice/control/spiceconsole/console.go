// Package spiceconsole makes a SPICE session the console behind a control socket.
//
//	c, err := spiceconsole.Dial(ctx, func(ctx context.Context, capture func(*spice.Config)) (*spice.Client, error) {
//		cfg := spice.Config{Host: "localhost", Port: 5900}
//		capture(&cfg)
//		return spice.Dial(ctx, cfg)
//	})
//	srv, err := server.Open("/run/lane/control.sock", server.Config{Console: c})
//
// It opens no socket, and it does not reopen sessions by itself: an ended session stays ended until
// a driver reconnects.
package spiceconsole

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
	"github.com/spicelane/spicelane/spice/control"
	"github.com/spicelane/spicelane/spice/control/server"
	"github.com/spicelane/spicelane/spice/recording"
	"github.com/spicelane/spicelane/spice/wire"
)

// A Console is a [server.Console] on a SPICE session. Make it with [New] or [Dial].
type Console struct {
	client atomic.Pointer[spice.Client]

	// dial opens a session; nil if no other session can be opened.
	dial func(ctx context.Context, capture func(*spice.Config)) (*spice.Client, error)

	// changing holds a value while the session is replaced, or a capture begins or
	// ends. Unlike a mutex it can be waited for with a context.
	changing chan struct{}
	capture  *capture // nil if nothing is recorded; guarded by changing

	mu        sync.Mutex
	observers []*observer // replaced, never changed
	stop      func()      // ends the observation of client

	held server.HeldKeys
	had  atomic.Bool // the session has had a surface

	pictures sync.Pool // *spice.Picture, so that reading a small region allocates no whole screen
}

// observer is one observer, wrapped so that stopping can wait for it.
type observer struct {
	mu sync.Mutex
	fn func(server.Notice)
}

// New makes a console of an open session. The caller still owns the client and closes it. The
// console does not offer reconnect or record_start, because it cannot open another session.
func New(client *spice.Client) *Console {
	c := &Console{changing: make(chan struct{}, 1)}
	c.attach(client)
	return c
}

// Dial makes a console that opens its sessions with dial, the first one now. dial must pass its
// complete configuration, without a Tap, to capture before it uses it. Close ends the open session
// and the recording.
//
// A recording needs the beginning of a session: the link, and what a server sends to a new client.
// So RecordStart ends the session and opens another, which is recorded from its first byte. Each
// session that is opened during the recording has a separate directory. The first uses the given
// one, the next ones session-2, session-3, … in it.
func Dial(ctx context.Context, dial func(ctx context.Context, capture func(*spice.Config)) (*spice.Client, error)) (*Console, error) {
	c := &Console{dial: dial, changing: make(chan struct{}, 1)}
	client, err := c.open(ctx)
	if err != nil {
		return nil, err
	}
	c.attach(client)
	return c, nil
}

// Offers implements [server.Offerer]: reconnecting and recording need dial.
func (c *Console) Offers(method string) bool {
	switch method {
	case control.MethodDisconnect, control.MethodReconnect, control.MethodRecordStart, control.MethodRecordStop:
		return c.dial != nil
	}
	return true
}

// Client returns the console's present session.
func (c *Console) Client() *spice.Client { return c.client.Load() }

// lock waits until no other call changes the session.
func (c *Console) lock(ctx context.Context) error {
	select {
	case c.changing <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("another change of the session is under way: %w", context.Cause(ctx))
	}
}

func (c *Console) unlock() { <-c.changing }

// errNoDial is the error of verbs that need another session, on a console made with [New].
var errNoDial = errors.New("this console was given no way to open another session")

// open opens a session, and records it if a recording runs. The caller holds changing, or is the
// only user of the console.
func (c *Console) open(ctx context.Context) (*spice.Client, error) {
	if c.dial == nil {
		return nil, errNoDial
	}
	var rec *recording.Recorder
	if c.capture != nil {
		rec = c.capture.session()
	}
	return c.dial(ctx, func(cfg *spice.Config) {
		if rec != nil {
			rec.Hide(cfg.Password)
			cfg.Tap = rec.Tap
		}
	})
}

// Disconnect implements [server.Reconnector]: it ends the session.
func (c *Console) Disconnect(ctx context.Context) error {
	if err := c.lock(ctx); err != nil {
		return err
	}
	defer c.unlock()
	return c.Client().Close()
}

// Reconnect implements [server.Reconnector]: it ends the session and opens another.
func (c *Console) Reconnect(ctx context.Context) error {
	if err := c.lock(ctx); err != nil {
		return err
	}
	defer c.unlock()
	return c.replace(ctx)
}

// replace ends the session and opens another. The caller holds changing.
func (c *Console) replace(ctx context.Context) error {
	if err := c.Client().Close(); err != nil {
		return err
	}
	next, err := c.open(ctx)
	if err != nil {
		return err
	}
	c.mu.Lock()
	stop := c.stop
	c.mu.Unlock()
	stop()
	c.attach(next)
	c.tell(server.AgentChanged{Connected: next.MainState().AgentConnected})
	c.tell(server.Changed{})
	return nil
}

// Close ends the session and the recording, if there are any. The error is from either.
func (c *Console) Close() error {
	c.changing <- struct{}{} // what holds it is bounded by its own context
	defer c.unlock()
	err := c.Client().Close()
	if c.capture != nil {
		_, stopErr := c.endCapture()
		err = errors.Join(err, stopErr)
	}
	return err
}

// attach makes client the console's session.
func (c *Console) attach(client *spice.Client) {
	c.client.Store(client)
	c.had.Store(false)
	c.held.Clear() // a server releases the keys of a client that disconnects
	stop := client.Observe(c.notify)
	c.mu.Lock()
	c.stop = stop
	c.mu.Unlock()
}

// notify translates events of the session.
func (c *Console) notify(e spice.Event) {
	switch e := e.(type) {
	case spice.Drawn:
		c.had.Store(true)
		c.tell(server.Drawn{Channel: e.Channel, Surface: e.Surface, Rect: e.Rect, Op: e.Op, Received: e.Received, At: e.At})
	case spice.Latency:
		c.tell(server.Latency{Interval: e.Interval})
	case spice.AgentChanged:
		c.tell(server.AgentChanged{Connected: e.Connected})
	case spice.CursorChanged:
		c.tell(server.CursorChanged{})
	case spice.ModifiersChanged:
		c.tell(server.LocksChanged{})
	case spice.Ended:
		c.tell(server.AgentChanged{})
		c.tell(server.Changed{})
	default:
		c.tell(server.Changed{})
	}
}

func (c *Console) tell(n server.Notice) {
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

// Observe implements [server.Console].
func (c *Console) Observe(fn func(server.Notice)) (stop func()) {
	o := &observer{fn: fn}
	c.mu.Lock()
	c.observers = append(slices.Clip(c.observers), o)
	c.mu.Unlock()
	return func() {
		c.mu.Lock()
		c.observers = slices.DeleteFunc(slices.Clone(c.observers), func(x *observer) bool { return x == o })
		c.mu.Unlock()
		o.mu.Lock()
		o.fn = nil
		o.mu.Unlock()
	}
}

// Status implements [server.Console]. Count adds what is expensive to count.
func (c *Console) Status() control.Status {
	client := c.Client()
	session := client.MainState()
	st := control.Status{
		SPICEConnected: true,
		AgentConnected: session.AgentConnected,
		Surfaces:       []control.Surface{},
		Session:        fmt.Sprintf("%08x", session.ConnectionID),
		GuestName:      session.Name,
		MouseMode:      "server",
	}
	if session.MouseMode&wire.MouseModeClient != 0 {
		st.MouseMode = "client"
	}
	select {
	case <-client.Done():
		st.SPICEConnected, st.AgentConnected = false, false
		st.Error = "closed"
		if err := client.Wait(); err != nil {
			st.Error = err.Error()
		}
		return st
	default:
	}
	for _, s := range client.Surfaces() {
		trusted := s.Problem == ""
		st.Surfaces = append(st.Surfaces, control.Surface{
			ChannelID: s.Channel, SurfaceID: s.ID, Width: s.Width, Height: s.Height, Trusted: &trusted,
		})
	}
	if len(st.Surfaces) > 0 {
		c.had.Store(true)
	}
	st.HadSurface = c.had.Load()
	return st
}

// Count implements [server.Counter].
func (c *Console) Count(st *control.Status) {
	stats := c.Client().Stats()
	for _, ch := range stats.Channels {
		st.Channels = append(st.Channels, ch.Channel)
		for _, n := range ch.In {
			st.Messages += n
		}
	}
	for what, n := range stats.Unsupported {
		st.Unsupported = append(st.Unsupported, control.Unsupported{What: what, Count: n})
	}
	slices.SortFunc(st.Unsupported, func(a, b control.Unsupported) int { return cmp.Compare(a.What, b.What) })
}

// SendKey implements [server.Console].
func (c *Console) SendKey(ctx context.Context, code uint16, down bool) error {
	err := c.Client().Key(ctx, code, down)
	if err == nil {
		c.held.Note(code, down)
	}
	return err
}

// Locks implements [server.Keyboard].
func (c *Console) Locks() control.Locks {
	m := c.Client().Modifiers()
	return control.Locks{
		Caps: m&wire.ModifierCapsLock != 0, Num: m&wire.ModifierNumLock != 0, Scroll: m&wire.ModifierScrollLock != 0,
	}
}

// Held implements [server.Keyboard].
func (c *Console) Held() []uint16 { return c.held.Held() }

// Snapshot implements [server.Console].
func (c *Console) Snapshot(channel uint8, surface uint32, r image.Rectangle) (*server.Picture, error) {
	if r.Empty() {
		p, err := c.Client().Snapshot(channel, surface, nil)
		if err != nil {
			return nil, noSurface(err)
		}
		return &server.Picture{
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
	out := &server.Picture{
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
		return server.ErrNoSurface
	}
	return err
}

// MouseMove implements [server.Pointer].
func (c *Console) MouseMove(ctx context.Context, channel uint8, x, y int, relative bool) error {
	if relative {
		return c.Client().MouseMove(ctx, x, y)
	}
	return c.Client().MousePosition(ctx, channel, x, y)
}

// MouseButton implements [server.Pointer].
func (c *Console) MouseButton(ctx context.Context, button int, down bool) error {
	return c.Client().MouseButton(ctx, wire.MouseButton(button), down)
}

// ClipboardGet implements [server.Clipboard].
func (c *Console) ClipboardGet(ctx context.Context) (string, error) {
	b, err := c.Client().ClipboardGet(ctx, wire.SelectionClipboard, wire.ClipboardUTF8)
	return string(b), noAgent(err)
}

// ClipboardSet implements [server.Clipboard].
func (c *Console) ClipboardSet(ctx context.Context, text string) error {
	return noAgent(c.Client().ClipboardSet(ctx, wire.SelectionClipboard, map[wire.ClipboardType][]byte{wire.ClipboardUTF8: []byte(text)}))
}

// SetDisplay implements [server.Resizer]: it gives the guest one monitor of that size.
func (c *Console) SetDisplay(ctx context.Context, width, height int) error {
	return noAgent(c.Client().SetMonitors(ctx, []wire.AgentMonitor{{Width: uint32(width), Height: uint32(height), Depth: 32}}))
}

// noAgent translates spice.ErrAgent to an error of the protocol.
func noAgent(err error) error {
	if errors.Is(err, spice.ErrAgent) {
		return &control.Error{Code: control.CodeAgentNotConnected, Message: "the guest's agent has gone"}
	}
	return err
}

// Cursor implements [server.CursorSource]: the pointer of the primary display.
func (c *Console) Cursor() server.Cursor {
	primary, _ := c.Status().Primary() // channel 0 if there is none
	cur, ok := c.Client().Cursor(primary.ChannelID)
	if !ok {
		return server.Cursor{}
	}
	out := server.Cursor{Visible: cur.Visible, X: cur.X, Y: cur.Y}
	if sh := cur.Shape; sh != nil {
		out.HotX, out.HotY, out.Width, out.Height, out.Pix, out.Xor = sh.HotX, sh.HotY, sh.Width, sh.Height, sh.Pix, sh.Xor
	}
	return out
}

// Stats implements [server.StatsSource].
func (c *Console) Stats() any { return c.Client().Stats() }

var (
	_ server.Console      = (*Console)(nil)
	_ server.Counter      = (*Console)(nil)
	_ server.Offerer      = (*Console)(nil)
	_ server.Keyboard     = (*Console)(nil)
	_ server.Pointer      = (*Console)(nil)
	_ server.Clipboard    = (*Console)(nil)
	_ server.Resizer      = (*Console)(nil)
	_ server.CursorSource = (*Console)(nil)
	_ server.StatsSource  = (*Console)(nil)
	_ server.Reconnector  = (*Console)(nil)
	_ server.Recorder     = (*Console)(nil)
)
