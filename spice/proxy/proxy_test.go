package proxy_test

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"math/rand"
	"net"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice/link"
	"github.com/spicelane/spicelane/spice/pki"
	"github.com/spicelane/spicelane/spice/proxy"
	"github.com/spicelane/spicelane/spice/spicetest"
	"github.com/spicelane/spicelane/spice/wire"
)

func TestChannelsAreRelayedByteForByteOverEveryKindOfBackend(t *testing.T) {
	for name, newBackend := range map[string]func(t *testing.T) *console{
		"tcp":  func(t *testing.T) *console { return newConsole(t, "tcp", nil) },
		"unix": func(t *testing.T) *console { return newConsole(t, "unix", nil) },
		"tls":  func(t *testing.T) *console { return newConsole(t, "tcp", testBundle()) },
	} {
		t.Run(name, func(t *testing.T) {
			l := up(t, newBackend(t), func(c *proxy.Config) { c.Firewall.Mode = proxy.FirewallOff })
			token, client, server := l.open()
			assert.Equal(t, uint32(0), server.request.ConnectionID)
			client2, err := l.link(token, session, display)
			require.NoError(t, err)
			server2 := l.console.next(t)
			assert.Equal(t, display, server2.request.Channel)
			assert.Equal(t, uint32(session), server2.request.ConnectionID)

			rng := rand.New(rand.NewSource(1))
			for _, pair := range [][2]net.Conn{{client, server}, {server, client}, {client2, server2}, {server2, client2}} {
				noise := make([]byte, 1<<20)
				rng.Read(noise)
				// Also types that no protocol knows, and a body that looks
				// like anything.
				msg := message(0xfff0, noise)
				var wg sync.WaitGroup
				wg.Go(func() {
					for rest := msg; len(rest) > 0; {
						n := min(1+rng.Intn(100_000), len(rest))
						if _, err := pair[0].Write(rest[:n]); err != nil {
							return
						}
						rest = rest[n:]
					}
				})
				expect(t, pair[1], msg)
				wg.Wait()
			}

			info := l.Sessions()
			require.Len(t, info, 1)
			assert.Equal(t, "beacon", info[0].Name)
			require.Len(t, info[0].Channels, 2)
			size := uint64(1<<20 + 6)
			assert.Equal(t, size, info[0].Channels[1].BytesFromClient)
			assert.Equal(t, uint64(1), info[0].Channels[1].MessagesFromClient)
			assert.Equal(t, uint64(2), info[0].Channels[0].MessagesFromServer, "MAIN_INIT and the noise")
		})
	}
}

func TestTheConsoleSeesTheClientsChannelAndCapabilitiesAndItsOwnTicket(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil))
	token, _, _ := l.open()
	caps := wire.Caps{0x5a5a5a5a, 0, 0x80000001}
	// One common capability beyond those that the proxy offered, which would
	// change the framing behind its back.
	common := link.CommonCaps.Clone()
	common.Set(17)
	_, err := l.linkAs(link.Config{ConnectionID: session, Channel: wire.ChannelID{Type: wire.ChannelDisplay, ID: 3},
		CommonCaps: common, ChannelCaps: caps, Secret: token})
	require.NoError(t, err)
	got := l.console.next(t).request
	assert.Equal(t, wire.ChannelID{Type: wire.ChannelDisplay, ID: 3}, got.Channel)
	assert.Equal(t, caps, got.ChannelCaps)
	assert.Equal(t, link.CommonCaps.List(), got.CommonCaps.List())
}

func TestAClientWithoutAuthSelectionIsLetInToo(t *testing.T) {
	for name, common := range map[string]wire.Caps{
		"full headers": nil,
		"mini headers": wire.MakeCaps(wire.CapMiniHeader),
	} {
		t.Run(name, func(t *testing.T) {
			l := up(t, newConsole(t, "tcp", nil))
			token := l.token()
			client, err := l.linkAs(link.Config{Channel: mainChannel, CommonCaps: common, Secret: token})
			require.NoError(t, err)
			server := l.console.next(t)
			var hello bytes.Buffer
			w := wire.NewFrameWriter(&hello, wire.FrameConfig{Mini: common.Has(wire.CapMiniHeader)})
			require.NoError(t, w.WriteMessage(&wire.MainInit{SessionID: session}))
			write(t, server, hello.Bytes())
			expect(t, client, hello.Bytes())
			_, err = l.link(token, session, display)
			assert.NoError(t, err, "the connection id was read whatever the header")
		})
	}
}

