package spice

import (
	"context"
	"slices"
	"sync"
)

// hub hands events to observers, one event at a time.
type hub struct {
	mu  sync.Mutex
	fns []*observer // replaced, never changed, so that emit can range over it
}

type observer struct{ fn func(Event) }

// Observe has fn called with everything that happens from now on, in order, until stop is called. When stop has returned fn is not running and will
// not be called again.
//
// NB: fn runs on the goroutine that reads a channel: it must be quick, must not block, and must not call stop, Observe or Close. It may call the methods that
// only look, such as Surfaces, but Snapshot in fn holds up the session.
func (c *Client) Observe(fn func(Event)) (stop func()) {
	o := &observer{fn}
	h := &c.hub
	h.mu.Lock()
	h.fns = append(slices.Clip(h.fns), o)
	h.mu.Unlock()
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.fns = slices.DeleteFunc(slices.Clone(h.fns), func(x *observer) bool { return x == o })
	}
}

func (h *hub) emit(e Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, o := range h.fns {
		o.fn(e)
	}
}

// active reports whether anybody listens, so that an event need not be made.
func (h *hub) active() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.fns) > 0
}

// bell wakes everybody who waits. The zero value is ready. Ringing costs nothing while nobody waits.
type bell struct {
	mu sync.Mutex
	ch chan struct{}
}

// next is closed by the next ring. Take it before looking at the condition that is waited for.
func (b *bell) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch == nil {
		b.ch = make(chan struct{})
	}
	return b.ch
}

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch != nil {
		close(b.ch)
		b.ch = nil
	}
}

// Await blocks until cond is true, looking at it now and whenever anything in the session changed: pixels, surfaces, agent, cursor, modifiers. It returns nil when
// cond was true, what ended the session, or ctx's cause. cond is called on the caller's goroutine.
func (c *Client) Await(ctx context.Context, cond func() bool) error {
	for {
		changed := c.bell.next()
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
