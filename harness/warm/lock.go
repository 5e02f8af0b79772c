package warm

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// All locks of a directory are on single bytes of one file, so that they leave nothing behind. A
// lock belongs to the open file (fcntl_locking(2), open file description locks). It excludes other
// goroutines of this process as well as other processes, and is released when the file is closed or
// its process dies.

const locksFile = "locks"

// A purpose distinguishes the locks on one name.
type purpose string

const (
	using  purpose = "using"  // shared: an entry is in use; exclusive: it is being removed
	making purpose = "making" // exclusive: somebody makes this entry, draft or leftover
)

// ErrBusy means that another process, or another user of the cache in this process, holds the lock.
var ErrBusy = errors.New("warm: another process holds the lock")

// A lock is held until it is closed. Closing is idempotent.
type lock struct {
	f  *os.File
	at int64
}

func (l *lock) Close() error {
	// NB: closing alone is not enough: a child that is just being started has a copy of the
	// descriptor, and with it the lock, until its exec.
	lk := unix.Flock_t{Type: unix.F_UNLCK, Start: l.at, Len: 1}
	conn, err := l.f.SyscallConn()
	if err == nil {
		_ = conn.Control(func(fd uintptr) { _ = setLock(fd, &lk) })
	}
	if err := l.f.Close(); err != nil && !errors.Is(err, fs.ErrClosed) {
		return err
	}
	return nil
}

// offset returns the byte for a name. It practically never happens that two names share one.
func (p purpose) offset(name string) int64 {
	sum := sha256.Sum256([]byte(string(p) + " " + name))
	return int64(binary.BigEndian.Uint64(sum[:]) >> 2) // off_t is signed
}

// tryLock takes a lock or returns ErrBusy. A shared lock works even in a directory that is not
// writable.
func (c *Cache) tryLock(p purpose, name string, exclusive bool) (*lock, error) {
	path := filepath.Join(c.Dir, locksFile)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil && !exclusive {
		f, err = os.Open(path)
	}
	if err != nil {
		return nil, err
	}
	lk := unix.Flock_t{Type: unix.F_RDLCK, Whence: 0, Start: p.offset(name), Len: 1}
	if exclusive {
		lk.Type = unix.F_WRLCK
	}
	for {
		err = setLock(f.Fd(), &lk)
		if err == nil {
			return &lock{f, lk.Start}, nil
		}
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	f.Close()
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return nil, ErrBusy
	}
	return nil, fmt.Errorf("lock %s: %w", path, err)
}
