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
