package proxy_test

import (
	"net"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice/proxy"
)

func TestBothSidesOfAChannelAreKeptAlive(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil), func(c *proxy.Config) { c.KeepAlive = 21 * time.Second })
	_, client, server := l.open()
	for side, peer := range map[string]string{"client": client.LocalAddr().String(), "console": server.LocalAddr().String()} {
		fd := socketTo(t, peer)
		on, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_KEEPALIVE)
		require.NoError(t, err)
		assert.Equal(t, 1, on, side)
		idle, err := syscall.GetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE)
		require.NoError(t, err)
		assert.Equal(t, 21, idle, side)
	}
}

// socketTo finds this process's socket that is connected to addr and is not the
// test's own end of that connection.
func socketTo(t *testing.T, addr string) int {
	t.Helper()
	dir, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	for _, entry := range dir {
		fd, _ := strconv.Atoi(entry.Name())
		peer, err := syscall.Getpeername(fd)
		if in, ok := peer.(*syscall.SockaddrInet4); err == nil && ok && net.JoinHostPort(net.IP(in.Addr[:]).String(), strconv.Itoa(in.Port)) == addr {
			return fd
		}
	}
	t.Fatalf("no socket is connected to %s", addr)
	return 0
}
