package mcpserver_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/mcpserver"
	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice/control/controltest"
	"github.com/spicelane/spicelane/spice/control/server"
)

// serve starts a server on two pipes. Its lanes are those of a registry of this test's own.
//
//	test ─► requests ─► server ─► answers ─► test
func serve(t *testing.T, cfg mcpserver.Config) (requests io.WriteCloser, answers io.ReadCloser, ended chan error) {
	t.Helper()
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	// A short, own directory, so that the lanes of other tests are not seen.
	tmp, err := os.MkdirTemp("/tmp", "mcp")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(tmp) })
	t.Setenv("TMPDIR", tmp)
	in, requests := io.Pipe()
	answers, out := io.Pipe()
	ended = make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		err := mcpserver.Serve(ctx, cfg, in, out)
		out.Close()
		ended <- err
		close(ended)
	}()
	t.Cleanup(func() {
		cancel()
		in.Close()
		out.Close()
		<-ended
	})
	return requests, answers, ended
}

// session is an SDK client of a server.
func session(t *testing.T, cfg mcpserver.Config) *mcp.ClientSession {
	t.Helper()
	requests, answers, _ := serve(t, cfg)
	c, err := mcp.NewClient(&mcp.Implementation{Name: "test"}, nil).Connect(t.Context(), &mcp.IOTransport{Reader: answers, Writer: requests}, nil)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// call calls a tool. It returns its text and whether it is an error.
func call(t *testing.T, c *mcp.ClientSession, tool string, args any) (text string, failed bool) {
	t.Helper()
	res, err := c.CallTool(t.Context(), &mcp.CallToolParams{Name: tool, Arguments: args})
	require.NoError(t, err)
	for _, part := range res.Content {
		if p, ok := part.(*mcp.TextContent); ok {
			text += p.Text
		}
	}
	return text, res.IsError
}

type object = map[string]any

// keep adds a lane to the registry that has ended and left a serial log.
func keep(t *testing.T, name, serial string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "serial.log")
	require.NoError(t, os.WriteFile(file, []byte(serial), 0o600))
	require.NoError(t, registry.Registry{}.Save(registry.State{
		Name: name, State: registry.StateFailed, Verdict: verdict.Product, Reason: "it \x1b[31mdied\nof that", SerialLog: file, Dir: filepath.Dir(file),
	}))
}

func TestAServerOnlyReadsUnlessItWasToldOtherwise(t *testing.T) {
	reading := []string{"await", "digest", "screenshot", "serial", "status", "text"}
	for _, input := range []bool{false, true} {
		c := session(t, mcpserver.Config{Input: input})
		want := reading
		if input {
			want = slices.Sorted(slices.Values(append([]string{"click", "press", "type"}, reading...)))
		}
		var got []string
		for tool, err := range c.Tools(t.Context(), nil) {
			require.NoError(t, err)
			got = append(got, tool.Name)
			require.Equal(t, slices.Contains(reading, tool.Name), tool.Annotations.ReadOnlyHint, tool.Name)
		}
		require.Equal(t, want, slices.Sorted(slices.Values(got)))
		require.Equal(t, !input, strings.Contains(c.InitializeResult().Instructions, "cannot send input"))
		_, err := c.CallTool(t.Context(), &mcp.CallToolParams{Name: "press", Arguments: object{"lane": "a", "keys": []string{"a"}}})
		if input {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, `unknown tool "press"`)
		}
	}
}

func TestAServerOfOneLaneShowsNoOther(t *testing.T) {
	c := session(t, mcpserver.Config{Lane: "mine"})
	keep(t, "mine", "one\n")
	keep(t, "yours", "two\n")
	text, failed := call(t, c, "status", nil)
	require.False(t, failed, text)
	require.Contains(t, text, `"name":"mine"`)
	require.NotContains(t, text, "yours")
	text, failed = call(t, c, "serial", nil)
	require.False(t, failed, text)
	require.Contains(t, text, `"one"`)
	for _, tool := range []string{"status", "screenshot", "text", "digest", "serial"} {
		text, failed = call(t, c, tool, object{"lane": "yours"})
		require.True(t, failed, tool)
		require.Contains(t, text, "only lane mine")
	}
}

