package film

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// stopwatch measures the processor time of a piece of work. The goroutine that called stopwatch
// must also call end.
func stopwatch() (end func() time.Duration) {
	runtime.LockOSThread()
	began := threadTime()
	return func() time.Duration {
		spent := threadTime() - began
		runtime.UnlockOSThread()
		return spent
	}
}

func threadTime() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t) != nil {
		return 0
	}
	return time.Duration(t.Nano())
}
