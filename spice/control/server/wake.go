package server

import "sync"

// wakers are the channels of those who wait for something to happen. The zero
// value is ready.
type wakers struct {
	mu  sync.Mutex
	all map[chan<- struct{}]bool
}

// add has a value sent to ch, if it has room, whenever something happened, until
// remove is called.
func (w *wakers) add(ch chan<- struct{}) (remove func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all == nil {
		w.all = map[chan<- struct{}]bool{}
	}
	w.all[ch] = true
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.all, ch)
	}
}

func (w *wakers) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for ch := range w.all {
		poke(ch)
	}
}

// poke sends a value to a channel of room for one, unless it has one.
func poke(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// wakeOn returns a channel that has a value after something happened on the console
// or, if digests is not nil, a digest was read, until stop is called.
func wakeOn(c Console, digests *DigestWatcher) (wake <-chan struct{}, stop func()) {
	ch := make(chan struct{}, 1)
	unobserve := c.Observe(func(Notice) { poke(ch) })
	if digests == nil {
		return ch, unobserve
	}
	remove := digests.waiting.add(ch)
	return ch, func() { unobserve(); remove() }
}
