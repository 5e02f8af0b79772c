package adversary

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/spicelane/spicelane/spice/link"
	"github.com/spicelane/spicelane/spice/wire"
)

// linkOver links the main channel over a connection.
func (a *attack) linkOver(conn net.Conn, token string) string {
	ctx, cancel := context.WithTimeout(a.ctx, a.t.patience())
	defer cancel()
	_, err := link.Client(ctx, conn, link.Config{Channel: mainChannel, CommonCaps: link.CommonCaps, Secret: token})
	a.spent(token, err)
	return answer(err)
}

// tickets returns a case that sends a mechanism and an encrypted ticket.
func tickets(mechanism uint32, sealed []byte) func(a *attack) string {
	return func(a *attack) string {
		conn, _ := a.pending(0, mainChannel)
		a.send(conn, append(binary.LittleEndian.AppendUint32(nil, mechanism), sealed...))
		return a.result(conn)
	}
}

// tokenCases send tokens that must not open anything.
func tokenCases() []Case {
	const denied = "permission_denied"
	session := []need{needSession}
	main := func(token func(a *attack) string) func(a *attack) string {
		return func(a *attack) string { return a.try(token(a), 0, mainChannel) }
	}
	foreign := func() []byte {
		key, err := rsa.GenerateKey(rand.Reader, 1024)
		if err != nil {
			return make([]byte, link.TicketSize)
		}
		sealed, err := rsa.EncryptOAEP(sha1.New(), rand.Reader, &key.PublicKey, []byte("token\x00"), nil)
		if err != nil {
			return make([]byte, link.TicketSize)
		}
		return sealed
	}
	spice, sasl := uint32(wire.CapAuthSpice), uint32(wire.CapAuthSASL)
	return []Case{
		{Name: "token/none", Want: denied, Reason: "token_unknown", run: main(func(*attack) string { return "" })},
		{Name: "token/random", Want: denied, Reason: "token_unknown", run: main(func(*attack) string { return rand.Text() })},
		{Name: "token/60 bytes", Want: denied, Reason: "token_unknown", run: main(func(*attack) string { return strings.Repeat("A", link.MaxSecret) })},
		{Name: "token/cut by one character", Want: denied, Reason: "token_unknown", run: main(func(a *attack) string { t := a.token(); return t[:len(t)-1] })},
		{Name: "token/one character more", Want: denied, Reason: "token_unknown", run: main(func(a *attack) string { return a.token() + "A" })},
		{Name: "token/in the other case", Want: denied, Reason: "token_unknown", run: main(func(a *attack) string { return swapCase(a.token()) })},
		{Name: "token/ticket of the console", Want: denied, Reason: "token_unknown", needs: []need{needConsole}, run: func(a *attack) string {
			a.good()
			return a.try(Ticket, 0, mainChannel)
		}},
		{Name: "token/replayed", Want: denied, Reason: "token_replayed", needs: session, run: func(a *attack) string {
			s := a.withSession()
			return a.try(s.token, 0, mainChannel)
		}},
		{Name: "token/of a session that is over", Want: denied, Reason: "session_over", needs: []need{needSession, needConsole}, run: func(a *attack) string {
			s := a.withSession()
			s.main.Close()
			s.far.Close()
			// Before the target has noticed, the answer may differ.
			var got string
			for deadline := a.deadline(); time.Now().Before(deadline); {
				if got = a.try(s.token, s.id, inputs); got == denied {
					break
				}
			}
			return got
		}},
		{Name: "token/of a session that an operator ended", Want: denied, needs: []need{needSession, needEnd}, run: func(a *attack) string {
			s := a.withSession()
			a.t.EndSessions()
			return a.try(s.token, s.id, inputs)
		}},
		{Name: "token/shown by eight at once", Want: "1 of 8", needs: session, run: func(a *attack) string {
			if a.t.plays() {
				a.good()
			}
			token := a.token()
			var mu sync.Mutex
			var wg sync.WaitGroup
			in := 0
			for range 8 {
				conn := a.dial()
				wg.Go(func() {
					if a.linkOver(conn, token) == ok {
						mu.Lock()
						in++
						mu.Unlock()
					}
				})
			}
			wg.Wait()
			return fmt.Sprintf("%d of 8", in)
		}},
		{Name: "token/expired", Want: denied, Reason: "token_expired", needs: []need{needSession, needClock}, run: func(a *attack) string {
			token := a.token()
			a.t.Advance(time.Hour)
			return a.try(token, 0, mainChannel)
		}},
		{Name: "token/of another proxy", Want: denied, Reason: "token_unknown", needs: []need{needForeign}, run: main(func(a *attack) string { return a.t.Foreign })},
		{Name: "token/for a console that vanished", Want: "error", Reason: "console_unknown", needs: []need{needVanish}, run: func(a *attack) string {
			token := a.token()
			a.t.Vanish()
			return a.try(token, 0, mainChannel)
		}},
		{Name: "token/fresh, for a further channel", Want: "bad_connection_id", Reason: "wrong_connection_id", needs: session, run: func(a *attack) string {
			return a.try(a.token(), 0, display)
		}},
		{Name: "token/fresh, with a guessed connection id", Want: "bad_connection_id", Reason: "wrong_connection_id", needs: session, run: func(a *attack) string {
			return a.try(a.token(), 12345, mainChannel)
		}},
		{Name: "token/fresh, with the connection id of somebody else's session", Want: "bad_connection_id", Reason: "wrong_connection_id", needs: session, run: func(a *attack) string {
			s := a.withSession()
			return a.try(a.token(), s.id, inputs)
		}},
		{Name: "token/random, with the connection id of somebody else's session", Want: denied, Reason: "token_unknown", needs: session, run: func(a *attack) string {
			s := a.withSession()
			return a.try(rand.Text(), s.id, inputs)
		}},
		{Name: "token/of one session with the connection id of another", Want: "bad_connection_id", Reason: "wrong_connection_id", needs: session, run: func(a *attack) string {
			one := a.withSession()
			other := a.session()
			if one.id == other.id {
				other.id++
			}
			return a.try(one.token, other.id, inputs)
		}},
		{Name: "token/good, with connection id 0 for a further channel", Want: "bad_connection_id", Reason: "wrong_connection_id", needs: session, run: func(a *attack) string {
			s := a.withSession()
			return a.try(s.token, 0, display)
		}},
		{Name: "ticket/noise", Want: denied, Reason: "malformed", run: tickets(spice, []byte(strings.Repeat("\xa5", link.TicketSize)))},
		{Name: "ticket/zeros", Want: denied, Reason: "malformed", run: tickets(spice, make([]byte, link.TicketSize))},
		{Name: "ticket/for another server's key", Want: denied, Reason: "malformed", run: tickets(spice, foreign())},
		{Name: "ticket/SASL", Want: "invalid_data", Reason: "malformed", run: tickets(sasl, make([]byte, link.TicketSize))},
		{Name: "ticket/mechanism 99", Want: "invalid_data", Reason: "malformed", run: tickets(99, make([]byte, link.TicketSize))},
		{Name: "ticket/half", Want: closed, Reason: "malformed", run: func(a *attack) string {
			conn, _ := a.pending(0, mainChannel)
			a.send(conn, append(binary.LittleEndian.AppendUint32(nil, spice), make([]byte, 64)...))
			_ = conn.(*tls.Conn).CloseWrite()
			return a.result(conn)
		}},
	}
}

