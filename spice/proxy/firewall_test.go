package proxy_test

// What the firewall lets pass, what it does not, and what the audit log and the
// metrics say of it.

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice/link"
	"github.com/spicelane/spicelane/spice/proxy"
	"github.com/spicelane/spicelane/spice/spicetest"
	"github.com/spicelane/spicelane/spice/wire"
)

var everything = append(proxy.DefaultPermit(), wire.ChannelRecord, wire.ChannelSmartcard, wire.ChannelUSBRedir, wire.ChannelPort, wire.ChannelWebDAV)

// channels opens a session with one channel of each type that is permitted.
func (l *lane) channel(token string, t wire.ChannelType) (client, server interface {
	Write([]byte) (int, error)
	Read([]byte) (int, error)
	SetReadDeadline(time.Time) error
	Close() error
}) {
	l.t.Helper()
	c, err := l.link(token, session, wire.ChannelID{Type: t})
	require.NoError(l.t, err)
	return c, l.console.next(l.t)
}

func TestEveryMessageOfTheProtocolPassesAndNoOther(t *testing.T) {
	for _, kind := range wire.ChannelTypes() {
		if kind == wire.ChannelTunnel {
			continue
		}
		for _, from := range []wire.Direction{wire.FromClient, wire.FromServer} {
			known := map[uint16]bool{}
			for _, m := range wire.Messages(kind, from) {
				known[m.Type] = true
				assert.Empty(t, proxy.Judge(kind, from, m.Type, 0), "%s from the %s", m.Name, from)
			}
			for n := range uint16(600) {
				if !known[n] {
					assert.Equal(t, proxy.WhyType, proxy.Judge(kind, from, n, 0), "%s.%d from the %s", kind, n, from)
				}
			}
			assert.Equal(t, proxy.WhyType, proxy.Judge(kind, from, 0xffff, 0))
		}
	}
	assert.Equal(t, proxy.WhyType, proxy.Judge(wire.ChannelInputs, wire.FromServer, 104, 0), "a scancode does not come from a server")
}

func TestSizesAreBoundedByWhatAMessageIs(t *testing.T) {
	for _, c := range []struct {
		t    wire.ChannelType
		from wire.Direction
		kind uint16
		most uint32
	}{
		{wire.ChannelInputs, wire.FromClient, 101, 4 << 10},
		{wire.ChannelMain, wire.FromClient, 107, 64 << 10},
		{wire.ChannelMain, wire.FromServer, 104, 64 << 10},
		{wire.ChannelDisplay, wire.FromServer, 304, 257 << 20},
		{wire.ChannelDisplay, wire.FromClient, 101, 4 << 10},
		{wire.ChannelDisplay, wire.FromServer, 4, 1 << 20},
		{wire.ChannelDisplay, wire.FromClient, 2, 4 << 10},
		{wire.ChannelCursor, wire.FromServer, 103, 1088 << 10},
		{wire.ChannelPlayback, wire.FromServer, 101, 1 << 20},
		{wire.ChannelUSBRedir, wire.FromClient, 101, 16 << 20},
	} {
		assert.Empty(t, proxy.Judge(c.t, c.from, c.kind, c.most))
		assert.Equal(t, proxy.WhySize, proxy.Judge(c.t, c.from, c.kind, c.most+1), "%s.%d from the %s", c.t, c.kind, c.from)
	}
}

// What a message says about its pixels comes on top of them.
func TestTheLargestPictureAndCursorPass(t *testing.T) {
	pixels := func(side int) []byte { return make([]byte, 4*side*side) }
	for _, m := range []wire.ServerMessage{
		&wire.CursorInit{Cursor: wire.Cursor{Type: wire.CursorAlpha, Width: 512, Height: 512, Data: pixels(512)}},
		&wire.CursorSet{Cursor: wire.Cursor{Type: wire.CursorColor32, Width: 512, Height: 512, Data: append(pixels(512), make([]byte, 512*512/8)...)}},
	} {
		assert.Empty(t, proxy.Judge(wire.ChannelCursor, wire.FromServer, m.MessageType(), uint32(len(m.Append(nil)))), m.MessageName())
	}
	const side = 8192
	small := &wire.DrawCopy{Base: wire.DisplayBase{Clip: wire.Clip{Type: wire.ClipRects, Rects: make([]wire.Rect, 20)}},
		Src: &wire.Image{Type: wire.ImageBitmap}}
	size := uint32(len(small.Append(nil)) + 4*side*side)
	assert.Empty(t, proxy.Judge(wire.ChannelDisplay, wire.FromServer, small.MessageType(), size), "without the memory for its pixels")
}

