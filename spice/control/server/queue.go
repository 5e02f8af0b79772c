package server

import (
	"math"
	"sync"
	"time"

	"github.com/spicelane/spicelane/spice/control"
)

// droppedAfter is the time after which a client that never catches up gets the notice that it lost
// events.
const droppedAfter = time.Second

// An outEvent is an event that waits for the writer, which encodes its data.
type outEvent struct {
	name string
	data any
}

// A queue holds the events that wait for one client. Producers never wait: if it is full, the
// oldest event is dropped.
type queue struct {
	mu      sync.Mutex
	ring    [control.QueueLen]outEvent
	head, n int
	dropped uint64
	since   time.Time // when the first of the dropped ones was dropped

	ready chan struct{} // has a value when there may be something to take
}

func newQueue() *queue { return &queue{ready: make(chan struct{}, 1)} }

// push appends an event, and drops the oldest if there is no room.
func (q *queue) push(ev outEvent) {
	q.mu.Lock()
	if q.n == control.QueueLen {
		q.head = (q.head + 1) % control.QueueLen
		q.n--
		if q.dropped == 0 {
			q.since = time.Now()
		}
		q.dropped++
	}
	q.ring[(q.head+q.n)%control.QueueLen] = ev
	q.n++
	q.mu.Unlock()
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// pop returns the next event to write: the oldest queued one. If events were dropped, it returns
// their count once the queue is empty or the loss is droppedAfter old.
func (q *queue) pop() (outEvent, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.dropped > 0 && (q.n == 0 || time.Since(q.since) >= droppedAfter) {
		count := uint32(min(q.dropped, math.MaxUint32))
		q.dropped = 0
		return outEvent{control.EventDropped, control.DroppedData{Count: count}}, true
	}
	if q.n == 0 {
		return outEvent{}, false
	}
	ev := q.ring[q.head]
	q.ring[q.head] = outEvent{}
	q.head = (q.head + 1) % control.QueueLen
	q.n--
	return ev, true
}

// discard removes queued events with the given names, for unsubscribe.
func (q *queue) discard(names map[string]bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	kept := 0
	for i := range q.n {
		ev := q.ring[(q.head+i)%control.QueueLen]
		if !names[ev.name] {
			q.ring[(q.head+kept)%control.QueueLen] = ev
			kept++
		}
	}
	for i := kept; i < q.n; i++ {
		q.ring[(q.head+i)%control.QueueLen] = outEvent{}
	}
	q.n = kept
}
