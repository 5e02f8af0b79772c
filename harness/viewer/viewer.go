// Package viewer watches a lane while another program drives it.
//
//	v := viewer.Open(viewer.Of(state, nil))
//	defer v.Close()
//	pic, err := v.Picture(image.Rectangle{})     // the screen
//	v.Key(ctx, 0x1c, true)                       // it can also send input
//	for n := 0; ; {
//		changed := v.Changed()
//		var entries []viewer.Entry
//		entries, n = v.Entries(n)                // serial lines, digest events, …
//		…
//		<-changed
//	}
//
// A viewer opens a separate SPICE session with the lane's virt-viewer file, and reads the files in
// the lane's directory. It never uses the lane's control socket, which serves only one client: the
// program that drives the lane. When its session ends it opens another, until it is closed.
//
// It shows nothing itself. Package termview draws the lane in a terminal, and package webconsole on
// a browser page.
package viewer

import (
	"context"
	"errors"
	"fmt"
	"image"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/host"
	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/control"
	"github.com/spicelane/spicelane/spice/control/server"
	"github.com/spicelane/spicelane/spice/control/spiceconsole"
	"github.com/spicelane/spicelane/spice/vv"
)

// A Config says which lane to watch. Each part may be missing.
type Config struct {
	// Name is the name for people.
	Name string
	// VV is the path of a virt-viewer file of the console. It is read for each session.
	VV string
	// Dir is the lane's directory, for its serial log and timeline.
	Dir string
	// Lane, if not nil, returns the lane's state. It is called again when the process that owns the
	// lane (its PIDs.Supervisor) has ended.
	Lane func() (registry.State, error)
	// Logger gets log messages about the session; nil discards them.
	Logger *slog.Logger
}

// Of returns the configuration for a running lane. reload returns its later state; nil if s stays
// valid.
func Of(s registry.State, reload func() (registry.State, error)) Config {
	if reload == nil {
		reload = func() (registry.State, error) { return s, nil }
	}
	return Config{Name: s.Name, VV: s.VV, Dir: s.Dir, Lane: reload}
}

// A Viewer watches one lane. All methods may be called concurrently.
type Viewer struct {
	cfg    Config
	cancel context.CancelFunc
	joined sync.WaitGroup

	feed    feed
	latency latency
	typing  chan struct{} // holds a value while a text is typed

	// head is the display channel of the primary surface, as last determined. Drawings on others do
	// not damage the shown screen.
	head atomic.Uint32

	mu      sync.Mutex
	console *spiceconsole.Console // nil before the first session
	digests *server.DigestWatcher // of that console
	state   State
	damages map[*Damage]bool
}

// A State is a lane's state for people.
type State struct {
	// Name is the lane's name.
	Name string
	// Lane is the lane's state as in registry.State: "ready", "failed", "stopped"; empty if
	// unknown. Reason says why it ended.
	Lane, Reason string
	// Fixture and Accel are the lane's.
	Fixture, Accel string
	// Problem says why there is no session; empty while there is one.
	Problem string
	// Screen is the size of the primary surface; zero if there is none.
	Screen image.Point
	// Console is the session's status.
	Console control.Status
	// Digest is the newest digest that was read; nil before the first.
	Digest *control.Digest
	// Picture is the time from a key to the pixels that it changed. ToDigest is the time from a key
	// to the digest that shows it. Both are for keys of this viewer; Picture also includes keys of
	// the lane's own client.
	Picture, ToDigest Latencies
}

// Open starts to watch a lane. It does not wait.
func Open(cfg Config) *Viewer {
	ctx, cancel := context.WithCancel(context.Background())
	v := &Viewer{
		cfg: cfg, cancel: cancel, typing: make(chan struct{}, 1), damages: map[*Damage]bool{}, state: State{Name: cfg.Name},
	}
	v.state.Problem = "connecting"
	if cfg.Lane != nil {
		v.joined.Go(func() { v.watchLane(ctx) })
	}
	if cfg.VV != "" {
		v.joined.Go(func() { v.keepSession(ctx) })
	} else {
		v.state.Problem = "there is no virt-viewer file"
	}
	if cfg.Dir != "" {
		v.joined.Go(func() { v.followSerial(ctx) })
		v.joined.Go(func() { v.followTimeline(ctx) })
	}
	return v
}

// Close ends the session and joins everything.
func (v *Viewer) Close() error {
	v.cancel()
	v.joined.Wait()
	return nil
}

