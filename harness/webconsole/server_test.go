package webconsole_test

import (
	"context"
	"encoding/json"
	"image"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/internal/lanetest"
	"github.com/spicelane/spicelane/harness/viewer"
	"github.com/spicelane/spicelane/harness/webconsole"
	"github.com/spicelane/spicelane/spice/control/server"
)

func TestMain(m *testing.M) { lanetest.Main(m) }

// serve serves a lane of which only the directory is left.
func serve(t *testing.T, cfg webconsole.Config) *webconsole.Server {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "serial.log"), []byte("Hello from Beacon\r\n"), 0o600))
	v := viewer.Open(viewer.Config{Name: "lane", Dir: dir})
	t.Cleanup(func() { require.NoError(t, v.Close()) })
	cfg.Viewer = v
	s, err := webconsole.Start(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// person returns an HTTP client with its own cookies, as a browser has.
func person(t *testing.T) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Jar: jar, Transport: tr}
}

func get(t *testing.T, c *http.Client, url string, change func(*http.Request)) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	require.NoError(t, err)
	if change != nil {
		change(req)
	}
	resp, err := c.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp, string(b)
}

func login(t *testing.T, c *http.Client, s *webconsole.Server, token string) *http.Response {
	t.Helper()
	resp, err := c.Post("http://"+s.Addr()+"/login", "text/plain", strings.NewReader(token))
	require.NoError(t, err)
	resp.Body.Close()
	return resp
}

func tokenOf(t *testing.T, link string) string {
	t.Helper()
	u, err := url.Parse(link)
	require.NoError(t, err)
	require.Empty(t, u.RawQuery, "what is behind ? is in logs and Referer headers")
	require.GreaterOrEqual(t, len(u.Fragment), 27)
	return u.Fragment
}

func TestALinkOpensOnce(t *testing.T) {
	s := serve(t, webconsole.Config{})
	token := tokenOf(t, s.Link())
	one, two := person(t), person(t)
	require.Equal(t, http.StatusForbidden, login(t, two, s, "guess").StatusCode)
	require.Equal(t, http.StatusForbidden, login(t, two, s, "").StatusCode)
	resp := login(t, one, s, token)
	require.Equal(t, http.StatusNoContent, resp.StatusCode)
	require.Len(t, resp.Cookies(), 1)
	c := resp.Cookies()[0]
	require.True(t, c.HttpOnly)
	require.Equal(t, http.SameSiteStrictMode, c.SameSite)
	require.NotContains(t, c.Value, token)
	require.Equal(t, http.StatusForbidden, login(t, two, s, token).StatusCode, "the link has been used")

	resp, _ = get(t, two, "http://"+s.Addr()+"/screenshot.png", nil)
	require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	resp, _ = get(t, two, "http://"+s.Addr()+"/ws", nil)
	require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	resp, body := get(t, one, "http://"+s.Addr()+"/screenshot.png", nil)
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.Contains(t, body, "no SPICE session")

	require.Equal(t, http.StatusNoContent, login(t, two, s, tokenOf(t, s.Link())).StatusCode, "another link, another browser")
	resp, _ = get(t, one, "http://"+s.Addr()+"/screenshot.png", nil)
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode, "the first one may stay")
}

func TestALinkThatNobodyUsesDies(t *testing.T) {
	s := serve(t, webconsole.Config{LinkLifetime: time.Nanosecond})
	require.Equal(t, http.StatusForbidden, login(t, person(t), s, tokenOf(t, s.Link())).StatusCode)
}

