package proxy_test

// What comes through the WebSocket port, and what does not.
//
//	browser ──WebSocket in TLS──► proxy ──TCP──► console

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
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/internal/need"
	"github.com/spicelane/spicelane/spice/link"
	"github.com/spicelane/spicelane/spice/pki"
	"github.com/spicelane/spicelane/spice/proxy"
	"github.com/spicelane/spicelane/spice/wire"
)

// withWebSocket gives a proxy a WebSocket port.
func withWebSocket(c *proxy.Config) { c.ListenWebSocket = proxy.DefaultAddr }

// dialWeb opens a WebSocket as a page of an origin does; an empty origin is no page.
func (l *lane) dialWeb(origin string) (*websocket.Conn, *http.Response, error) {
	l.t.Helper()
	transport := &http.Transport{TLSClientConfig: pki.ClientTLS(l.tls.CAPool(), "", l.tls.HostSubject)}
	l.t.Cleanup(transport.CloseIdleConnections)
	options := &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}, Subprotocols: []string{"binary"}, HTTPHeader: http.Header{}}
	if origin != "" {
		options.HTTPHeader.Set("Origin", origin)
	}
	ctx, cancel := context.WithTimeout(context.Background(), most)
	defer cancel()
	conn, response, err := websocket.Dial(ctx, "wss://"+l.WebSocketAddr()+proxy.WebSocketPath, options)
	if err == nil {
		l.t.Cleanup(func() { conn.CloseNow() })
	}
	return conn, response, err
}

// web is a good WebSocket as a stream.
func (l *lane) web() net.Conn {
	l.t.Helper()
	conn, _, err := l.dialWeb("")
	require.NoError(l.t, err)
	require.Equal(l.t, "binary", conn.Subprotocol())
	return websocket.NetConn(context.Background(), conn, websocket.MessageBinary)
}

// linkWeb links a channel over a WebSocket.
func (l *lane) linkWeb(token string, connectionID uint32, id wire.ChannelID) (net.Conn, error) {
	l.t.Helper()
	conn := l.web()
	ctx, cancel := context.WithTimeout(context.Background(), most)
	defer cancel()
	_, err := link.Client(ctx, conn, link.Config{ConnectionID: connectionID, Channel: id, CommonCaps: link.CommonCaps, Secret: token})
	return conn, err
}

// openWeb is open over a WebSocket.
func (l *lane) openWeb() (token string, client net.Conn, server *served) {
	l.t.Helper()
	token = l.token()
	client, err := l.linkWeb(token, 0, mainChannel)
	require.NoError(l.t, err)
	server = l.console.next(l.t)
	write(l.t, server, message(mainInitType, mainInit(session)))
	expect(l.t, client, message(mainInitType, mainInit(session)))
	return token, client, server
}

// Frames of RFC 6455 section 5.2, written by hand: the library refuses to write what is
// wrong.
const (
	continuation = 0x0
	text         = 0x1
	binaryFrame  = 0x2
	closeFrame   = 0x8
	ping         = 0x9
	pong         = 0xa
	fin          = 0x80
)

// frame is a masked frame.
func frame(first byte, payload []byte) []byte {
	key := []byte{0x11, 0x22, 0x33, 0x44}
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	b = append(b, key...)
	for i, c := range payload {
		b = append(b, c^key[i%4])
	}
	return b
}

// rawWeb is a WebSocket of which the test writes every byte.
type rawWeb struct {
	*tls.Conn
	t testing.TB
	r *bufio.Reader
}

const upgradeRequest = "GET /websockify HTTP/1.1\r\nHost: proxy.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: binary\r\n\r\n"

// request sends a request, and what follows it in the same write, and returns the answer.
func (l *lane) request(request string, behind ...byte) (*rawWeb, *http.Response) {
	l.t.Helper()
	conn, err := tls.Dial("tcp", l.WebSocketAddr(), pki.ClientTLS(l.tls.CAPool(), "", l.tls.HostSubject))
	require.NoError(l.t, err)
	l.t.Cleanup(func() { conn.Close() })
	write(l.t, conn, append([]byte(request), behind...))
	require.NoError(l.t, conn.SetReadDeadline(time.Now().Add(most)))
	w := &rawWeb{conn, l.t, bufio.NewReader(conn)}
	response, err := http.ReadResponse(w.r, nil)
	require.NoError(l.t, err)
	return w, response
}