// Dir returns the lane's directory; empty if it is not known.
func (v *Viewer) Dir() string { return v.cfg.Dir }

// State returns the present state.
func (v *Viewer) State() State {
	v.mu.Lock()
	s, console := v.state, v.console
	v.mu.Unlock()
	s.Picture, s.ToDigest = v.latency.sums()
	if console != nil {
		s.Console = console.Status()
		if p, ok := s.Console.Primary(); ok {
			v.head.Store(uint32(p.ChannelID))
			s.Screen = image.Pt(p.Width, p.Height)
		}
	}
	return s
}

// Changed returns a channel that is closed when State or Entries have changed. Call it before
// reading them.
func (v *Viewer) Changed() <-chan struct{} { return v.feed.changed() }

// Entries returns the entries from number from on that are still kept, and the number to ask for
// next.
func (v *Viewer) Entries(from int) ([]Entry, int) { return v.feed.since(from) }

func (v *Viewer) set(change func(*State)) {
	v.mu.Lock()
	change(&v.state)
	v.mu.Unlock()
	v.feed.wake()
}

// ErrNoSession means that there is no SPICE session at this moment.
var ErrNoSession = errors.New("viewer: no SPICE session")

func (v *Viewer) session() (*spiceconsole.Console, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.console == nil {
		return nil, fmt.Errorf("%w: %s", ErrNoSession, v.state.Problem)
	}
	return v.console, nil
}

// Picture copies a part of the primary surface; an empty r means all of it.
func (v *Viewer) Picture(r image.Rectangle) (*server.Picture, error) {
	console, err := v.session()
	if err != nil {
		return nil, err
	}
	p, ok := console.Status().Primary()
	if !ok {
		return nil, server.ErrNoSurface
	}
	v.head.Store(uint32(p.ChannelID))
	return console.Snapshot(p.ChannelID, p.SurfaceID, r)
}

// Cursor returns the guest's pointer; false without a session.
func (v *Viewer) Cursor() (server.Cursor, bool) {
	console, err := v.session()
	if err != nil {
		return server.Cursor{}, false
	}
	return console.Cursor(), true
}

// Type types a text through this viewer's own session and returns when that is done. Texts are
// typed one after another.
func (v *Viewer) Type(ctx context.Context, p control.TypeParams) (control.TypeResult, error) {
	console, err := v.session()
	if err != nil {
		return control.TypeResult{}, err
	}
	select {
	case v.typing <- struct{}{}:
		defer func() { <-v.typing }()
	case <-ctx.Done():
		return control.TypeResult{}, ctx.Err()
	}
	t := server.Typist{Console: console, Digests: func() *server.DigestWatcher {
		v.mu.Lock()
		defer v.mu.Unlock()
		return v.digests
	}}
	return t.Type(ctx, p)
}

// Key presses or releases a key, and measures how long the guest takes to show it. code is the
// key's AT set 1 make code, with the prefix 0xe0 in the high byte.
func (v *Viewer) Key(ctx context.Context, code uint16, down bool) error {
	console, err := v.session()
	if err != nil {
		return err
	}
	if down {
		v.latency.pressed(time.Now())
	}
	return console.SendKey(ctx, code, down)
}

// MouseMove moves the pointer to position x, y, or if relative, by the distance x, y.
// State().Console.MouseMode says which one the guest accepts.
func (v *Viewer) MouseMove(ctx context.Context, x, y int, relative bool) error {
	console, err := v.session()
	if err != nil {
		return err
	}
	channel := uint8(0)
	if p, ok := console.Status().Primary(); ok {
		channel = p.ChannelID
	}
	return console.MouseMove(ctx, channel, x, y, relative)
}

// MouseButton presses or releases a button: 1 left, 2 middle, 3 right, 4 wheel up,
// 5 wheel down, 6 side, 7 extra.
func (v *Viewer) MouseButton(ctx context.Context, button int, down bool) error {
	console, err := v.session()
	if err != nil {
		return err
	}
	return console.MouseButton(ctx, button, down)
}

// retry is the pause before another session is opened, so that a refusing lane is not asked without
// pause.
const retry = time.Second

// dialTime limits opening one session.
const dialTime = 10 * time.Second

