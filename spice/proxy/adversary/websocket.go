package adversary

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
)

// Opcodes and bits of a frame's first byte (RFC 6455 section 5.2).
const (
	frameContinuation = 0x0
	frameText         = 0x1
	frameBinary       = 0x2
	frameClose        = 0x8
	framePing         = 0x9
	framePong         = 0xa
	frameReserved     = 0x40
	frameFin          = 0x80
)

// webSocket is a client's end of a WebSocket. Its frames are made by hand, because no library
// writes wrong ones. As a stream it is well behaved.
type webSocket struct {
	net.Conn
	r      *bufio.Reader
	unread []byte // of the binary message that is being read
}

// upgradeRequest is a well-formed request for a WebSocket.
func (a *attack) upgradeRequest() string {
	path := a.t.WebSocketPath
	if path == "" {
		path = "/websockify"
	}
	return "GET " + path + " HTTP/1.1\r\nHost: proxy.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: binary\r\n\r\n"
}

// tlsTo connects to a port and secures the connection.
func (a *attack) tlsTo(addr string) *tls.Conn {
	conn := tls.Client(a.tcp(addr), a.tlsConfig())
	ctx, cancel := context.WithTimeout(a.ctx, a.t.patience())
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		a.fail("TLS: %v", err)
	}
	return conn
}

// asks sends a request to the WebSocket port, with more bytes behind it in the same write. It
// returns the status of the answer.
func (a *attack) asks(request string, behind ...byte) (*webSocket, string) {
	conn := a.tlsTo(a.t.WebSocketAddr)
	a.send(conn, append([]byte(request), behind...))
	w := &webSocket{Conn: conn, r: bufio.NewReader(conn)}
	_ = conn.SetReadDeadline(a.deadline())
	response, err := http.ReadResponse(w.r, nil)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return w, open
	case err != nil:
		return w, closed
	}
	return w, fmt.Sprintf("HTTP %d", response.StatusCode)
}

// upgraded opens a WebSocket as it should be opened.
func (a *attack) upgraded(behind ...byte) *webSocket {
	w, got := a.asks(a.upgradeRequest(), behind...)
	if got != "HTTP 101" {
		a.fail("a good WebSocket got %s", got)
	}
	return w
}

// frame returns a masked frame.
func frame(first byte, payload []byte) []byte {
	key := [4]byte{0x5e, 0xed, 0x5e, 0xed}
	b := append(frameHeader(first, 0x80, len(payload)), key[:]...)
	for i, c := range payload {
		b = append(b, c^key[i%len(key)])
	}
	return b
}

// unmasked returns a frame as only servers may send it.
func unmasked(first byte, payload []byte) []byte {
	return append(frameHeader(first, 0, len(payload)), payload...)
}

func frameHeader(first, mask byte, size int) []byte {
	switch {
	case size < 126:
		return []byte{first, mask | byte(size)}
	case size < 1<<16:
		return binary.BigEndian.AppendUint16([]byte{first, mask | 126}, uint16(size))
	}
	return binary.BigEndian.AppendUint64([]byte{first, mask | 127}, uint64(size))
}

// next reads a frame.
func (w *webSocket) next() (first byte, payload []byte, err error) {
	var head [2]byte
	if _, err := io.ReadFull(w.r, head[:]); err != nil {
		return 0, nil, err
	}
	size, more := uint64(head[1]&0x7f), 0
	switch size {
	case 126:
		more = 2
	case 127:
		more = 8
	}
	if more > 0 {
		var b [8]byte
		if _, err := io.ReadFull(w.r, b[8-more:]); err != nil {
			return 0, nil, err
		}
		size = binary.BigEndian.Uint64(b[:])
	}
	const most = 1 << 24 // more than a relay makes of one piece
	if size > most {
		return 0, nil, fmt.Errorf("a frame of %d bytes", size)
	}
	payload = make([]byte, size)
	_, err = io.ReadFull(w.r, payload)
	return head[0], payload, err
}

// says returns the target's first word that is no ping: the code of a close frame, that it
// hung up without one, or that it sent something else.
func (a *attack) says(w *webSocket) string {
	_ = w.SetReadDeadline(a.deadline())
	for {
		first, payload, err := w.next()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return open
		case err != nil:
			return closed
		case first == frameFin|framePing:
		case first == frameFin|frameClose && len(payload) < 2:
			return "close"
		case first == frameFin|frameClose:
			return fmt.Sprintf("close %d", binary.BigEndian.Uint16(payload))
		case first == frameFin|framePong:
			return fmt.Sprintf("pong %q", payload)
		default:
			return "data"
		}
	}
}