func (l *lane) rawWeb(behind ...byte) *rawWeb {
	l.t.Helper()
	w, response := l.request(upgradeRequest, behind...)
	require.Equal(l.t, http.StatusSwitchingProtocols, response.StatusCode)
	require.Equal(l.t, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", response.Header.Get("Sec-WebSocket-Accept"), "the answer to RFC 6455's own key")
	return w
}

// next reads a frame of the proxy's.
func (w *rawWeb) next() (first byte, payload []byte, err error) {
	_ = w.SetReadDeadline(time.Now().Add(most))
	var head [2]byte
	if _, err := io.ReadFull(w.r, head[:]); err != nil {
		return 0, nil, err
	}
	size := uint64(head[1])
	switch size {
	case 126:
		var b [2]byte
		_, err = io.ReadFull(w.r, b[:])
		size = uint64(binary.BigEndian.Uint16(b[:]))
	case 127:
		var b [8]byte
		_, err = io.ReadFull(w.r, b[:])
		size = binary.BigEndian.Uint64(b[:])
	}
	if err != nil {
		return 0, nil, err
	}
	require.Less(w.t, size, uint64(1<<24), "a server does not mask")
	payload = make([]byte, size)
	_, err = io.ReadFull(w.r, payload)
	return head[0], payload, err
}

// closedWith reads up to the proxy's close frame, and returns its code.
func (w *rawWeb) closedWith() int {
	w.t.Helper()
	for {
		first, payload, err := w.next()
		require.NoError(w.t, err, "the connection ended without a close frame")
		if first == fin|closeFrame {
			require.GreaterOrEqual(w.t, len(payload), 2)
			return int(binary.BigEndian.Uint16(payload))
		}
	}
}

func linkRequest(id wire.ChannelID) []byte {
	return link.Request{Channel: id, CommonCaps: link.CommonCaps}.Append(nil)
}

func TestABrowsersChannelsArePassedOnLikeAnyOthers(t *testing.T) {
	var audit safeBuffer
	l := up(t, newConsole(t, "tcp", nil), withWebSocket, func(c *proxy.Config) { c.Audit = &audit })
	token, client, server := l.openWeb()
	for _, body := range []string{"", "x", strings.Repeat("long ", 10_000)} {
		write(t, server, message(104, []byte(body)))
		expect(t, client, message(104, []byte(body)))
		write(t, client, message(104, []byte(body)))
		expect(t, server, message(104, []byte(body)))
	}
	keys, err := l.linkWeb(token, session, inputs)
	require.NoError(t, err)
	far := l.console.next(t)
	assert.Equal(t, uint32(session), far.request.ConnectionID)
	write(t, keys, message(101, []byte{0x1e, 0, 0, 0}))
	expect(t, far, message(101, []byte{0x1e, 0, 0, 0}))
	// A channel of the same session may come without WebSocket, too.
	_, err = l.link(token, session, display)
	require.NoError(t, err)
	l.console.next(t)

	sessions := l.Sessions()
	require.Len(t, sessions, 1)
	assert.Len(t, sessions[0].Channels, 3)
	_, err = l.linkWeb(token, 0, mainChannel)
	l.denied(err, wire.ResultPermissionDenied, proxy.ReasonTokenReplayed)
	_, err = l.linkWeb(token, session+1, wire.ChannelID{Type: wire.ChannelCursor})
	l.denied(err, wire.ResultBadConnectionID, proxy.ReasonWrongConnectionID)
	assert.Regexp(t, `"event":"channel_opened".*"channel":"inputs:0".*"transport":"websocket"`, audit.String())
	assert.NotRegexp(t, `"event":"channel_opened".*"channel":"display:0".*"transport"`, audit.String())
	assert.Regexp(t, `"event":"link_refused","reason":"token_replayed".*"transport":"websocket"`, audit.String())
}

func TestTheFirstFrameMayComeTogetherWithTheRequest(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil), withWebSocket)
	w := l.rawWeb(frame(fin|binaryFrame, linkRequest(mainChannel))...)
	_, reply, err := w.next()
	require.NoError(t, err)
	assert.Equal(t, "REDQ", string(reply[:4]))
	assert.Zero(t, binary.LittleEndian.Uint32(reply[16:]), "a good link")
}

