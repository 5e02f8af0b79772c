//go:build !linux

package film

import "time"

// stopwatch measures the duration of a piece of work, which is at least its processor time.
func stopwatch() (end func() time.Duration) {
	began := time.Now()
	return func() time.Duration { return time.Since(began) }
}
