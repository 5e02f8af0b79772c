package proxy_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	consoles "github.com/spicelane/spicelane/spice/console"
	"github.com/spicelane/spicelane/spice/proxy"
	"github.com/spicelane/spicelane/spice/vv"
	"github.com/spicelane/spicelane/spice/wire"
)

const (
	apiToken = "the-api-token"
	vvPath   = "/console/proxy/" + source + "/" + uuid + "/console.vv"
	directVV = "/console/direct/" + source + "/" + uuid + "/console.vv"
)

// ask sends a request to the API, with the API token.
func (l *lane) ask(method, path string) (*http.Response, string) {
	return l.askWith(method, path, "Bearer "+apiToken)
}

func (l *lane) askWith(method, path, authorization string) (*http.Response, string) {
	l.t.Helper()
	req, err := http.NewRequest(method, "http://"+l.APIAddr()+path, nil)
	require.NoError(l.t, err)
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: most}
	resp, err := client.Do(req)
	require.NoError(l.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(l.t, err)
	return resp, string(body)
}

// failed checks the form of an error and returns its code.
func failed(t *testing.T, resp *http.Response, body string) string {
	t.Helper()
	assert.Equal(t, "application/json", resp.Header.Get("Content-Type"))
	var e struct {
		Error struct{ Code, Message string }
	}
	require.NoError(t, json.Unmarshal([]byte(body), &e), body)
	assert.NotEmpty(t, e.Error.Message)
	return e.Error.Code
}

func TestAllButHealthAndMetricsWantTheToken(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil))
	for _, path := range []string{"/healthz", "/metrics"} {
		resp, _ := l.askWith("GET", path, "")
		assert.Equal(t, http.StatusOK, resp.StatusCode, path)
	}
	for _, path := range []string{"/consoles", "/sessions", vvPath, directVV, "/", "/nowhere"} {
		for _, authorization := range []string{"", "Bearer", "Bearer wrong", "Bearer " + apiToken + "x", "Basic " + apiToken, apiToken} {
			resp, body := l.askWith("GET", path, authorization)
			assert.Equal(t, http.StatusUnauthorized, resp.StatusCode, path)
			assert.Equal(t, "unauthorized", failed(t, resp, body))
		}
	}
	resp, body := l.askWith("DELETE", "/sessions/x", "")
	assert.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	assert.NotContains(t, body, apiToken)
}

func TestWithoutAnAPITokenNobodyHasIt(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil), func(c *proxy.Config) { c.APIToken = "" })
	for _, authorization := range []string{"", "Bearer", "Bearer "} {
		resp, _ := l.askWith("GET", "/consoles", authorization)
		assert.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	}
}

func TestTheVVFileLeadsThroughTheProxy(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil))
	resp, body := l.ask("GET", vvPath)
	require.Equal(t, http.StatusOK, resp.StatusCode, body)
	assert.Equal(t, "application/x-virt-viewer", resp.Header.Get("Content-Type"))
	assert.Equal(t, "no-store", resp.Header.Get("Cache-Control"))
	assert.True(t, strings.HasPrefix(body, "[virt-viewer]\ntype=spice\n"))
	assert.Contains(t, body, `\n-----END CERTIFICATE-----\n`)
	assert.Contains(t, body, "delete-this-file=1\n")
	file, err := vv.Parse("console.vv", []byte(body))
	require.NoError(t, err)
	assert.Equal(t, "127.0.0.1", file.Host)
	assert.Equal(t, l.TLSAddr(), file.Host+":"+strconv.Itoa(file.TLSPort))
	assert.Equal(t, l.Addr(), file.Host+":"+strconv.Itoa(file.Port))
	assert.Equal(t, string(l.tls.CACert), file.CA)
	assert.Equal(t, l.tls.HostSubject, file.HostSubject)
	assert.Equal(t, "beacon", file.Title)
	_, err = l.link(file.Password, 0, mainChannel)
	assert.NoError(t, err)
	_, again := l.ask("GET", vvPath)
	assert.NotEqual(t, body, again, "every file has a token of its own")
	assert.NotContains(t, l.log.String(), file.Password)
}

// Who checks a link first, as browsers and download tools do, must not use up what it leads to.
func TestAHeadRequestForAVVFileIssuesNoToken(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil), func(c *proxy.Config) { c.AllowDirect = true })
	for _, path := range []string{vvPath, directVV} {
		resp, _ := l.ask("HEAD", path)
		require.Equal(t, http.StatusOK, resp.StatusCode, path)
		assert.Equal(t, "application/x-virt-viewer", resp.Header.Get("Content-Type"))
		assert.Equal(t, "no-store", resp.Header.Get("Cache-Control"))
		resp, _ = l.ask("HEAD", strings.Replace(path, uuid, "nobody", 1))
		assert.Equal(t, http.StatusNotFound, resp.StatusCode, path)
	}
	_, metrics := l.askWith("GET", "/metrics", "")
	assert.NotContains(t, metrics, string(proxy.EventTokenIssued))
}

