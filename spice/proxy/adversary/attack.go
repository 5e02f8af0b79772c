package adversary

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/spicelane/spicelane/spice/link"
	"github.com/spicelane/spicelane/spice/wire"
)

// The answers that cases demand. Codes of the link are written like wire.Result's String.
const (
	ok      = "ok"
	closed  = "closed"  // hung up without a word of SPICE
	open    = "open"    // still waiting when patience is over
	refused = "refused" // the target refused the TLS handshake with an alert
	passed  = "passed"  // the other side got it
	ended   = "ended"   // the other side got the end of the connection, and nothing of it
)

var (
	mainChannel = wire.ChannelID{Type: wire.ChannelMain}
	display     = wire.ChannelID{Type: wire.ChannelDisplay}
	inputs      = wire.ChannelID{Type: wire.ChannelInputs}
)

// attack is the state of one running case. It closes what it opens.
type attack struct {
	ctx     context.Context
	t       *Target
	undo    []func()
	console *Console // that is played, if any
	overWeb bool     // channels come in WebSockets
}

// failure is the value with which the steps of a case panic if the target did not get that far; the
// text is the answer.
type failure string

// attempt returns the answer of a case.
func (a *attack) attempt(run func(a *attack) string) (got string) {
	defer func() {
		switch f := recover().(type) {
		case nil:
		case failure:
			got = string(f)
		default:
			panic(f)
		}
	}()
	return run(a)
}

func (a *attack) fail(format string, args ...any) { panic(failure(fmt.Sprintf(format, args...))) }

func (a *attack) cleanup(f func()) { a.undo = append(a.undo, f) }

func (a *attack) close() {
	for i := len(a.undo) - 1; i >= 0; i-- {
		a.undo[i]()
	}
	a.undo = nil
}

func (a *attack) deadline() time.Time { return time.Now().Add(a.t.patience()) }

// tcp connects to a port.
func (a *attack) tcp(addr string) net.Conn {
	d := net.Dialer{Timeout: a.t.patience()}
	conn, err := d.DialContext(a.ctx, "tcp", addr)
	if err != nil {
		a.fail("dial: %v", err)
	}
	a.cleanup(func() { conn.Close() })
	return conn
}

func (a *attack) tlsConfig() *tls.Config {
	if a.t.TLS == nil {
		return &tls.Config{InsecureSkipVerify: true}
	}
	return a.t.TLS.Clone()
}

// dial connects to the TLS port, or opens a WebSocket if the attack goes over those.
func (a *attack) dial() net.Conn {
	if a.overWeb {
		return a.upgraded()
	}
	return a.tlsTo(a.t.TLSAddr)
}

func (a *attack) token() string {
	token, err := a.t.Token(a.ctx)
	if err != nil {
		a.fail("token: %v", err)
	}
	return token
}

// link links a channel over a new connection and returns the answer.
func (a *attack) link(token string, connectionID uint32, id wire.ChannelID) (net.Conn, string) {
	conn := a.dial()
	ctx, cancel := context.WithTimeout(a.ctx, a.t.patience())
	defer cancel()
	_, err := link.Client(ctx, conn, link.Config{ConnectionID: connectionID, Channel: id, CommonCaps: link.CommonCaps, Secret: token})
	a.spent(token, err)
	return conn, answer(err)
}

// spent reports that a token has opened a session, or might have.
func (a *attack) spent(token string, err error) {
	var refused *link.Error
	switch {
	case err == nil && a.t.Spent != nil:
		a.t.Spent(token)
	case errors.As(err, &refused) && refused.Code == wire.ResultError && a.t.Doubtful != nil:
		a.t.Doubtful(token)
	}
}

// try does what link does, and returns only the answer.
func (a *attack) try(token string, connectionID uint32, id wire.ChannelID) string {
	_, got := a.link(token, connectionID, id)
	return got
}

// answer describes the outcome of a link in one word.
func answer(err error) string {
	var e *link.Error
	switch {
	case err == nil:
		return ok
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return open
	case errors.As(err, &e) && e.Err == nil:
		return e.Code.String()
	}
	return closed
}

// pending does a handshake up to the ticket.
func (a *attack) pending(connectionID uint32, id wire.ChannelID) (net.Conn, *link.Pending) {
	conn := a.dial()
	ctx, cancel := context.WithTimeout(a.ctx, a.t.patience())
	defer cancel()
	p, err := link.Open(ctx, conn, link.Config{ConnectionID: connectionID, Channel: id, CommonCaps: link.CommonCaps})
	if err != nil {
		a.fail("%s", answer(err))
	}
	return conn, p
}

// session is a session of a good client.
type session struct {
	token string
	id    uint32 // connection id
	main  net.Conn
	far   *Linked // the console's end of main; nil if the console is not played
}

// session opens a session of a good client.
func (a *attack) session() session {
	token := a.token()
	conn, got := a.link(token, 0, mainChannel)
	if got != ok {
		a.fail("a good client got %s", got)
	}
	s := session{token: token, main: conn}
	if a.console != nil {
		s.far = a.console.next(a)
	}
	_ = conn.SetReadDeadline(a.deadline())
	defer conn.SetReadDeadline(time.Time{})
	in := wire.NewFrameReader(conn, wire.FrameConfig{Mini: true, BufferSize: 16})
	for {
		h, err := in.Next()
		if err != nil {
			a.fail("a good client got no init: %v", err)
		}
		body, err := in.Body(nil)
		if err != nil {
			a.fail("a good client got half an init: %v", err)
		}
		var init wire.MainInit
		if h.Type == init.MessageType() {
			if err := init.Decode(body); err != nil {
				a.fail("a good client got a bad init: %v", err)
			}
			s.id = init.SessionID
			return s
		}
	}
}

