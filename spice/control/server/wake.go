package server

import "sync"

// wakers are the channels of goroutines that wait for something to happen. The zero value is ready.
type wakers struct {
	mu  sync.Mutex
	all map[chan<- struct{}]bool
}

// add registers ch: whenever something happens, ch gets a value if it has room, until remove is
// called.
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

// poke sends a value to a channel of capacity one, unless it has one already.
func poke(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// wakeOn returns a channel that gets a value when something happens on the console, until stop is
// called. If digests is not nil, the channel also gets a value when a digest is read.
func wakeOn(c Console, digests *DigestWatcher) (wake <-chan struct{}, stop func()) {
	ch := make(chan struct{}, 1)
	unobserve := c.Observe(func(Notice) { poke(ch) })
	if digests == nil {
		return ch, unobserve
	}
	remove := digests.waiting.add(ch)
	return ch, func() { unobserve(); remove() }
}