func TestAConsoleIsFoundByItsUUIDInCapitals(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil))
	resp, body := l.ask("GET", strings.Replace(vvPath, uuid, strings.ToUpper(uuid), 1))
	require.Equal(t, http.StatusOK, resp.StatusCode, body)
	file, err := vv.Parse("console.vv", []byte(body))
	require.NoError(t, err)
	_, err = l.link(file.Password, 0, mainChannel)
	assert.NoError(t, err)
}

func TestUnknownThingsAreNotFound(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil))
	for path, code := range map[string]string{
		"/console/proxy/" + source + "/nowhere/console.vv": "unknown_console",
		"/console/proxy/nowhere/" + uuid + "/console.vv":   "unknown_console",
		directVV:   "not_found",
		"/nowhere": "not_found",
	} {
		resp, body := l.ask("GET", path)
		assert.Equal(t, http.StatusNotFound, resp.StatusCode, path)
		assert.Equal(t, code, failed(t, resp, body), path)
	}
	resp, body := l.ask("DELETE", "/sessions/nowhere")
	assert.Equal(t, http.StatusNotFound, resp.StatusCode)
	assert.Equal(t, "unknown_session", failed(t, resp, body))
	for path, allowed := range map[string]string{"/consoles": "GET, HEAD", "/sessions/x": "DELETE", "/healthz": "GET, HEAD", vvPath: "GET, HEAD"} {
		resp, body := l.ask("POST", path)
		assert.Equal(t, http.StatusMethodNotAllowed, resp.StatusCode, path)
		assert.Equal(t, allowed, resp.Header.Get("Allow"))
		assert.Equal(t, "method_not_allowed", failed(t, resp, body))
	}
}

func TestADirectVVFileIsHandedOutOnlyIfEnabled(t *testing.T) {
	c := newConsole(t, "tcp", testBundle())
	l := up(t, c, func(c *proxy.Config) { c.AllowDirect = true })
	_, body := l.ask("GET", directVV)
	file, err := vv.Parse("console.vv", []byte(body))
	require.NoError(t, err)
	want := vv.File{Type: "spice", Host: "127.0.0.1", TLSPort: c.SecurePort, Password: ticket,
		CA: string(testBundle().CACert), Title: "beacon", DeleteThisFile: true}
	assert.Equal(t, want, *file)

	c.set(func(c *console) { c.Unix = "/run/beacon.sock" })
	_, body = l.ask("GET", directVV)
	file, err = vv.Parse("console.vv", []byte(body))
	require.NoError(t, err)
	assert.Equal(t, vv.File{Type: "spice", UnixPath: "/run/beacon.sock", Password: ticket, Title: "beacon", DeleteThisFile: true}, *file)
}

func TestConsolesAreListedWithoutTickets(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil))
	resp, body := l.ask("GET", "/consoles")
	require.Equal(t, http.StatusOK, resp.StatusCode)
	assert.NotContains(t, body, ticket)
	var list struct{ Consoles []proxy.ConsoleInfo }
	require.NoError(t, json.Unmarshal([]byte(body), &list))
	assert.Equal(t, []proxy.ConsoleInfo{{Source: source, UUID: uuid, Name: "beacon", Hypervisor: "localhost",
		HypervisorIP: "127.0.0.1", InsecurePort: l.console.InsecurePort, VV: vvPath}}, list.Consoles)
}

func TestSessionsAreListedAndEnded(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil))
	_, body := l.ask("GET", "/sessions")
	assert.JSONEq(t, `{"sessions":[],"relayed":{"from_client":0,"from_server":0}}`, body)
	token, client, server := l.open()
	var list struct{ Sessions []proxy.SessionInfo }
	_, body = l.ask("GET", "/sessions")
	require.NoError(t, json.Unmarshal([]byte(body), &list))
	require.Len(t, list.Sessions, 1)
	s := list.Sessions[0]
	assert.Equal(t, []string{source, uuid, "beacon"}, []string{s.Source, s.UUID, s.Name})
	assert.Equal(t, "main:0", s.Channels[0].Channel)
	assert.True(t, s.Channels[0].Relaying)
	assert.Equal(t, uint64(38), s.Channels[0].BytesFromServer)

	resp, body := l.ask("DELETE", "/sessions/"+s.ID)
	assert.Equal(t, http.StatusNoContent, resp.StatusCode)
	assert.Empty(t, body)
	told(t, client, "An operator has ended this session.")
	ends(t, server)
	_, err := l.link(token, session, display)
	assertCode(t, err, wire.ResultPermissionDenied)
	resp, _ = l.ask("DELETE", "/sessions/"+s.ID)
	assert.Equal(t, http.StatusNotFound, resp.StatusCode)
	// What has ended stays counted.
	_, body = l.ask("GET", "/sessions")
	assert.JSONEq(t, `{"sessions":[],"relayed":{"from_client":0,"from_server":38}}`, body)
	_, client, server = l.open()
	msg := message(3, []byte("from the client"))
	write(t, client, msg)
	expect(t, server, msg)
	assert.Equal(t, proxy.Relayed{FromClient: uint64(len(msg)), FromServer: 2 * 38}, l.Relayed())
}

