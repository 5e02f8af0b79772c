package spice

import (
	"context"
	"image"
	"slices"
	"sync"
	"time"

	"github.com/spicelane/spicelane/spice/wire"
)

// Event is something that happened in a session: [Drawn], [Latency], [AgentChanged], [SurfaceChanged],
// [CursorChanged], [ClipboardGrabbed], [ModifiersChanged], [MouseModeChanged], [Notified] or [Ended].
type Event interface{ event() }

// Drawn says that an operation changed pixels. Snapshot already returns the new ones.
type Drawn struct {
	Channel uint8
	Surface uint32
	Rect    image.Rectangle // the pixels that may have changed, within the surface
	Op      string          // as in "draw_copy", "copy_bits", "stream_data"
	// Received is when the last byte of the message was read, At when the message had been carried
	// out.
	Received, At time.Time
	Generation   uint64 // of the surface, after the operation
}

// Latency is the interval between two pings of the server on the main channel.
type Latency struct {
	Interval time.Duration
	At       time.Time
}

// AgentChanged says that the guest's agent connected or disconnected.
type AgentChanged struct{ Connected bool }

// SurfaceChanged says that a surface was created (Width and Height are its size) or destroyed (both
// are 0).
type SurfaceChanged struct {
	Channel       uint8
	Surface       uint32
	Width, Height int
}

// CursorChanged says that the pointer's shape, position or visibility changed.
type CursorChanged struct{ Channel uint8 }

// ModifiersChanged says which lock keys are on in the guest.
type ModifiersChanged struct{ Modifiers Modifiers }

// MouseModeChanged says how to send mouse events: with MousePosition if Client is true, otherwise
// with MouseMove.
type MouseModeChanged struct{ Client bool }

// Notified is a message from the server for the user.
type Notified struct {
	Channel  wire.ChannelID
	Severity string // "info", "warn" or "error"
	Text     string
}

// Ended is the last event: the session is over, with the error that Wait returns.
type Ended struct{ Err error }

func (Drawn) event()            {}
func (Latency) event()          {}
func (AgentChanged) event()     {}
func (SurfaceChanged) event()   {}
func (CursorChanged) event()    {}
func (ModifiersChanged) event() {}
func (MouseModeChanged) event() {}
func (Notified) event()         {}
func (Ended) event()            {}

// observers passes events to observers. It does not hold mu while an observer runs.
type observers struct {
	mu  sync.Mutex
	all []*observer // replaced, never modified, so that emit can range over it
}

// observer runs its function for one event at a time.
type observer struct {
	mu      sync.Mutex
	fn      func(Event)
	stopped bool
}

func (o *observer) observe(e Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.stopped {
		o.fn(e)
	}
}

// Observe calls fn for every event from now on, until stop is called. Calls do not overlap, and the
// events of one channel are in order. After stop has returned, fn is not running and will not be
// called again.
//
// NB: fn runs on the goroutine that carries out a channel's messages. It must be quick, must not
// block, and must not call its own stop or Close. It may call methods that only read, such as
// Surfaces, but Snapshot in fn delays the session.
func (c *Client) Observe(fn func(Event)) (stop func()) {
	o := &observer{fn: fn}
	h := &c.observers
	h.mu.Lock()
	h.all = append(slices.Clip(h.all), o)
	h.mu.Unlock()
	return func() {
		h.mu.Lock()
		h.all = slices.DeleteFunc(slices.Clone(h.all), func(x *observer) bool { return x == o })
		h.mu.Unlock()
		o.mu.Lock()
		defer o.mu.Unlock()
		o.stopped = true
	}
}

func (h *observers) list() []*observer {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.all
}

func (h *observers) emit(e Event) {
	for _, o := range h.list() {
		o.observe(e)
	}
}

// active reports whether there are observers, so that unneeded events are not made.
func (h *observers) active() bool { return len(h.list()) > 0 }

// notifier wakes all waiters. The zero value is ready. Without waiters, notify costs almost
// nothing.
type notifier struct {
	mu sync.Mutex
	ch chan struct{}
}

// next returns a channel that the next notify closes. Call it before checking the condition to wait
// for.
func (b *notifier) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch == nil {
		b.ch = make(chan struct{})
	}
	return b.ch
}

func (b *notifier) notify() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch != nil {
		close(b.ch)
		b.ch = nil
	}
}

// Await blocks until cond returns true. It calls cond now, and whenever anything in the session
// changes: pixels, surfaces, agent, cursor, modifiers. It returns nil when cond was true, the error
// that ended the session, or ctx's cause. cond runs on the caller's goroutine.
func (c *Client) Await(ctx context.Context, cond func() bool) error {
	for {
		changed := c.notifier.next()
		if cond() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-c.done:
			if cond() {
				return nil
			}
			return c.ended()
		}
	}
}
