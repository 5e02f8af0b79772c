package vv

import (
	"fmt"
	"net"
	"os"
	"strconv"
)

// ReadFile parses the virt-viewer file at path. The program that keeps such a file replaces it when
// its token has been used, so read it again for each session.
func ReadFile(path string) (*File, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, b)
}

// Through returns a copy of f that connects to addr (host:port) instead, with TLS if f uses it.
func (f *File) Through(addr string) (*File, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("address %s: port %q is not a number up to 65535", addr, port)
	}
	g := *f
	g.Host, g.UnixPath = host, ""
	if f.TLSPort != 0 {
		g.Port, g.TLSPort = 0, int(n)
	} else {
		g.Port = int(n)
	}
	return &g, nil
}
