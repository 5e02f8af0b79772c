package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice/control"
	"github.com/spicelane/spicelane/spice/control/controltest"
	"github.com/spicelane/spicelane/spice/control/server"
)

// The conversation is the worked example of the public document, with what the
// server says reduced to what the document fixes: our lists are longer, and our
// status has fields of its own.
func TestTheWorkedExampleOfThePublicDocumentHolds(t *testing.T) {
	c := controltest.New(1024, 768)
	c.SetAgent(true)
	path, _ := controltest.Open(t, server.Config{Console: c})
	r := controltest.DialRaw(t, path)

	// want is a subset of what the line has.
	expect := func(want string) {
		t.Helper()
		line := r.Line()
		var got, exp any
		require.NoError(t, json.Unmarshal([]byte(line), &got), line)
		require.NoError(t, json.Unmarshal([]byte(want), &exp))
		if diff := subset("", exp, got); diff != "" {
			t.Fatalf("got  %s\nwant %s\n%s", line, want, diff)
		}
	}
	r.Send(`{"id": 1, "method": "hello", "params": {"client_name": "demo-client", "protocol_version": "1.0"}}`)
	expect(`{"id": 1, "ok": true, "result": {"protocol_version": "1.2",
		"supported_methods": ["hello", "status", "send_key", "paste", "screenshot", "subscribe", "unsubscribe"],
		"supported_events": ["latency", "agent_connected", "paste_completed", "paste_failed", "dropped", "surface_drawn"]}}`)
	r.Send(`{"id": 2, "method": "status", "params": {}}`)
	expect(`{"id": 2, "ok": true, "result": {"spice_connected": true, "agent_connected": true,
		"surfaces": [{"channel_id": 0, "surface_id": 0, "width": 1024, "height": 768}]}}`)
	r.Send(`{"id": 3, "method": "subscribe", "params": {"events": ["latency", "agent_connected", "paste_completed", "paste_failed"]}}`)
	expect(`{"id": 3, "ok": true, "result": {"subscribed": ["latency", "agent_connected", "paste_completed", "paste_failed"]}}`)
	c.Notify(server.Latency{Interval: 1200 * time.Microsecond})
	expect(`{"event": "latency", "data": {"sample_ms": 1.2}}`)
	r.Send(`{"id": 4, "method": "send_key", "params": {"scancode": 28, "state": "press"}}`)
	expect(`{"id": 4, "ok": true, "result": {}}`)
	c.Notify(server.Latency{Interval: 1100 * time.Microsecond})
	expect(`{"event": "latency", "data": {"sample_ms": 1.1}}`)
	r.Send(`{"id": 5, "method": "paste", "params": {"text": "hello", "char_delay_ms": 10}}`)
	expect(`{"id": 5, "ok": true, "result": {}}`)
	expect(`{"event": "paste_completed", "data": {"request_id": 5, "chars_sent": 5}}`)

	require.Equal(t, "[1c -1c 23 -23 12 -12 26 -26 26 -26 18 -18]", fmt.Sprint(c.Keys()))
}

// subset reports where want is not within got: objects may have more keys,
// arrays more elements at their end.
func subset(at string, want, got any) string {
	switch want := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			return fmt.Sprintf("%s: got %v, want an object", at, got)
		}
		for k, w := range want {
			if _, ok := g[k]; !ok {
				return fmt.Sprintf("%s.%s is missing", at, k)
			}
			if d := subset(at+"."+k, w, g[k]); d != "" {
				return d
			}
		}
		return ""
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) < len(want) {
			return fmt.Sprintf("%s: got %v, want %v", at, got, want)
		}
		for i := range want {
			if d := subset(fmt.Sprintf("%s[%d]", at, i), want[i], g[i]); d != "" {
				return d
			}
		}
		return ""
	default:
		if diff := cmp.Diff(want, got); diff != "" {
			return at + ": " + diff
		}
		return ""
	}
}

func TestAStaleSocketFileIsReplaced(t *testing.T) {
	path := controltest.SocketPath(t)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	l.SetUnlinkOnClose(false)
	require.NoError(t, l.Close())
	require.FileExists(t, path)

	srv, err := server.Open(path, server.Config{Console: controltest.New(8, 8)})
	require.NoError(t, err)
	fi, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), fi.Mode().Perm())
	require.NoError(t, srv.Close())
	require.NoFileExists(t, path, "the socket file goes with the server")
	require.NoError(t, srv.Close(), "closing twice is closing once")
}