func TestWhatABrowserSendsBeforeItsConsoleIsLinkedReachesIt(t *testing.T) {
	c := newConsole(t, "tcp", nil)
	hold := make(chan struct{})
	c.set(func(c *console) { c.hold = hold })
	l := up(t, c, withWebSocket)
	conn := l.web()
	eager := &appender{Conn: conn}
	pending, err := link.Open(t.Context(), eager, link.Config{Channel: mainChannel, CommonCaps: link.CommonCaps})
	require.NoError(t, err)
	eager.behind = message(104, []byte("early"))
	result := make(chan error, 1)
	token := l.token()
	go func() { result <- pending.Authenticate(context.Background(), token) }()
	// The proxy has spent the token and waits for the console.
	require.Eventually(t, func() bool { return len(l.Sessions()) == 1 }, most, time.Millisecond)
	write(t, conn, message(104, []byte("second")))
	close(hold)
	require.NoError(t, <-result)
	server := l.console.next(t)
	expect(t, server, append(message(104, []byte("early")), message(104, []byte("second"))...))
}

// appender writes something behind its next write, in the same message.
type appender struct {
	net.Conn
	behind []byte
}

func (a *appender) Write(b []byte) (int, error) {
	n, err := a.Conn.Write(append(bytes.Clone(b), a.behind...))
	a.behind = nil
	return min(n, len(b)), err
}

func TestFramesThatBreakTheRulesAreRefusedWithTheirCode(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil), withWebSocket)
	request := linkRequest(mainChannel)
	unmasked := append([]byte{fin | binaryFrame, byte(len(request))}, request...)
	for name, tc := range map[string]struct {
		frames []byte
		code   int
		why    string
	}{
		"text":                    {frame(fin|text, request), 1003, "a text message"},
		"no mask":                 {unmasked, 1002, "unmasked"},
		"a reserved bit":          {frame(fin|0x40|binaryFrame, request), 1002, "rsv"},
		"a reserved opcode":       {frame(fin|0x3, request), 1002, "opcode"},
		"a continuation of none":  {frame(fin|continuation, request), 1002, "continuation"},
		"a message in another":    {append(frame(binaryFrame, request[:9]), frame(fin|binaryFrame, request[9:])...), 1002, "without finishing"},
		"a ping in pieces":        {frame(ping, []byte("x")), 1002, "fragmented control"},
		"a ping of 126 bytes":     {frame(fin|ping, make([]byte, 126)), 1002, "invalid length"},
		"a close frame of a byte": {frame(fin|closeFrame, []byte{3}), 1002, "close payload"},
		"a length of 2^63":        {[]byte{fin | binaryFrame, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0}, 1002, "negative payload length"},
	} {
		t.Run(name, func(t *testing.T) {
			w := l.rawWeb(tc.frames...)
			w.t = t
			assert.Equal(t, tc.code, w.closedWith())
			write(t, w, frame(fin|closeFrame, nil))
			e := l.event(proxy.EventLinkRefused)
			assert.Equal(t, proxy.ReasonMalformed, e.Reason)
			assert.ErrorContains(t, e.Err, tc.why)
		})
	}
}

func TestATextFrameInAnOpenChannelEndsItAndIsNotPassedOn(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil), withWebSocket, func(c *proxy.Config) { c.Linger = time.Millisecond })
	conn, _, err := l.dialWeb("")
	require.NoError(t, err)
	stream := websocket.NetConn(context.Background(), conn, websocket.MessageBinary)
	_, err = link.Client(t.Context(), stream, link.Config{Channel: mainChannel, CommonCaps: link.CommonCaps, Secret: l.token()})
	require.NoError(t, err)
	server := l.console.next(t)
	require.NoError(t, conn.Write(t.Context(), websocket.MessageText, message(104, []byte("text"))))
	_, _, err = conn.Read(t.Context())
	assert.Equal(t, websocket.StatusUnsupportedData, websocket.CloseStatus(err), err)
	ends(t, server)
	e := l.event(proxy.EventChannelClosed)
	assert.Equal(t, proxy.ReasonFailed, e.Reason)
	assert.ErrorContains(t, e.Err, "a text message, want binary ones")
}

func TestAMessageBeyondTheBoundIsTooBig(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil), withWebSocket, func(c *proxy.Config) { c.Firewall.Mode = proxy.FirewallOff })
	_, client, server := l.openWeb()
	go io.Copy(io.Discard, server)
	body := make([]byte, 17<<20)
	_, _ = client.Write(message(104, body))
	_, err := io.ReadAll(client)
	assert.Equal(t, websocket.StatusMessageTooBig, websocket.CloseStatus(err), err)
}