func TestAnEndedLaneIsReadWithItsReason(t *testing.T) {
	c := session(t, mcpserver.Config{})
	keep(t, "a", "first\r\n\x1b[2Jsecond\nno break yet")
	text, failed := call(t, c, "status", nil)
	require.False(t, failed, text)
	require.Contains(t, text, `"state":"failed"`)
	require.Contains(t, text, `^[[31mdied`)
	text, failed = call(t, c, "serial", object{"lane": "a", "lines": 2})
	require.False(t, failed, text)
	require.JSONEq(t, `{"lines":["^[[2Jsecond","no break yet"],"cut":true}`, text)
	text, failed = call(t, c, "screenshot", object{"lane": "a"})
	require.True(t, failed)
	require.Equal(t, `product: lane a is not up but failed: it ^[[31mdied of that`, text)
}

// Each of these is refused with the given words, and the server goes on.
func TestHostileArgumentsAreRefusedInWords(t *testing.T) {
	c := session(t, mcpserver.Config{Input: true})
	keep(t, "a", "")
	for _, r := range []struct {
		tool string
		args object
		want string
	}{
		{"serial", object{"lane": "../../../../etc"}, "not usable as a name"},
		{"serial", object{"lane": "a\x00b"}, "not usable as a name"},
		{"serial", object{"lane": "\x1b]0;x\a"}, "not usable as a name"},
		{"serial", object{"lane": strings.Repeat("a", 1<<16)}, "a name has at most"},
		{"serial", object{"lane": "nobody"}, "there is no lane of that name"},
		{"serial", object{"lane": 5}, "validating"},
		{"serial", object{"lane": "a", "path": "/etc/passwd"}, "path"},
		{"serial", object{"lane": "a", "lines": -1}, "between 1 and 500"},
		{"serial", object{"lane": "a", "lines": 501}, "between 1 and 500"},
		{"serial", object{"lane": "a", "lines": 1e300}, ""},
		{"serial", object{"lane": "a", "lines": "all"}, "validating"},
		{"screenshot", object{}, "0 lanes are up"},
		{"screenshot", object{"region": object{"x": -1, "y": 0, "width": 1, "height": 1}}, "region"},
		{"screenshot", object{"region": object{"x": 0, "y": 0, "width": 1 << 40, "height": 1 << 40}}, "region"},
		{"text", object{"region": object{"x": 0, "y": 0, "width": 0, "height": 1}}, "region"},
		{"await", object{}, "exactly one"},
		{"await", object{"text": "a", "serial": "b"}, "exactly one"},
		{"await", object{"text": "("}, "missing closing"},
		{"await", object{"text": strings.Repeat("(a{1,9})", 1000)}, "at most 1000"},
		{"await", object{"text": "(a{1000}){1000}"}, "text: "},
		{"await", object{"text": "a", "fields": object{"x": 1}}, "event"},
		{"await", object{"text": "a", "timeout_ms": 60001}, "between 1 and 60000"},
		{"await", object{"text": "a", "timeout_ms": -1}, "between 1 and 60000"},
		{"await", object{"still_ms": -5}, "still_ms"},
		{"await", object{"still_ms": 1 << 40}, "still_ms"},
		{"await", object{"still_ms": 10000}, "still_ms: 10000 takes longer than the timeout_ms of 10000"},
		{"await", object{"still_ms": 200, "timeout_ms": 100}, "still_ms: 200 takes longer than the timeout_ms of 100"},
		{"press", object{"keys": []string{}}, "between 1 and 64"},
		{"press", object{"keys": make([]string, 65)}, "between 1 and 64"},
		{"press", object{"keys": []string{"a", "NoSuchKey"}}, "NoSuchKey"},
		{"press", object{"keys": []string{strings.Repeat("a+", 1<<15)}}, "is no key"},
		{"type", object{"text": ""}, "between 1 and 2000"},
		{"type", object{"text": strings.Repeat("é", 2001)}, "between 1 and 2000"},
		{"type", object{"text": "a", "layout": "klingon"}, "klingon"},
		{"click", object{"x": 1, "y": 1, "button": "everything"}, "everything"},
		{"click", object{"x": 1}, "validating"},
	} {
		text, failed := call(t, c, r.tool, r.args)
		require.True(t, failed, "%s %v: %s", r.tool, r.args, text)
		require.Contains(t, text, r.want, "%s %.100v", r.tool, r.args)
		require.LessOrEqual(t, len(text), 5<<10, "%s %.100v", r.tool, r.args)
		require.False(t, strings.ContainsFunc(text, func(c rune) bool { return c < ' ' && c != '\n' }), "%q", text)
	}
	text, failed := call(t, c, "status", nil)
	require.False(t, failed, text)
}

