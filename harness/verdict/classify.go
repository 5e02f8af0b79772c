package verdict

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"syscall"
)

// A Judge is an error that knows whose fault it is. Errors of other packages implement it, so this
// package need not import them.
type Judge interface {
	error
	Verdict() Kind
}

// Classify returns err with a verdict; op says what was being done. An error with a verdict keeps
// it. Otherwise a [Judge] decides. Otherwise a system error does: a full disk, a directory that is
// not writable, a port that is in use. Any other error is Harness.
//
// A lack of file descriptors comes before all that, because it can make anything fail.
func Classify(op string, err error) error {
	if err == nil {
		return nil
	}
	var known *Error
	var judge Judge
	var socket *net.OpError
	isKnown := errors.As(err, &known)
	switch {
	case outOfDescriptors(err) && isKnown && known.Verdict == Host && known.Hint != "":
		return err
	case outOfDescriptors(err) && isKnown:
		return &Error{Verdict: Host, Err: err, Hint: descriptorHint(err)}
	case outOfDescriptors(err):
		return &Error{Verdict: Host, Op: op, Err: err, Hint: descriptorHint(err)}
	case isKnown:
		return err
	case errors.As(err, &judge):
		return &Error{Verdict: judge.Verdict(), Op: op, Err: err}
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return &Error{Verdict: Host, Op: op, Err: err, Hint: "the disk is full: free some space or choose another directory"}
	case errors.Is(err, fs.ErrPermission) && errors.As(err, &socket) && socket.Op == "listen" && socket.Net == "tcp":
		return &Error{Verdict: Host, Op: op, Err: err, Hint: "this user may not use that address: choose a port above 1023"}
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return &Error{Verdict: Host, Op: op, Err: err, Hint: "choose a directory that can be written"}
	case errors.Is(err, syscall.EADDRINUSE):
		return &Error{Verdict: Host, Op: op, Err: err, Hint: "another program has that port: end it or choose another"}
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return &Error{Verdict: Host, Op: op, Err: err, Hint: "this host does not have that address"}
	}
	return &Error{Verdict: Harness, Op: op, Err: err}
}

// outOfDescriptors tells whether this process or the whole host ran out of file descriptors.
func outOfDescriptors(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

func descriptorHint(err error) string {
	if errors.Is(err, syscall.ENFILE) {
		return "the host has no file descriptor left: end some programs, or raise fs.file-max"
	}
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return "raise the limit of open files (ulimit -n 1024)"
	}
	return fmt.Sprintf("this process may have %d files open: raise that limit (ulimit -n 1024)", limit.Cur)
}
