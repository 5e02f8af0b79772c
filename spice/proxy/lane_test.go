package proxy_test

// What all tests of this package share: a console that is played by the test,
// a proxy in front of it, and a client.
//
//	client ──TLS──► proxy ──TCP, unix or TLS──► console

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/spicelane/spicelane/spice/link"
	"github.com/spicelane/spicelane/spice/pki"
	"github.com/spicelane/spicelane/spice/proxy"
	"github.com/spicelane/spicelane/spice/vv"
	"github.com/spicelane/spicelane/spice/wire"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 5 && os.Args[1] == asPeer {
		if err := runPeer(os.Args[2], os.Args[3], os.Args[4]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	goleak.VerifyTestMain(m)
}

const (
	source  = "lab"
	uuid    = "6f4e2c1a-0000-0000-0000-000000000001"
	ticket  = "the-consoles-own-ticket"
	session = 0xcafe // the connection id that the console gives out
	most    = 10 * time.Second
)

var (
	mainChannel = wire.ChannelID{Type: wire.ChannelMain}
	display     = wire.ChannelID{Type: wire.ChannelDisplay}
	inputs      = wire.ChannelID{Type: wire.ChannelInputs}
)

// console is a SPICE server played by the test. It admits each client that
// knows the ticket, and passes each linked channel to the test.
type console struct {
	proxy.Console
	ln     net.Listener
	linked chan *served
	wg     sync.WaitGroup

	mu     sync.Mutex
	refuse wire.Result                    // answers links with this code, if not OK
	common wire.Caps                      // nil means all that the client may have
	hold   chan struct{}                  // if not nil, tickets are answered when it is closed
	caps   map[wire.ChannelType]wire.Caps // what is not in it has what QEMU has
}

// served is the console's end of a channel.
type served struct {
	net.Conn
	request link.Request
}

// newConsole starts a console that listens on TCP, on TLS if bundle is not nil,
// or on a unix socket.
func newConsole(t testing.TB, network string, bundle *pki.Bundle) *console {
	t.Helper()
	c := &console{linked: make(chan *served, 64), Console: proxy.Console{
		Source: source, UUID: uuid, Name: "beacon", Hypervisor: "localhost", HypervisorIP: "127.0.0.1", Ticket: ticket}}
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "s")
		c.Unix = address
	}
	ln, err := net.Listen(network, address)
	require.NoError(t, err)
	if network == "tcp" {
		port := ln.Addr().(*net.TCPAddr).Port
		if bundle != nil {
			c.SecurePort, c.CACert = port, bundle.CACert
			ln = tls.NewListener(ln, bundle.ServerTLS())
		} else {
			c.InsecurePort = port
		}
	}
	c.ln = ln
	c.wg.Go(c.accept)
	t.Cleanup(func() {
		ln.Close()
		c.wg.Wait()
		close(c.linked)
		for s := range c.linked {
			s.Close()
		}
	})
	return c
}

func (c *console) set(change func(*console)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(c)
}

func (c *console) accept() {
	for {
		conn, err := c.ln.Accept()
		if err != nil {
			return
		}
		c.wg.Go(func() {
			if !c.link(conn) {
				conn.Close()
			}
		})
	}
}

func (c *console) link(conn net.Conn) bool {
	ctx, cancel := context.WithTimeout(context.Background(), most)
	defer cancel()
	hs, err := link.Accept(ctx, conn, link.ServerConfig{Key: ticketKey()})
	if err != nil {
		return false
	}
	c.mu.Lock()
	refuse, common, hold := c.refuse, c.common, c.hold
	caps, set := c.caps[hs.Request.Channel.Type]
	c.mu.Unlock()
	if refuse != wire.ResultOK {
		hs.Refuse(ctx, refuse)
		return false
	}
	if common == nil {
		common = link.CommonCaps
	}
	if !set {
		caps = proxy.OfferedCaps(hs.Request.Channel.Type)
	}
	if hs.Reply(ctx, common, caps) != nil {
		return false
	}
	got, err := hs.Secret(ctx)
	if err != nil {
		return false
	}
	if hold != nil {
		<-hold
	}
	c.mu.Lock()
	want := c.Ticket
	c.mu.Unlock()
	if got != want {
		hs.Finish(ctx, wire.ResultPermissionDenied)
		return false
	}
	if hs.Finish(ctx, wire.ResultOK) != nil {
		return false
	}
	c.linked <- &served{conn, hs.Request}
	return true
}