// Input that violates the protocol ends the session, with the reason, and never hangs it.
func TestWhatIsNoRequestEndsTheSession(t *testing.T) {
	for name, line := range map[string]string{
		"no JSON":          "GET / HTTP/1.1\r\n\r\n",
		"too long":         `{"jsonrpc":"2.0","id":1,"method":"` + strings.Repeat("x", 2<<20) + `"}` + "\n",
		"no end":           `{"jsonrpc":"2.0","id":1,"method":"` + strings.Repeat("x", 2<<20),
		"too deep":         strings.Repeat("[", 1<<16) + "\n",
		"two in one line":  `{"jsonrpc":"2.0","id":1,"method":"ping"}{}` + "\n",
		"not an object":    "17\n",
		"an empty batch":   "[]\n",
		"another protocol": `{"jsonrpc":"1.0","id":1,"method":"ping"}` + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			requests, answers, ended := serve(t, mcpserver.Config{})
			go func() { _, _ = io.Copy(io.Discard, answers) }()
			go func() { _, _ = io.WriteString(requests, line) }()
			select {
			case err := <-ended:
				var v *verdict.Error
				require.ErrorAs(t, err, &v)
				require.Equal(t, verdict.Harness, v.Verdict)
				require.Contains(t, err.Error(), "JSON-RPC")
			case <-time.After(30 * time.Second):
				t.Fatal("the session goes on")
			}
		})
	}
}

// raw is a client that sends any bytes. It returns the answer to each id, once all have arrived.
func raw(t *testing.T, requests io.Writer, answers io.Reader, lines ...string) map[string]string {
	t.Helper()
	go func() {
		for _, line := range lines {
			_, _ = io.WriteString(requests, line+"\n")
		}
	}()
	want := 0
	for _, line := range lines {
		if strings.Contains(line, `"id"`) {
			want++
		}
	}
	got := make(map[string]string)
	sc := bufio.NewScanner(answers)
	sc.Buffer(nil, 16<<20)
	for len(got) < want && sc.Scan() {
		var a struct {
			ID json.RawMessage `json:"id"`
		}
		require.NoError(t, json.Unmarshal(sc.Bytes(), &a))
		if len(a.ID) > 0 {
			got[string(a.ID)] = sc.Text()
		}
	}
	require.Len(t, got, want, "%v", sc.Err())
	return got
}

const hello = `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"raw","version":"1"}}}`

func TestWrongRequestsAreAnsweredAndTheSessionGoesOn(t *testing.T) {
	requests, answers, _ := serve(t, mcpserver.Config{})
	got := raw(t, requests, answers, hello, `{"jsonrpc":"2.0","method":"notifications/initialized"}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"shell","arguments":{"command":"id"}}}`,
		`{"jsonrpc":"2.0","id":2,"method":"resources/read","params":{"uri":"file:///etc/passwd"}}`,
		`{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"serial","arguments":[1]}}`,
		`{"jsonrpc":"2.0","id":4,"method":"tools/call","params":null}`,
		`{"jsonrpc":"2.0","id":5,"method":"no/such/method"}`,
		`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":99}}`,
		`{"jsonrpc":"2.0","id":"six","method":"ping"}`)
	require.Contains(t, got["1"], "unknown tool")
	require.Contains(t, got["2"], `"error"`)
	require.NotContains(t, got["2"], "root:")
	require.Contains(t, got["3"], "validating")
	require.Contains(t, got["4"], `"error"`)
	require.Contains(t, got["5"], `"error"`)
	require.Contains(t, got[`"six"`], `"result"`)
}