func TestRequestsForAnythingElseAreToldWhatIsWrong(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil), withWebSocket)
	swap := func(old, new string) string {
		require.Contains(t, upgradeRequest, old)
		return strings.Replace(upgradeRequest, old, new, 1)
	}
	for name, tc := range map[string]struct {
		request string
		status  int
	}{
		"another path":        {swap("/websockify", "/"), 404},
		"POST":                {swap("GET", "POST"), 405},
		"no upgrade":          {swap("Upgrade: websocket\r\n", ""), 426},
		"HTTP/1.0":            {swap("HTTP/1.1", "HTTP/1.0"), 426},
		"version 8":           {swap("Version: 13", "Version: 8"), 400},
		"no key":              {swap("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""), 400},
		"a short key":         {swap("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ="), 400},
		"no host":             {swap("Host: proxy.example\r\n", ""), 400},
		"base64 only":         {swap("Protocol: binary", "Protocol: base64"), 400},
		"no HTTP":             {"what is this\r\n\r\n", 400},
		"SPICE":               {string(linkRequest(mainChannel)), 400},
		"a header of 17 KiB":  {swap("\r\n\r\n", "\r\nX: "+strings.Repeat("x", 17<<10)+"\r\n\r\n"), 431},
		"an origin elsewhere": {swap("Host:", "Origin: https://evil.example\r\nHost:"), 403},
	} {
		t.Run(name, func(t *testing.T) {
			w, response := l.request(tc.request)
			assert.Equal(t, tc.status, response.StatusCode)
			body, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			assert.NotEmpty(t, body)
			_, err = w.r.ReadByte()
			assert.ErrorIs(t, err, io.EOF, "one request a connection")
			e := l.event(proxy.EventLinkRefused)
			want := proxy.ReasonMalformed
			if tc.status == 403 {
				want = proxy.ReasonForeignOrigin
			}
			assert.Equal(t, want, e.Reason, e.Err)
			assert.Equal(t, "websocket", e.Transport)
		})
	}
	// None offered is taken, and one of several.
	for request, want := range map[string]string{
		swap("Sec-WebSocket-Protocol: binary\r\n", ""):     "",
		swap("Protocol: binary", "Protocol: chat, binary"): "binary",
	} {
		_, response := l.request(request)
		assert.Equal(t, http.StatusSwitchingProtocols, response.StatusCode)
		assert.Equal(t, want, response.Header.Get("Sec-WebSocket-Protocol"))
	}
}

func TestOnlyPagesOfAllowedOriginsMayOpenAWebSocket(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil), withWebSocket, func(c *proxy.Config) {
		c.AllowedOrigins = []string{"https://console.example:8443", "https://*.lab.example"}
	})
	for _, origin := range []string{"", "https://" + l.WebSocketAddr(), "https://console.example:8443", "https://CONSOLE.example:8443", "https://a.lab.example"} {
		conn, _, err := l.dialWeb(origin)
		if assert.NoError(t, err, origin) {
			conn.CloseNow()
		}
	}
	for _, origin := range []string{"https://evil.example", "http://console.example:8443", "https://console.example", "https://console.example:8443.evil.example",
		"https://lab.example", "null", "https://evil.example/.lab.example", "file://"} {
		_, response, err := l.dialWeb(origin)
		if assert.Error(t, err, origin) {
			assert.Equal(t, http.StatusForbidden, response.StatusCode, origin)
			for e := l.event(proxy.EventLinkRefused); e.Reason != proxy.ReasonForeignOrigin; {
				e = l.event(proxy.EventLinkRefused)
			}
		}
	}
	for _, bad := range []string{"console.example", "*", "https://", "https://a/b", "ftp://a", "https://[a"} {
		_, err := proxy.Start(t.Context(), proxy.Config{TLS: testBundle(), Consoles: l.lab, AllowedOrigins: []string{bad}})
		assert.ErrorContains(t, err, fmt.Sprintf("Config.AllowedOrigins has %q", bad))
	}
}

