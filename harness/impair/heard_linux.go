package impair

import (
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// Heard returns how much the two ends of the connection have sent so far. It counts TCP segments,
// so it also sees keepalive probes and acknowledgements, as a firewall does. It counts nothing for
// a unix socket.
func (c *Conn) Heard() (h Heard, err error) {
	for _, end := range []net.Conn{c.near, c.far} {
		tcp, ok := end.(*net.TCPConn)
		if !ok {
			continue
		}
		raw, err := tcp.SyscallConn()
		if err != nil {
			return h, fmt.Errorf("impair: %w", err)
		}
		var info *unix.TCPInfo
		var failed error
		err = raw.Control(func(fd uintptr) {
			info, failed = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		})
		if err := errors.Join(err, failed); err != nil {
			return h, fmt.Errorf("impair: %w", err)
		}
		h.Segments += uint64(info.Segs_in)
		h.Bytes += info.Bytes_received
	}
	return h, nil
}
