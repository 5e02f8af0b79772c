package warm

import "golang.org/x/sys/unix"

// setLock sets or releases a lock of an open file, without waiting.
func setLock(fd uintptr, lk *unix.Flock_t) error { return unix.FcntlFlock(fd, unix.F_OFD_SETLK, lk) }