// A lane whose supervisor is this process, and whose serial console is silent from now on.
func TestMoreCallsAtOnceThanAllowedAreRefused(t *testing.T) {
	requests, answers, _ := serve(t, mcpserver.Config{})
	file := filepath.Join(t.TempDir(), "serial.log")
	require.NoError(t, os.WriteFile(file, []byte("quiet\n"), 0o600))
	s := registry.State{Name: "a", State: registry.StateReady, SerialLog: file}
	s.SetSupervisor(os.Getpid())
	require.NoError(t, registry.Registry{}.Save(s))

	lines := []string{hello, `{"jsonrpc":"2.0","method":"notifications/initialized"}`}
	const more = 5
	for i := range mcpserver.MaxCalls + more {
		lines = append(lines, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"await","arguments":{"lane":"a","serial":"never","timeout_ms":3000}}}`, i+1))
	}
	got := raw(t, requests, answers, lines...)
	refused, waited := 0, 0
	for _, a := range got {
		switch {
		case strings.Contains(a, "under way already"):
			refused++
		case strings.Contains(a, `saw last \"quiet\"`):
			waited++
		}
	}
	require.Equal(t, more, refused)
	require.Equal(t, mcpserver.MaxCalls, waited)
}

func TestALineOfTheConsoleIsAwaited(t *testing.T) {
	c := session(t, mcpserver.Config{})
	file := filepath.Join(t.TempDir(), "serial.log")
	require.NoError(t, os.WriteFile(file, []byte("old line\r\nlogin: "), 0o600))
	s := registry.State{Name: "a", State: registry.StateReady, SerialLog: file}
	s.SetSupervisor(os.Getpid())
	require.NoError(t, registry.Registry{}.Save(s))

	text, failed := call(t, c, "await", object{"serial": "^old line$"})
	require.False(t, failed, text)
	require.Contains(t, text, "old line")

	done := make(chan string, 1)
	go func() {
		res, err := c.CallTool(context.Background(), &mcp.CallToolParams{Name: "await", Arguments: object{"serial": "welcome", "timeout_ms": 60000}})
		if err != nil {
			done <- err.Error()
			return
		}
		done <- res.Content[0].(*mcp.TextContent).Text
	}()
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	defer f.Close()
	for _, part := range []string{"root\n", "wel", "come\n"} {
		_, err = f.WriteString(part)
		require.NoError(t, err)
	}
	require.Contains(t, <-done, `"saw":"welcome"`)

	text, failed = call(t, c, "await", object{"serial": "goodbye", "timeout_ms": 50})
	require.True(t, failed)
	require.Contains(t, text, `product: await: awaited a serial line that matches "goodbye", saw last "welcome": not within 50ms`)
}

