package proxy_test

// A console with a plaintext port and a TLS port, of which each channel has one, as
// libvirt makes them with <channel name='main' mode='secure'/>. Clients know nothing of
// that: at the proxy every channel is TLS.
//
//	client ──TLS──► proxy ──TLS────► console, secure port    main
//	                      ──plain──► console, insecure port  display

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice/proxy"
	"github.com/spicelane/spicelane/spice/vv"
	"github.com/spicelane/spicelane/spice/wire"
)

// mixed returns the two ports of a console, and a proxy that knows both as one.
func mixed(t *testing.T, secureChannels ...string) (l *lane, plain, secure *console) {
	t.Helper()
	plain, secure = newConsole(t, "tcp", nil), newConsole(t, "tcp", testBundle())
	both := secure.Console
	both.InsecurePort, both.SecureChannels = plain.InsecurePort, secureChannels
	l = up(t, secure, func(c *proxy.Config) { c.AllowDirect = true })
	l.lab.mu.Lock()
	defer l.lab.mu.Unlock()
	l.lab.consoles = []*console{{Console: both}}
	return l, plain, secure
}

func TestEachChannelIsLinkedOnThePortThatItsConsoleHasForIt(t *testing.T) {
	for _, tc := range []struct {
		name          string
		secure        []string
		main, display bool // whether it is TLS
	}{
		{"one is secure", []string{"main"}, true, false},
		{"the other is secure", []string{"display", "inputs"}, false, true},
		{"all are secure", []string{"all"}, true, true},
		{"nothing is said", nil, true, true},
		{"none of these is secure", []string{"usbredir"}, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l, plain, secure := mixed(t, tc.secure...)
			port := map[bool]*console{true: secure, false: plain}
			token := l.token()
			client, err := l.link(token, 0, mainChannel)
			require.NoError(t, err)
			server := port[tc.main].next(t)
			msg := message(mainInitType, mainInit(session))
			write(t, server, msg)
			expect(t, client, msg)
			picture, err := l.link(token, session, display)
			require.NoError(t, err)
			server = port[tc.display].next(t)
			assert.Equal(t, display, server.request.Channel)
			write(t, server, message(4, []byte("a picture")))
			expect(t, picture, message(4, []byte("a picture")))
			assert.Empty(t, plain.linked)
			assert.Empty(t, secure.linked)
		})
	}
}

func TestAPlainChannelThatTheConsoleWantsSecuredGetsTLS(t *testing.T) {
	l, plain, secure := mixed(t, "inputs")
	plain.set(func(c *console) { c.refuse = wire.ResultNeedSecured })
	_, err := l.link(l.token(), 0, mainChannel)
	require.NoError(t, err)
	assert.Equal(t, mainChannel, secure.next(t).request.Channel)
}

// What a console says about a channel that must be secure does not make it plain.
func TestAChannelNeverFallsBackToPlaintext(t *testing.T) {
	l, plain, secure := mixed(t, "main")
	secure.set(func(c *console) { c.refuse = wire.ResultNeedUnsecured })
	_, err := l.link(l.token(), 0, mainChannel)
	assertCode(t, err, wire.ResultError)
	e := l.event(proxy.EventBackendFailed)
	assert.ErrorContains(t, e.Err, "console at tls:127.0.0.1:"+strconv.Itoa(secure.SecurePort)+": ")
	assert.Empty(t, plain.linked)
}

// The HTTP proxy is asked for the port of each channel.
func TestBehindAnHTTPProxyEachChannelHasItsPortToo(t *testing.T) {
	l, plain, secure := mixed(t, "main")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var wg sync.WaitGroup
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	lead := func(conn net.Conn) {
		defer conn.Close()
		request, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			return
		}
		back, err := net.Dial("tcp", request.RequestURI)
		if err != nil {
			return
		}
		defer back.Close()
		io.WriteString(conn, "HTTP/1.0 200 OK\r\n\r\n")
		wg.Go(func() {
			io.Copy(back, conn)
			back.Close()
		})
		io.Copy(conn, back)
	}
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { lead(conn) })
		}
	})
	l.lab.consoles[0].set(func(c *console) { c.Proxy, c.HostSubject = "http://"+ln.Addr().String(), testBundle().HostSubject })
	token := l.token()
	client, err := l.link(token, 0, mainChannel)
	require.NoError(t, err)
	server := secure.next(t)
	msg := message(mainInitType, mainInit(session))
	write(t, server, msg)
	expect(t, client, msg)
	_, err = l.link(token, session, display)
	require.NoError(t, err)
	assert.Equal(t, display, plain.next(t).request.Channel)
}

func TestADirectVVFileNamesTheSecureChannels(t *testing.T) {
	l, plain, secure := mixed(t, "main", "inputs")
	_, body := l.ask("GET", directVV)
	file, err := vv.Parse("console.vv", []byte(body))
	require.NoError(t, err)
	assert.Equal(t, vv.File{Type: "spice", Host: "127.0.0.1", Port: plain.InsecurePort, TLSPort: secure.SecurePort, Password: ticket,
		CA: string(testBundle().CACert), SecureChannels: []string{"main", "inputs"}, Title: "beacon", DeleteThisFile: true}, *file)
	// The one that leads through the proxy has none: there every channel is TLS.
	_, body = l.ask("GET", vvPath)
	assert.NotContains(t, body, "secure-channels")
}