func TestHealthDependsOnTheSources(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil))
	l.lab.mu.Lock()
	l.lab.err = errors.New("libvirtd is down")
	l.lab.mu.Unlock()
	for path, says := range map[string]bool{"/healthz": false, "/consoles": true} {
		resp, body := l.ask("GET", path)
		assert.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
		assert.Equal(t, "sources_unavailable", failed(t, resp, body))
		assert.Equal(t, says, strings.Contains(body, "libvirtd is down"), "only who has the token is told why")
	}
	resp, body := l.ask("GET", vvPath)
	assert.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	assert.Equal(t, "console_unavailable", failed(t, resp, body))
}

func TestMetricsCountEventsSessionsAndBytes(t *testing.T) {
	l := up(t, newConsole(t, "tcp", nil))
	l.open()
	_, err := l.link("never issued", 0, mainChannel)
	require.Error(t, err)
	// It is counted before the client gets its result.
	_, body := l.ask("GET", "/metrics")
	for _, line := range []string{
		`spicelane_proxy_events_total{event="session_opened",reason=""} 1`,
		`spicelane_proxy_relayed_bytes_total{channel="main",from="server"} 38`,
		"spicelane_proxy_sessions 1", `spicelane_proxy_channels{channel="main"} 1`,
		"spicelane_proxy_backend_connect_seconds_count 1", "spicelane_proxy_backend_link_seconds_count 1",
		"spicelane_proxy_handshake_seconds_count 2",
		`spicelane_proxy_relay_seconds_count{channel="main",from="server"} 1`,
	} {
		assert.Contains(t, body, line+"\n")
	}
	l.event(proxy.EventLinkRefused)
	_, body = l.ask("GET", "/metrics")
	assert.Contains(t, body, `spicelane_proxy_events_total{event="link_refused",reason="token_unknown"} 1`+"\n")
	assert.Regexp(t, `spicelane_proxy_build_info\{go="go1[^"]*",revision="[^"]*",version="[^"]+"\} 1\n`, body)
}

// counting is a catalog that counts the errors of its sources, of which some answer.
type counting struct{ *lab }

func (c counting) Consoles(ctx context.Context) ([]proxy.Console, error) {
	all, _ := c.lab.Consoles(ctx)
	return all, &consoles.PartialError{Failed: []*consoles.SourceError{{Source: "kvm7", Err: errors.New("libvirtd is down")}}}
}

func (counting) SourceErrors() map[string]uint64 { return map[string]uint64{"kvm7": 3, "lab": 0} }

func TestASourceThatFailsDoesNotTakeTheOthersConsolesAway(t *testing.T) {
	c := newConsole(t, "tcp", nil)
	l := up(t, c, func(cfg *proxy.Config) { cfg.Consoles = counting{&lab{consoles: []*console{c}}} })
	resp, body := l.ask("GET", "/consoles")
	assert.Equal(t, http.StatusOK, resp.StatusCode)
	var list struct {
		Consoles []proxy.ConsoleInfo
		Failed   []proxy.FailedSource `json:"failed_sources"`
	}
	require.NoError(t, json.Unmarshal([]byte(body), &list))
	require.Len(t, list.Consoles, 1)
	assert.Equal(t, uuid, list.Consoles[0].UUID)
	assert.Equal(t, []proxy.FailedSource{{Source: "kvm7", Message: "libvirtd is down"}}, list.Failed)
	resp, body = l.ask("GET", "/healthz")
	assert.Equal(t, http.StatusOK, resp.StatusCode)
	assert.JSONEq(t, `{"status":"degraded","failed_sources":1}`, body)
	l.open()
	_, body = l.ask("GET", "/metrics")
	for _, line := range []string{`spicelane_proxy_source_errors_total{source="kvm7"} 3`, `spicelane_proxy_source_errors_total{source="lab"} 0`} {
		assert.Contains(t, body, line+"\n")
	}
}

