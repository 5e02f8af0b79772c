package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spicelane/spicelane/spice/control"
)

// A listener is a Unix listener that removes its own socket file when it closes, and no other.
type listener struct {
	*net.UnixListener
	path string
	file fs.FileInfo
}

// Close stops listening and removes the socket file, unless another one has replaced it.
func (l *listener) Close() error {
	if fi, err := os.Lstat(l.path); err == nil && os.SameFile(fi, l.file) {
		_ = os.Remove(l.path)
	}
	return l.UnixListener.Close()
}

// Listen opens the Unix socket at path, with mode 0600 from the beginning. It replaces a socket
// file on which nothing listens. It returns a *[control.PathError] if something listens there, if
// the file is of another kind, or if the path has more than [control.MaxSocketPath] bytes.
func Listen(path string) (net.Listener, error) {
	if n := len(path); n > control.MaxSocketPath {
		return nil, &control.PathError{Path: path, Hint: fmt.Sprintf(
			"the path has %d bytes and the system takes %d: choose a shorter directory", n, control.MaxSocketPath)}
	}
	// Two servers that start at once must not both find the same stale file. The lock is on the
	// directory, so it leaves no file behind.
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, &control.PathError{Path: path, Err: err, Hint: "make the directory first"}
	}
	defer dir.Close()
	if err := syscall.Flock(int(dir.Fd()), syscall.LOCK_EX); err != nil {
		return nil, &control.PathError{Path: path, Err: os.NewSyscallError("flock", err)}
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	// NB: bind gives the socket file the mode of the socket, so at no moment can others connect.
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var chmodErr error
		if err := c.Control(func(fd uintptr) { chmodErr = syscall.Fchmod(int(fd), 0o600) }); err != nil {
			return err
		}
		return chmodErr
	}}
	l, err := lc.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, &control.PathError{Path: path, Err: err}
	}
	ul := l.(*net.UnixListener)
	ul.SetUnlinkOnClose(false)
	if err := os.Chmod(path, 0o600); err != nil {
		ul.Close()
		return nil, &control.PathError{Path: path, Err: err}
	}
	fi, err := os.Lstat(path)
	if err != nil {
		ul.Close()
		return nil, &control.PathError{Path: path, Err: err}
	}
	return &listener{UnixListener: ul, path: path, file: fi}, nil
}

// removeStale removes the socket file at path if nothing listens on it.
func removeStale(path string) error {
	fi, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return &control.PathError{Path: path, Err: err}
	}
	if fi.Mode().Type() != fs.ModeSocket {
		return &control.PathError{Path: path, Hint: "there is a file that is not a socket: remove it or choose another path"}
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		conn.Close()
	}
	// Any other error, such as a full backlog, means that something listens.
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return &control.PathError{Path: path, InUse: true, Hint: "another process is serving it: stop that one or choose another path"}
	}
	if err := os.Remove(path); err != nil {
		return &control.PathError{Path: path, Err: err}
	}
	return nil
}
