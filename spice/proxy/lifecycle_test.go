package proxy_test

// How sessions end, what viewers get to know of it, and what the audit log says.

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice/link"
	"github.com/spicelane/spicelane/spice/proxy"
	"github.com/spicelane/spicelane/spice/vv"
	"github.com/spicelane/spicelane/spice/wire"
)

// lines parses an audit log.
func lines(t *testing.T, log string) (all []map[string]any) {
	t.Helper()
	for in := bufio.NewScanner(strings.NewReader(log)); in.Scan(); {
		var line map[string]any
		require.NoError(t, json.Unmarshal(in.Bytes(), &line), in.Text())
		all = append(all, line)
	}
	return all
}

func TestTheAuditLogSaysWhoDidWhatAndWhyItEnded(t *testing.T) {
	audit := &safeBuffer{}
	l := up(t, newConsole(t, "tcp", nil), func(c *proxy.Config) { c.Audit, c.Linger = audit, time.Millisecond })
	_, body := l.ask("GET", vvPath+"?viewer=alice")
	file, err := vv.Parse("console.vv", []byte(body))
	require.NoError(t, err)
	client, err := l.link(file.Password, 0, mainChannel)
	require.NoError(t, err)
	server := l.console.next(t)
	write(t, server, message(mainInitType, mainInit(session)))
	expect(t, client, message(mainInitType, mainInit(session)))
	write(t, client, message(3, make([]byte, 12)))
	expect(t, server, message(3, make([]byte, 12)))
	l.clock.Advance(1500 * time.Millisecond)
	require.Equal(t, "alice", l.Sessions()[0].Viewer)
	client.Close()
	l.event(proxy.EventSessionClosed)

	got := lines(t, audit.String())
	var kinds []string
	for _, line := range got {
		kinds = append(kinds, line["event"].(string))
		assert.Equal(t, "alice", line["viewer"], line)
		assert.Equal(t, uuid, line["uuid"])
		assert.Equal(t, "beacon", line["console"])
		_, err := time.Parse(time.RFC3339Nano, line["time"].(string))
		assert.NoError(t, err)
	}
	assert.Equal(t, []string{"token_issued", "session_opened", "channel_opened", "channel_closed", "session_closed"}, kinds)
	closed := got[3]
	assert.Equal(t, []any{"main:0", "client_closed", "client", 1500.0, 18.0, 38.0, client.LocalAddr().String()},
		[]any{closed["channel"], closed["reason"], closed["ended_by"], closed["lasted_ms"], closed["bytes_from_client"], closed["bytes_from_server"], closed["client"]})
	over := got[4]
	assert.Equal(t, []any{nil, "client_closed", "client", 1500.0, 18.0, 38.0},
		[]any{over["channel"], over["reason"], over["ended_by"], over["lasted_ms"], over["bytes_from_client"], over["bytes_from_server"]})
	assert.NotEmpty(t, over["session"])
	for _, secret := range []string{file.Password, ticket, apiToken} {
		assert.NotContains(t, audit.String(), secret)
	}
}

func TestARefusedLinkHasALineOfItsOwn(t *testing.T) {
	audit := &safeBuffer{}
	l := up(t, newConsole(t, "tcp", nil), func(c *proxy.Config) { c.Audit = audit })
	_, err := l.link("never-issued-token", 0, mainChannel)
	l.denied(err, wire.ResultPermissionDenied, proxy.ReasonTokenUnknown)
	got := lines(t, audit.String())
	require.Len(t, got, 1)
	assert.Equal(t, []any{"link_refused", "token_unknown", "main:0"}, []any{got[0]["event"], got[0]["reason"], got[0]["channel"]})
	assert.NotContains(t, audit.String(), "never-issued-token")
	assert.NotContains(t, got[0], "bytes_from_client")
}

// full is a disk that takes so many lines.
type full struct {
	bytes.Buffer
	left int
}

func (f *full) Write(b []byte) (int, error) {
	if f.left--; f.left < 0 {
		return 0, errors.New("no space left on device")
	}
	return f.Buffer.Write(b)
}

func TestAFullDiskUnderTheAuditLogEndsNobodysSession(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil), func(c *proxy.Config) { c.Audit = &full{left: 1} })
	_, client, server := l.open()
	write(t, server, message(4, nil))
	expect(t, client, message(4, nil))
	assert.Equal(t, 1, strings.Count(l.log.String(), "the audit log cannot be written"), "said once")
	_, body := l.ask("GET", "/metrics")
	assert.Contains(t, body, "spicelane_proxy_audit_lines_lost_total 2\n")
}