func TestTheLogHasEachCallAndNothingThatWasTyped(t *testing.T) {
	var log bytes.Buffer
	c := session(t, mcpserver.Config{Input: true, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	_, failed := call(t, c, "type", object{"lane": "nobody", "text": "correct horse"})
	require.True(t, failed)
	require.Contains(t, log.String(), "tool=type")
	require.NotContains(t, log.String(), "horse")
}

func TestTheTailOfALogIsBounded(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	write := func(s string) { require.NoError(t, os.WriteFile(file, []byte(s), 0o600)) }
	for _, c := range []struct {
		content string
		n, size int
		want    []string
		cut     bool
	}{
		{"", 5, 100, []string{}, false},
		{"\n", 5, 100, []string{}, false},
		{"a\nb\n", 5, 100, []string{"a", "b"}, false},
		{"a\nb", 1, 100, []string{"b"}, true},
		{"abcdefgh", 5, 4, []string{"efgh"}, true},
		{"\xff\n", 5, 4, []string{`\xff`}, false},
	} {
		write(c.content)
		lines, isCut, err := mcpserver.Tail(file, c.n, c.size)
		require.NoError(t, err)
		require.Equal(t, c.want, lines, "%q", c.content)
		require.Equal(t, c.cut, isCut, "%q", c.content)
	}
	_, _, err := mcpserver.Tail(filepath.Join(t.TempDir(), "none"), 1, 1)
	require.True(t, errors.Is(err, os.ErrNotExist))
}

func TestAPictureIsScaledDownUntilItFits(t *testing.T) {
	noise := image.NewNRGBA(image.Rect(0, 0, 400, 200))
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range noise.Pix {
		noise.Pix[i] = uint8(rnd.Uint32()) | 0xff*uint8(i%4/3)
	}
	for _, c := range []struct{ side, size, scale, width, height int }{
		{400, 1 << 20, 1, 400, 200},
		{399, 1 << 20, 2, 200, 100},
		{100, 1 << 20, 4, 100, 50},
		{400, 100_000, 2, 200, 100}, // 240,000 bytes of noise do not fit
	} {
		file, scale, err := mcpserver.SmallPNG(noise, c.side, c.size)
		require.NoError(t, err)
		require.Equal(t, c.scale, scale)
		require.LessOrEqual(t, len(file), c.size)
		img, err := png.Decode(bytes.NewReader(file))
		require.NoError(t, err)
		require.Equal(t, image.Pt(c.width, c.height), img.Bounds().Size())
	}
	_, _, err := mcpserver.SmallPNG(noise, 400, 10)
	require.ErrorContains(t, err, "does not fit")

	// Five pixels in a row become three: two means, and the last one alone.
	row := image.NewNRGBA(image.Rect(0, 0, 5, 1))
	for x, v := range []uint8{10, 20, 30, 41, 77} {
		row.SetNRGBA(x, 0, color.NRGBA{v, 0, 255, 255})
	}
	file, _, err := mcpserver.SmallPNG(row, 3, 1<<20)
	require.NoError(t, err)
	img, err := png.Decode(bytes.NewReader(file))
	require.NoError(t, err)
	for x, v := range []uint8{15, 36, 77} {
		require.Equal(t, color.NRGBA{v, 0, 255, 255}, color.NRGBAModel.Convert(img.At(x, 0)))
	}
}

func TestATextIsCutAtTheEndOfACharacter(t *testing.T) {
	require.Equal(t, "aé", mcpserver.Cut("aé", 3))
	require.Equal(t, "a…", mcpserver.Cut("aéé", 2))
}

// A lane whose screen uses a font that only its guest has, like the font in Linux's kernel.
func TestTextIsReadInTheFontsOfTheLanesGuest(t *testing.T) {
	c := session(t, mcpserver.Config{})
	// Letters of 8×8 pixels, each with another pattern.
	pattern := func(r rune) (rows [8]byte) {
		for y := range rows {
			rows[y] = byte(int(r)*(y+3)) | 0x80
		}
		return rows
	}
	const line = "host login"
	var font strings.Builder
	font.WriteString("# size: 8x8\n")
	img := image.NewNRGBA(image.Rect(0, 0, 160, 40))
	for i := range img.Pix {
		img.Pix[i] = uint8(i & 3 / 3 * 0xff)
	}
	seen := map[rune]bool{' ': true}
	for col, r := range line {
		if rows := pattern(r); r != ' ' {
			for i := range 64 {
				if rows[i/8]<<(i%8)&0x80 != 0 {
					img.Set(8*col+i%8, 8+i/8, color.White)
				}
			}
			if !seen[r] {
				fmt.Fprintf(&font, "%04x:%x\n", r, rows)
			}
		}
		seen[r] = true
	}
	file := filepath.Join(t.TempDir(), "guest.hex")
	require.NoError(t, os.WriteFile(file, []byte(font.String()), 0o600))
	console := controltest.NewFull(160, 40)
	console.Draw(0, 0, img.Rect, func(pix []byte, _ int) { copy(pix, img.Pix) }) // black and white
	socket, _ := controltest.Open(t, server.Config{Console: console})
	for name, fonts := range map[string][]string{"plain": nil, "linux": {file}, "lost": {file + "x"}} {
		s := registry.State{Name: name, State: registry.StateReady, ControlSocket: socket, Fonts: fonts}
		s.SetSupervisor(os.Getpid())
		require.NoError(t, registry.Registry{}.Save(s))
	}
	text, failed := call(t, c, "text", object{"lane": "linux"})
	require.False(t, failed, text)
	require.Contains(t, text, `"host login"`)
	text, failed = call(t, c, "await", object{"lane": "linux", "text": "log[io]n"})
	require.False(t, failed, text)
	require.Contains(t, text, "login")
	text, failed = call(t, c, "text", object{"lane": "plain"})
	require.True(t, failed)
	require.Contains(t, text, "no text in a known font")
	text, failed = call(t, c, "text", object{"lane": "lost"})
	require.True(t, failed)
	require.Contains(t, text, "guest.hexx: no such file")
}
