package qmp

import (
	"context"
	"slices"
	"sync"
)

// DefaultQueue is how many events a subscription queues before it drops the oldest.
const DefaultQueue = 256

// A Subscription is a bounded queue of events. It never makes the reader wait: if it is full, the
// oldest event is dropped and counted.
type Subscription struct {
	c     *Client
	names []string // nil: all
	most  int

	mu      sync.Mutex
	queue   []Event
	dropped uint64
	ended   bool
	changed chan struct{} // holds one token after a change
}

// Subscribe returns a queue of the events with these names from now on; no
// names means all events. Close it when done.
func (c *Client) Subscribe(names ...string) *Subscription {
	return c.SubscribeN(DefaultQueue, names...)
}

// SubscribeN does what Subscribe does, with a queue of size events, at least 1.
func (c *Client) SubscribeN(size int, names ...string) *Subscription {
	s := &Subscription{c: c, names: slices.Clone(names), most: max(size, 1), changed: make(chan struct{}, 1)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		s.ended = true
	} else {
		c.subs[s] = struct{}{}
	}
	return s
}

// Next returns the oldest queued event or waits for the next one. It returns ctx's cause, or a
// *ClosedError once the connection or the subscription has ended and the queue is empty. Only one
// goroutine at a time may call it.
func (s *Subscription) Next(ctx context.Context) (Event, error) {
	for {
		s.mu.Lock()
		if len(s.queue) > 0 {
			ev := s.queue[0]
			s.queue = slices.Delete(s.queue, 0, 1)
			s.mu.Unlock()
			return ev, nil
		}
		ended := s.ended
		s.mu.Unlock()
		if ended {
			return Event{}, s.endErr()
		}
		select {
		case <-s.changed:
		case <-ctx.Done():
			return Event{}, context.Cause(ctx)
		}
	}
}

func (s *Subscription) endErr() error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.c.err != nil {
		return &ClosedError{Err: s.c.err}
	}
	return &ClosedError{Err: ErrClosed}
}

// Dropped returns how many events were lost because the queue was full.
func (s *Subscription) Dropped() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dropped
}

// Close ends the subscription; a pending Next returns once the queue is empty. It is idempotent.
func (s *Subscription) Close() {
	s.c.mu.Lock()
	delete(s.c.subs, s)
	s.c.mu.Unlock()
	s.end()
}

func (s *Subscription) offer(ev Event) {
	if len(s.names) > 0 && !slices.Contains(s.names, ev.Event) {
		return
	}
	s.mu.Lock()
	if len(s.queue) == s.most {
		s.queue = slices.Delete(s.queue, 0, 1)
		s.dropped++
	}
	s.queue = append(s.queue, ev)
	s.mu.Unlock()
	s.wake()
}

func (s *Subscription) end() {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.wake()
}

func (s *Subscription) wake() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}