func TestTheClientIsLetInOnlyWhenTheConsoleDid(t *testing.T) {
	c := newConsole(t, "tcp", nil)
	hold := make(chan struct{})
	c.set(func(c *console) { c.hold = hold })
	l := up(t, c)
	conn := l.dial()
	p, err := link.Open(t.Context(), conn, link.Config{Channel: mainChannel, CommonCaps: link.CommonCaps})
	require.NoError(t, err)
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err = p.Authenticate(short, l.token())
	require.ErrorIs(t, err, context.DeadlineExceeded, "the console has not answered yet")
	close(hold)
	expect(t, conn, []byte{0, 0, 0, 0})
}

func TestThePlaintextPortSendsEverybodyToTLS(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil))
	conn, err := net.Dial("tcp", l.Addr())
	require.NoError(t, err)
	defer conn.Close()
	_, err = link.Client(t.Context(), conn, link.Config{CommonCaps: link.CommonCaps, Secret: l.token()})
	l.denied(err, wire.ResultNeedSecured, proxy.ReasonNeedSecured)
	ends(t, conn)
}

func TestATokenOpensOneSessionWithinItsTime(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil))

	_, err := l.link("never issued", 0, mainChannel)
	e := l.denied(err, wire.ResultPermissionDenied, proxy.ReasonTokenUnknown)
	assert.Empty(t, e.UUID)
	_, err = l.link("", 0, mainChannel)
	l.denied(err, wire.ResultPermissionDenied, proxy.ReasonTokenUnknown)

	late := l.token()
	l.clock.Advance(proxy.DefaultTokenLifetime)
	_, err = l.link(late, 0, mainChannel)
	e = l.denied(err, wire.ResultPermissionDenied, proxy.ReasonTokenExpired)
	assert.Equal(t, uuid, e.UUID)
	_, err = l.link(late, session, display)
	l.denied(err, wire.ResultPermissionDenied, proxy.ReasonTokenExpired)

	// A .vv for another viewer removes old tokens.
	l.clock.Advance(2 * time.Minute)
	token := l.token()
	_, err = l.link(late, 0, mainChannel)
	l.denied(err, wire.ResultPermissionDenied, proxy.ReasonTokenExpired)
	l.clock.Advance(proxy.DefaultTokenLifetime - 1)
	client, err := l.link(token, 0, mainChannel)
	require.NoError(t, err)
	server := l.console.next(t)
	_, err = l.link(token, 0, mainChannel)
	l.denied(err, wire.ResultPermissionDenied, proxy.ReasonTokenReplayed)

	// Expiry is about unused tokens: the session goes on.
	l.clock.Advance(time.Hour)
	write(t, server, message(mainInitType, mainInit(session)))
	expect(t, client, message(mainInitType, mainInit(session)))
	_, err = l.link(token, session, display)
	assert.NoError(t, err)

	// Long after, nobody remembers the one that expired.
	l.token()
	_, err = l.link(late, 0, mainChannel)
	l.denied(err, wire.ResultPermissionDenied, proxy.ReasonTokenUnknown)
}

func TestOfManyClientsWithOneTokenOneIsLetIn(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil))
	token := l.token()
	results := make(chan error, 8)
	for range cap(results) {
		conn := l.dial()
		go func() {
			_, err := link.Client(t.Context(), conn, link.Config{CommonCaps: link.CommonCaps, Secret: token})
			results <- err
		}()
	}
	in := 0
	for range cap(results) {
		if err := <-results; err == nil {
			in++
		} else {
			assertCode(t, err, wire.ResultPermissionDenied)
		}
	}
	assert.Equal(t, 1, in)
}

