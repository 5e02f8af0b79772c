package adversary_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice/console"
	"github.com/spicelane/spicelane/spice/link"
	"github.com/spicelane/spicelane/spice/pki"
	"github.com/spicelane/spicelane/spice/proxy/adversary"
	"github.com/spicelane/spicelane/spice/wire"
)

// permissive is a relay that permits everything and never closes a connection itself. What a
// client says it takes for a good link, whether it is one or not; every token is good,
// every console the right one, every message passes. Of many clients it serves few.
//
//	client ──anything──► permissive ──anything──► console
type permissive struct {
	plain, secure net.Listener
	api, web      net.Listener
	key           *link.ServerConfig
	tls           *tls.Config

	mu    sync.Mutex
	to    console.Console
	conns map[net.Conn]bool
	over  bool
	wg    sync.WaitGroup
	slots chan struct{}
}

var linkKey = sync.OnceValues(link.GenerateKey)

// certificates are an ECDSA and an RSA one, for the suites that need that.
var certificates = sync.OnceValue(func() *tls.Config {
	bundle, err := pki.New(pki.Config{})
	if err != nil {
		panic(err)
	}
	cfg := bundle.ServerTLS()
	cfg.Certificates = append(cfg.Certificates, rsaCertificate())
	return cfg
})

func startPermissive(t *testing.T) *permissive {
	t.Helper()
	key, err := linkKey()
	require.NoError(t, err)
	p := &permissive{key: &link.ServerConfig{Key: key}, tls: certificates().Clone(), conns: map[net.Conn]bool{}, slots: make(chan struct{}, 250)}
	p.tls.MinVersion = tls.VersionTLS10
	for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		p.tls.CipherSuites = append(p.tls.CipherSuites, s.ID)
	}
	for _, ln := range []*net.Listener{&p.plain, &p.secure, &p.api, &p.web} {
		*ln, err = net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
	}
	p.wg.Go(func() { p.accept(p.plain) })
	p.wg.Go(func() { p.accept(p.secure) })
	p.wg.Go(func() { p.accept(p.api) })
	p.wg.Go(func() { p.accept(p.web) })
	t.Cleanup(p.close)
	return p
}

func (p *permissive) close() {
	for _, ln := range []net.Listener{p.plain, p.secure, p.api, p.web} {
		ln.Close()
	}
	p.mu.Lock()
	p.over = true
	for conn := range p.conns {
		conn.Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
}

func (p *permissive) track(conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[conn] = true
	if p.over {
		conn.Close()
	}
}

func (p *permissive) accept(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		p.track(conn)
		p.wg.Go(func() {
			switch ln {
			case p.api:
				p.answerHTTP(conn)
				return
			case p.web:
				p.serveWebSocket(conn)
				return
			}
			select {
			case p.slots <- struct{}{}:
				p.serve(conn)
			default: // crowded out, and not told
			}
		})
	}
}

// answerHTTP says 200 to anything.
func (p *permissive) answerHTTP(conn net.Conn) {
	_, _ = conn.Read(make([]byte, 1))
	_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
	_, _ = io.Copy(io.Discard, conn)
}

// serveWebSocket takes anything for a request for a WebSocket, with or without TLS, and then
// any frame for a part of the stream.
func (p *permissive) serveWebSocket(raw net.Conn) {
	first := make([]byte, 1)
	if _, err := io.ReadFull(raw, first); err != nil {
		return
	}
	conn := net.Conn(&peeked{Conn: raw, first: first})
	if first[0] == 22 {
		secure := tls.Server(conn, p.tls)
		if secure.Handshake() != nil {
			return
		}
		conn = secure
	}
	r := bufio.NewReader(conn)
	_, _ = r.Peek(1)
	head, _ := r.Peek(r.Buffered())
	if end := bytes.Index(head, []byte("\r\n\r\n")); end >= 0 {
		head = head[:end+4]
	}
	_, _ = r.Discard(len(head))
	_, _ = conn.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"))
	p.link(&unframed{Conn: conn, r: r})
}

// unframed is what is in the frames of a WebSocket, whatever those are.
type unframed struct {
	net.Conn
	r    *bufio.Reader
	left uint64
	key  [4]byte
	at   int
}

func (u *unframed) Read(b []byte) (int, error) {
	for u.left == 0 {
		var head [2]byte
		if _, err := io.ReadFull(u.r, head[:]); err != nil {
			return 0, err
		}
		var size [8]byte
		switch u.left = uint64(head[1] & 0x7f); u.left {
		case 126:
			_, _ = io.ReadFull(u.r, size[6:])
			u.left = binary.BigEndian.Uint64(size[:])
		case 127:
			_, _ = io.ReadFull(u.r, size[:])
			u.left = binary.BigEndian.Uint64(size[:])
		}
		u.key, u.at = [4]byte{}, 0
		if head[1]&0x80 != 0 {
			_, _ = io.ReadFull(u.r, u.key[:])
		}
		if head[0]&8 != 0 { // close, ping, pong: nothing of the stream
			_, _ = u.r.Discard(int(u.left))
			u.left = 0
		}
	}
	n, err := u.r.Read(b[:min(uint64(len(b)), u.left)])
	for i := range n {
		b[i] ^= u.key[u.at%4]
		u.at++
	}
	u.left -= uint64(n)
	return n, err
}