func TestARefusedMessageEndsItsSessionBeforeAByteOfItPasses(t *testing.T) {
	for name, c := range map[string]struct {
		channel wire.ChannelType
		from    wire.Direction
		before  []byte // passes
		bad     []byte
		why     string
		err     string
		message string
	}{
		"unknown type from a client": {wire.ChannelInputs, wire.FromClient, message(101, make([]byte, 4)), message(500, []byte("x")),
			proxy.WhyType, "message type 500 from the client is not one that the protocol has on a inputs channel", "inputs.500"},
		"wrong direction from a client": {wire.ChannelDisplay, wire.FromClient, message(3, make([]byte, 12)), message(304, []byte("x")),
			proxy.WhyType, "message type 304 from the client", "display.304"},
		"wrong direction from a server": {wire.ChannelInputs, wire.FromServer, message(101, make([]byte, 2)), message(104, []byte("x")),
			proxy.WhyType, "message type 104 from the server", "inputs.104"},
		"oversized from a client": {wire.ChannelMain, wire.FromClient, message(3, make([]byte, 12)), wire.Header{Type: 107, Size: 1 << 31}.AppendMini(nil),
			proxy.WhySize, "message main.agent_data from the client announces 2147483648 bytes, the firewall lets at most 65536 pass", "main.agent_data"},
		"oversized from a server": {wire.ChannelDisplay, wire.FromServer, message(102, nil), wire.Header{Type: 304, Size: 1 << 29}.AppendMini(nil),
			proxy.WhySize, "announces 536870912 bytes", "display.draw_copy"},
	} {
		for _, inPieces := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, in pieces %v", name, inPieces), func(t *testing.T) {
				l := up(t, newConsole(t, "tcp", nil))
				token, mainClient, mainServer := l.open()
				var src, dst interface {
					Write([]byte) (int, error)
					Read([]byte) (int, error)
					SetReadDeadline(time.Time) error
					Close() error
				} = mainClient, mainServer
				if c.channel != wire.ChannelMain {
					src, dst = l.channel(token, c.channel)
				}
				if c.from == wire.FromServer {
					src, dst = dst, src
				}
				stream := append(append([]byte{}, c.before...), c.bad...)
				if inPieces {
					for i := range stream {
						if _, err := src.Write(stream[i : i+1]); err != nil {
							break
						}
					}
				} else {
					_, err := src.Write(stream)
					require.NoError(t, err)
				}
				got := make([]byte, len(c.before)+1)
				require.NoError(t, dst.SetReadDeadline(time.Now().Add(most)))
				n := 0
				for n < len(got) {
					k, err := dst.Read(got[n:])
					if n += k; err != nil {
						break
					}
				}
				assert.Equal(t, c.before, got[:n], "all that precedes it, and not a byte more")
				e := l.event(proxy.EventVerdict)
				require.Len(t, e.Verdicts, 1)
				assert.Equal(t, proxy.VerdictRefused, e.Verdicts[0].Verdict)
				assert.Equal(t, []string{c.why, c.message, c.from.String()}, []string{e.Verdicts[0].Why, e.Verdicts[0].Message, e.Verdicts[0].From})
				assert.Equal(t, uint64(1), e.Verdicts[0].Count)
				var closed proxy.Event
				for closed = l.event(proxy.EventChannelClosed); closed.Reason != proxy.ReasonFirewall; {
					closed = l.event(proxy.EventChannelClosed)
				}
				assert.ErrorContains(t, closed.Err, c.err)
				assert.Len(t, closed.Verdicts, 1)
				l.event(proxy.EventSessionClosed)
				assert.Empty(t, l.Sessions())
				if c.channel != wire.ChannelMain {
					told(t, mainClient, "The console proxy has ended this session: it carried a message that is not allowed.")
				}
				_, err := l.link(token, session, inputs)
				assertCode(t, err, wire.ResultPermissionDenied)
				_, body := l.ask("GET", "/metrics")
				assert.Contains(t, body, fmt.Sprintf("spicelane_proxy_firewall_verdicts_total{channel=%q,from=%q,verdict=\"refused\",why=%q} 1\n", c.channel, c.from, c.why))
			})
		}
	}
}