func TestFurtherChannelsNeedTokenAndConnectionIDOfOneSession(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil))
	fresh := l.token()
	_, err := l.link(fresh, 0, display)
	l.denied(err, wire.ResultBadConnectionID, proxy.ReasonWrongConnectionID)
	_, err = l.link(fresh, session, display)
	l.denied(err, wire.ResultBadConnectionID, proxy.ReasonWrongConnectionID)

	token := l.token()
	client, err := l.link(token, 0, mainChannel)
	require.NoError(t, err)
	server := l.console.next(t)
	for _, id := range []uint32{0, session} {
		_, err = l.link(token, id, display)
		l.denied(err, wire.ResultBadConnectionID, proxy.ReasonWrongConnectionID)
	}
	write(t, server, message(mainInitType, mainInit(session)))
	expect(t, client, message(mainInitType, mainInit(session)))

	for _, id := range []uint32{0, session + 1} {
		_, err = l.link(token, id, display)
		e := l.denied(err, wire.ResultBadConnectionID, proxy.ReasonWrongConnectionID)
		assert.NotEmpty(t, e.Session)
	}
	_, err = l.link(fresh, session, display)
	l.denied(err, wire.ResultBadConnectionID, proxy.ReasonWrongConnectionID)
	_, err = l.link("never issued", session, display)
	l.denied(err, wire.ResultPermissionDenied, proxy.ReasonTokenUnknown)
	_, err = l.link(token, session, mainChannel)
	l.denied(err, wire.ResultChannelNotAvailable, proxy.ReasonSecondMain)
	_, err = l.link(token, session, display)
	assert.NoError(t, err)

	// All this did not cost the other token its use.
	_, err = l.link(fresh, 0, mainChannel)
	assert.NoError(t, err)
}

func TestTwoSessionsMayHaveTheSameConnectionID(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil))
	a, _, _ := l.open()
	b, _, _ := l.open()
	for _, token := range []string{a, b} {
		_, err := l.link(token, session, display)
		require.NoError(t, err)
	}
	info := l.Sessions()
	require.Len(t, info, 2)
	for _, s := range info {
		assert.Len(t, s.Channels, 2)
	}
}

func TestTheEndOfTheMainChannelIsTheEndOfTheSession(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil), func(c *proxy.Config) { c.Linger = 50 * time.Millisecond })
	token, client, server := l.open()
	display1, err := l.link(token, session, display)
	require.NoError(t, err)
	l.console.next(t)
	require.NoError(t, server.Close())
	ends(t, client)
	e := l.event(proxy.EventChannelClosed)
	assert.Equal(t, "main:0", e.Channel)
	assert.Equal(t, proxy.ReasonServerClosed, e.Reason)
	// This console does not hang up on the other channels: the proxy does.
	ends(t, display1)
	l.event(proxy.EventSessionClosed)
	assert.Empty(t, l.Sessions())
	assert.Zero(t, l.Held())
	_, err = l.link(token, session, display)
	l.denied(err, wire.ResultPermissionDenied, proxy.ReasonSessionOver)
	_, err = l.link(token, 0, mainChannel)
	l.denied(err, wire.ResultPermissionDenied, proxy.ReasonTokenReplayed)
}

func TestNoChannelJoinsASessionWhoseMainChannelIsGone(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil))
	token, client, server := l.open()
	_, err := l.link(token, session, display)
	require.NoError(t, err)
	server.Close()
	ends(t, client)
	client.Close()
	l.event(proxy.EventChannelClosed)
	require.Eventually(t, func() bool { return len(l.Sessions()[0].Channels) == 1 }, most, time.Millisecond)
	_, err = l.link(token, session, inputs)
	l.denied(err, wire.ResultPermissionDenied, proxy.ReasonSessionOver)
}

func TestHalfACloseLeavesTheOtherDirectionOpen(t *testing.T) {
	l := up(t, newConsole(t, "unix", nil))
	_, client, server := l.open()
	require.NoError(t, client.CloseWrite())
	ends(t, server)
	last := message(4, bytes.Repeat([]byte("x"), 200_000))
	var wg sync.WaitGroup
	wg.Go(func() {
		server.Write(last)
		server.Close()
	})
	expect(t, client, last)
	ends(t, client)
	wg.Wait()
	assert.Equal(t, proxy.ReasonClientClosed, l.event(proxy.EventChannelClosed).Reason)
	l.event(proxy.EventSessionClosed)
}

// answering is a server that has hung up, and been seen to, before the proxy knows
// that it has told it of the client's end.
type answering struct {
	*spicetest.PipeConn
	answered chan struct{}
}

func (a answering) CloseWrite() error {
	err := a.PipeConn.CloseWrite()
	<-a.answered
	return err
}