// next returns the next channel that the proxy linked.
func (c *console) next(t testing.TB) *served {
	t.Helper()
	select {
	case s := <-c.linked:
		t.Cleanup(func() { s.Close() })
		return s
	case <-time.After(most):
		t.Fatal("the proxy linked no channel")
		return nil
	}
}

// lab is a set of consoles that a test can change.
type lab struct {
	mu       sync.Mutex
	consoles []*console
	err      error
}

func (l *lab) Consoles(context.Context) ([]proxy.Console, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []proxy.Console
	for _, c := range l.consoles {
		c.mu.Lock()
		all = append(all, c.Console)
		c.mu.Unlock()
	}
	return all, l.err
}

func (l *lab) Console(ctx context.Context, source, uuid string) (proxy.Console, error) {
	all, err := l.Consoles(ctx)
	if err != nil {
		return proxy.Console{}, err
	}
	for _, c := range all {
		if c.Source == source && c.UUID == uuid {
			return c, nil
		}
	}
	return proxy.Console{}, &proxy.UnknownConsoleError{Source: source, UUID: uuid}
}

// lane is a proxy in front of a console.
type lane struct {
	*proxy.Proxy
	t       testing.TB
	console *console
	lab     *lab
	tls     *pki.Bundle
	events  chan proxy.Event
	log     *safeBuffer
	clock   *clock
}

// clock is the tokens' clock.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// ticketKey is one for all consoles: making one takes longer than most tests.
var ticketKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := link.GenerateKey()
	if err != nil {
		panic(err)
	}
	return key
})

var testBundle = sync.OnceValue(func() *pki.Bundle {
	b, err := pki.New(pki.Config{})
	if err != nil {
		panic(err)
	}
	return b
})