func (u *unframed) Write(b []byte) (int, error) {
	head := binary.BigEndian.AppendUint64([]byte{0x82, 127}, uint64(len(b)))
	_, err := u.Conn.Write(append(head, b...))
	return len(b), err
}

// serve links a client with whatever it says.
func (p *permissive) serve(raw net.Conn) {
	conn := net.Conn(&peeked{Conn: raw})
	first := make([]byte, 1)
	if _, err := io.ReadFull(raw, first); err != nil {
		// Even a client that went away without a word gets a channel at the console.
		p.relay(raw, 1, wire.ChannelID{Type: wire.ChannelMain})
		return
	}
	conn.(*peeked).first = first
	if first[0] == 22 {
		secure := tls.Server(conn, p.tls)
		if secure.Handshake() != nil {
			p.relay(raw, 1, wire.ChannelID{Type: wire.ChannelMain})
			return
		}
		conn = secure
	}
	p.link(conn)
}

// link links a client whose connection is up.
func (p *permissive) link(conn net.Conn) {
	// 34 bytes make a request of a client without capabilities, further ones come
	// with it or do not matter.
	b := make([]byte, 4096)
	n, _ := conn.Read(b)
	channel := wire.ChannelID{Type: wire.ChannelMain}
	id := uint32(0)
	if n >= 22 {
		id = binary.LittleEndian.Uint32(b[16:])
		channel = wire.ChannelID{Type: wire.ChannelType(b[20]), ID: b[21]}
	}
	if channel.Type == 0 {
		channel.Type = wire.ChannelMain
	}
	hs := greet(conn, p.key)
	if hs {
		// The ticket, with its mechanism; less of it is as good.
		_, _ = conn.Read(make([]byte, 4+link.TicketSize))
	}
	_, _ = conn.Write(make([]byte, 4)) // ok
	p.relay(conn, id, channel)
}

// greet answers with a key, as a link server does.
func greet(conn net.Conn, cfg *link.ServerConfig) bool {
	client, server := net.Pipe()
	defer client.Close()
	go func() {
		defer server.Close()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		hs, err := link.Accept(ctx, server, *cfg)
		if err == nil {
			_ = hs.Reply(ctx, link.CommonCaps, nil)
		}
	}()
	_, _ = client.Write(link.Request{Channel: wire.ChannelID{Type: wire.ChannelMain}, CommonCaps: link.CommonCaps}.Append(nil))
	reply, _ := io.ReadAll(client)
	_, err := conn.Write(reply)
	return err == nil
}

// relay passes everything on, and keeps both sides open whatever happens to one.
func (p *permissive) relay(client net.Conn, connectionID uint32, id wire.ChannelID) {
	p.mu.Lock()
	to := p.to
	p.mu.Unlock()
	network, address := to.Address()
	server, err := net.Dial(network, address)
	if err != nil {
		return
	}
	p.track(server)
	if to.TLS() {
		server = tls.Client(server, &tls.Config{InsecureSkipVerify: true})
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if _, err := link.Client(ctx, server, link.Config{ConnectionID: connectionID, Channel: id, CommonCaps: link.CommonCaps, Secret: to.Ticket}); err != nil {
		return
	}
	p.wg.Go(func() { _, _ = io.Copy(struct{ io.Writer }{server}, struct{ io.Reader }{client}) })
	_, _ = io.Copy(struct{ io.Writer }{client}, struct{ io.Reader }{server})
}

// peeked is a connection whose first byte was read already.
type peeked struct {
	net.Conn
	first []byte
}

func (p *peeked) Read(b []byte) (int, error) {
	if len(p.first) > 0 {
		n := copy(b, p.first)
		p.first = p.first[n:]
		return n, nil
	}
	return p.Conn.Read(b)
}

// target returns the relay as the pack sees it.
func (p *permissive) target() adversary.Target {
	return adversary.Target{
		TLSAddr: p.secure.Addr().String(), Addr: p.plain.Addr().String(), APIAddr: p.api.Addr().String(),
		WebSocketAddr: p.web.Addr().String(),
		Token:         func(context.Context) (string, error) { return "any", nil },
		OneSession:    true, Reads: true, Foreign: "any other",
		Lead: func(c console.Console) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.to = c
		},
		Vanish: func() {}, Advance: func(time.Duration) {}, EndSessions: func() {},
		Patience: 400 * time.Millisecond,
	}
}