func TestWhoHungUpFirstIsNotMistaken(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), most)
	defer cancel()
	client, proxyToClient := spicetest.Pipe()
	proxyToServer, server := spicetest.Pipe()
	answered := make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		defer close(answered)
		client.CloseWrite()
		_, err := server.Read(make([]byte, 1))
		assert.ErrorIs(t, err, io.EOF)
		server.Close()
		_, err = client.Read(make([]byte, 1))
		assert.ErrorIs(t, err, io.EOF)
		for range 1000 { // the other direction's end is noted about now
			runtime.Gosched()
		}
	})
	reason, err := proxy.Relay(ctx, most, proxyToClient, answering{proxyToServer, answered})
	require.NoError(t, err)
	assert.Equal(t, proxy.ReasonClientClosed, reason)
}

func TestHalfACloseDoesNotLastForEver(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil), func(c *proxy.Config) { c.Linger = 20 * time.Millisecond })
	_, client, server := l.open()
	require.NoError(t, server.Conn.(*net.TCPConn).CloseWrite())
	ends(t, client)
	assert.Equal(t, proxy.ReasonServerClosed, l.event(proxy.EventChannelClosed).Reason)
	ends(t, server)
}

func TestAClientThatVanishesEndsItsChannel(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil))
	_, client, server := l.open()
	// No close_notify: the process was killed.
	require.NoError(t, client.NetConn().Close())
	ends(t, server)
	server.Close()
	assert.Equal(t, proxy.ReasonClientClosed, l.event(proxy.EventChannelClosed).Reason)
}

func TestAClientThatVanishesInTheMiddleOfARecordEndsItsChannel(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil))
	_, client, server := l.open()
	write(t, client.NetConn(), []byte{23, 3, 3, 0, 50, 1})
	require.NoError(t, client.NetConn().Close())
	ends(t, server)
	e := l.event(proxy.EventChannelClosed)
	assert.Equal(t, proxy.ReasonClientClosed, e.Reason)
	assert.ErrorIs(t, e.Err, io.ErrUnexpectedEOF)
}

func TestAConnectionThatSaysNothingIsNoEvent(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil))
	conn, err := net.Dial("tcp", l.TLSAddr())
	require.NoError(t, err)
	require.NoError(t, conn.(*net.TCPConn).CloseWrite())
	_, err = io.ReadAll(conn)
	require.NoError(t, err)
	conn.Close()
	_, err = l.link("never issued", 0, mainChannel)
	l.denied(err, wire.ResultPermissionDenied, proxy.ReasonTokenUnknown)
}

func TestAConsoleThatDoesNotAnswerIsGivenUp(t *testing.T) {
	c := newConsole(t, "tcp", nil)
	hold := make(chan struct{})
	c.set(func(c *console) { c.hold = hold })
	l := up(t, c, func(c *proxy.Config) { c.DialTimeout = 50 * time.Millisecond })
	_, err := l.link(l.token(), 0, mainChannel)
	assertCode(t, err, wire.ResultError)
	assert.ErrorIs(t, l.event(proxy.EventBackendFailed).Err, context.DeadlineExceeded)
	close(hold)
	ends(t, c.next(t))
}

func TestAResetIsTheEndOfTheSideThatSentIt(t *testing.T) {
	for name, c := range map[string]struct {
		reset func(client *tls.Conn, server *served) net.Conn
		want  proxy.Reason
	}{
		"client": {func(client *tls.Conn, _ *served) net.Conn { return client.NetConn() }, proxy.ReasonClientClosed},
		"server": {func(_ *tls.Conn, server *served) net.Conn { return server.Conn }, proxy.ReasonServerClosed},
	} {
		t.Run(name, func(t *testing.T) {
			l := up(t, newConsole(t, "tcp", nil))
			_, client, server := l.open()
			conn := c.reset(client, server).(*net.TCPConn)
			require.NoError(t, conn.SetLinger(0))
			require.NoError(t, conn.Close())
			e := l.event(proxy.EventChannelClosed)
			assert.Equal(t, c.want, e.Reason)
			assert.ErrorIs(t, e.Err, syscall.ECONNRESET)
			l.event(proxy.EventSessionClosed)
		})
	}
}

