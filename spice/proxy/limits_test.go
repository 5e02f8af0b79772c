package proxy_test

// What one client, one address and one session may take, and that nobody else pays
// for it.

import (
	"context"
	"crypto/tls"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/internal/need"
	"github.com/spicelane/spicelane/spice/link"
	"github.com/spicelane/spicelane/spice/pki"
	"github.com/spicelane/spicelane/spice/proxy"
	"github.com/spicelane/spicelane/spice/wire"
)

// idle opens a connection to the TLS port that says nothing.
func (l *lane) idle() net.Conn {
	l.t.Helper()
	conn, err := net.Dial("tcp", l.TLSAddr())
	require.NoError(l.t, err)
	l.t.Cleanup(func() { conn.Close() })
	return conn
}

func TestHundredsOfIdleConnectionsDoNotShutAClientOut(t *testing.T) {
	// Nothing but giving up an idle connection's place can help: the handshake
	// timeout is beyond the test's.
	l := up(t, newConsole(t, "tcp", nil), func(c *proxy.Config) { c.HandshakeTimeout = time.Hour })
	for range proxy.DefaultMaxHandshakes + 44 {
		l.idle()
	}
	token, client, server := l.open()
	_, err := l.link(token, session, display)
	require.NoError(t, err)
	write(t, server, message(4, nil))
	expect(t, client, message(4, nil))
	e := l.event(proxy.EventLinkRefused)
	assert.Equal(t, proxy.ReasonTooManyHandshakes, e.Reason)
}

func TestAClientInTheMiddleOfItsHandshakeKeepsItsPlace(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil), func(c *proxy.Config) { c.MaxHandshakes, c.HandshakeTimeout = 3, time.Hour })
	stalled := l.idle()
	halfway := l.dial()
	pending, err := link.Open(t.Context(), halfway, link.Config{Channel: mainChannel, CommonCaps: link.CommonCaps})
	require.NoError(t, err)
	l.idle()
	// The third one takes the place of the one that has made no progress for
	// longest.
	l.idle()
	ends(t, stalled)
	assert.NoError(t, pending.Authenticate(t.Context(), l.token()))
}

func TestWhoIsLetInNoLongerTakesAPlaceOfTheHandshakes(t *testing.T) {
	c := newConsole(t, "tcp", nil)
	hold := make(chan struct{})
	c.set(func(c *console) { c.hold = hold })
	l := up(t, c, func(c *proxy.Config) { c.MaxHandshakes, c.HandshakeTimeout, c.DialTimeout = 2, time.Hour, time.Hour })
	results := make(chan error, 4)
	for range cap(results) {
		conn, token := l.dial(), l.token()
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), most)
			defer cancel()
			_, err := link.Client(ctx, conn, link.Config{Channel: mainChannel, CommonCaps: link.CommonCaps, Secret: token})
			results <- err
		}()
	}
	// All four wait for a console that does not answer, and none was turned away.
	require.Eventually(t, func() bool { return len(l.Sessions()) == cap(results) }, most, time.Millisecond)
	close(hold)
	for range cap(results) {
		assert.NoError(t, <-results)
	}
}

func TestASessionHasEachChannelOnce(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil))
	token, _, _ := l.open()
	first, err := l.link(token, session, display)
	require.NoError(t, err)
	l.console.next(t)
	_, err = l.link(token, session, display)
	l.denied(err, wire.ResultChannelNotAvailable, proxy.ReasonChannelTaken)
	_, err = l.link(token, session, wire.ChannelID{Type: wire.ChannelDisplay, ID: 1})
	require.NoError(t, err, "another display is another channel")
	l.console.next(t)
	// Who has hung up may come back, also if the console has not noticed yet.
	require.NoError(t, first.Close())
	require.Eventually(t, func() bool {
		conn, err := l.link(token, session, display)
		if err == nil {
			conn.Close()
		}
		return err == nil
	}, most, time.Millisecond)
}

func TestChannelsOfASessionAndOfOneTypeAreLimited(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil), func(c *proxy.Config) { c.MaxChannels, c.MaxChannelsOfType = 6, 3 })
	token, _, _ := l.open()
	open := func(id wire.ChannelID) error {
		_, err := l.link(token, session, id)
		return err
	}
	for n := range 3 {
		require.NoError(t, open(wire.ChannelID{Type: wire.ChannelDisplay, ID: uint8(n)}))
	}
	e := l.denied(open(wire.ChannelID{Type: wire.ChannelDisplay, ID: 3}), wire.ResultChannelNotAvailable, proxy.ReasonTooManyChannels)
	assert.Equal(t, "display:3", e.Channel)
	require.NoError(t, open(inputs))
	require.NoError(t, open(wire.ChannelID{Type: wire.ChannelCursor}))
	l.denied(open(wire.ChannelID{Type: wire.ChannelPlayback}), wire.ResultChannelNotAvailable, proxy.ReasonTooManyChannels)
	require.Len(t, l.Sessions()[0].Channels, 6)
}

func TestOf200ChannelsASessionGetsItsShare(t *testing.T) {
	need.Long(t)
	l := up(t, newConsole(t, "tcp", nil), func(c *proxy.Config) { c.MaxConnectionsPerAddress = 500 })
	token, _, _ := l.open()
	in := 0
	for n := range 200 {
		kind := []wire.ChannelType{wire.ChannelDisplay, wire.ChannelCursor, wire.ChannelInputs, wire.ChannelPlayback}[n%4]
		if _, err := l.link(token, session, wire.ChannelID{Type: kind, ID: uint8(n / 4)}); err == nil {
			in++
		} else {
			assertCode(t, err, wire.ResultChannelNotAvailable)
		}
	}
	assert.Equal(t, proxy.DefaultMaxChannels-1, in, "the main channel is one of them")
}