// up starts a proxy in front of c. The log of every test is searched for the
// ticket and the API token at its end.
func up(t testing.TB, c *console, change ...func(*proxy.Config)) *lane {
	t.Helper()
	l := &lane{t: t, console: c, lab: &lab{consoles: []*console{c}}, tls: testBundle(), events: make(chan proxy.Event, 10000),
		log: &safeBuffer{}, clock: &clock{now: time.Now()}}
	cfg := proxy.Config{TLS: l.tls, Consoles: l.lab, APIToken: apiToken, Now: l.clock.Now,
		Logger:  slog.New(slog.NewTextHandler(l.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		OnEvent: func(e proxy.Event) { l.events <- e }}
	for _, f := range change {
		f(&cfg)
	}
	p, err := proxy.Start(t.Context(), cfg)
	require.NoError(t, err)
	l.Proxy = p
	t.Cleanup(func() {
		assert.NoError(t, p.Close())
		assert.NotContains(t, l.log.String(), ticket)
		assert.NotContains(t, l.log.String(), apiToken)
	})
	return l
}

// token returns the password of a fresh .vv.
func (l *lane) token() string {
	l.t.Helper()
	file := l.vv()
	l.t.Cleanup(func() { assert.NotContains(l.t, l.log.String(), file.Password) })
	return file.Password
}

func (l *lane) vv() *vv.File {
	l.t.Helper()
	file, err := l.VV(context.Background(), source, uuid)
	require.NoError(l.t, err)
	return file
}

// dial connects to the TLS port.
func (l *lane) dial() *tls.Conn {
	l.t.Helper()
	conn, err := tls.Dial("tcp", l.TLSAddr(), pki.ClientTLS(l.tls.CAPool(), "", l.tls.HostSubject))
	require.NoError(l.t, err)
	l.t.Cleanup(func() { conn.Close() })
	return conn
}

// link links a channel as a client.
func (l *lane) link(token string, connectionID uint32, id wire.ChannelID) (*tls.Conn, error) {
	l.t.Helper()
	return l.linkAs(link.Config{ConnectionID: connectionID, Channel: id, CommonCaps: link.CommonCaps, Secret: token})
}

func (l *lane) linkAs(cfg link.Config) (*tls.Conn, error) {
	l.t.Helper()
	conn := l.dial()
	ctx, cancel := context.WithTimeout(context.Background(), most)
	defer cancel()
	_, err := link.Client(ctx, conn, cfg)
	return conn, err
}

// open is a session whose main channel got its connection id.
func (l *lane) open() (token string, client *tls.Conn, server *served) {
	l.t.Helper()
	token = l.token()
	client, err := l.link(token, 0, mainChannel)
	require.NoError(l.t, err)
	server = l.console.next(l.t)
	write(l.t, server, message(mainInitType, mainInit(session)))
	expect(l.t, client, message(mainInitType, mainInit(session)))
	return token, client, server
}

// event waits for the next event of a kind, passing over others.
func (l *lane) event(kind proxy.EventKind) proxy.Event {
	l.t.Helper()
	timeout := time.After(most)
	for {
		select {
		case e := <-l.events:
			if e.Kind == kind {
				return e
			}
		case <-timeout:
			l.t.Fatalf("no event %s; the log says:\n%s", kind, l.log)
		}
	}
}

// denied checks that a link was refused with code, and why.
func (l *lane) denied(err error, code wire.Result, reason proxy.Reason) proxy.Event {
	l.t.Helper()
	assertCode(l.t, err, code)
	e := l.event(proxy.EventLinkRefused)
	assert.Equal(l.t, reason, e.Reason)
	return e
}

func assertCode(t testing.TB, err error, code wire.Result) {
	t.Helper()
	var refused *link.Error
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, code, refused.Code, err)
	assert.NoError(t, refused.Err, "the peer must have said so")
}

// message returns one message with a mini header.
func message(kind uint16, body []byte) []byte {
	return append(wire.Header{Type: kind, Size: uint32(len(body))}.AppendMini(nil), body...)
}

func write(t testing.TB, conn net.Conn, b []byte) {
	t.Helper()
	_, err := conn.Write(b)
	require.NoError(t, err)
}

func expect(t testing.TB, conn net.Conn, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(most)))
	n, err := io.ReadFull(conn, got)
	require.NoError(t, err, "after %d of %d bytes", n, len(want))
	require.NoError(t, conn.SetReadDeadline(time.Time{}))
	assert.True(t, bytes.Equal(want, got), "the bytes differ")
}

// told checks that the client of a main channel reads why its session ends, and then
// the end.
func told(t testing.TB, conn net.Conn, want string) {
	t.Helper()
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(most)))
	in := wire.NewFrameReader(conn, wire.FrameConfig{Mini: true})
	h, err := in.Next()
	require.NoError(t, err)
	body, err := in.Body(nil)
	require.NoError(t, err)
	m, err := wire.DecodeServer(wire.ChannelMain, h.Type, body)
	require.NoError(t, err)
	notice, ok := m.(*wire.Notify)
	require.True(t, ok, "%T", m)
	assert.Equal(t, want, notice.Message)
	assert.Equal(t, wire.NotifyWarn, notice.Severity)
	h, err = in.Next()
	require.NoError(t, err)
	assert.Equal(t, (*wire.Disconnecting)(nil).MessageType(), h.Type)
	_, err = in.Next()
	assert.Error(t, err, "the end of the connection")
	assert.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the connection is still open")
}

// ends checks that nothing but the end of the connection follows.
func ends(t testing.TB, conn net.Conn) {
	t.Helper()
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(most)))
	n, err := conn.Read(make([]byte, 1))
	assert.Zero(t, n)
	require.Error(t, err)
	assert.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the connection is still open")
}