func TestTheEndOfEitherSideIsPassedThroughAWebSocket(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil), withWebSocket)
	// The console hangs up: a close frame.
	_, client, server := l.openWeb()
	server.Close()
	_, err := client.Read(make([]byte, 1))
	assert.Equal(t, io.EOF, err)
	assert.Equal(t, proxy.ReasonServerClosed, l.event(proxy.EventChannelClosed).Reason)
	// The client closes: the console reads its end, and what came before.
	for name, code := range map[string][]byte{"without a code": nil, "normally": {3, 232}, "going away": {3, 233}} {
		w := l.rawWeb()
		stream := &framed{rawWeb: w}
		_, err = link.Client(t.Context(), stream, link.Config{Channel: mainChannel, CommonCaps: link.CommonCaps, Secret: l.token()})
		require.NoError(t, err)
		server = l.console.next(t)
		write(t, stream, message(104, []byte("last words")))
		write(t, w, frame(fin|closeFrame, code))
		expect(t, server, message(104, []byte("last words")))
		ends(t, server)
		server.Close()
		e := l.event(proxy.EventChannelClosed)
		assert.Equal(t, proxy.ReasonClientClosed, e.Reason, name)
		assert.NoError(t, e.Err, name)
	}
	// The client vanishes in the middle of a frame.
	w := l.rawWeb()
	_, err = link.Client(t.Context(), &framed{rawWeb: w}, link.Config{Channel: mainChannel, CommonCaps: link.CommonCaps, Secret: l.token()})
	require.NoError(t, err)
	server = l.console.next(t)
	cut := frame(fin|binaryFrame, message(104, []byte("in two pieces")))
	write(t, w, cut[:len(cut)-3])
	require.NoError(t, w.NetConn().Close())
	ends(t, server)
	assert.Equal(t, proxy.ReasonClientClosed, l.event(proxy.EventChannelClosed).Reason)
}

// framed is a stream in hand-made frames.
type framed struct {
	*rawWeb
	unread []byte
}

func (f *framed) Write(b []byte) (int, error) {
	_, err := f.Conn.Write(frame(fin|binaryFrame, b))
	return len(b), err
}

func (f *framed) Read(b []byte) (int, error) {
	for len(f.unread) == 0 {
		first, payload, err := f.next()
		if err != nil {
			return 0, err
		}
		if first == fin|binaryFrame {
			f.unread = payload
		}
	}
	n := copy(b, f.unread)
	f.unread = f.unread[n:]
	return n, nil
}

func TestAnEndedSessionsWebSocketIsCutAtOnceAndToldWhy(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil), withWebSocket, func(c *proxy.Config) { c.Linger = time.Hour })
	token, client, server := l.openWeb()
	// A display whose client reads nothing is in nobody's way.
	_, err := l.linkWeb(token, session, display)
	require.NoError(t, err)
	picture := l.console.next(t)
	idle := l.rawWeb()
	_, err = link.Client(t.Context(), &framed{rawWeb: idle}, link.Config{ConnectionID: session, Channel: inputs, CommonCaps: link.CommonCaps, Secret: token})
	require.NoError(t, err)
	l.console.next(t)
	stuck := make(chan struct{})
	go func() {
		defer close(stuck)
		for chunk := message(304, make([]byte, 1<<20)); ; {
			if _, err := picture.Write(chunk); err != nil {
				return
			}
		}
	}()
	require.Eventually(t, func() bool { return l.Sessions()[0].Channels[1].BytesFromServer > 1<<20 }, most, time.Millisecond)
	require.True(t, l.EndSession(l.Sessions()[0].ID))
	told(t, client, "An operator has ended this session.")
	ends(t, server)
	<-stuck
	first, _, err := idle.next()
	assert.Error(t, err, "a frame %#x: a client that does not answer must not delay the end", first)
	for range 3 {
		assert.Equal(t, proxy.ReasonSessionEnded, l.event(proxy.EventChannelClosed).Reason)
	}
}

func TestTheFirewallReadsWhatIsInAWebSocket(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil), withWebSocket)
	w := l.rawWeb()
	stream := &framed{rawWeb: w}
	_, err := link.Client(t.Context(), stream, link.Config{Channel: mainChannel, CommonCaps: link.CommonCaps, Secret: l.token()})
	require.NoError(t, err)
	server := l.console.next(t)
	// A message that the protocol does not have, in frames of one byte.
	for _, b := range message(999, []byte("no such message")) {
		if _, err := stream.Write([]byte{b}); err != nil {
			break
		}
	}
	ends(t, server)
	e := l.event(proxy.EventChannelClosed)
	assert.Equal(t, proxy.ReasonFirewall, e.Reason)
	assert.Equal(t, "websocket", e.Transport)
}

func TestIdleWebSocketsGiveUpTheirPlaces(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil), withWebSocket, func(c *proxy.Config) { c.MaxHandshakes, c.HandshakeTimeout = 3, time.Hour })
	for range 3 {
		l.rawWeb()
	}
	_, client, server := l.openWeb()
	write(t, server, message(104, nil))
	expect(t, client, message(104, nil))
	e := l.event(proxy.EventLinkRefused)
	assert.Equal(t, proxy.ReasonTooManyHandshakes, e.Reason)
}

