//go:build unix

package qmp

import (
	"net"
	"os"
	"syscall"
)

// writeFiles sends the line, with the files' descriptors beside its first byte (SCM_RIGHTS), where
// QEMU expects them.
func writeFiles(conn *net.UnixConn, line []byte, files []*os.File) (int, error) {
	fds := make([]int, len(files))
	for i, f := range files {
		fds[i] = int(f.Fd())
	}
	n, _, err := conn.WriteMsgUnix(line, syscall.UnixRights(fds...), nil)
	return n, err
}