func TestInWarnModeEverythingPassesAndIsCounted(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil), func(c *proxy.Config) { c.Firewall.Mode, c.Linger = proxy.FirewallWarn, time.Millisecond })
	_, client, server := l.open()
	for range 50 {
		write(t, client, message(500, []byte("odd")))
		expect(t, server, message(500, []byte("odd")))
	}
	write(t, client, message(501, nil))
	expect(t, server, message(501, nil))
	_, body := l.ask("GET", "/metrics")
	assert.Contains(t, body, `spicelane_proxy_firewall_verdicts_total{channel="main",from="client",verdict="would_refuse",why="message_type"} 51`+"\n", "exact")
	client.Close()
	closed := l.event(proxy.EventChannelClosed)
	require.Len(t, closed.Verdicts, 1, "one line for them all")
	assert.Equal(t, proxy.Verdict{Verdict: proxy.VerdictWouldRefuse, Why: proxy.WhyType, From: "client", Message: "main.500", Size: 3, Count: 51}, closed.Verdicts[0])
	verdicts := 0
	for len(l.events) > 0 {
		if e := <-l.events; e.Kind == proxy.EventVerdict {
			verdicts++
		}
	}
	assert.Zero(t, verdicts, "event has passed over the one there was")
	assert.Equal(t, proxy.ReasonClientClosed, closed.Reason)
}

func TestChannelTypesNeedAPermissionEach(t *testing.T) {
	for _, kind := range []wire.ChannelType{wire.ChannelRecord, wire.ChannelSmartcard, wire.ChannelUSBRedir, wire.ChannelPort, wire.ChannelWebDAV, wire.ChannelTunnel, 77} {
		t.Run(kind.String(), func(t *testing.T) {
			l := up(t, newConsole(t, "tcp", nil))
			token, _, _ := l.open()
			_, err := l.link(token, session, wire.ChannelID{Type: kind})
			e := l.denied(err, wire.ResultChannelNotAvailable, proxy.ReasonChannelForbidden)
			assert.Equal(t, wire.ChannelID{Type: kind}.String(), e.Channel)

			l = up(t, newConsole(t, "tcp", nil), func(c *proxy.Config) { c.Firewall.Permit = append(proxy.DefaultPermit(), kind) })
			token, _, _ = l.open()
			_, err = l.link(token, session, wire.ChannelID{Type: kind})
			assert.NoError(t, err)

			l = up(t, newConsole(t, "tcp", nil), func(c *proxy.Config) { c.Firewall.Mode = proxy.FirewallWarn })
			token, _, _ = l.open()
			_, err = l.link(token, session, wire.ChannelID{Type: kind})
			assert.NoError(t, err)
			e = l.event(proxy.EventVerdict)
			assert.Equal(t, wire.ChannelID{Type: kind}.String(), e.Channel)
			assert.Equal(t, []proxy.Verdict{{Verdict: proxy.VerdictWouldRefuse, Why: proxy.WhyChannel, From: "client", Count: 1}}, e.Verdicts)
			_, body := l.ask("GET", "/metrics")
			assert.Contains(t, body, `verdict="would_refuse",why="channel_type"} 1`)
		})
	}
	for _, kind := range proxy.DefaultPermit()[1:] {
		l := up(t, newConsole(t, "tcp", nil))
		token, _, _ := l.open()
		_, err := l.link(token, session, wire.ChannelID{Type: kind})
		assert.NoError(t, err)
	}
}

// typeless sets the channel type of the link request to 0, which link.Config takes for main.
type typeless struct {
	net.Conn
	sent bool
}

func (c *typeless) Write(b []byte) (int, error) {
	if !c.sent {
		c.sent = true
		b = bytes.Clone(b)
		b[link.HeaderSize+4] = 0
	}
	return c.Conn.Write(b)
}