func TestALiveSocketIsNeverStolen(t *testing.T) {
	path, _ := controltest.Open(t, server.Config{Console: controltest.New(8, 8)})
	d := controltest.Dial(t, path)
	_, err := server.Open(path, server.Config{Console: controltest.New(8, 8)})
	var pe *control.PathError
	require.ErrorAs(t, err, &pe)
	require.True(t, pe.InUse)
	require.ErrorContains(t, err, "another process is serving it")
	_, err = d.Status(controltest.Within(t))
	require.NoError(t, err, "the first server serves on")
}

func TestAServerLeavesTheSocketOfItsSuccessorAlone(t *testing.T) {
	path, first := controltest.Open(t, server.Config{Console: controltest.New(8, 8)})
	require.NoError(t, os.Remove(path)) // somebody tidied up
	second, err := server.Open(path, server.Config{Console: controltest.New(8, 8)})
	require.NoError(t, err)
	require.NoError(t, first.Close())
	controltest.Dial(t, path)
	require.NoError(t, second.Close())
	require.NoFileExists(t, path)
}

func TestAPathThatCannotBeASocketIsRefusedWithAReason(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, []byte("precious"), 0o600))
	long := "/tmp/" + strings.Repeat("x", control.MaxSocketPath-4)
	for _, tc := range []struct{ path, want string }{
		{file, "not a socket"},
		{long, "the path has 108 bytes and the system takes 107"},
		{filepath.Join(dir, "none", "s"), "make the directory first"},
	} {
		_, err := server.Open(tc.path, server.Config{Console: controltest.New(8, 8)})
		var pe *control.PathError
		require.ErrorAs(t, err, &pe, tc.path)
		require.Equal(t, tc.path, pe.Path)
		require.ErrorContains(t, err, tc.want)
	}
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "precious", string(b))
}

func TestAPathOf107BytesWorks(t *testing.T) {
	path := controltest.SocketPath(t)
	path += strings.Repeat("s", control.MaxSocketPath-len(path))
	srv, err := server.Open(path, server.Config{Console: controltest.New(8, 8)})
	require.NoError(t, err)
	defer srv.Close()
	controltest.Dial(t, path)
}

func TestKeysReachTheConsoleAsMakeCodes(t *testing.T) {
	c := controltest.New(8, 8)
	path, _ := controltest.Open(t, server.Config{Console: c})
	r := controltest.DialRaw(t, path)
	r.Hello()
	for _, tc := range []struct {
		code  int
		state string
		want  string // keys, or the error code
	}{
		{0x1e, "down", "[1e]"},
		{0x1e, "up", "[-1e]"},
		{0x9e, "up", "[-1e]"},
		{0x1e, "press", "[1e -1e]"},
		{0xe04b, "press", "[e04b -e04b]"},
		{0xe0cb, "up", "[-e04b]"},
		{0x01, "press", "[01 -01]"},
		{0x7f, "press", "[7f -7f]"},
		{0x9e, "down", "bad_params"},
		{0xe0cb, "press", "bad_params"},
		{0x4be0, "press", "bad_params"},
		{0xcbe0, "up", "bad_params"},
		{0xe14b, "press", "bad_params"},
		{0x00, "press", "bad_params"},
		{0x80, "up", "bad_params"},
		{0xe0, "up", "bad_params"},
		{0xe000, "press", "bad_params"},
		{0xe0e0, "up", "bad_params"},
		{0xffff, "press", "bad_params"},
	} {
		before := len(c.Keys())
		r.Send(fmt.Sprintf(`{"id":1,"method":"send_key","params":{"scancode":%d,"state":%q}}`, tc.code, tc.state))
		line := r.Line()
		got := fmt.Sprint(c.Keys()[before:])
		if tc.want[0] != '[' {
			require.Contains(t, line, `"code":"`+tc.want+`"`, "%#x %s", tc.code, tc.state)
			require.Equal(t, "[]", got, "%#x %s", tc.code, tc.state)
			continue
		}
		require.Equal(t, `{"id":1,"ok":true,"result":{}}`, line, "%#x %s", tc.code, tc.state)
		require.Equal(t, tc.want, got, "%#x %s", tc.code, tc.state)
	}
}