// Read reads what binary messages carry.
func (w *webSocket) Read(b []byte) (int, error) {
	for len(w.unread) == 0 {
		first, payload, err := w.next()
		switch {
		case err != nil:
			return 0, err
		case first == frameFin|frameClose:
			return 0, io.EOF
		case first&0xf == frameBinary || first&0xf == frameContinuation:
			w.unread = payload
		}
	}
	n := copy(b, w.unread)
	w.unread = w.unread[n:]
	return n, nil
}

// Write writes one binary message.
func (w *webSocket) Write(b []byte) (int, error) {
	if _, err := w.Conn.Write(frame(frameFin|frameBinary, b)); err != nil {
		return 0, err
	}
	return len(b), nil
}

// inPieces writes each byte as a separate fragment, with a ping after each.
type inPieces struct{ *webSocket }

func (p *inPieces) Write(b []byte) (int, error) {
	var out []byte
	for i, c := range b {
		first := byte(frameContinuation)
		if i == 0 {
			first = frameBinary
		}
		if i == len(b)-1 {
			first |= frameFin
		}
		out = append(out, frame(first, []byte{c})...)
		out = append(out, frame(frameFin|framePing, nil)...)
	}
	if _, err := p.Conn.Write(out); err != nil {
		return 0, err
	}
	return len(b), nil
}

