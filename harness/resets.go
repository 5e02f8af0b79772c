package harness

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/verdict"
)

// A resetWatch tells expected resets from unexpected ones.
type resetWatch struct {
	mu       sync.Mutex
	expected int           // calls of ExpectReset that are open
	asked    time.Time     // when the reset button was pressed last
	seen     chan struct{} // closed at the next unexpected reset
	err      error         // of the last one
}

// afterButton is how long after its reset button a guest may reset itself once more. QEMU's BIOS
// does so at once.
const afterButton = 15 * time.Second

// noteReset records a reset of the machine. If it is unexpected, and the lane was ready, the
// pending waits fail.
func (l *Lane) noteReset(r qemu.Reset) {
	l.log.Add("reset", map[string]any{"n": r.Total, "guest": r.Guest, "reason": r.Reason})
	if !r.Guest {
		l.resets.mu.Lock()
		l.resets.asked = time.Now()
		l.resets.mu.Unlock()
		return
	}
	l.setState(func(s *registry.State) { s.Resets++ })
	if l.State().State != registry.StateReady {
		return // firmware and installers reset a machine on their way
	}
	w := &l.resets
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.expected > 0 || time.Since(w.asked) < afterButton {
		return
	}
	w.err = &verdict.Error{Verdict: verdict.Product, Hop: verdict.HopGuest, Op: "reset",
		Err:  fmt.Errorf("the guest reset itself (%s) while the lane was ready", r.Reason),
		Hint: "if the test makes its guest reboot, let it say so with Lane.ExpectReset"}
	if w.seen != nil {
		close(w.seen)
		w.seen = nil
	}
}

// ExpectReset tells the lane that the guest may reset itself until done is called. At any other
// time, a reset by the guest fails the pending waits with that reason; a reset by Lane.Machine's
// Reset does not.
func (l *Lane) ExpectReset() (done func()) {
	w := &l.resets
	w.mu.Lock()
	defer w.mu.Unlock()
	w.expected++
	return sync.OnceFunc(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.expected--
	})
}

// next returns a channel that is closed at the next unexpected reset.
func (w *resetWatch) next() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.seen == nil {
		w.seen = make(chan struct{})
	}
	return w.seen
}

// cancelAtReset cancels with the reason if the guest resets itself before ctx ends.
func (w *resetWatch) cancelAtReset(ctx context.Context, cancel context.CancelCauseFunc, reset <-chan struct{}) {
	select {
	case <-reset:
		w.mu.Lock()
		err := w.err
		w.mu.Unlock()
		cancel(err)
	case <-ctx.Done():
	}
}