func TestFieldNamesAreTakenExactly(t *testing.T) {
	path, _ := controltest.Open(t, server.Config{Console: controltest.New(8, 8)})
	r := controltest.DialRaw(t, path)
	r.Hello()
	for _, line := range []string{
		`{"ID":1,"method":"status","params":{}}`,
		`{"id":1,"Method":"status","params":{}}`,
		`{"id":1,"method":"send_key","params":{"Scancode":30,"state":"press"}}`,
	} {
		r.Send(line)
		require.Contains(t, r.Line(), `"code":"bad_params"`, line)
	}
}

func TestALineOverTheLimitIsAnsweredWithItsIDAndSkipped(t *testing.T) {
	path, _ := controltest.Open(t, server.Config{Console: controltest.New(8, 8)})
	r := controltest.DialRaw(t, path)
	r.Hello()
	status := func(id string, n int) string {
		head := `{"id":` + id + `,"method":"status","params":{"x":"`
		return head + strings.Repeat("y", n-len(head)-3) + `"}}`
	}
	r.Send(status("7", control.MaxRequestLine))
	require.Contains(t, r.Line(), `{"id":7,"ok":true`, "exactly the limit")
	r.Send(status(`"eight"`, control.MaxRequestLine+1), `{"id":9,"method":"status","params":{}}`)
	require.Equal(t, `{"id":"eight","ok":false,"error":{"code":"bad_params","message":"the line is longer than 1048576 bytes"}}`, r.Line())
	require.Contains(t, r.Line(), `{"id":9,"ok":true`, "the next line is read as if nothing had been")
	r.Send(strings.Repeat("z", control.MaxRequestLine+1))
	require.Equal(t, `{"ok":false,"error":{"code":"bad_params","message":"the line is longer than 1048576 bytes"}}`, r.Line())
}