func TestAViewersNameIsChecked(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil))
	for _, bad := range []string{strings.Repeat("x", 129), "a%0Ab", "%1b[2J"} {
		resp, body := l.ask("GET", vvPath+"?viewer="+bad)
		assert.Equal(t, http.StatusBadRequest, resp.StatusCode)
		assert.Equal(t, "bad_viewer", failed(t, resp, body))
	}
}

func TestASecondViewer(t *testing.T) {
	t.Run("shares by default", func(t *testing.T) {
		l := up(t, newConsole(t, "tcp", nil))
		l.open()
		l.open()
		assert.Len(t, l.Sessions(), 2)
	})
	t.Run("is refused and keeps its token", func(t *testing.T) {
		l := up(t, newConsole(t, "tcp", nil), func(c *proxy.Config) { c.Takeover, c.Linger = proxy.TakeoverRefuse, time.Millisecond })
		_, first, _ := l.open()
		token := l.token()
		_, err := l.link(token, 0, mainChannel)
		e := l.denied(err, wire.ResultChannelNotAvailable, proxy.ReasonConsoleTaken)
		assert.Equal(t, uuid, e.UUID)
		_, err = l.link("never issued", 0, mainChannel)
		l.denied(err, wire.ResultPermissionDenied, proxy.ReasonTokenUnknown)
		first.Close()
		l.event(proxy.EventSessionClosed)
		_, err = l.link(token, 0, mainChannel)
		assert.NoError(t, err)
	})
	t.Run("replaces the first, which gets a notice", func(t *testing.T) {
		l := up(t, newConsole(t, "tcp", nil), func(c *proxy.Config) { c.Takeover = proxy.TakeoverReplace })
		token, client, _ := l.open()
		picture, err := l.link(token, session, display)
		require.NoError(t, err)
		l.console.next(t)
		lost := l.Sessions()[0].ID
		token2, client2, server2 := l.open()
		told(t, client, "Another viewer has taken over this console.")
		ends(t, picture)
		require.Len(t, l.Sessions(), 1)
		var e proxy.Event
		for e = l.event(proxy.EventSessionClosed); e.Session != lost; {
			e = l.event(proxy.EventSessionClosed)
		}
		assert.Equal(t, proxy.ReasonReplaced, e.Reason)
		assert.Equal(t, "session "+l.Sessions()[0].ID, e.EndedBy)
		// The loser's token opens nothing any more, the winner's does.
		_, err = l.link(token, session, inputs)
		assertCode(t, err, wire.ResultPermissionDenied)
		_, err = l.link(token, 0, mainChannel)
		assertCode(t, err, wire.ResultPermissionDenied)
		_, err = l.link(token2, session, inputs)
		assert.NoError(t, err)
		write(t, server2, message(4, nil))
		expect(t, client2, message(4, nil))
	})
	t.Run("of another console is nobody's business", func(t *testing.T) {
		other := newConsole(t, "tcp", nil)
		other.UUID = "6f4e2c1a-0000-0000-0000-000000000002"
		l := up(t, newConsole(t, "tcp", nil), func(c *proxy.Config) { c.Takeover = proxy.TakeoverReplace })
		l.lab.consoles = append(l.lab.consoles, other)
		l.open()
		file, err := l.VV(t.Context(), source, other.UUID)
		require.NoError(t, err)
		_, err = l.link(file.Password, 0, mainChannel)
		require.NoError(t, err)
		other.next(t)
		assert.Len(t, l.Sessions(), 2)
	})
	_, err := proxy.Start(t.Context(), proxy.Config{TLS: testBundle(), Consoles: &lab{}, Takeover: "fight"})
	assert.ErrorContains(t, err, `Config.Takeover is "fight"`)
}

func TestShutdownTellsEverybodyAndWaitsForThem(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil))
	_, client, server := l.open()
	_, client2, _ := l.open()
	ctx, cancel := context.WithTimeout(t.Context(), most)
	defer cancel()
	require.NoError(t, l.Shutdown(ctx))
	told(t, client, "The console proxy is shutting down.")
	told(t, client2, "The console proxy is shutting down.")
	ends(t, server)
	for range 2 {
		e := l.event(proxy.EventSessionClosed)
		assert.Equal(t, proxy.ReasonShutdown, e.Reason)
		assert.Equal(t, "proxy", e.EndedBy)
	}
	assert.NoError(t, l.Wait())
}