func TestAnEndedSessionIsCutOnAllChannels(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil))
	token, client, server := l.open()
	client2, err := l.link(token, session, display)
	require.NoError(t, err)
	server2 := l.console.next(t)
	other, _, _ := l.open()

	id := l.Sessions()[0].ID
	assert.True(t, l.EndSession(id))
	assert.False(t, l.EndSession(id), "it is over")
	told(t, client, "An operator has ended this session.")
	for _, conn := range []net.Conn{server, client2, server2} {
		ends(t, conn)
	}
	assert.Equal(t, proxy.ReasonSessionEnded, l.event(proxy.EventChannelClosed).Reason)
	assert.Equal(t, proxy.ReasonSessionEnded, l.event(proxy.EventChannelClosed).Reason)
	assert.Equal(t, id, l.event(proxy.EventSessionClosed).Session)
	_, err = l.link(token, session, inputs)
	l.denied(err, wire.ResultPermissionDenied, proxy.ReasonSessionOver)
	_, err = l.link(other, session, inputs)
	assert.NoError(t, err, "the other session is untouched")
}

func TestEndingASessionInterruptsALinkInProgress(t *testing.T) {
	c := newConsole(t, "tcp", nil)
	l := up(t, c, func(c *proxy.Config) { c.DialTimeout = time.Hour })
	token, _, _ := l.open()
	hold := make(chan struct{})
	defer close(hold)
	c.set(func(c *console) { c.hold = hold })
	result := make(chan error, 1)
	conn := l.dial()
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), most)
		defer cancel()
		_, err := link.Client(ctx, conn, link.Config{ConnectionID: session, Channel: display, CommonCaps: link.CommonCaps, Secret: token})
		result <- err
	}()
	require.Eventually(t, func() bool { return len(l.Sessions()[0].Channels) == 2 }, most, time.Millisecond)
	assert.True(t, l.EndSession(l.Sessions()[0].ID))
	l.denied(<-result, wire.ResultError, proxy.ReasonSessionOver)
}

func TestWhatIsWrongWithAConsoleIsLoggedAndNotBlamedOnTheToken(t *testing.T) {
	other, err := pki.New(pki.Config{})
	require.NoError(t, err)
	for name, c := range map[string]struct {
		network string
		tls     bool
		change  func(c *console)
		code    wire.Result
		err     string
	}{
		"down":               {"tcp", false, func(c *console) { c.ln.Close() }, wire.ResultError, "connection refused"},
		"socket gone":        {"unix", false, func(c *console) { c.Unix += "x" }, wire.ResultError, "no such file"},
		"wrong ticket":       {"tcp", false, func(c *console) { c.Ticket = "new" }, wire.ResultError, "permission_denied"},
		"needs TLS":          {"tcp", false, func(c *console) { c.refuse = wire.ResultNeedSecured }, wire.ResultError, "need_secured"},
		"no such channel":    {"tcp", false, func(c *console) { c.refuse = wire.ResultChannelNotAvailable }, wire.ResultChannelNotAvailable, "channel_not_available"},
		"bad connection id":  {"tcp", false, func(c *console) { c.refuse = wire.ResultBadConnectionID }, wire.ResultBadConnectionID, "bad_connection_id"},
		"no mini headers":    {"tcp", false, func(c *console) { c.common = wire.MakeCaps(wire.CapAuthSelection, wire.CapAuthSpice) }, wire.ResultError, "mini headers are needed"},
		"SASL only":          {"tcp", false, func(c *console) { c.common = wire.MakeCaps(wire.CapAuthSelection, wire.CapAuthSASL) }, wire.ResultError, "SASL"},
		"other CA":           {"tcp", true, func(c *console) { c.CACert = other.CACert }, wire.ResultError, "unknown authority"},
		"CA is no PEM":       {"tcp", true, func(c *console) { c.CACert = []byte("x") }, wire.ResultError, "not PEM text"},
		"system's CAs":       {"tcp", true, func(c *console) { c.CACert = nil }, wire.ResultError, "certificate"},
		"other name":         {"tcp", true, func(c *console) { c.Hypervisor = "node7" }, wire.ResultError, "node7"},
		"other host subject": {"tcp", true, func(c *console) { c.HostSubject = "CN=node7" }, wire.ResultError, `want host subject "CN=node7"`},
		"TLS to plain":       {"tcp", false, func(c *console) { c.SecurePort = c.InsecurePort }, wire.ResultError, ""},
		"plain to TLS":       {"tcp", true, func(c *console) { c.InsecurePort, c.SecurePort = c.SecurePort, 0 }, wire.ResultError, "TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			var bundle *pki.Bundle
			if c.tls {
				bundle = testBundle()
			}
			faulty := newConsole(t, c.network, bundle)
			l := up(t, faulty)
			token := l.token()
			faulty.set(c.change)
			if name == "wrong ticket" {
				// What the source says and what the console wants differ.
				real := newConsole(t, "tcp", nil)
				faulty.set(func(c *console) { c.InsecurePort = real.InsecurePort })
			}
			_, err := l.link(token, 0, mainChannel)
			assertCode(t, err, c.code)
			e := l.event(proxy.EventBackendFailed)
			assert.Equal(t, proxy.ReasonBackendDown, e.Reason)
			var backend *proxy.BackendError
			require.ErrorAs(t, e.Err, &backend)
			assert.ErrorContains(t, e.Err, c.err)
			assert.Empty(t, l.Sessions())
			_, err = l.link(token, 0, mainChannel)
			l.denied(err, wire.ResultPermissionDenied, proxy.ReasonTokenReplayed)
		})
	}
}