// A fault in the console must cost one request, not the connection.
func TestAPanicIsAnInternalErrorOfThatRequest(t *testing.T) {
	c := controltest.New(8, 8)
	c.OnKey = func(_ context.Context, k controltest.Key) error {
		if k.Code == 0x1e {
			panic("no such wire")
		}
		if k.Code == 0x30 {
			return errors.New("the session is over")
		}
		return nil
	}
	var log strings.Builder
	path, srv := controltest.Open(t, server.Config{Console: c, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	d := controltest.Dial(t, path)
	ctx := controltest.Within(t)
	err := d.SendKey(ctx, 0x1e, control.Press)
	require.ErrorIs(t, err, &control.Error{Method: "send_key", Code: control.CodeInternal})
	require.ErrorContains(t, err, "no such wire")
	err = d.SendKey(ctx, 0x30, control.Press)
	require.ErrorIs(t, err, &control.Error{Code: control.CodeInternal})
	require.ErrorContains(t, err, "the session is over")
	n, err := d.Paste(ctx, control.PasteParams{Text: "xa"})
	require.ErrorContains(t, err, "no such wire")
	require.Zero(t, n)
	require.NoError(t, d.SendKey(ctx, 0x1c, control.Press))
	require.NoError(t, srv.Close())
	require.Contains(t, log.String(), "panicked")
}

func TestAPasteIsCancelledWhenItsClientGoes(t *testing.T) {
	c := controltest.New(8, 8)
	path, _ := controltest.Open(t, server.Config{Console: c})
	r := controltest.DialRaw(t, path)
	r.Hello()
	r.Send(`{"id":1,"method":"paste","params":{"text":"Aaaaaaaaaa","char_delay_ms":3600000}}`)
	require.Contains(t, r.Line(), `"ok":true`)
	ctx := controltest.Within(t)
	require.NoError(t, c.AwaitKeys(ctx, 4))
	r.Conn.Close()
	// The next client is served only when the paste has ended.
	d := controltest.Dial(t, path)
	require.Equal(t, "[2a 1e -1e -2a]", fmt.Sprint(c.Keys()), "one character, Shift let go")
	n, err := d.Paste(ctx, control.PasteParams{Text: "b", CharDelayMS: new(uint32)})
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Equal(t, "[2a 1e -1e -2a 30 -30]", fmt.Sprint(c.Keys()))
}

func TestPastesAreTypedOneAfterAnother(t *testing.T) {
	c := controltest.New(8, 8)
	path, _ := controltest.Open(t, server.Config{Console: c})
	r := controltest.DialRaw(t, path)
	r.Hello()
	r.Send(`{"id":0,"method":"subscribe","params":{"events":["paste_completed","paste_failed"]}}`)
	r.Line()
	r.Send(`{"id":"p","method":"paste","params":{"text":"aaaaaaaa","char_delay_ms":5}}`)
	require.Equal(t, `{"id":"p","ok":true,"result":{}}`, r.Line())
	r.Send(`{"id":"r","method":"paste","params":{"text":7}}`) // comes to nothing, and lets nobody past
	require.Contains(t, r.Line(), `"code":"bad_params"`)
	r.Send(`{"id":"p","method":"paste","params":{"text":"b"}}`)
	require.Contains(t, r.Line(), `"code":"bad_params","message":"id \"p\" is still in flight`)
	r.Send(`{"id":"q","method":"paste","params":{"text":"b"}}`)
	require.Equal(t, `{"id":"q","ok":true,"result":{}}`, r.Line())
	r.Send(`{"id":"t","method":"type","params":{"text":"ü"}}`)
	require.Contains(t, r.Line(), `"code":"unmappable"`)
	r.Send(`{"id":"u","method":"type","params":{"text":"c"}}`)
	// Events keep their order among each other; the answer may come anywhere.
	last := []string{r.Line(), r.Line(), r.Line()}
	at := slices.IndexFunc(last, func(l string) bool { return strings.HasPrefix(l, `{"id":"u","ok":true,"result":{"chars_sent":1,`) })
	require.GreaterOrEqual(t, at, 0, "%q", last)
	require.Equal(t, []string{
		`{"event":"paste_completed","data":{"request_id":"p","chars_sent":8}}`,
		`{"event":"paste_completed","data":{"request_id":"q","chars_sent":1}}`,
	}, slices.Delete(last, at, at+1))
	require.Equal(t, strings.Repeat("1e -1e ", 8)+"30 -30 2e -2e", strings.Trim(fmt.Sprint(c.Keys()), "[]"))
}

func TestAPasteThatCannotBeTypedTypesNothing(t *testing.T) {
	c := controltest.New(8, 8)
	path, _ := controltest.Open(t, server.Config{Console: c})
	d := controltest.Dial(t, path)
	_, err := d.Paste(controltest.Within(t), control.PasteParams{Text: "abc•d\x07•"})
	var pe *control.PasteError
	require.ErrorAs(t, err, &pe)
	require.Equal(t, "not representable in US-QWERTY: U+2022 '•', U+0007; nothing was typed", pe.Reason)
	require.Empty(t, c.Keys())
}

func TestPasteByClipboardNeedsTheAgent(t *testing.T) {
	path, _ := controltest.Open(t, server.Config{Console: controltest.New(8, 8)})
	d := controltest.Dial(t, path)
	_, err := d.Paste(controltest.Within(t), control.PasteParams{Text: "x", Via: "clipboard"})
	require.ErrorIs(t, err, &control.Error{Method: "paste", Code: control.CodeAgentNotConnected})
	_, err = d.Paste(controltest.Within(t), control.PasteParams{Text: "x", Via: "carrier pigeon"})
	require.ErrorIs(t, err, &control.Error{Method: "paste", Code: control.CodeBadParams})
}

func TestAgentConnectedComesOnTransitionsOnly(t *testing.T) {
	c := controltest.New(8, 8)
	c.SetAgent(true)
	path, _ := controltest.Open(t, server.Config{Console: c})
	d := controltest.Dial(t, path)
	ctx := controltest.Within(t)
	sub, err := d.Subscribe(ctx, control.EventAgentConnected, control.EventLatency)
	require.NoError(t, err)
	for _, on := range []bool{true, false, false, true, true} {
		c.SetAgent(on)
	}
	c.Notify(server.Latency{}) // marks the end
	var got []bool
	for {
		ev, err := sub.Next(ctx)
		require.NoError(t, err)
		if ev.Name == control.EventLatency {
			break
		}
		var data control.AgentConnectedData
		require.NoError(t, ev.Decode(&data))
		got = append(got, data.Connected)
	}
	require.Equal(t, []bool{false, true}, got)
}

func TestSurfaceDrawnSaysWhatAndWhere(t *testing.T) {
	c := controltest.New(320, 240)
	path, _ := controltest.Open(t, server.Config{Console: c})
	d := controltest.Dial(t, path)
	ctx := controltest.Within(t)
	sub, err := d.Subscribe(ctx, control.EventSurfaceDrawn)
	require.NoError(t, err)
	c.Notify(server.Drawn{Channel: 1, Surface: 2, Rect: image.Rect(3, 4, 13, 24), Op: "draw_fill", At: time.Now()})
	ev, err := sub.Next(ctx)
	require.NoError(t, err)
	var data control.SurfaceDrawnData
	require.NoError(t, ev.Decode(&data))
	require.InDelta(t, time.Now().UnixMicro(), data.WallclockUS, 5e6)
	require.Positive(t, data.ProducedAtSecs)
	data.WallclockUS, data.ProducedAtSecs = 0, 0
	require.Equal(t, control.SurfaceDrawnData{
		DisplayChannelID: 1, SurfaceID: 2, Rect: &control.Rect{X: 3, Y: 4, Width: 10, Height: 20}, Op: "draw_fill",
	}, data)
}

// A guest that has been reset counts from the beginning, and may come to where it was.
func TestTheDigestOfAGuestThatWasResetIsAnotherOneThoughItsCounterIsTheSame(t *testing.T) {
	c := controltest.New(320, 240)
	boots := uint32(0)
	path, _ := controltest.Open(t, server.Config{Console: c, Scan: func(pix []byte, stride, w, h int) (control.Digest, error) {
		d, err := controltest.Scan(pix, stride, w, h)
		if err != nil {
			boots++ // one goroutine scans
		}
		d.ChannelHashes = map[string]uint32{"keypress": boots}
		return d, err
	}})
	d := controltest.Dial(t, path)
	ctx := controltest.Within(t)
	sub, err := d.Subscribe(ctx, control.EventDigestUpdated)
	require.NoError(t, err)
	next := func() (got control.Digest) {
		t.Helper()
		ev, err := sub.Next(ctx)
		require.NoError(t, err)
		require.NoError(t, ev.Decode(&got))
		return got
	}
	controltest.DrawDigest(c, 320, 240, 5, 1)
	before := next()
	absent := func() uint64 {
		st, err := d.Status(ctx)
		require.NoError(t, err)
		return uint64(st.Digest.Absent)
	}
	up := absent()
	controltest.DrawDigest(c, 320, 240, 0, 0)
	require.Eventually(t, func() bool { return absent() > up }, 10*time.Second, time.Millisecond, "the reset is seen")
	controltest.DrawDigest(c, 320, 240, 5, 1)
	after := next()
	require.Equal(t, before.FrameCounter, after.FrameCounter)
	require.NotEqual(t, before.ChannelHashes, after.ChannelHashes)
}

// The guest's code changes; the server looks when the pixels of its region have
// changed and at no other time.
func TestDigestUpdatedComesOnceForEachCounterAndNeverForDamage(t *testing.T) {
	c := controltest.New(320, 240)
	scans := 0
	path, srv := controltest.Open(t, server.Config{Console: c, Scan: func(pix []byte, stride, w, h int) (control.Digest, error) {
		scans++ // one goroutine scans; Close joins it before this is read
		return controltest.Scan(pix, stride, w, h)
	}})
	d := controltest.Dial(t, path)
	ctx := controltest.Within(t)
	_, err := d.Digest(ctx)
	require.ErrorIs(t, err, &control.Error{Method: "digest", Code: control.CodeNoDigest})

	sub, err := d.Subscribe(ctx, control.EventDigestUpdated)
	require.NoError(t, err)
	next := func() control.Digest {
		t.Helper()
		ev, err := sub.Next(ctx)
		require.NoError(t, err)
		var dig control.Digest
		require.NoError(t, ev.Decode(&dig))
		return dig
	}
	settle := func(want control.DigestCounts) {
		t.Helper()
		require.Eventually(t, func() bool {
			st, err := d.Status(ctx)
			return err == nil && st.Digest != nil && *st.Digest == want
		}, 10*time.Second, time.Millisecond, "want %+v", want)
	}
	settle(control.DigestCounts{Absent: 1})
	before := time.Now()
	controltest.DrawDigest(c, 320, 240, 5, 1)
	got := next()
	require.EqualValues(t, 5, got.FrameCounter)
	require.EqualValues(t, 35, got.FramebufferHash)
	require.Equal(t, `[{"keypress":{"scancode":0,"timestamp_ms":138550,"unicode":"\r"}}]`, string(must(json.Marshal(got.Events))))
	require.Equal(t, map[string]uint32{"keypress": 5}, got.ChannelHashes)
	require.GreaterOrEqual(t, got.WallclockUS, got.DrawnAtUS)
	require.GreaterOrEqual(t, got.DrawnAtUS, before.UnixMicro())
	settle(control.DigestCounts{Absent: 1, Decoded: 1})

	controltest.DrawDigest(c, 320, 240, 6, 2) // half drawn
	settle(control.DigestCounts{Absent: 1, Decoded: 1, Damaged: 1})
	shown, err := d.Digest(ctx)
	require.NoError(t, err, "the last good one stands while the next is being drawn")
	require.EqualValues(t, 5, shown.FrameCounter)
	c.Draw(0, 0, image.Rect(0, 0, 10, 10), func([]byte, int) {})                 // elsewhere
	c.Draw(0, 0, server.DefaultDigestRegion(320, 240), func([]byte, int) {})     // the same pixels again
	c.Draw(0, 0, server.DefaultDigestRegion(320, 240), func(pix []byte, s int) { // the same counter in other pixels
		r := server.DefaultDigestRegion(320, 240)
		at := pix[r.Min.Y*s+4*r.Min.X:]
		at[0], at[4], at[8] = 5, 1, 99
	})
	settle(control.DigestCounts{Absent: 1, Decoded: 2, Damaged: 1})
	controltest.DrawDigest(c, 320, 240, 7, 1)
	require.EqualValues(t, 7, next().FrameCounter)
	shown, err = d.Digest(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 7, shown.FrameCounter)

	// Another resolution: the region moves with the corner.
	c.AddSurface(0, 0, 640, 480)
	controltest.DrawDigest(c, 640, 480, 8, 1)
	require.EqualValues(t, 8, next().FrameCounter)
	require.NoError(t, srv.Close())
	require.LessOrEqual(t, scans, 10, "a scan for each change of the region and each digest request")
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestScreenshotsAreThePixelsOfTheSurface(t *testing.T) {
	c := controltest.New(64, 48)
	c.AddSurface(0, 7, 20, 10)
	c.AddSurface(2, 0, 30, 30)
	path, _ := controltest.Open(t, server.Config{Console: c})
	d := controltest.Dial(t, path)
	ctx := controltest.Within(t)
	for _, tc := range []struct {
		p    control.ScreenshotParams
		w, h int
		ch   uint8
		surf uint32
		x, y int
	}{
		{control.ScreenshotParams{}, 64, 48, 0, 0, 0, 0},
		{control.ScreenshotParams{SurfaceID: new(uint32(7))}, 20, 10, 0, 7, 0, 0},
		{control.ScreenshotParams{ChannelID: new(uint8(2))}, 30, 30, 2, 0, 0, 0},
		{control.ScreenshotParams{Region: &control.Rect{X: 5, Y: 6, Width: 7, Height: 8}}, 7, 8, 0, 0, 5, 6},
	} {
		for _, format := range []string{"png", "rgba"} {
			p := tc.p
			p.Format = format
			img, err := d.Image(ctx, p)
			require.NoError(t, err)
			require.Equal(t, image.Rect(0, 0, tc.w, tc.h), img.Bounds())
			for y := range tc.h {
				for x := range tc.w {
					b, g := byte(x+tc.x), byte(y+tc.y)
					want := [4]byte{b + g + byte(tc.surf)*16 + tc.ch, g, b, 0xff}
					got := [4]byte(img.Pix[img.PixOffset(x, y):][:4])
					require.Equal(t, want, got, "%s at %d,%d", format, x, y)
				}
			}
		}
	}
	_, err := d.Image(ctx, control.ScreenshotParams{Region: &control.Rect{X: 60, Y: 0, Width: 5, Height: 1}})
	require.ErrorIs(t, err, &control.Error{Code: control.CodeBadParams})
	_, err = d.Image(ctx, control.ScreenshotParams{ChannelID: new(uint8(9))})
	require.ErrorIs(t, err, &control.Error{Code: control.CodeNoSuchSurface})
}

// A picture that is asked for while the guest changes its mode is not one that is asked
// for too early: a test that waits for the session to start would wait forever.
func TestALackOfASurfaceSaysWhy(t *testing.T) {
	c := controltest.NewFull(320, 240)
	path, _ := controltest.Open(t, server.Config{Console: starting{c}, Scan: controltest.Scan})
	d := controltest.Dial(t, path)
	ctx := controltest.Within(t)
	for _, verb := range []func() error{
		func() error { _, err := d.Image(ctx, control.ScreenshotParams{}); return err },
		func() error { _, err := d.Image(ctx, control.ScreenshotParams{SurfaceID: new(uint32(3))}); return err },
		func() error { _, err := d.Digest(ctx); return err },
	} {
		c.RemoveSurfaces()
		c.SetConnected(true, "starting")
		require.ErrorContains(t, verb(), "there is no surface yet: the session may still be starting")
		c.SetConnected(true, "")
		require.ErrorContains(t, verb(), "there is no surface at this moment: the guest is changing its mode")
		c.SetConnected(false, "link: permission denied")
		err := verb()
		require.ErrorIs(t, err, &control.Error{Code: control.CodeNoSuchSurface})
		require.ErrorContains(t, err, "there is no surface: the session is over: link: permission denied")
	}
}

// starting is a console that has had no surface while its status has the error
// "starting".
type starting struct{ *controltest.Full }

func (s starting) Status() control.Status {
	st := s.Full.Status()
	st.HadSurface = st.Error != "starting"
	return st
}

// A client that never reads delays only itself: the console goes on,
// and the server can still be closed.
func TestAClientThatNeverReadsHoldsUpNobody(t *testing.T) {
	c := controltest.New(8, 8)
	path, srv := controltest.Open(t, server.Config{Console: c})
	r := controltest.DialRaw(t, path)
	r.Hello()
	r.Send(`{"id":1,"method":"subscribe","params":{"events":["surface_drawn"]}}`)
	r.Line()
	begin := time.Now()
	for range 50_000 {
		c.Notify(server.Drawn{Op: "draw_fill", At: begin})
	}
	took := time.Since(begin)
	require.Less(t, took, 10*time.Second)
	t.Logf("%s an event with the client asleep", took/50_000)
	require.NoError(t, srv.Close())
}

func TestAClosedServerEndsItsClient(t *testing.T) {
	path, srv := controltest.Open(t, server.Config{Console: controltest.New(8, 8)})
	d := controltest.Dial(t, path)
	sub, err := d.Subscribe(controltest.Within(t), control.EventLatency)
	require.NoError(t, err)
	require.NoError(t, srv.Close())
	<-d.Done()
	require.Error(t, d.Err())
	_, err = sub.Next(controltest.Within(t))
	require.Equal(t, d.Err(), err)
	_, err = d.Status(controltest.Within(t))
	require.ErrorIs(t, err, d.Err())
	_, err = control.Dial(controltest.Within(t), path)
	require.ErrorIs(t, err, syscall.ENOENT)
	require.ErrorContains(t, err, "is the client running?")
}

func TestTheConsoleIsObservedOnlyWhileAClientIsConnected(t *testing.T) {
	c := controltest.New(8, 8)
	path, _ := controltest.Open(t, server.Config{Console: c, Scan: controltest.Scan})
	require.Zero(t, c.Observers())
	d := controltest.Dial(t, path)
	require.Equal(t, 1, c.Observers())
	d.Close()
	require.Eventually(t, func() bool { return c.Observers() == 0 }, 10*time.Second, time.Millisecond)
}

// The console takes its time over a key. Until it has come up again the next
// client must wait.
func TestTheNextClientIsServedWhenTheLastOnesWorkHasEnded(t *testing.T) {
	c := controltest.New(8, 8)
	pressed, letGo := make(chan struct{}, 2), make(chan struct{})
	c.OnKey = func(context.Context, controltest.Key) error {
		pressed <- struct{}{}
		<-letGo
		return nil
	}
	path, _ := controltest.Open(t, server.Config{Console: c})
	r := controltest.DialRaw(t, path)
	r.Hello()
	r.Send(`{"id":1,"method":"paste","params":{"text":"aa"}}`)
	r.Line()
	<-pressed
	r.Conn.Close()
	_, err := control.Dial(controltest.Within(t), path)
	require.ErrorIs(t, err, &control.Error{Code: control.CodeBusy})
	close(letGo)
	controltest.Dial(t, path)
	require.Equal(t, "[1e -1e]", fmt.Sprint(c.Keys()))
}

// The writer is in the middle of an event when the request comes, and the queue is
// full behind it.
func TestNothingQueuedComesAfterUnsubscribe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := controltest.New(8, 8)
		r := controltest.RawOn(t, controltest.Pipe(t, server.Config{Console: c}))
		r.Hello()
		r.Send(`{"id":1,"method":"subscribe","params":{"events":["surface_drawn"]}}`)
		r.Line()
		for range 2 * control.QueueLen {
			c.Notify(server.Drawn{At: time.Now()})
		}
		synctest.Wait()
		r.Send(`{"id":2,"method":"unsubscribe","params":{"events":["surface_drawn"]}}`)
		synctest.Wait() // the request has been read, and its answer waits for us
		drawn := 0
		for !strings.HasPrefix(r.Line(), `{"id":2,"ok":true`) {
			drawn++
		}
		require.Equal(t, 1, drawn, "the event that was being written")
		r.Send(`{"id":3,"method":"status","params":{}}`)
		for {
			line := r.Line()
			if strings.HasPrefix(line, `{"id":3`) {
				break
			}
			require.Contains(t, line, `"event":"dropped"`)
		}
	})
}

