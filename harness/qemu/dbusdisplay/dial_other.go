//go:build !linux

package dbusdisplay

import (
	"errors"
	"fmt"
	"net"

	"github.com/godbus/dbus/v5"
)

// dial fails: QEMU needs a connection that passes file descriptors, which godbus has on Linux.
func dial(*net.UnixConn, ...dbus.ConnOption) (*dbus.Conn, error) {
	return nil, fmt.Errorf("only Linux is supported: %w", errors.ErrUnsupported)
}