func TestSessionsAreLimitedAndTheTokenStaysGood(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil), func(c *proxy.Config) { c.MaxSessions, c.Linger = 2, time.Millisecond })
	_, first, _ := l.open()
	l.open()
	token := l.token()
	_, err := l.link(token, 0, mainChannel)
	e := l.denied(err, wire.ResultError, proxy.ReasonTooManySessions)
	assert.Equal(t, uuid, e.UUID)
	first.Close()
	require.Eventually(t, func() bool { return len(l.Sessions()) == 1 }, most, time.Millisecond)
	_, err = l.link(token, 0, mainChannel)
	assert.NoError(t, err)
}

func TestConnectionsOfOneAddressAreLimitedAndNamed(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil), func(c *proxy.Config) { c.MaxConnectionsPerAddress, c.Linger = 2, time.Millisecond })
	token, client, _ := l.open()
	_, err := l.link(token, session, display)
	require.NoError(t, err)
	// Not a bare end: a TLS client reads a reason.
	_, err = tls.Dial("tcp", l.TLSAddr(), pki.ClientTLS(l.tls.CAPool(), "", l.tls.HostSubject))
	assert.ErrorContains(t, err, "remote error: tls: internal error")
	e := l.event(proxy.EventLinkRefused)
	assert.Equal(t, proxy.ReasonTooManyConnections, e.Reason)
	// Another address is not concerned.
	from := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 9)}}
	conn, err := tls.DialWithDialer(from, "tcp", l.TLSAddr(), pki.ClientTLS(l.tls.CAPool(), "", l.tls.HostSubject))
	require.NoError(t, err)
	conn.Close()
	client.Close()
	require.Eventually(t, func() bool {
		conn, err := tls.Dial("tcp", l.TLSAddr(), pki.ClientTLS(l.tls.CAPool(), "", l.tls.HostSubject))
		if err == nil {
			conn.Close()
		}
		return err == nil
	}, most, time.Millisecond, "a place is given back")
}

func TestASlowReaderSlowsOnlyItself(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil))
	token, client, server := l.open()
	_, err := l.link(token, session, display)
	require.NoError(t, err)
	picture := l.console.next(t)
	// The display's client reads nothing: the console's writes come to a stop.
	stuck := make(chan int, 1)
	go func() {
		sent, chunk := 0, message(304, make([]byte, 1<<20))
		for {
			n, err := picture.Write(chunk)
			if sent += n; err != nil {
				stuck <- sent
				return
			}
		}
	}()
	relayed := func() uint64 { return l.Sessions()[0].Channels[1].BytesFromServer }
	last := uint64(0)
	require.Eventually(t, func() bool {
		now := relayed()
		stopped := now > 0 && now == last
		last = now
		return stopped
	}, most, 50*time.Millisecond)
	// The other channel of the session, and another session, do not notice.
	for range 100 {
		write(t, server, message(4, []byte("on time")))
		expect(t, client, message(4, []byte("on time")))
	}
	_, client2, server2 := l.open()
	write(t, client2, message(3, []byte("too")))
	expect(t, server2, message(3, []byte("too")))
	assert.Less(t, relayed(), uint64(32<<20), "what is in the sockets' buffers, not more")
	require.NoError(t, picture.Close())
	<-stuck
}

func TestTheLongestSilenceOfAChannelIsMeasured(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil), func(c *proxy.Config) { c.Linger = time.Millisecond })
	_, client, server := l.open()
	say := func(from, to net.Conn) {
		write(t, from, message(4, []byte("x")))
		expect(t, to, message(4, []byte("x")))
	}
	say(client, server)
	l.clock.Advance(290 * time.Second)
	silence := func() (now, longest time.Duration) {
		ch := l.Sessions()[0].Channels[0]
		return time.Duration(ch.SilenceMS) * time.Millisecond, time.Duration(ch.LongestSilenceMS) * time.Millisecond
	}
	now, longest := silence()
	assert.Equal(t, 290*time.Second, now)
	assert.Equal(t, 290*time.Second, longest, "also if it is not over")
	_, body := l.ask("GET", "/metrics")
	assert.Contains(t, body, `spicelane_proxy_channel_silence_seconds{channel="main"} 290`+"\n")
	say(server, client)
	l.clock.Advance(10 * time.Second)
	now, longest = silence()
	assert.Equal(t, 10*time.Second, now)
	assert.Equal(t, 290*time.Second, longest)
	client.Close()
	l.event(proxy.EventChannelClosed)
	_, body = l.ask("GET", "/metrics")
	assert.Contains(t, body, `spicelane_proxy_channel_longest_silence_seconds_sum{channel="main"} 290`+"\n")
}

func TestALimitThatIsNegativeIsNamed(t *testing.T) {
	for name, set := range map[string]func(c *proxy.Config){
		"MaxSessions":              func(c *proxy.Config) { c.MaxSessions = -1 },
		"MaxChannels":              func(c *proxy.Config) { c.MaxChannels = -1 },
		"MaxChannelsOfType":        func(c *proxy.Config) { c.MaxChannelsOfType = -1 },
		"MaxConnectionsPerAddress": func(c *proxy.Config) { c.MaxConnectionsPerAddress = -1 },
		"KeepAlive":                func(c *proxy.Config) { c.KeepAlive = -1 },
	} {
		cfg := proxy.Config{TLS: testBundle(), Consoles: &lab{}}
		set(&cfg)
		_, err := proxy.Start(t.Context(), cfg)
		assert.ErrorContains(t, err, "Config."+name+" is negative")
	}
}