func TestATLSConsoleIsIdentifiedByItsHostSubject(t *testing.T) {
	c := newConsole(t, "tcp", testBundle())
	c.set(func(c *console) { c.Hypervisor, c.HostSubject = "node7", testBundle().HostSubject })
	up(t, c).open()
}

func TestAChangedTicketTakesEffectForTheNextChannel(t *testing.T) {
	c := newConsole(t, "tcp", nil)
	l := up(t, c)
	token, _, _ := l.open()
	c.set(func(c *console) { c.Ticket = "changed meanwhile" })
	_, err := l.link(token, session, display)
	require.NoError(t, err)

	l.lab.mu.Lock()
	l.lab.consoles = nil
	l.lab.mu.Unlock()
	_, err = l.link(token, session, inputs)
	l.denied(err, wire.ResultError, proxy.ReasonConsoleUnknown)
	_, err = l.VV(t.Context(), source, uuid)
	var unknown *proxy.UnknownConsoleError
	assert.ErrorAs(t, err, &unknown)
}

func TestBadInputIsHungUpOn(t *testing.T) {
	request := link.Request{Channel: mainChannel, CommonCaps: link.CommonCaps}.Append(nil)
	changed := func(at int, with byte) []byte {
		b := bytes.Clone(request)
		b[at] = with
		return b
	}
	for name, c := range map[string]struct {
		send   []byte
		answer wire.Result // OK: none
	}{
		"HTTP":              {[]byte("GET / HTTP/1.1\r\n\r\n"), wire.ResultOK},
		"wrong version":     {changed(4, 9), wire.ResultVersionMismatch},
		"announces 4 GiB":   {changed(15, 0xff), wire.ResultInvalidData},
		"announces nothing": {changed(12, 0), wire.ResultInvalidData},
		"a million caps":    {changed(24, 0xff), wire.ResultInvalidData},
		"caps elsewhere":    {changed(33, 0xff), wire.ResultInvalidData},
	} {
		t.Run(name, func(t *testing.T) {
			l := up(t, newConsole(t, "tcp", nil))
			plain, err := net.Dial("tcp", l.Addr())
			require.NoError(t, err)
			defer plain.Close()
			for _, conn := range []net.Conn{l.dial(), plain} {
				write(t, conn, c.send)
				if c.answer != wire.ResultOK {
					var b [20]byte
					_, err := io.ReadFull(conn, b[:])
					require.NoError(t, err)
					assert.Equal(t, c.answer, wire.Result(binary.LittleEndian.Uint32(b[16:])))
				}
				e := l.event(proxy.EventLinkRefused)
				assert.Equal(t, proxy.ReasonMalformed, e.Reason)
				assert.Error(t, e.Err)
			}
			l.open()
		})
	}
}

func TestPlainSPICEOnTheTLSPortIsNamed(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil))
	conn, err := net.Dial("tcp", l.TLSAddr())
	require.NoError(t, err)
	defer conn.Close()
	write(t, conn, link.Request{Channel: mainChannel}.Append(nil))
	assert.ErrorContains(t, l.event(proxy.EventLinkRefused).Err, "SPICE without TLS")
}

func TestTicketsThatCannotBeOpenedAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		mechanism uint32
		code      wire.Result
	}{
		"noise": {uint32(wire.CapAuthSpice), wire.ResultPermissionDenied},
		"SASL":  {uint32(wire.CapAuthSASL), wire.ResultInvalidData},
	} {
		t.Run(name, func(t *testing.T) {
			l := up(t, newConsole(t, "tcp", nil))
			conn := l.dial()
			_, err := link.Open(t.Context(), conn, link.Config{CommonCaps: link.CommonCaps})
			require.NoError(t, err)
			write(t, conn, append(binary.LittleEndian.AppendUint32(nil, c.mechanism), make([]byte, link.TicketSize)...))
			expect(t, conn, binary.LittleEndian.AppendUint32(nil, uint32(c.code)))
			assert.Equal(t, proxy.ReasonMalformed, l.event(proxy.EventLinkRefused).Reason)
			ends(t, conn)
		})
	}
}

func TestAConsoleThatSendsNonsenseLosesItsChannel(t *testing.T) {
	for name, msg := range map[string][]byte{
		"init too short": message(mainInitType, []byte("abc")),
	} {
		t.Run(name, func(t *testing.T) {
			l := up(t, newConsole(t, "tcp", nil))
			client, err := l.link(l.token(), 0, mainChannel)
			require.NoError(t, err)
			write(t, l.console.next(t), msg)
			ends(t, client)
			e := l.event(proxy.EventChannelClosed)
			assert.Equal(t, proxy.ReasonFailed, e.Reason)
			assert.Error(t, e.Err)
		})
	}
}

// Later versions of the protocol may append to MAIN_INIT.
func TestALongMainInitIsReadAndPassedOn(t *testing.T) {
	for _, mode := range []proxy.FirewallMode{proxy.FirewallEnforce, proxy.FirewallOff} {
		l := up(t, newConsole(t, "tcp", nil), func(c *proxy.Config) { c.Firewall.Mode = mode })
		token := l.token()
		client, err := l.link(token, 0, mainChannel)
		require.NoError(t, err)
		msg := message(mainInitType, append(mainInit(session), make([]byte, 10_000)...))
		write(t, l.console.next(t), msg)
		expect(t, client, msg)
		_, err = l.link(token, session, display)
		assert.NoError(t, err, "the connection id was read")
	}
}

func TestSlowClientsAreHungUpOn(t *testing.T) {
	// A client that is not slow takes a few milliseconds, and more on a busy host.
	usual := up(t, newConsole(t, "tcp", nil))
	began := time.Now()
	for range 3 {
		usual.open()
	}
	limit := max(50*time.Millisecond, 10*time.Since(began))
	l := up(t, newConsole(t, "tcp", nil), func(c *proxy.Config) { c.HandshakeTimeout = limit })
	plain, err := net.Dial("tcp", l.Addr())
	require.NoError(t, err)
	defer plain.Close()
	silent, err := net.Dial("tcp", l.TLSAddr())
	require.NoError(t, err)
	defer silent.Close()
	mute := l.dial()
	write(t, mute, []byte("REDQ"))
	waiting := l.dial()
	_, err = link.Open(t.Context(), waiting, link.Config{CommonCaps: link.CommonCaps})
	require.NoError(t, err)
	for _, conn := range []net.Conn{plain, silent, mute, waiting} {
		ends(t, conn)
		assert.Equal(t, proxy.ReasonMalformed, l.event(proxy.EventLinkRefused).Reason)
	}
	// A session is under no such limit.
	_, client, server := l.open()
	later, err := net.Dial("tcp", l.TLSAddr())
	require.NoError(t, err)
	defer later.Close()
	ends(t, later)
	write(t, server, message(1, nil))
	expect(t, client, message(1, nil))
}

