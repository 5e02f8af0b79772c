package host

import (
	"context"
	"time"

	"golang.org/x/sys/unix"
)

// awaitExit waits until the process pid has ended or ctx, which has a deadline, is done.
func awaitExit(ctx context.Context, pid int) bool {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		// There is no such process, or the kernel is older than 5.3: use /proc instead.
		return awaitGone(ctx, pid)
	}
	defer unix.Close(fd)
	for Alive(pid) && ctx.Err() == nil {
		deadline, _ := ctx.Deadline()
		// The wait is limited, so that a cancelled ctx is noticed.
		wait := min(time.Until(deadline), 100*time.Millisecond)
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(max(wait.Milliseconds(), 1)))
	}
	return !Alive(pid)
}