// withSession opens a session, on a played console if possible.
func (a *attack) withSession() session {
	if a.t.plays() && a.console == nil {
		a.good()
	}
	return a.session()
}

// served opens a session and, if the console is played, passes a message each way.
func (a *attack) served() string {
	s := a.withSession()
	if a.console == nil {
		return ok
	}
	return a.echo(s)
}

func swapCase(s string) string {
	return strings.Map(func(r rune) rune {
		if u := []rune(strings.ToUpper(string(r)))[0]; u != r {
			return u
		}
		return []rune(strings.ToLower(string(r)))[0]
	}, s)
}

// slowCases are slow, or disconnect.
func slowCases() []Case {
	const bad = "malformed"
	silentAfter := func(steps func(a *attack) net.Conn) func(a *attack) string {
		return func(a *attack) string { return a.hears(steps(a)) }
	}
	// The effect of a reset shows at the console: nothing may be linked there.
	resetAfter := func(steps func(a *attack) net.Conn) func(a *attack) string {
		return func(a *attack) string {
			a.good()
			conn := steps(a)
			if s, wrapped := conn.(*tls.Conn); wrapped {
				conn = s.NetConn()
			}
			_ = conn.(*net.TCPConn).SetLinger(0)
			conn.Close()
			// The console must first see the session that follows.
			s := a.session()
			if n := len(a.console.linked); n > 0 {
				return fmt.Sprintf("%d channels without a client", n)
			}
			return a.echo(s)
		}
	}
	tcp := func(a *attack) net.Conn { return a.tcp(a.t.TLSAddr) }
	inTLS := func(a *attack) net.Conn { return a.dial() }
	afterRequest := func(a *attack) net.Conn { conn, _ := a.pending(0, mainChannel); return conn }
	lead := []need{needConsole}
	return []Case{
		{Name: "slow/no byte", Want: closed, Reason: bad, run: silentAfter(tcp)},
		{Name: "slow/no byte on the plaintext port", Want: closed, Reason: bad, needs: []need{needPlain}, run: silentAfter(func(a *attack) net.Conn { return a.tcp(a.t.Addr) })},
		{Name: "slow/half a TLS hello", Want: closed, Reason: bad, run: silentAfter(func(a *attack) net.Conn {
			conn := tcp(a)
			a.send(conn, []byte{22, 3, 1, 2, 0, 1})
			return conn
		})},
		{Name: "slow/nothing after TLS", Want: closed, Reason: bad, run: silentAfter(inTLS)},
		{Name: "slow/nothing after the magic", Want: closed, Reason: bad, run: silentAfter(func(a *attack) net.Conn {
			conn := inTLS(a)
			a.send(conn, []byte("REDQ"))
			return conn
		})},
		{Name: "slow/no ticket after the link", Want: closed, Reason: bad, run: func(a *attack) string { return a.result(afterRequest(a)) }},
		{Name: "slow/a byte now and then", Want: closed, Reason: bad, run: func(a *attack) string {
			conn := a.dial()
			good := request(0, mainChannel)
			pause := a.t.patience() / 40
			for i := range good {
				a.send(conn, good[i:i+1])
				_ = conn.SetReadDeadline(time.Now().Add(pause))
				var b [1]byte
				if n, err := conn.Read(b[:]); n == 0 && !isTimeout(err) {
					return closed
				}
			}
			return open
		}},
		{Name: "reset/after TCP", Want: ok, needs: lead, run: resetAfter(tcp)},
		{Name: "reset/after TLS", Want: ok, needs: lead, run: resetAfter(inTLS)},
		{Name: "reset/after the link", Want: ok, needs: lead, run: resetAfter(afterRequest)},
		{Name: "reset/of a client ends its channel at the console", Want: ended, needs: lead, run: func(a *attack) string {
			s := a.withSession()
			conn := s.main.(*tls.Conn).NetConn().(*net.TCPConn)
			_ = conn.SetLinger(0)
			conn.Close()
			return a.reaches(s.far)
		}},
		{Name: "burst/300 connections that say nothing", Want: ok, Reason: "too_many_handshakes", run: func(a *attack) string {
			for range 300 {
				a.tcp(a.t.TLSAddr)
			}
			return a.served()
		}},
		{Name: "burst/150 halves of a TLS hello, and 150 connections that say nothing", Want: ok, run: func(a *attack) string {
			for range 150 {
				conn := a.tcp(a.t.TLSAddr)
				a.send(conn, []byte{22, 3, 1, 2, 0, 1})
			}
			for range 150 {
				a.tcp(a.t.TLSAddr)
			}
			return a.served()
		}},
	}
}

func isTimeout(err error) bool {
	timeout, ok := err.(net.Error)
	return ok && timeout.Timeout()
}
