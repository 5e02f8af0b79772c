package host

import (
	"context"
	"time"

	"github.com/spicelane/spicelane/harness/proc"
)

// AwaitExit waits up to d until the process pid, which need not be a child, has ended, and tells
// whether it has.
func AwaitExit(ctx context.Context, pid int, d time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return awaitExit(ctx, pid)
}

// awaitGone does what awaitExit does, for kernels without pidfd. It polls, because nothing notifies
// there.
func awaitGone(ctx context.Context, pid int) bool {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for Alive(pid) {
		select {
		case <-ctx.Done():
			return !Alive(pid)
		case <-tick.C:
		}
	}
	return true
}

// ProcessStart returns a process's start time (clock ticks since boot) and whether it is alive. A
// zombie is not alive: if PID 1 does not reap, signal 0 still reaches one.
func ProcessStart(pid int) (start uint64, alive bool) {
	s := proc.ReadStat(pid)
	return s.Start, s.Alive()
}

// Alive tells whether the process pid is running. A zombie is not.
func Alive(pid int) bool {
	_, ok := ProcessStart(pid)
	return ok
}

// stopped tells whether a signal or a debugger has stopped the process pid.
func stopped(pid int) bool {
	state := proc.ReadStat(pid).State
	return state == "T" || state == "t"
}
