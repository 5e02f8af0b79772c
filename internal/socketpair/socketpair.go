// Package socketpair makes connected unix sockets, one end for this process and one for a child.
package socketpair

import (
	"net"
	"os"
	"syscall"
)

// New returns a connected pair of stream sockets: this process's end as a connection, and the other
// as a file that a child can inherit or receive. Errors contain name.
func New(name string) (*net.UnixConn, *os.File, error) {
	// NB: a process that starts meanwhile must not inherit either end, or the other would never see
	// it closed.
	syscall.ForkLock.RLock()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fds[0])
		syscall.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), name), os.NewFile(uintptr(fds[1]), name+"-peer")
	conn, err := net.FileConn(ours)
	ours.Close() // FileConn has duplicated it
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return conn.(*net.UnixConn), theirs, nil
}