// The line with a picture is written in pieces, and is byte for byte what encoding/json
// would write: sizes that are no multiple of 3, of less and of more than a piece.
func TestTheLineWithAPictureIsAsJSONHasIt(t *testing.T) {
	for _, size := range [][2]int{{1, 1}, {2, 1}, {3, 1}, {128, 96}, {64, 193}, {301, 199}} {
		c := controltest.New(size[0], size[1])
		path, _ := controltest.Open(t, server.Config{Console: c})
		r := controltest.DialRaw(t, path)
		r.Hello()
		for _, format := range []string{"rgba", "png"} {
			r.Send(`{"id":"a\"b","method":"screenshot","params":{"format":"` + format + `"}}`)
			line := r.Line()
			var got control.Response
			require.NoError(t, json.Unmarshal([]byte(line), &got))
			var res control.ScreenshotResult
			require.NoError(t, json.Unmarshal(got.Result, &res))
			require.Equal(t, size, [2]int{res.Width, res.Height})
			if format == "rgba" {
				pic, err := c.Snapshot(0, 0, image.Rectangle{})
				require.NoError(t, err)
				require.Equal(t, pic.Image().Pix, res.Data)
			}
			want, err := json.Marshal(control.Response{ID: got.ID, OK: true, Result: must(json.Marshal(res))})
			require.NoError(t, err)
			require.Equal(t, string(want), line)
		}
		r.Conn.Close()
	}
}

// jealous is a console that tells its observers with its lock held, as Console allows. When another
// observer comes, it is just about to.
type jealous struct {
	*controltest.Console
	mu  sync.Mutex
	fns []func(server.Notice)
}

func (c *jealous) Observe(fn func(server.Notice)) func() {
	told := make(chan struct{})
	go func() {
		defer close(told)
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, fn := range c.fns {
			fn(server.Changed{})
			fn(server.Drawn{Op: "draw_copy"})
		}
	}()
	<-told // the lock is taken only then
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fns = append(c.fns, fn)
	return func() {}
}

func TestAConsoleMayHoldItsLockWhileItTellsItsObservers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &jealous{Console: controltest.New(320, 240)}
		r := controltest.RawOn(t, controltest.Pipe(t, server.Config{Console: c, Scan: controltest.Scan}))
		r.Hello()
		r.Send(`{"id":1,"method":"subscribe","params":{"events":["digest_updated"]}}`)
		require.Contains(t, r.Line(), `{"id":1,"ok":true`)
		r.Send(`{"id":2,"method":"status","params":{}}`)
		require.Contains(t, r.Line(), `{"id":2,"ok":true`)
	})
}
