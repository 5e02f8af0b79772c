package harness

import (
	"context"
	"time"

	"golang.org/x/sys/unix"
)

// AwaitExit waits at most d for the process pid, which need not be a child, to
// end, and tells whether it did.
func AwaitExit(ctx context.Context, pid int, d time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		// No such process, or a kernel before 5.3: ask /proc instead.
		return awaitGone(ctx, pid)
	}
	defer unix.Close(fd)
	for Alive(pid) && ctx.Err() == nil {
		deadline, _ := ctx.Deadline()
		// Bounded, so that a cancelled ctx is noticed.
		wait := min(time.Until(deadline), 100*time.Millisecond)
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(max(wait.Milliseconds(), 1)))
	}
	return !Alive(pid)
}

// awaitGone is for kernels without pidfd: nothing wakes it, so it looks again
// and again.
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