func TestThePageIsForThisComputerAndThisNameOnly(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", "192.0.2.1:80", ":0", "example.org:80"} {
		_, err := webconsole.Start(webconsole.Config{Listen: addr})
		var open *webconsole.NotLoopbackError
		require.ErrorAs(t, err, &open, addr)
		require.ErrorContains(t, err, "ssh -L")
	}
	_, err := webconsole.Start(webconsole.Config{Listen: "nonsense"})
	require.Error(t, err)

	s := serve(t, webconsole.Config{})
	me := person(t)
	require.Equal(t, http.StatusNoContent, login(t, me, s, tokenOf(t, s.Link())).StatusCode)
	// A site whose name was pointed at the loopback address.
	resp, _ := get(t, me, "http://"+s.Addr()+"/", func(r *http.Request) { r.Host = "evil.example" })
	require.Equal(t, http.StatusMisdirectedRequest, resp.StatusCode)
	// A page of another origin.
	u, err := url.Parse("http://" + s.Addr())
	require.NoError(t, err)
	_, resp, err = websocket.Dial(t.Context(), "ws://"+s.Addr()+"/ws", &websocket.DialOptions{
		HTTPClient: me, HTTPHeader: http.Header{"Origin": {"http://evil.example"}, "Cookie": {me.Jar.Cookies(u)[0].String()}},
	})
	require.Error(t, err)
	require.Equal(t, http.StatusForbidden, resp.StatusCode)

	_, err = webconsole.Start(webconsole.Config{Listen: s.Addr()})
	require.ErrorContains(t, err, "address already in use")
}

func TestThePageLoadsNothingFromElsewhere(t *testing.T) {
	s := serve(t, webconsole.Config{})
	resp, body := get(t, person(t), "http://"+s.Addr()+"/", nil)
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.NotContains(t, body, "{{")
	for _, u := range regexp.MustCompile(`(?i)\b(https?|wss?):[^"'\s]*`).FindAllString(body, -1) {
		require.Equal(t, "ws://${location.host}/ws`);", u)
	}
	csp := resp.Header.Get("Content-Security-Policy")
	require.Contains(t, csp, "default-src 'none'")
	nonce := regexp.MustCompile(`script-src 'nonce-([^']+)'`).FindStringSubmatch(csp)[1]
	require.Equal(t, 4, strings.Count(body, `nonce="`+nonce+`"`))
	require.NotContains(t, body, " style=", "the policy refuses styles in attributes")
	require.Equal(t, "no-store", resp.Header.Get("Cache-Control"))
	again, _ := get(t, person(t), "http://"+s.Addr()+"/", nil)
	require.NotEqual(t, csp, again.Header.Get("Content-Security-Policy"))
	resp, _ = get(t, person(t), "http://"+s.Addr()+"/elsewhere", nil)
	require.Equal(t, http.StatusNotFound, resp.StatusCode)
}

// open opens the WebSocket of a person who has logged in.
func open(t *testing.T, s *webconsole.Server) *websocket.Conn {
	t.Helper()
	me := person(t)
	require.Equal(t, http.StatusNoContent, login(t, me, s, tokenOf(t, s.Link())).StatusCode)
	conn, _, err := websocket.Dial(t.Context(), "ws://"+s.Addr()+"/ws", &websocket.DialOptions{HTTPClient: me})
	require.NoError(t, err)
	t.Cleanup(func() { conn.CloseNow() })
	conn.SetReadLimit(1 << 20)
	return conn
}

// awaitMessage reads until a message contains text.
func awaitMessage(t *testing.T, conn *websocket.Conn, text string) map[string]any {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for {
		_, b, err := conn.Read(ctx)
		require.NoError(t, err, "waiting for %q", text)
		if strings.Contains(string(b), text) {
			var m map[string]any
			require.NoError(t, json.Unmarshal(b, &m))
			return m
		}
	}
}

func TestBadMessagesAreAnsweredAndThePageStays(t *testing.T) {
	s := serve(t, webconsole.Config{})
	conn := open(t, s)
	awaitMessage(t, conn, "Hello from Beacon")
	for _, tt := range []struct{ say, answer string }{
		{`{`, "cannot be read"},
		{`[]`, "cannot be read"},
		{`{"key":{"code":70000}}`, "cannot be read"},
		{`{"key":{"code":0,"down":true}}`, "no key has that code"},
		{`{"button":{"button":8,"down":true}}`, "no such button"},
		{`{"key":{"code":30,"down":true}}`, "no SPICE session"},
		{`{"move":{"x":1,"y":2}}`, "no SPICE session"},
		{`{"wheel":-1000000}`, "no SPICE session"},
		{`{"text":{"text":"a"}}`, "no SPICE session"},
		{`{"unknown":1}`, ""},
	} {
		require.NoError(t, conn.Write(t.Context(), websocket.MessageText, []byte(tt.say)))
		if tt.answer != "" {
			awaitMessage(t, conn, tt.answer)
		}
	}
	// More than anybody types ends the connection, and nothing else. NB: what the
	// server leaves unread makes it a reset, which may outrun the reason.
	require.NoError(t, conn.Write(t.Context(), websocket.MessageText, make([]byte, webconsole.MaxRequest+1)))
	_, _, err := conn.Read(t.Context())
	require.Equal(t, websocket.StatusMessageTooBig, websocket.CloseStatus(err), "%v", err)
	awaitMessage(t, open(t, s), "Hello from Beacon")
}

