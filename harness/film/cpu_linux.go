package film

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// stopwatch measures the processor time that a piece of work takes. Its end must be called on the
// goroutine that began it.
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
