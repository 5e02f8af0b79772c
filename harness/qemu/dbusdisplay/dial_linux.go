package dbusdisplay

import (
	"net"

	"github.com/godbus/dbus/v5"
)

// dial speaks D-Bus over a connection that can also pass file descriptors.
func dial(conn *net.UnixConn, opts ...dbus.ConnOption) (*dbus.Conn, error) {
	return dbus.DialUnix(conn, opts...)
}