// Timeline: the console sets a window of 5, the client knows it; the console sends 7
// messages, the client acknowledges 5; the console sets another window.
func TestMessagesThatAClientHasNotAcknowledgedAreCounted(t *testing.T) {
	// With the firewall off: what is looked at is not limited by it.
	l := up(t, newConsole(t, "tcp", nil), func(c *proxy.Config) { c.Firewall.Mode = proxy.FirewallOff })
	token, _, _ := l.open()
	client, err := l.link(token, session, display)
	require.NoError(t, err)
	server := l.console.next(t)
	say := func(from, to net.Conn, msg []byte) {
		write(t, from, msg)
		expect(t, to, msg)
	}
	pending := func(want uint64) {
		t.Helper()
		ch := l.Sessions()[0].Channels[1]
		require.NotNil(t, ch.Unacknowledged)
		assert.Equal(t, want, *ch.Unacknowledged)
		_, body := l.ask("GET", "/metrics")
		assert.Contains(t, body, fmt.Sprintf("spicelane_proxy_channel_unacknowledged_messages{channel=\"display\"} %d\n", want))
	}
	assert.Nil(t, l.Sessions()[0].Channels[1].Unacknowledged)
	_, body := l.ask("GET", "/metrics")
	assert.NotContains(t, body, "spicelane_proxy_channel_unacknowledged_messages{")
	ack := message(2, nil)

	say(server, client, message(4, make([]byte, 12)))
	say(server, client, message(3, (&wire.SetAck{Generation: 1, Window: 5}).Append(nil)))
	pending(0)
	say(client, server, ack) // of the window before
	say(client, server, message(1, (&wire.AckSync{Generation: 1}).Append(nil)))
	for range 7 {
		say(server, client, message(4, make([]byte, 12)))
	}
	pending(7)
	say(client, server, ack)
	pending(2)
	say(client, server, ack) // of what it has not got
	pending(0)
	say(server, client, message(3, (&wire.SetAck{Generation: 2, Window: 5}).Append(nil)))
	say(server, client, message(4, nil))
	say(client, server, ack)
	pending(1)
	say(client, server, message(1, (&wire.AckSync{Generation: 7}).Append(nil)))
	say(client, server, ack)
	pending(1)
	// Nonsense is between the two of them.
	say(server, client, message(3, []byte("abc")))
	say(client, server, message(1, nil))
	say(client, server, message(2, make([]byte, 100_000)))
}

func TestTheHostOfAVVFileIsOneThatClientsReach(t *testing.T) {
	for name, c := range map[string]struct{ listen, host, want string }{
		"as configured":        {"127.0.0.1:0", "console.example", "console.example"},
		"the listener's":       {"127.0.0.2:0", "", "127.0.0.2"},
		"as the API was asked": {":0", "", "localhost"},
	} {
		t.Run(name, func(t *testing.T) {
			l := up(t, newConsole(t, "tcp", nil), func(cfg *proxy.Config) { cfg.ListenTLS, cfg.Host = c.listen, c.host })
			req, err := http.NewRequest("GET", "http://"+l.APIAddr()+vvPath, nil)
			require.NoError(t, err)
			req.Header.Set("Authorization", "Bearer "+apiToken)
			req.Host = "localhost:8080"
			req.Close = true
			resp, err := http.DefaultClient.Do(req)
			require.NoError(t, err)
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			file, err := vv.Parse("console.vv", body)
			require.NoError(t, err)
			assert.Equal(t, c.want, file.Host)
			if c.listen == ":0" {
				assert.Equal(t, "127.0.0.1", l.vv().Host, "without a request")
			}
		})
	}
}

// stuck is a source that answers only when its context ends.
type stuck struct {
	asked    chan struct{}
	answered atomic.Bool
}

func (s *stuck) Consoles(ctx context.Context) ([]proxy.Console, error) {
	close(s.asked)
	<-ctx.Done()
	s.answered.Store(true)
	return nil, ctx.Err()
}

func (s *stuck) Console(context.Context, string, string) (proxy.Console, error) {
	return proxy.Console{}, errors.New("not asked in this test")
}

func TestCloseEndsRequestsThatWaitForASource(t *testing.T) {
	s := &stuck{asked: make(chan struct{})}
	l := up(t, newConsole(t, "tcp", nil), func(c *proxy.Config) { c.Consoles = s })
	done := make(chan struct{})
	go func() {
		defer close(done)
		if resp, err := http.Get("http://" + l.APIAddr() + "/healthz"); err == nil {
			resp.Body.Close()
		}
	}()
	<-s.asked
	require.NoError(t, l.Close())
	assert.True(t, s.answered.Load(), "who closes the sources next must find them unused")
	<-done
}