func TestCloseEndsOpenPages(t *testing.T) {
	s := serve(t, webconsole.Config{})
	conn := open(t, s)
	awaitMessage(t, conn, `"state"`)
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	for {
		if _, _, err := conn.Read(t.Context()); err != nil {
			break
		}
	}
}

func TestPictureMessages(t *testing.T) {
	pic := &server.Picture{Width: 3, Height: 2, Stride: 16, Pix: []byte{
		1, 2, 3, 0, 4, 5, 6, 0, 7, 8, 9, 0, 99, 99, 99, 99,
		11, 12, 13, 0, 14, 15, 16, 0, 17, 18, 19, 0, 99, 99, 99, 99,
	}}
	require.Equal(t, []byte{
		3, 0, 2, 0, 2, 0,
		1, 0, 0, 0, 2, 0, 1, 0, 6, 5, 4, 255, 9, 8, 7, 255,
		0, 0, 1, 0, 1, 0, 1, 0, 13, 12, 11, 255,
	}, webconsole.PictureMessage(pic, []image.Rectangle{image.Rect(1, 0, 9, 1), image.Rect(-5, 1, 1, 7), image.Rect(5, 5, 9, 9)}))
}

func TestMakeCodes(t *testing.T) {
	for code, want := range map[uint16]bool{0: false, 1: true, 0x7f: true, 0x80: false, 0x9e: false, 0xe053: true, 0xe000: false, 0xe0cb: false, 0x4be0: false, 0xe11d: false} {
		require.Equal(t, want, webconsole.IsMakeCode(code), "%#x", code)
	}
}

// The past of a lane is only for holders of the cookie. It is what package replay makes of it.
func TestWhatHasBeenIsServedToThePage(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "timeline.ndjson"), []byte(`{"t_us":0,"kind":"begin","name":"a","wall":"2026-11-27T04:40:17Z"}
{"t_us":5,"kind":"serial","text":"</script><b>said"}
{"t_us":7,"kind":"ser`), 0o600))
	v := viewer.Open(viewer.Config{Name: "lane", Dir: dir})
	t.Cleanup(func() { require.NoError(t, v.Close()) })
	s, err := webconsole.Start(webconsole.Config{Viewer: v})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	me := person(t)
	resp, _ := get(t, me, "http://"+s.Addr()+"/past", nil)
	require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	require.Equal(t, http.StatusNoContent, login(t, me, s, tokenOf(t, s.Link())).StatusCode)
	resp, body := get(t, me, "http://"+s.Addr()+"/past", nil)
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, "text/plain; charset=utf-8", resp.Header.Get("Content-Type"))
	line, _, ok := strings.Cut(body, "\n")
	require.True(t, ok)
	var d struct {
		X          []string
		Now, Began int64
	}
	require.NoError(t, json.Unmarshal([]byte(line), &d))
	require.Equal(t, []string{"the lane a begins", "</script><b>said"}, d.X, "the line that is being written is not there yet")
	require.Equal(t, time.Date(2026, 11, 27, 4, 40, 17, 0, time.UTC).UnixMicro(), d.Began)

	// A lane whose directory is unknown has no past.
	other := serve(t, webconsole.Config{})
	require.Equal(t, http.StatusNoContent, login(t, me, other, tokenOf(t, other.Link())).StatusCode)
	resp, body = get(t, me, "http://"+other.Addr()+"/past", nil)
	require.Equal(t, http.StatusNoContent, resp.StatusCode)
	require.Empty(t, body)
}
