package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// subscriptionLen is how many events a [Subscription] queues for a slow reader. It is enough for
// what happens while a test does something else; lost events are counted.
const subscriptionLen = 4096

// unsubscribeTime limits how long unsubscribing at the server may take.
const unsubscribeTime = 250 * time.Millisecond

// Subscription receives events. It never delays the driver: if its reader is late by more than the
// queue, the oldest events are dropped, and counted in Dropped.
type Subscription struct {
	d      *Driver
	events []string
	ready  chan struct{}

	// Guarded by d.mu.
	queue   []Event
	dropped uint64
	closed  bool
	close   sync.Once
}

// Subscribe subscribes to events. Names that the server does not know give an *Error with the code
// bad_params, because such an event would never come. The event dropped is always included.
func (d *Driver) Subscribe(ctx context.Context, events ...string) (*Subscription, error) {
	s := &Subscription{d: d, events: slices.Clone(events), ready: make(chan struct{}, 1)}
	if err := s.open(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// open registers the subscription and asks the server for its events.
func (s *Subscription) open(ctx context.Context) error {
	d := s.d
	// Register first: the first event may directly follow the answer. subMu keeps another
	// subscription from unsubscribing in between.
	d.subMu.Lock()
	d.mu.Lock()
	d.subs[s] = true
	d.mu.Unlock()
	_, ch, err := d.send(ctx, MethodSubscribe, SubscribeParams{Events: s.events})
	d.subMu.Unlock()
	if err != nil {
		return err
	}
	var res SubscribeResult
	if err := d.await(ctx, MethodSubscribe, ch, &res); err != nil {
		return err
	}
	for _, name := range s.events {
		if !slices.Contains(res.Subscribed, name) {
			return &Error{Method: MethodSubscribe, Code: CodeBadParams, Message: fmt.Sprintf("the server does not offer the event %q", name)}
		}
	}
	return nil
}

// pushLocked adds an event if the subscription includes it.
func (s *Subscription) pushLocked(ev Event) {
	if ev.Name == EventDropped {
		var data DroppedData
		if json.Unmarshal(ev.Data, &data) == nil {
			s.dropped += uint64(data.Count)
		}
	} else if !slices.Contains(s.events, ev.Name) {
		return
	}
	if len(s.queue) == subscriptionLen {
		s.queue = slices.Delete(s.queue, 0, 1)
		s.dropped++
	}
	s.queue = append(s.queue, ev)
	s.wakeLocked()
}

func (s *Subscription) wakeLocked() {
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

// Next returns the next event, in the order of arrival. When the connection is over, it first
// returns the queued events, and then why the connection ended. Only one goroutine at a time may
// wait in Next.
func (s *Subscription) Next(ctx context.Context) (Event, error) {
	for {
		s.d.mu.Lock()
		if len(s.queue) > 0 {
			ev := s.queue[0]
			s.queue = s.queue[1:]
			s.d.mu.Unlock()
			return ev, nil
		}
		closed := s.closed
		s.d.mu.Unlock()
		if closed {
			return Event{}, errors.New("control: subscription closed")
		}
		select {
		case <-s.d.done:
			// No event can follow those that are queued now.
			s.d.mu.Lock()
			empty := len(s.queue) == 0
			s.d.mu.Unlock()
			if empty {
				return Event{}, s.d.Err()
			}
			continue
		default:
		}
		select {
		case <-s.ready:
		case <-s.d.done:
		case <-ctx.Done():
			return Event{}, fmt.Errorf("control: waiting for %v: %w", s.events, context.Cause(ctx))
		}
	}
}

// Dropped returns how many events were lost: by the server because the driver read slowly, or here
// because nobody called Next.
func (s *Subscription) Dropped() uint64 {
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	return s.dropped
}

// Close ends the subscription. It cancels events at the server that no other subscription of the
// driver needs, without waiting for the answer.
func (s *Subscription) Close() {
	s.close.Do(func() {
		d := s.d
		d.subMu.Lock()
		defer d.subMu.Unlock()
		d.mu.Lock()
		s.closed = true
		s.queue = nil
		delete(d.subs, s)
		var gone []string
		for _, name := range s.events {
			wanted := false
			for other := range d.subs {
				wanted = wanted || slices.Contains(other.events, name)
			}
			if !wanted {
				gone = append(gone, name)
			}
		}
		over := d.err != nil
		s.wakeLocked()
		d.mu.Unlock()
		if over || len(gone) == 0 {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), unsubscribeTime)
		defer cancel()
		_, _, _ = d.send(ctx, MethodUnsubscribe, SubscribeParams{Events: gone})
	})
}
