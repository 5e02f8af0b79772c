// Package hostport reads and writes the hosts that people put into configurations.
package hostport

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Bare returns host without the brackets that people write around an IPv6 address, as
// in "[::1]". Any other text is returned as it is.
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

// Join returns "host:port" for a dialer. An IPv6 host may have brackets or not.
func Join(host string, port int) string {
	return net.JoinHostPort(Bare(host), strconv.Itoa(port))
}

// Loopback returns the address of this machine at which a server is reached that listens on
// all interfaces. ok is false for a host that means anything else.
func Loopback(host string) (address string, ok bool) {
	switch host {
	case "", "*", "0.0.0.0":
		return "127.0.0.1", true
	case "::", "[::]":
		return "::1", true
	}
	return "", false
}