func TestAnAddressHasItsShareOfBothPorts(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil), withWebSocket, func(c *proxy.Config) { c.MaxConnectionsPerAddress = 3 })
	l.openWeb()
	l.open()
	l.rawWeb()
	_, err := tls.Dial("tcp", l.WebSocketAddr(), pki.ClientTLS(l.tls.CAPool(), "", l.tls.HostSubject))
	assert.ErrorContains(t, err, "remote error: tls: internal error")
	assert.Equal(t, proxy.ReasonTooManyConnections, l.event(proxy.EventLinkRefused).Reason)
}

// pingInterval leaves a client of these tests a second to answer.
const pingInterval = 250 * time.Millisecond

func TestASilentClientIsPingedAndOneThatAnswersNothingIsGone(t *testing.T) {
	t.Parallel()
	l := up(t, newConsole(t, "tcp", nil), withWebSocket, func(c *proxy.Config) { c.KeepAlive, c.Linger = pingInterval, time.Millisecond })
	w := l.rawWeb()
	_, err := link.Client(t.Context(), &framed{rawWeb: w}, link.Config{Channel: mainChannel, CommonCaps: link.CommonCaps, Secret: l.token()})
	require.NoError(t, err)
	server := l.console.next(t)
	// As long as it answers it stays, with nothing of SPICE on its way.
	for range 6 {
		first, _, err := w.next()
		require.NoError(t, err)
		require.Equal(t, byte(fin|ping), first)
		write(t, w, frame(fin|pong, nil))
	}
	write(t, server, message(104, []byte("still here")))
	for {
		first, payload, err := w.next()
		require.NoError(t, err)
		if first != fin|ping {
			assert.Equal(t, message(104, []byte("still here")), payload)
			break
		}
		write(t, w, frame(fin|pong, nil))
	}
	// Now it answers no more.
	for err == nil {
		_, _, err = w.next()
	}
	ends(t, server)
	e := l.event(proxy.EventChannelClosed)
	assert.Equal(t, proxy.ReasonFailed, e.Reason)
	assert.ErrorIs(t, e.Err, syscall.ETIMEDOUT)
	assert.ErrorContains(t, e.Err, "no answer to 4 pings")
}

// A client that cannot be heard because its console does not read is not gone.
func TestAClientWhoseConsoleDoesNotReadIsNotTakenForGone(t *testing.T) {
	need.Long(t)
	t.Parallel()
	l := up(t, newConsole(t, "tcp", nil), withWebSocket, func(c *proxy.Config) { c.KeepAlive, c.Firewall.Mode = pingInterval, proxy.FirewallOff })
	w := l.rawWeb()
	stream := &framed{rawWeb: w}
	_, err := link.Client(t.Context(), stream, link.Config{Channel: mainChannel, CommonCaps: link.CommonCaps, Secret: l.token()})
	require.NoError(t, err)
	server := l.console.next(t)
	const chunks = 64
	chunk := message(104, make([]byte, 1<<20))
	sent := make(chan error, 1)
	go func() {
		for range chunks {
			if _, err := stream.Write(chunk); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	// Until the buffers are full it is heard. The pings that follow have no answer.
	var full uint64
	for now := l.Sessions()[0].Channels[0].BytesFromClient; full == 0 || now != full; now = l.Sessions()[0].Channels[0].BytesFromClient {
		full = now
		_, _, err := w.next()
		require.NoError(t, err)
	}
	for range 6 {
		_, _, err := w.next()
		require.NoError(t, err)
	}
	require.Less(t, full, uint64(chunks*len(chunk)), "the console reads nothing")
	for range chunks {
		expect(t, server, chunk)
	}
	require.NoError(t, <-sent)
	require.Len(t, l.Sessions(), 1)
}

func TestWithoutAnAddressThereIsNoWebSocketPort(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil))
	assert.Empty(t, l.WebSocketAddr())
	for name, dial := range map[string]func() (net.Conn, error){
		"TLS": func() (net.Conn, error) { return l.dial(), nil },
		"API": func() (net.Conn, error) { return net.Dial("tcp", l.APIAddr()) },
	} {
		conn, err := dial()
		require.NoError(t, err)
		write(t, conn, []byte(upgradeRequest))
		_ = conn.SetReadDeadline(time.Now().Add(most))
		b, err := io.ReadAll(io.LimitReader(conn, 12))
		if err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Fatal(name, err)
		}
		assert.NotContains(t, string(b), " 101", name)
		conn.Close()
	}
}
