package harness

import (
	"errors"
	"sync"
)

// An undoStack contains what has to be released, in the order in which it was made. run calls each
// step once, last first, and joins their errors. Later calls return the result of the first.
type undoStack struct {
	mu    sync.Mutex
	steps []func() error
	once  sync.Once
	err   error
}

func (u *undoStack) push(f func() error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.steps = append(u.steps, f)
}

func (u *undoStack) run() error {
	u.once.Do(func() {
		u.mu.Lock()
		steps := u.steps
		u.steps = nil
		u.mu.Unlock()
		var errs []error
		for i := len(steps) - 1; i >= 0; i-- {
			errs = append(errs, steps[i]())
		}
		u.err = errors.Join(errs...)
	})
	return u.err
}
