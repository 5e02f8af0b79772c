//go:build !unix

package qmp

import (
	"errors"
	"net"
	"os"
)

func writeFiles(*net.UnixConn, []byte, []*os.File) (int, error) {
	return 0, errors.New("files cannot be passed to QEMU on this system")
}
