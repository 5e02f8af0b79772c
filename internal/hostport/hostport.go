// Package hostport reads and writes host names as people write them in configurations.
package hostport

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Bare returns host without the brackets of an IPv6 address, as in "[::1]". It returns any other
// text unchanged.
func Bare(host string) string {
	inside, ok := strings.CutPrefix(host, "[")
	if !ok {
		return host
	}
	inside, ok = strings.CutSuffix(inside, "]")
	if !ok {
		return host
	}
	if ip, err := netip.ParseAddr(inside); err != nil || !ip.Is6() {
		return host
	}
	return inside
}

// Join returns "host:port" for a dialer. An IPv6 host may have brackets.
func Join(host string, port int) string {
	return net.JoinHostPort(Bare(host), strconv.Itoa(port))
}

// Loopback returns the loopback address that reaches a server which listens on all interfaces. ok
// is false if host does not mean all interfaces.
func Loopback(host string) (address string, ok bool) {
	switch host {
	case "", "*", "0.0.0.0":
		return "127.0.0.1", true
	case "::", "[::]":
		return "::1", true
	}
	return "", false
}
