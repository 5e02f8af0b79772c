package host

import (
	"errors"
	"os"
	"syscall"
)

// ErrLocked means that another process, or another open file of this process, holds a lock.
var ErrLocked = errors.New("it is locked already")

// TryLock locks the file at path, which it creates if necessary. It never waits. The lock lasts
// while the file, or a copy of it in another process, is open, so it ends with its holder. The
// error is ErrLocked if the file is locked already, also by this process.
func TryLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, ErrLocked
		}
		return nil, &os.PathError{Op: "lock", Path: path, Err: err}
	}
}