// channel opens a further channel of a session.
func (a *attack) channel(s session, id wire.ChannelID) (net.Conn, *Linked) {
	conn, got := a.link(s.token, s.id, id)
	if got != ok {
		a.fail("channel %s of a good client got %s", id, got)
	}
	var far *Linked
	if a.console != nil {
		far = a.console.next(a)
	}
	return conn, far
}

// echo passes a message each way.
func (a *attack) echo(s session) string {
	for _, way := range []struct {
		name     string
		from, to net.Conn
		kind     uint16
	}{{"to the console", s.main, s.far.Conn, 3}, {"to the client", s.far.Conn, s.main, 4}} {
		msg := message(way.kind, []byte("twelve bytes"))
		if _, err := way.from.Write(msg); err != nil {
			return "a good client's message " + way.name + ": " + err.Error()
		}
		got := make([]byte, len(msg))
		_ = way.to.SetReadDeadline(a.deadline())
		if _, err := io.ReadFull(way.to, got); err != nil || string(got) != string(msg) {
			return fmt.Sprintf("a good client's message %s: %q, %v", way.name, got, err)
		}
	}
	return ok
}

// hears returns what a connection answers: the code of a link's reply or result, or that it was
// closed or is still open.
func (a *attack) hears(conn net.Conn) string {
	_ = conn.SetReadDeadline(a.deadline())
	var b [20]byte
	n, err := io.ReadFull(conn, b[:])
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		if n > 0 {
			return fmt.Sprintf("% x", b[:n])
		}
		return open
	case n == 20 && string(b[:4]) == "REDQ":
		return wire.Result(binary.LittleEndian.Uint32(b[16:])).String()
	case n == 4:
		return wire.Result(binary.LittleEndian.Uint32(b[:])).String()
	case n == 0, n == 7 && b[0] == 21: // a TLS alert is a way to hang up
		return closed
	}
	return fmt.Sprintf("%q", b[:n])
}

// result reads the result of an authentication.
func (a *attack) result(conn net.Conn) string {
	_ = conn.SetReadDeadline(a.deadline())
	var b [4]byte
	n, err := io.ReadFull(conn, b[:])
	switch {
	case err == nil:
		return wire.Result(binary.LittleEndian.Uint32(b[:])).String()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return open
	case n > 0:
		return fmt.Sprintf("% x", b[:n])
	}
	return closed
}

// reaches returns passed, ended or open: the connection got bytes, its end, or neither.
func (a *attack) reaches(conn net.Conn) string {
	_ = conn.SetReadDeadline(a.deadline())
	var b [1]byte
	n, err := conn.Read(b[:])
	switch {
	case n > 0:
		return passed
	case errors.Is(err, os.ErrDeadlineExceeded):
		return open
	}
	return ended
}

func (a *attack) send(conn net.Conn, b []byte) {
	_ = conn.SetWriteDeadline(a.deadline())
	if _, err := conn.Write(b); err != nil {
		// The target may already have disconnected; then its answer decides.
		return
	}
}

// message returns one message with a mini header.
func message(kind uint16, body []byte) []byte {
	return append(wire.Header{Type: kind, Size: uint32(len(body))}.AppendMini(nil), body...)
}

// request returns a well-formed link request.
func request(connectionID uint32, id wire.ChannelID) []byte {
	return link.Request{ConnectionID: connectionID, Channel: id, CommonCaps: link.CommonCaps}.Append(nil)
}

// tlsAnswer describes how a TLS handshake ended.
func tlsAnswer(err error) string {
	switch {
	case err == nil:
		return ok
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return open
	case strings.Contains(err.Error(), "remote error"):
		return refused
	}
	return closed
}

// gets returns passed if the next bytes of a connection are want, and otherwise what came.
func (a *attack) gets(conn net.Conn, want []byte) string {
	_ = conn.SetReadDeadline(a.deadline())
	got := make([]byte, len(want))
	n, err := io.ReadFull(conn, got)
	switch {
	case err != nil:
		return fmt.Sprintf("%d bytes of %d: %v", n, len(want), err)
	case string(got) != string(want):
		return fmt.Sprintf("% x, want % x", got, want)
	}
	return passed
}

// pendingRaw requests a channel of any type, even one with another meaning in link.Config.
func (a *attack) pendingRaw(connectionID uint32, t wire.ChannelType) (net.Conn, *link.Pending) {
	conn := a.dial()
	var wrapped net.Conn = conn
	if t == 0 {
		wrapped = &typeless{Conn: conn}
	}
	ctx, cancel := context.WithTimeout(a.ctx, a.t.patience())
	defer cancel()
	p, err := link.Open(ctx, wrapped, link.Config{ConnectionID: connectionID, Channel: wire.ChannelID{Type: t}, CommonCaps: link.CommonCaps})
	if err != nil {
		a.fail("%s", answer(err))
	}
	return conn, p
}

// typeless sets the channel type of the link request to 0.
type typeless struct {
	net.Conn
	sent bool
}

func (t *typeless) Write(b []byte) (int, error) {
	if !t.sent {
		t.sent = true
		b = with(b, 20, 0)
	}
	return t.Conn.Write(b)
}