func TestHandshakesAreLimitedAndSessionsAreNot(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil), func(c *proxy.Config) { c.MaxHandshakes = 2 })
	for range 4 {
		l.open()
	}
	var open []net.Conn
	for range 2 {
		conn, err := net.Dial("tcp", l.TLSAddr())
		require.NoError(t, err)
		defer conn.Close()
		open = append(open, conn)
	}
	extra, err := net.Dial("tcp", l.TLSAddr())
	require.NoError(t, err)
	defer extra.Close()
	ends(t, open[0])
	assert.Equal(t, proxy.ReasonTooManyHandshakes, l.event(proxy.EventLinkRefused).Reason)
	open[1].Close()
	require.Eventually(t, func() bool {
		conn, err := tls.Dial("tcp", l.TLSAddr(), pki.ClientTLS(l.tls.CAPool(), "", l.tls.HostSubject))
		if err != nil {
			return false
		}
		conn.Close()
		return true
	}, most, time.Millisecond)
}

func TestCloseEndsEverythingAndWaitSaysWhy(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil))
	_, client, server := l.open()
	silent, err := net.Dial("tcp", l.TLSAddr())
	require.NoError(t, err)
	defer silent.Close()
	waited := make(chan error, 1)
	go func() { waited <- l.Wait() }()
	require.NoError(t, l.Close())
	require.NoError(t, l.Close())
	assert.NoError(t, <-waited)
	told(t, client, "The console proxy is shutting down.")
	ends(t, server)
	ends(t, silent)
	assert.Equal(t, proxy.ReasonSessionEnded, l.event(proxy.EventChannelClosed).Reason)
	for _, addr := range []string{l.Addr(), l.TLSAddr(), l.APIAddr()} {
		_, err := net.Dial("tcp", addr)
		assert.Error(t, err)
	}
}

// flaky fails once, and breaks for good when it is closed.
type flaky struct {
	net.Listener
	once sync.Once
}

func (f *flaky) Accept() (net.Conn, error) {
	var err error
	f.once.Do(func() { err = errors.New("too many open files") })
	if err != nil {
		return nil, err
	}
	return f.Listener.Accept()
}

func TestAcceptErrorsArePassedOverAndABrokenListenerEndsTheProxy(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l := up(t, newConsole(t, "tcp", nil), func(c *proxy.Config) { c.TLSListener = &flaky{Listener: ln} })
	assert.Equal(t, ln.Addr().String(), l.TLSAddr())
	l.open()
	ln.Close()
	assert.ErrorContains(t, l.Wait(), "accept on "+ln.Addr().String())
	assert.Empty(t, l.Sessions())
}

func TestStartNamesWhatIsWrong(t *testing.T) {
	good := proxy.Config{TLS: testBundle(), Consoles: &lab{}}
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer busy.Close()
	unix, err := net.Listen("unix", t.TempDir()+"/s")
	require.NoError(t, err)
	for want, change := range map[string]func(c *proxy.Config){
		"Config.TLS is missing":               func(c *proxy.Config) { c.TLS = nil },
		"Config.Consoles is missing":          func(c *proxy.Config) { c.Consoles = nil },
		"Config.Linger is negative":           func(c *proxy.Config) { c.Linger = -1 },
		"Config.MaxHandshakes is negative":    func(c *proxy.Config) { c.MaxHandshakes = -1 },
		"plaintext port: listen tcp":          func(c *proxy.Config) { c.Listen = busy.Addr().String() },
		"TLS port: listen tcp":                func(c *proxy.Config) { c.ListenTLS = "nowhere" },
		"API port: listens on unix, want TCP": func(c *proxy.Config) { c.APIListener = unix },
	} {
		cfg := good
		change(&cfg)
		_, err := proxy.Start(t.Context(), cfg)
		assert.ErrorContains(t, err, want)
	}
	_, err = unix.Accept()
	assert.ErrorIs(t, err, net.ErrClosed, "a listener that was passed in is the proxy's, whatever becomes of it")
}

func TestClientsSeeOneTicketKeyOfTheProtocolsSize(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil))
	var keys [2]*rsa.PublicKey
	for i := range keys {
		conn := l.dial()
		write(t, conn, link.Request{Channel: display}.Append(nil))
		b := make([]byte, 16+4+link.PublicKeySize)
		_, err := io.ReadFull(conn, b)
		require.NoError(t, err)
		key, err := x509.ParsePKIXPublicKey(b[20:])
		require.NoError(t, err)
		keys[i] = key.(*rsa.PublicKey)
	}
	assert.Equal(t, 1024, keys[0].N.BitLen())
	assert.True(t, keys[0].Equal(keys[1]))
}