func TestShutdownIsBoundedAndSaysWhatItCut(t *testing.T) {
	c := newConsole(t, "tcp", nil)
	released := make(chan struct{})
	l := up(t, c, func(c *proxy.Config) {
		next := c.OnEvent
		c.OnEvent = func(e proxy.Event) {
			next(e)
			if e.Kind == proxy.EventChannelClosed {
				<-released // what keeps a session from leaving
			}
		}
	})
	l.open()
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Shutdown(ctx) }()
	l.event(proxy.EventChannelClosed)
	cancel(errors.New("ten seconds have passed"))
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", l.APIAddr())
		if err == nil {
			conn.Close()
		}
		return err != nil
	}, most, time.Millisecond, "it has given up")
	close(released)
	assert.EqualError(t, <-done, "proxy: sessions that were cut: 1: ten seconds have passed")
	assert.NoError(t, l.Wait())
}

// A client that gives up while its console is slow has a session that is over at once. Its lines in
// the audit log say why, as those of any other.
func TestAClientThatHasGoneWhenItsConsoleAnswersHasEndedItsSession(t *testing.T) {
	c := newConsole(t, "tcp", nil)
	c.hold = make(chan struct{})
	l := up(t, c)
	conn := l.dial()
	ctx, cancel := context.WithTimeout(t.Context(), most)
	defer cancel()
	pending, err := link.Open(ctx, conn, link.Config{Channel: mainChannel, CommonCaps: link.CommonCaps})
	require.NoError(t, err)
	gaveUp := make(chan error, 1)
	patience, giveUp := context.WithCancel(ctx)
	token := l.token()
	go func() { gaveUp <- pending.Authenticate(patience, token) }()
	require.Eventually(t, func() bool { return len(l.Sessions()) == 1 }, most, time.Millisecond)
	giveUp()
	require.ErrorIs(t, <-gaveUp, context.Canceled)
	raw := conn.NetConn().(*net.TCPConn)
	require.NoError(t, raw.SetLinger(0))
	require.NoError(t, raw.Close())
	close(c.hold)
	for _, kind := range []proxy.EventKind{proxy.EventChannelClosed, proxy.EventSessionClosed} {
		e := l.event(kind)
		assert.Equal(t, proxy.ReasonClientClosed, e.Reason, kind)
		assert.Equal(t, "client", e.EndedBy, kind)
	}
}

// A client that was in its handshake when the others were ended must not hold the proxy up.
func TestShutdownLetsNobodyInAnyMore(t *testing.T) {
	c := newConsole(t, "tcp", nil)
	released := make(chan struct{})
	release := sync.OnceFunc(func() { close(released) })
	l := up(t, c, func(c *proxy.Config) {
		next := c.OnEvent
		c.OnEvent = func(e proxy.Event) {
			next(e)
			if e.Kind == proxy.EventChannelClosed && e.Reason == proxy.ReasonSessionEnded {
				<-released // what keeps a session from leaving
			}
		}
	})
	t.Cleanup(release)
	l.open()
	late := l.token()
	conn := l.dial()
	ctx, cancel := context.WithTimeout(t.Context(), most)
	defer cancel()
	pending, err := link.Open(ctx, conn, link.Config{Channel: mainChannel, CommonCaps: link.CommonCaps})
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- l.Shutdown(ctx) }()
	l.event(proxy.EventChannelClosed)
	err = pending.Authenticate(ctx, late)
	l.denied(err, wire.ResultError, proxy.ReasonShutdown)
	release()
	assert.NoError(t, <-done)
}

func TestHealthSaysThatTheProxyDrains(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil))
	l.Drain()
	resp, body := l.ask("GET", "/healthz")
	assert.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	assert.Equal(t, "draining", failed(t, resp, body))
}

func TestAClientWithFullHeadersIsToldToo(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil))
	client, err := l.linkAs(link.Config{Channel: mainChannel, CommonCaps: wire.MakeCaps(wire.CapAuthSelection, wire.CapAuthSpice), Secret: l.token()})
	require.NoError(t, err)
	server := l.console.next(t)
	w := wire.NewFrameWriter(server, wire.FrameConfig{})
	require.NoError(t, w.WriteRaw(wire.Header{Serial: 1, Type: 4}, make([]byte, 12)))
	in := wire.NewFrameReader(client, wire.FrameConfig{})
	h, err := in.Next()
	require.NoError(t, err)
	assert.Equal(t, uint64(1), h.Serial)
	require.True(t, l.EndSession(l.Sessions()[0].ID))
	h, err = in.Next()
	require.NoError(t, err)
	assert.Equal(t, wire.Header{Serial: 2, Type: 7, Size: h.Size}, h)
	h, err = in.Next()
	require.NoError(t, err)
	assert.Equal(t, wire.Header{Serial: 3, Type: 6, Size: 12}, h)
}

func TestNobodyIsToldInTheMiddleOfAMessage(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil))
	_, client, server := l.open()
	half := message(4, make([]byte, 12))[:10]
	write(t, server, half)
	expect(t, client, half)
	require.True(t, l.EndSession(l.Sessions()[0].ID))
	ends(t, client)
}