// webSocketCases speak to the WebSocket port. Most of them break a rule of RFC 6455.
func webSocketCases() []Case {
	const bad = "malformed"
	good := request(0, mainChannel)
	web, played := []need{needWebSocket}, []need{needWebSocket, needConsole}
	// asks sends a request for a WebSocket that differs from a good one.
	asks := func(old, new string) func(a *attack) string {
		return func(a *attack) string {
			_, got := a.asks(strings.Replace(a.upgradeRequest(), old, new, 1))
			return got
		}
	}
	origin := func(origin string) func(a *attack) string {
		return asks("\r\n\r\n", "\r\nOrigin: "+origin+"\r\n\r\n")
	}
	sends := func(frames ...[]byte) func(a *attack) string {
		return func(a *attack) string {
			w := a.upgraded()
			a.send(w.Conn, bytes.Join(frames, nil))
			return a.says(w)
		}
	}
	// inSession opens a session over a WebSocket, sends frames, and returns what reaches the
	// console.
	inSession := func(frames ...[]byte) func(a *attack) string {
		return func(a *attack) string {
			a.good()
			a.overWeb = true
			s := a.session()
			w := s.main.(*webSocket)
			a.send(w.Conn, bytes.Join(frames, nil))
			if got := a.reaches(s.far); got != ended {
				return got
			}
			return a.says(w)
		}
	}
	type steps = func(a *attack) string
	refused := func(name, want string, run steps) Case {
		return Case{Name: "websocket/" + name, Want: want, Reason: bad, needs: web, run: run}
	}
	foreign := func(name, page string) Case {
		return Case{Name: "websocket/" + name, Want: "HTTP 403", Reason: "foreign_origin", needs: web, run: origin(page)}
	}
	denied := func(name string, run steps) Case {
		return Case{Name: "websocket/" + name, Want: "permission_denied", Reason: "token_unknown", needs: web, run: run}
	}
	key := "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	sync := message(3, make([]byte, 12))
	return []Case{
		foreign("a foreign origin", "https://evil.example"),
		foreign("an origin that begins like the host", "https://proxy.example.evil.example"),
		foreign("an origin on another port of the host", "https://proxy.example:8443"),
		foreign("a sandbox's origin", "null"),
		refused("no upgrade", "HTTP 426", asks("Upgrade: websocket\r\n", "")),
		refused("version 8", "HTTP 400", asks("Version: 13", "Version: 8")),
		refused("no key", "HTTP 400", asks(key, "")),
		refused("two keys", "HTTP 400", asks(key, key+key)),
		refused("POST", "HTTP 405", asks("GET", "POST")),
		refused("another path", "HTTP 404", asks(" HTTP/1.1", "/nothing-here HTTP/1.1")),
		refused("only the subprotocol base64", "HTTP 400", asks("Protocol: binary", "Protocol: base64")),
		refused("a header of 64 KiB", "HTTP 431", asks("\r\n\r\n", "\r\nX: "+strings.Repeat("x", 64<<10)+"\r\n\r\n")),
		refused("SPICE without a WebSocket", "HTTP 400", func(a *attack) string {
			_, got := a.asks(string(good))
			return got
		}),
		refused("HTTP without TLS", closed, func(a *attack) string {
			conn := a.tcp(a.t.WebSocketAddr)
			a.send(conn, []byte(a.upgradeRequest()))
			return a.hears(conn)
		}),
		refused("half a request, then silence", closed, func(a *attack) string {
			_, got := a.asks(a.upgradeRequest()[:40])
			return got
		}),
		refused("an upgrade, then silence", "close 1000", sends()),

		refused("text", "close 1003", sends(frame(frameFin|frameText, good))),
		refused("no mask", "close 1002", sends(unmasked(frameFin|frameBinary, good))),
		refused("a reserved bit", "close 1002", sends(frame(frameFin|frameReserved|frameBinary, good))),
		refused("a reserved opcode", "close 1002", sends(frame(frameFin|0x3, good))),
		refused("a continuation of nothing", "close 1002", sends(frame(frameFin|frameContinuation, good))),
		refused("a message inside another", "close 1002", sends(frame(frameBinary, good[:9]), frame(frameFin|frameBinary, good[9:]))),
		refused("text behind a fragment", "close 1002", sends(frame(frameBinary, good[:9]), frame(frameFin|frameText, good[9:]))),
		refused("a ping in fragments", "close 1002", sends(frame(framePing, []byte("x")))),
		refused("a ping of 126 bytes", "close 1002", sends(frame(frameFin|framePing, make([]byte, 126)))),
		refused("a length of 2^63", "close 1002", sends(append([]byte{frameFin | frameBinary, 0xff, 0x80}, make([]byte, 7+4)...))),
		refused("a close frame of one byte", "close 1002", sends(frame(frameFin|frameClose, []byte{3}))),
		refused("a close frame with code 1005", "close 1002", sends(frame(frameFin|frameClose, []byte{3, 237}))),
		refused("closed before the link", "close 1001", sends(frame(frameFin|frameClose, []byte{3, 233}))),
		refused("closed in the middle of the link", "close 1001", sends(frame(frameFin|frameBinary, good[:20]), frame(frameFin|frameClose, []byte{3, 233}))),
		refused("a ping before the link", `pong "hello"`, sends(frame(frameFin|framePing, []byte("hello")))),

		denied("a wrong token", func(a *attack) string {
			return a.linkOver(a.upgraded(), "no-token-at-all")
		}),
		denied("fragments of one byte, with pings between, and a wrong token", func(a *attack) string {
			return a.linkOver(&inPieces{a.upgraded()}, "no-token-at-all")
		}),
		denied("the first frame with the request, and a wrong token", func(a *attack) string {
			return a.linkOver(&linkSent{Conn: a.upgraded(frame(frameFin|frameBinary, good)...)}, "no-token-at-all")
		}),
		{Name: "websocket/a token that came to the TLS port", Want: "permission_denied", Reason: "token_replayed", needs: []need{needWebSocket, needSession}, run: func(a *attack) string {
			s := a.withSession()
			a.overWeb = true
			return a.try(s.token, 0, mainChannel)
		}},
		{Name: "websocket/text in an open session", Want: "close 1003", Reason: "failed", needs: played, run: inSession(frame(frameFin|frameText, sync))},
		{Name: "websocket/no mask in an open session", Want: "close 1002", Reason: "failed", needs: played, run: inSession(unmasked(frameFin|frameBinary, sync))},
		{Name: "websocket/a message behind the close frame", Want: "close 1001", Reason: "client_closed", needs: played, run: inSession(frame(frameFin|frameClose, []byte{3, 233}), frame(frameFin|frameBinary, sync))},
		{Name: "websocket/a message that the protocol does not have", Want: ended, Reason: "firewall", needs: []need{needWebSocket, needConsole, needReads}, run: func(a *attack) string {
			a.good()
			a.overWeb = true
			s := a.session()
			a.send(s.main, message(999, []byte("nothing")))
			return a.reaches(s.far)
		}},
		{Name: "websocket/a message of 17 MiB", Want: "close 1009", Reason: "failed", needs: played, run: func(a *attack) string {
			a.good()
			a.overWeb = true
			s := a.session()
			w := s.main.(*webSocket)
			drained := make(chan struct{})
			go func() {
				defer close(drained)
				_ = s.far.SetReadDeadline(a.deadline())
				_, _ = io.Copy(io.Discard, s.far)
			}()
			a.send(w.Conn, frame(frameFin|frameBinary, bytes.Repeat(sync, 17<<20/len(sync))))
			got := a.says(w)
			w.Conn.Close()
			<-drained
			return got
		}},
	}
}

// linkSent swallows the first write: that was sent with the request.
type linkSent struct {
	net.Conn
	swallowed bool
}

func (l *linkSent) Write(b []byte) (int, error) {
	if !l.swallowed {
		l.swallowed = true
		return len(b), nil
	}
	return l.Conn.Write(b)
}
