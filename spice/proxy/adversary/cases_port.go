package adversary

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"net"

	"github.com/spicelane/spicelane/spice/wire"
)

const httpRequest = "GET / HTTP/1.1\r\nHost: proxy.example\r\n\r\n"

// portCases speak the wrong protocol to a port.
func portCases() []Case {
	say := func(addr func(t *Target) string, b []byte) func(a *attack) string {
		return func(a *attack) string {
			conn := a.tcp(addr(a.t))
			a.send(conn, b)
			return a.hears(conn)
		}
	}
	tlsPort := func(t *Target) string { return t.TLSAddr }
	plainPort := func(t *Target) string { return t.Addr }
	offer := func(change func(c *tls.Config)) func(a *attack) string {
		return func(a *attack) string {
			cfg := a.tlsConfig()
			change(cfg)
			conn := tls.Client(a.tcp(a.t.TLSAddr), cfg)
			ctx, cancel := context.WithTimeout(a.ctx, a.t.patience())
			defer cancel()
			return tlsAnswer(conn.HandshakeContext(ctx))
		}
	}
	plain := []need{needPlain}
	return []Case{
		{Name: "port/plaintext SPICE on the TLS port", Want: closed, Reason: "malformed", run: say(tlsPort, request(0, mainChannel))},
		{Name: "port/HTTP on the TLS port", Want: closed, Reason: "malformed", run: say(tlsPort, []byte(httpRequest))},
		{Name: "port/HTTP inside TLS", Want: closed, Reason: "malformed", run: func(a *attack) string {
			conn := a.dial()
			a.send(conn, []byte(httpRequest))
			return a.hears(conn)
		}},
		{Name: "port/noise on the TLS port", Want: closed, Reason: "malformed", run: say(tlsPort, bytes.Repeat([]byte{0xaa}, 64))},
		{Name: "port/a TLS record of 64 KiB", Want: closed, Reason: "malformed", run: say(tlsPort, append([]byte{22, 3, 1, 0xff, 0xff}, make([]byte, 1000)...))},
		{Name: "port/a TLS alert as the first record", Want: closed, Reason: "malformed", run: say(tlsPort, []byte{21, 3, 1, 0, 2, 2, 40})},
		{Name: "port/application data before a handshake", Want: closed, Reason: "malformed", run: say(tlsPort, []byte{23, 3, 3, 0, 4, 'R', 'E', 'D', 'Q'})},
		{Name: "port/SSL 3.0", Want: closed, Reason: "malformed", run: say(tlsPort, sslHello())},
		{Name: "port/TLS 1.0", Want: refused, Reason: "malformed", run: offer(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS10 })},
		{Name: "port/TLS 1.1", Want: refused, Reason: "malformed", run: offer(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS11, tls.VersionTLS11 })},
		{Name: "port/TLS 1.2 with RC4 only", Want: refused, Reason: "malformed", run: offer(func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_RC4_128_SHA, tls.TLS_ECDHE_RSA_WITH_RC4_128_SHA, tls.TLS_RSA_WITH_RC4_128_SHA}
		})},
		{Name: "port/TLS 1.2 with 3DES only", Want: refused, Reason: "malformed", run: offer(func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA, tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA}
		})},
		{Name: "plain/SPICE", Want: "need_secured", Reason: "need_secured", needs: plain, run: say(plainPort, request(0, mainChannel))},
		{Name: "plain/a further channel", Want: "need_secured", Reason: "need_secured", needs: plain, run: say(plainPort, request(7, display))},
		{Name: "plain/TLS", Want: closed, Reason: "malformed", needs: plain, run: func(a *attack) string {
			conn := tls.Client(a.tcp(a.t.Addr), &tls.Config{InsecureSkipVerify: true})
			ctx, cancel := context.WithTimeout(a.ctx, a.t.patience())
			defer cancel()
			return tlsAnswer(conn.HandshakeContext(ctx))
		}},
		{Name: "plain/HTTP", Want: closed, Reason: "malformed", needs: plain, run: say(plainPort, []byte(httpRequest))},
		{Name: "plain/version 1", Want: "version_mismatch", Reason: "malformed", needs: plain, run: say(plainPort, with(request(0, mainChannel), 4, 1))},
	}
}

