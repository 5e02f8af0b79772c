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

// subscriptionLen is how many events a [Subscription] keeps for a reader that
// is late. It is deep enough that what a test does between two looks is not
// lost, and what is lost is counted.
const subscriptionLen = 4096

// unsubscribeTime bounds telling the server that events are no longer wanted.
const unsubscribeTime = 250 * time.Millisecond

// Subscription is an interest in events. It never holds up the driver: when its
// reader is late by more than its queue, the oldest events go and are counted
// in Dropped.
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

// Subscribe asks for events. Names that the server does not know are an *Error
// with the code bad_params: an event that can never come is no use to wait for.
// The event dropped always comes along.
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
	// Registered first: the first event may stand right behind the answer.
	// subMu keeps an unsubscribe of another one from slipping in between.
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

// pushLocked adds an event if the subscription is for it.
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

// Next returns the next event, in the order in which they came. When the
// connection is over it returns what is still queued and then why it ended.
// One goroutine at a time may wait in Next.
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
			// Nothing can come after what was queued by now.
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

// Dropped counts the events that were lost, by the server because the driver
// read slowly, or here because nobody called Next.
func (s *Subscription) Dropped() uint64 {
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	return s.dropped
}

// Close ends the subscription. Events that no other subscription of the driver
// wants are cancelled at the server, without waiting for its answer.
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