// keepSession opens a session, and another one whenever it has ended.
func (v *Viewer) keepSession(ctx context.Context) {
	stop := func() {}
	defer func() { stop() }()
	again := time.NewTimer(0)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-again.C:
		}
		v.mu.Lock()
		console, over := v.console, v.over()
		v.mu.Unlock()
		if over {
			return
		}
		dialCtx, cancel := context.WithTimeout(ctx, dialTime)
		var err error
		if console == nil {
			if console, err = spiceconsole.Dial(dialCtx, v.dial); err == nil {
				stop = v.begin(console)
			}
		} else {
			err = console.Reconnect(dialCtx)
		}
		cancel()
		again.Reset(retry)
		if err != nil {
			if ctx.Err() == nil {
				v.trouble(err)
			}
			continue
		}
		v.set(func(s *State) { s.Problem = "" })
		v.feed.add(Entry{Kind: Session, Name: "session", Text: "connected"})
		v.damageAll()
		session := console.Client()
		select {
		case <-ctx.Done():
			return
		case <-session.Done():
			v.trouble(session.Wait())
		}
	}
}

// over tells whether the lane has ended. The caller holds mu.
func (v *Viewer) over() bool {
	return v.state.Lane != "" && v.state.Lane != registry.StateReady && v.state.Lane != registry.StateStarting
}

// trouble records why there is no session, once.
func (v *Viewer) trouble(err error) {
	text := "the session ended"
	if err != nil {
		text = err.Error()
	}
	v.mu.Lock()
	known := v.state.Problem == text
	v.mu.Unlock()
	if !known {
		v.set(func(s *State) { s.Problem = text })
		v.feed.add(Entry{Kind: Session, Name: "session", Text: text})
	}
}

func (v *Viewer) dial(ctx context.Context, _ func(*spice.Config)) (*spice.Client, error) {
	f, err := vv.ReadFile(v.cfg.VV)
	if err != nil {
		return nil, err
	}
	cfg := spice.FromVV(f)
	cfg.Logger = v.cfg.Logger
	return spice.Dial(ctx, cfg)
}

// begin watches the console of the first session and reads its digests. It returns a function that
// ends both, and the session.
func (v *Viewer) begin(console *spiceconsole.Console) (stop func()) {
	reader := &server.DigestReader{Console: console, Scan: drive.ScanDigest}
	digests := reader.Watch(v.read)
	stopObserving := console.Observe(v.observe)
	v.mu.Lock()
	v.console, v.digests = console, digests
	v.mu.Unlock()
	return func() {
		stopObserving()
		digests.Close()
		_ = console.Close() // it may have ended by itself, which is known already
	}
}

// observe receives notices of the console. It must not block.
func (v *Viewer) observe(n server.Notice) {
	switch n := n.(type) {
	case server.Drawn:
		if n.Surface == 0 && n.Channel == uint8(v.head.Load()) {
			v.damage(n.Rect)
			at := n.Received
			if at.IsZero() {
				at = n.At
			}
			v.latency.drawn(at)
		}
	case server.Changed:
		v.damageAll()
		v.feed.wake()
	case server.AgentChanged, server.CursorChanged, server.Latency:
		v.feed.wake()
	}
}

// read records a new digest.
func (v *Viewer) read(d control.Digest) {
	v.mu.Lock()
	before := v.state.Digest
	v.mu.Unlock()
	for _, e := range freshEvents(before, &d) {
		v.feed.add(e)
		if e.Name == "keypress" {
			v.latency.shown(time.UnixMicro(d.DrawnAtUS))
		}
	}
	v.set(func(s *State) { s.Digest = &d })
}

// watchLane records the lane's state now, and again when the process that owns it has ended.
func (v *Viewer) watchLane(ctx context.Context) {
	for range 2 {
		s, err := v.cfg.Lane()
		if err != nil {
			s = registry.State{State: "gone", Reason: err.Error()}
		}
		v.set(func(st *State) { st.Lane, st.Reason, st.Fixture, st.Accel = s.State, s.Reason, s.Fixture, s.Accel })
		if s.State != registry.StateReady && s.State != registry.StateStarting {
			v.feed.add(Entry{Kind: Lane, Name: s.State, Text: s.Reason})
			return
		}
		// A day: long, but not for ever.
		if s.PIDs.Supervisor == 0 || !host.AwaitExit(ctx, s.PIDs.Supervisor, 24*time.Hour) {
			return
		}
	}
}

var _ io.Closer = (*Viewer)(nil)