// sslHello returns the start of an SSL 3.0 client hello.
func sslHello() []byte {
	body := append([]byte{3, 0}, make([]byte, 32)...)    // version, random
	body = append(body, 0, 0, 4, 0, 0x2f, 0, 0x0a, 1, 0) // no session, two suites, no compression
	hello := append([]byte{1, 0, 0, byte(len(body))}, body...)
	return append([]byte{22, 3, 0, 0, byte(len(hello))}, hello...)
}

// with changes one byte of a message.
func with(b []byte, at int, to byte) []byte {
	b = bytes.Clone(b)
	b[at] = to
	return b
}

// word changes four bytes of a message.
func word(b []byte, at int, to uint32) []byte {
	b = bytes.Clone(b)
	binary.LittleEndian.PutUint32(b[at:], to)
	return b
}

// linkCases send invalid link requests.
func linkCases() []Case {
	good := request(0, mainChannel)
	// The offsets of the fields: 16 bytes of header, connection id, type, id, numbers of common and
	// channel capabilities, their offset (SpiceLinkMess in spice/protocol.h).
	const major, size, commons, channels, offset = 4, 12, 22, 26, 30
	say := func(b []byte) func(a *attack) string {
		return func(a *attack) string {
			conn := a.dial()
			a.send(conn, b)
			return a.hears(conn)
		}
	}
	half := func(n int) func(a *attack) string {
		return func(a *attack) string {
			conn := a.dial()
			a.send(conn, good[:n])
			_ = conn.(*tls.Conn).CloseWrite()
			return a.hears(conn)
		}
	}
	// A link is accepted up to the ticket, whatever its type; then comes the refusal.
	asks := func(id wire.ChannelID) func(a *attack) string {
		return func(a *attack) string { return a.try("no-token-at-all", 0, id) }
	}
	const bad = "malformed"
	return []Case{
		{Name: "link/bad magic", Want: closed, Reason: bad, run: say(with(good, 0, 'X'))},
		{Name: "link/magic in the other byte order", Want: closed, Reason: bad, run: say(append([]byte("QDER"), good[4:]...))},
		{Name: "link/version 1", Want: "version_mismatch", Reason: bad, run: say(with(good, major, 1))},
		{Name: "link/version 3", Want: "version_mismatch", Reason: bad, run: say(with(good, major, 3))},
		{Name: "link/version 2^31", Want: "version_mismatch", Reason: bad, run: say(word(good, major, 1<<31))},
		{Name: "link/size 0", Want: "invalid_data", Reason: bad, run: say(word(good, size, 0))},
		{Name: "link/size one too small", Want: "invalid_data", Reason: bad, run: say(word(good, size, 17))},
		{Name: "link/size 4097", Want: "invalid_data", Reason: bad, run: say(word(good, size, 4097))},
		{Name: "link/size 4 GiB", Want: "invalid_data", Reason: bad, run: say(word(good, size, 1<<32-1))},
		{Name: "link/capabilities beyond the end", Want: "invalid_data", Reason: bad, run: say(word(good, offset, 4000))},
		{Name: "link/capabilities at 4 GiB", Want: "invalid_data", Reason: bad, run: say(word(good, offset, 1<<32-4))},
		{Name: "link/a million common capabilities", Want: "invalid_data", Reason: bad, run: say(word(good, commons, 1_000_000))},
		{Name: "link/2^30 channel capabilities, which is 0 bytes in 32 bits", Want: "invalid_data", Reason: bad, run: say(word(good, channels, 1<<30))},
		{Name: "link/2^32-1 channel capabilities", Want: "invalid_data", Reason: bad, run: say(word(good, channels, 1<<32-1))},
		{Name: "link/half a header", Want: closed, Reason: bad, run: half(9)},
		{Name: "link/a header without a body", Want: closed, Reason: bad, run: half(16)},
		{Name: "link/half a body", Want: closed, Reason: bad, run: half(25)},
		{Name: "link/single bytes and a wrong token", Want: "permission_denied", Reason: "token_unknown", run: func(a *attack) string {
			slow := &splitter{Conn: a.dial()}
			return a.linkOver(slow, "no-token-at-all")
		}},
		{Name: "link/further channel without a session", Want: "permission_denied", Reason: "token_unknown", run: asks(display)},
	}
}

// splitter writes byte by byte.
type splitter struct{ net.Conn }

func (s *splitter) Write(b []byte) (int, error) {
	for i := range b {
		if _, err := s.Conn.Write(b[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(b), nil
}
