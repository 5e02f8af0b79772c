//go:build !linux

package impair

import (
	"context"
	"errors"
	"net"
)

// Only Linux has network namespaces and netem.
type (
	network struct{}
	shaper  func()
)

var errOnlyLinux = errors.New("only Linux has network namespaces")

// Probe returns what is missing to impair connections in network namespaces.
func Probe() error { return errOnlyLinux }

func newNetwork(context.Context, Profile, shaper) (*network, error) { return nil, errOnlyLinux }

func (*network) set(Profile) error { return errOnlyLinux }

func (*network) pair(context.Context) (near, far net.Conn, err error) { return nil, nil, errOnlyLinux }

func (*network) Close() error { return nil }
