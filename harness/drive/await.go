package drive

import "fmt"

// An AwaitError says that something awaited was not seen on the screen.
type AwaitError struct {
	// Wanted says what was awaited.
	Wanted string
	// Last describes what was seen last; empty if nothing was.
	Last string
	// Err says why the wait ended.
	Err error
	// Known is what each hop between guest and client knows about it, one sentence each.
	Known []string
}

func (e *AwaitError) Error() string {
	last := e.Last
	if last == "" {
		last = "nothing"
	}
	s := fmt.Sprintf("awaited %s, saw last %s: %v", e.Wanted, last, e.Err)
	for _, known := range e.Known {
		s += "; " + known
	}
	return s
}

func (e *AwaitError) Unwrap() error { return e.Err }

// Awaited returns what was awaited.
func (e *AwaitError) Awaited() string { return e.Wanted }