// No server has such a channel. Taken for main, it would be a second main channel of its session.
func TestAChannelWithoutATypeIsNoMainChannel(t *testing.T) {
	for _, mode := range []proxy.FirewallMode{proxy.FirewallEnforce, proxy.FirewallWarn, proxy.FirewallOff} {
		t.Run("firewall "+string(mode), func(t *testing.T) {
			l := up(t, newConsole(t, "tcp", nil), func(c *proxy.Config) { c.Firewall.Mode = mode })
			token, _, _ := l.open()
			ctx, cancel := context.WithTimeout(t.Context(), most)
			defer cancel()
			_, err := link.Client(ctx, &typeless{Conn: l.dial()}, link.Config{ConnectionID: session, CommonCaps: link.CommonCaps, Secret: token})
			e := l.denied(err, wire.ResultChannelNotAvailable, proxy.ReasonChannelForbidden)
			assert.Equal(t, "channel-0:0", e.Channel)
			select {
			case s := <-l.console.linked:
				s.Close()
				require.Fail(t, "the console was asked for "+s.request.Channel.String())
			default:
			}
		})
	}
}

func TestACeilingSlowsItsChannelAndLosesNothing(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil), func(c *proxy.Config) {
		c.Firewall.Rates = map[wire.ChannelType]proxy.Rate{wire.ChannelInputs: {PerSecond: 500, Burst: 10}}
	})
	token, client, server := l.open()
	in, out := l.channel(token, wire.ChannelInputs)
	key := message(101, make([]byte, 4))
	began := time.Now()
	for range 110 {
		_, err := in.Write(key)
		require.NoError(t, err)
	}
	// The other channel is not held up, whatever waits here.
	write(t, client, message(3, make([]byte, 12)))
	expect(t, server, message(3, make([]byte, 12)))
	got := make([]byte, 110*len(key))
	for n := 0; n < len(got); {
		k, err := out.Read(got[n:])
		require.NoError(t, err)
		n += k
	}
	assert.GreaterOrEqual(t, time.Since(began), 190*time.Millisecond, "100 beyond the burst at 500 a second")
	e := l.event(proxy.EventVerdict)
	assert.Equal(t, []string{proxy.VerdictDelayed, proxy.WhyRate}, []string{e.Verdicts[0].Verdict, e.Verdicts[0].Why})
}

// The client may have sent what takes minutes to pass.
func TestACeilingHoldsNoChannelThatIsOver(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil), func(c *proxy.Config) {
		c.Linger = time.Millisecond
		c.Firewall.Rates = map[wire.ChannelType]proxy.Rate{wire.ChannelInputs: {PerSecond: 0.001}}
	})
	token, _, _ := l.open()
	in, out := l.channel(token, wire.ChannelInputs)
	key := message(101, make([]byte, 4))
	_, err := in.Write(append(append([]byte{}, key...), key...))
	require.NoError(t, err)
	l.event(proxy.EventVerdict)
	require.NoError(t, out.Close())
	closed := l.event(proxy.EventChannelClosed)
	assert.Equal(t, proxy.ReasonServerClosed, closed.Reason)
	assert.Equal(t, "inputs:0", closed.Channel)
}

func TestAFirewallThatCannotWorkIsNamed(t *testing.T) {
	for want, f := range map[string]proxy.Firewall{
		`Config.Firewall.Mode is "strict"`: {Mode: "strict"},
		"Config.Firewall.Rates of inputs":  {Rates: map[wire.ChannelType]proxy.Rate{wire.ChannelInputs: {}}},
	} {
		_, err := proxy.Start(t.Context(), proxy.Config{TLS: testBundle(), Consoles: &lab{}, Firewall: f})
		assert.ErrorContains(t, err, want)
	}
}

func TestWhatQEMUAndItsClientSayPasses(t *testing.T) {
	dirs, err := filepath.Glob("../spicetest/testdata/conversations/*")
	require.NoError(t, err)
	require.Len(t, dirs, 30)
	seen := 0
	for _, dir := range dirs {
		c, err := spicetest.Load(dir)
		require.NoError(t, err)
		for _, r := range c.Recordings {
			for _, m := range r.Messages {
				seen++
				assert.Empty(t, proxy.Judge(r.Link.Channel.Type, m.From, m.Header.Type, uint32(len(m.Body))), "%s: %s", dir, m.Header)
			}
		}
	}
	assert.Greater(t, seen, 2500)
}
