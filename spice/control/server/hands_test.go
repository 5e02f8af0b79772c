package server_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice/control"
	"github.com/spicelane/spicelane/spice/control/controltest"
	"github.com/spicelane/spicelane/spice/control/server"
)

func TestVerbsAreOfferedOnlyIfTheConsoleCanDoThem(t *testing.T) {
	core := []string{"hello", "status", "send_key", "paste", "screenshot", "subscribe", "unsubscribe"}
	waiting := []string{"await", "type"}
	all := []string{
		"mouse_move", "mouse_button", "mouse_wheel", "clipboard_get", "clipboard_set", "set_display",
		"cursor", "stats", "record_start", "record_stop", "disconnect", "reconnect",
	}
	path, _ := controltest.Open(t, server.Config{Console: controltest.New(8, 8)})
	d := controltest.Dial(t, path)
	require.Equal(t, append(core[:7:7], waiting...), d.Server().SupportedMethods)
	require.False(t, d.SupportsEvent(control.EventDigestUpdated))
	err := d.MouseWheel(controltest.Within(t), 1)
	require.ErrorIs(t, err, &control.Error{Method: "mouse_wheel", Code: control.CodeUnknownMethod})

	want := append(append(core[:7:7], "digest"), append(waiting, all...)...)
	path, _ = controltest.Open(t, server.Config{Console: controltest.NewFull(8, 8), Scan: controltest.Scan})
	d = controltest.Dial(t, path)
	require.Equal(t, want, d.Server().SupportedMethods)
	require.True(t, d.SupportsEvent(control.EventDigestUpdated))

	path, _ = controltest.Open(t, server.Config{Console: wrapped{controltest.NewFull(8, 8)}, Scan: controltest.Scan})
	require.Equal(t, want, controltest.Dial(t, path).Server().SupportedMethods, "also through a wrapper")
}

// wrapped hides everything but the Console's own methods.
type wrapped struct{ server.Console }

func (w wrapped) Unwrap() server.Console { return w.Console }

func TestTheMouseReachesTheConsole(t *testing.T) {
	c := controltest.NewFull(64, 48)
	path, _ := controltest.Open(t, server.Config{Console: c})
	d := controltest.Dial(t, path)
	ctx := controltest.Within(t)
	c.SetMouseMode("client")
	require.NoError(t, d.MouseMove(ctx, control.MouseMoveParams{X: 63, Y: 0}))
	require.ErrorIs(t, d.MouseMove(ctx, control.MouseMoveParams{X: 64, Y: 0}), &control.Error{Code: control.CodeBadParams})
	require.ErrorIs(t, d.MouseMove(ctx, control.MouseMoveParams{X: 1, Relative: true}), &control.Error{Code: control.CodeMouseMode})
	c.SetMouseMode("server")
	require.NoError(t, d.MouseMove(ctx, control.MouseMoveParams{X: -5, Y: 7, Relative: true}))
	require.ErrorIs(t, d.MouseMove(ctx, control.MouseMoveParams{X: 1}), &control.Error{Code: control.CodeMouseMode})
	require.NoError(t, d.MouseButton(ctx, "right", control.Press))
	require.NoError(t, d.MouseButton(ctx, "extra", control.Down))
	require.ErrorIs(t, d.MouseButton(ctx, "fourth", control.Press), &control.Error{Code: control.CodeBadParams})
	require.ErrorIs(t, d.MouseButton(ctx, "left", "sideways"), &control.Error{Code: control.CodeBadState})
	require.NoError(t, d.MouseWheel(ctx, 1))
	require.NoError(t, d.MouseWheel(ctx, -2))
	require.ErrorIs(t, d.MouseWheel(ctx, 101), &control.Error{Code: control.CodeBadParams})
	require.Equal(t, []string{
		"move 0 63,0 relative=false", "move 0 -5,7 relative=true", "button 3 true", "button 3 false", "button 7 true",
		"button 4 true", "button 4 false", "button 5 true", "button 5 false", "button 5 true", "button 5 false",
	}, c.Deeds())
}

func TestTheClipboardNeedsTheAgent(t *testing.T) {
	c := controltest.NewFull(8, 8)
	path, _ := controltest.Open(t, server.Config{Console: c})
	d := controltest.Dial(t, path)
	ctx := controltest.Within(t)
	err := d.Call(ctx, control.MethodClipboardGet, map[string]int{"timeout_ms": 5}, nil)
	require.ErrorIs(t, err, &control.Error{Code: control.CodeTimeout})
	require.NoError(t, d.ClipboardSet(ctx, "grüße"))
	text, err := d.ClipboardGet(ctx)
	require.NoError(t, err)
	require.Equal(t, "grüße", text)
	n, err := d.Paste(ctx, control.PasteParams{Text: "zwölf", Via: "clipboard"})
	require.NoError(t, err)
	require.Equal(t, 5, n)
	text, err = d.ClipboardGet(ctx)
	require.NoError(t, err)
	require.Equal(t, "zwölf", text)
	require.Empty(t, c.Keys())
	c.SetAgent(false)
	_, err = d.ClipboardGet(ctx)
	require.ErrorIs(t, err, &control.Error{Code: control.CodeAgentNotConnected})
	require.ErrorIs(t, d.ClipboardSet(ctx, "x"), &control.Error{Code: control.CodeAgentNotConnected})
	require.ErrorIs(t, d.SetDisplay(ctx, 800, 600), &control.Error{Code: control.CodeAgentNotConnected})
}

func TestTheOtherVerbsReachTheConsole(t *testing.T) {
	c := controltest.NewFull(64, 48)
	path, _ := controltest.Open(t, server.Config{Console: c})
	d := controltest.Dial(t, path)
	ctx := controltest.Within(t)
	require.NoError(t, d.SetDisplay(ctx, 100, 50))
	st, err := d.Status(ctx)
	require.NoError(t, err)
	require.Equal(t, 100, st.Surfaces[0].Width)
	require.ErrorIs(t, d.SetDisplay(ctx, 0, 50), &control.Error{Code: control.CodeBadParams})
	require.ErrorIs(t, d.RecordStart(ctx, "relative"), &control.Error{Code: control.CodeBadParams})
	require.NoError(t, d.RecordStart(ctx, "/somewhere"))
	rec, err := d.RecordStop(ctx)
	require.NoError(t, err)
	require.Equal(t, control.RecordStopResult{Dir: "/somewhere", Files: []string{"main-0.txt"}, Bytes: 4711}, rec)
	var stats map[string]int
	require.NoError(t, d.Stats(ctx, &stats))
	require.Equal(t, map[string]int{"deeds": 3}, stats)
	require.NoError(t, d.Disconnect(ctx))
	st, err = d.Status(ctx)
	require.NoError(t, err)
	require.False(t, st.SpiceConnected)
	require.Equal(t, "closed", st.Error)
	require.NoError(t, d.Reconnect(ctx))
	require.NoError(t, c.ClipboardSet(ctx, "refuse"))
	err = d.Reconnect(ctx)
	require.ErrorIs(t, err, &control.Error{Code: control.CodeDisconnected})
	require.ErrorContains(t, err, "permission denied")
}

func TestTheCursorIsDrawnIntoAScreenshotThatAsksForIt(t *testing.T) {
	c := controltest.NewFull(20, 20)
	path, _ := controltest.Open(t, server.Config{Console: c})
	d := controltest.Dial(t, path)
	ctx := controltest.Within(t)
	// Two pixels: opaque red and half transparent white; the hot spot is the second.
	c.SetCursor(server.Cursor{Visible: true, X: 1, Y: 4, HotX: 1, Width: 2, Height: 1, Pix: []byte{0, 0, 255, 255, 255, 255, 255, 128}})
	cur, err := d.Cursor(ctx)
	require.NoError(t, err)
	shape, err := png.Decode(bytes.NewReader(cur.Data))
	require.NoError(t, err)
	require.Equal(t, color.NRGBA{255, 255, 255, 128}, color.NRGBAModel.Convert(shape.At(1, 0)))
	require.Equal(t, [4]int{1, 4, 1, 0}, [4]int{cur.X, cur.Y, cur.HotX, cur.HotY})

	plain, err := d.Image(ctx, control.ScreenshotParams{})
	require.NoError(t, err)
	drawn, err := d.Image(ctx, control.ScreenshotParams{Cursor: true})
	require.NoError(t, err)
	require.Equal(t, color.NRGBA{255, 0, 0, 255}, drawn.NRGBAAt(0, 4))
	under := plain.NRGBAAt(1, 4)
	mixed := func(v uint8) uint8 { return uint8((255*128 + int(v)*127 + 127) / 255) }
	require.Equal(t, color.NRGBA{mixed(under.R), mixed(under.G), mixed(under.B), 255}, drawn.NRGBAAt(1, 4))
	drawn.SetNRGBA(0, 4, plain.NRGBAAt(0, 4))
	drawn.SetNRGBA(1, 4, plain.NRGBAAt(1, 4))
	require.Equal(t, plain.Pix, drawn.Pix)

	part, err := d.Image(ctx, control.ScreenshotParams{Cursor: true, Region: &control.Rect{X: 1, Y: 4, Width: 3, Height: 3}})
	require.NoError(t, err)
	require.Equal(t, mixed(under.R), part.NRGBAAt(0, 0).R, "half of the pointer is outside")
	// A transparent pixel that inverts what is below it.
	c.SetCursor(server.Cursor{Visible: true, Width: 1, Height: 1, Pix: []byte{9, 9, 9, 0}, Xor: []byte{255, 255, 255, 0}})
	inverted, err := d.Image(ctx, control.ScreenshotParams{Cursor: true})
	require.NoError(t, err)
	under = plain.NRGBAAt(0, 0)
	require.Equal(t, color.NRGBA{^under.R, ^under.G, ^under.B, 255}, inverted.NRGBAAt(0, 0))
	c.SetCursor(server.Cursor{})
	hidden, err := d.Image(ctx, control.ScreenshotParams{Cursor: true})
	require.NoError(t, err)
	require.Equal(t, plain.Pix, hidden.Pix)
}

// Each condition is awaited before it holds; then it is made to hold.
func TestAwaitEndsWhenTheConditionHolds(t *testing.T) {
	c := controltest.NewFull(320, 240)
	c.SetAgent(false)
	path, _ := controltest.Open(t, server.Config{Console: c, Scan: controltest.Scan})
	d := controltest.Dial(t, path)
	ctx := controltest.Within(t)

	corner := control.Place{Rect: &control.Rect{X: 0, Y: 0, Width: 4, Height: 4}}
	black := image.NewNRGBA(image.Rect(0, 0, 4, 4))
	for i := range 16 {
		black.Pix[4*i+3] = 255
	}
	sum := sha256.Sum256(black.Pix)
	var file bytes.Buffer
	require.NoError(t, png.Encode(&file, black))
	paint := func(v byte) {
		c.Draw(0, 0, image.Rect(0, 0, 4, 4), func(pix []byte, stride int) {
			for y := range 4 {
				for i := range 16 {
					pix[y*stride+i] = v
				}
			}
		})
	}
	truth, x := true, 7
	for _, tc := range []struct {
		name string
		cond control.Condition
		make func()
		saw  string // what is seen when it holds
	}{
		{"surface", control.Condition{Surface: &control.SurfaceCondition{Width: 640, Height: 480}},
			func() { c.AddSurface(0, 0, 640, 480) }, "surface 0 on channel 0 of 640x480"},
		{"another surface", control.Condition{Surface: &control.SurfaceCondition{SurfaceID: new(uint32(3))}},
			func() { c.AddSurface(0, 3, 4, 4) }, "surface 3 on channel 0 of 4x4"},
		{"agent", control.Condition{Agent: &truth}, func() { c.SetAgent(true) }, "the agent connected"},
		{"region by hash", control.Condition{Region: &control.RegionCondition{Place: corner, SHA256: fmt.Sprintf("%x", sum)}},
			func() { paint(0) }, fmt.Sprintf("4x4 pixels with sha256 %x", sum)},
		{"region differs", control.Condition{Region: &control.RegionCondition{Place: corner, PNG: file.Bytes(), Differs: true}},
			func() { paint(9) }, "16 pixels differ, the first at 0,0"},
		{"region within a tolerance", control.Condition{Region: &control.RegionCondition{Place: corner, PNG: file.Bytes(), Tolerance: 5}},
			func() { paint(5) }, "no pixel differs"},
		{"cursor", control.Condition{Cursor: &control.CursorCondition{Visible: &truth, X: &x}},
			func() { c.SetCursor(server.Cursor{Visible: true, X: 7, Y: 8}) }, "visible at 7,8"},
		{"digest", control.Condition{Digest: &control.DigestCondition{MinCounter: new(uint32(40)), Event: "keypress",
			Fields: map[string]json.RawMessage{"unicode": json.RawMessage(`"\r"`)}, AfterMS: new(uint64(138549)), Hashes: map[string]uint32{"keypress": 41}}},
			func() { controltest.DrawDigest(c.Console, 640, 480, 41, 1) }, ""},
		{"all", control.Condition{All: []control.Condition{
			{Surface: &control.SurfaceCondition{Width: 100}}, {Any: []control.Condition{{Agent: new(bool)}, {Agent: &truth}}}}},
			func() { c.AddSurface(0, 0, 100, 100) }, "surface 0 on channel 0 of 100x100"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			// It does not hold yet.
			_, err := d.Await(ctx, control.AwaitParams{Condition: tc.cond, TimeoutMS: new(uint32)})
			require.ErrorIs(t, err, &control.Error{Method: "await", Code: control.CodeTimeout})
			require.ErrorContains(t, err, "last seen: ")

			type outcome struct {
				res control.AwaitResult
				err error
			}
			done := make(chan outcome, 1)
			go func() {
				res, err := d.Await(ctx, control.AwaitParams{Condition: tc.cond, TimeoutMS: new(uint32(15_000))})
				done <- outcome{res, err}
			}()
			// Other requests are answered meanwhile.
			_, err = d.Status(ctx)
			require.NoError(t, err)
			select {
			case out := <-done:
				t.Fatalf("it ended before its time: %+v", out)
			default:
			}
			tc.make()
			out := <-done
			require.NoError(t, out.err)
			require.True(t, out.res.Seen[0].Met)
			if tc.saw != "" {
				require.Equal(t, tc.saw, out.res.Seen[0].Saw)
			}
		})
	}
}

func TestAwaitStableWaitsForQuiet(t *testing.T) {
	c := controltest.New(32, 32)
	path, _ := controltest.Open(t, server.Config{Console: c})
	d := controltest.Dial(t, path)
	ctx := controltest.Within(t)
	var last time.Time
	draw := func(v byte) {
		c.Draw(0, 0, image.Rect(0, 0, 1, 1), func(pix []byte, _ int) { pix[0] = v })
		last = time.Now()
	}
	draw(1)
	done := make(chan error, 1)
	go func() {
		_, err := d.Await(ctx, control.AwaitParams{Condition: control.Condition{Stable: &control.StableCondition{MS: 200}}})
		done <- err
	}()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for i := range 15 {
		<-tick.C
		draw(byte(i))
	}
	require.NoError(t, <-done)
	require.GreaterOrEqual(t, time.Since(last), 200*time.Millisecond)
}

func TestAwaitStableCountsTheQuietBeforeIt(t *testing.T) {
	c := controltest.New(32, 32)
	path, _ := controltest.Open(t, server.Config{Console: c})
	d := controltest.Dial(t, path)
	c.Draw(0, 0, image.Rect(0, 0, 1, 1), func(pix []byte, _ int) { pix[0] = 1 })
	quiet := time.NewTimer(60 * time.Millisecond)
	defer quiet.Stop()
	<-quiet.C
	_, err := d.Await(controltest.Within(t), control.AwaitParams{Condition: control.Condition{Stable: &control.StableCondition{MS: 50}}, TimeoutMS: new(uint32)})
	require.NoError(t, err)
}

func TestAwaitSaysAtOnceThatTheSessionIsOver(t *testing.T) {
	c := controltest.NewFull(8, 8)
	path, _ := controltest.Open(t, server.Config{Console: c})
	d := controltest.Dial(t, path)
	ctx := controltest.Within(t)
	done := make(chan error, 1)
	go func() {
		_, err := d.Await(ctx, control.AwaitParams{Condition: control.Condition{Surface: &control.SurfaceCondition{Width: 1}}})
		done <- err
	}()
	c.SetConnected(false, "display: unexpected EOF")
	err := <-done
	require.ErrorIs(t, err, &control.Error{Code: control.CodeDisconnected})
	require.ErrorContains(t, err, "display: unexpected EOF")
	require.ErrorContains(t, err, "last seen: surface 0 on channel 0 of 8x8")
	var e *control.Error
	require.ErrorAs(t, err, &e)
	var res control.AwaitResult
	require.NoError(t, json.Unmarshal(e.Data, &res))
	require.Equal(t, []control.Sight{{Condition: "a surface of 1x0", Saw: "surface 0 on channel 0 of 8x8"}}, res.Seen)
}

func TestAwaitRefusesConditionsThatMeanNothing(t *testing.T) {
	path, _ := controltest.Open(t, server.Config{Console: controltest.New(8, 8)})
	d := controltest.Dial(t, path)
	for _, params := range []string{
		`{}`, `{"timeout_ms":5}`, `{"agent":true,"stable":{"ms":5}}`, `{"agnet":true}`, `{"surface":{"widht":5}}`, `{"all":[]}`, `{"any":[{}]}`,
		`{"region":{}}`, `{"region":{"sha256":"00"}}`, `{"region":{"png":"AAAA"}}`, `{"digest":{"fields":{"row":1}}}`, `{"digest":{}}`,
		`{"cursor":{"visible":true}}`, `{"agent":1}`, `{"agent":true,"timeout_ms":-1}`,
	} {
		err := d.Call(controltest.Within(t), control.MethodAwait, json.RawMessage(params), nil)
		require.ErrorIs(t, err, &control.Error{Method: "await", Code: control.CodeBadParams}, params)
	}
}

func TestAnAwaitEndsWithItsClient(t *testing.T) {
	path, _ := controltest.Open(t, server.Config{Console: controltest.New(8, 8)})
	r := controltest.DialRaw(t, path)
	r.Hello()
	r.Send(`{"id":1,"method":"await","params":{"agent":true,"timeout_ms":3600000}}`,
		`{"id":1,"method":"await","params":{"agent":true}}`)
	require.Contains(t, r.Line(), `still in flight`)
	r.Conn.Close()
	controltest.Dial(t, path) // is served when the wait has ended
}

// guest shows the keys it gets as a UEFI program would: each that produces a
// character, in a digest of its own with the newest three.
type guest struct {
	*controltest.Console
	mu     sync.Mutex
	n      uint32
	events []json.RawMessage
	lose   map[int]bool // which characters, from 0, never arrive
	late   map[int]bool // which are shown only after the next one
	held   string
}

var usChars = map[uint16]string{0x1e: "a", 0x30: "b", 0x2e: "c", 0x20: "d", 0x12: "e", 0x1c: `\r`}

func newGuest() *guest {
	g := &guest{Console: controltest.New(320, 240), lose: map[int]bool{}, late: map[int]bool{}}
	g.OnKey = func(_ context.Context, k controltest.Key) error {
		char, ok := usChars[k.Code]
		if !ok || !k.Down {
			return nil
		}
		g.mu.Lock()
		i := int(g.n)
		g.n++
		show := func(c string) {
			g.events = append(g.events, json.RawMessage(fmt.Sprintf(`{"keypress":{"scancode":0,"timestamp_ms":%d,"unicode":"%s"}}`, 1000+len(g.events), c)))
			g.events = g.events[max(0, len(g.events)-3):]
		}
		switch {
		case g.lose[i]:
		case g.late[i]:
			g.held = char
		default:
			show(char)
			if g.held != "" {
				show(g.held)
				g.held = ""
			}
		}
		n := g.n
		g.mu.Unlock()
		go controltest.DrawDigest(g.Console, 320, 240, n, 1)
		return nil
	}
	return g
}

func (g *guest) scan(pix []byte, stride, w, h int) (control.Digest, error) {
	d, err := controltest.Scan(pix, stride, w, h)
	g.mu.Lock()
	defer g.mu.Unlock()
	d.Events = append([]json.RawMessage(nil), g.events...)
	return d, err
}

func TestClosedLoopTypingSendsTheNextKeyWhenTheLastWasSeen(t *testing.T) {
	g := newGuest()
	controltest.DrawDigest(g.Console, 320, 240, 99999, 1)
	path, _ := controltest.Open(t, server.Config{Console: g, Scan: g.scan})
	d := controltest.Dial(t, path)
	text := ""
	for range 40 {
		text += "abcde\n"
	}
	res, err := d.Type(controltest.Within(t), control.TypeParams{Text: text, Confirm: true})
	require.NoError(t, err)
	require.NotNil(t, res.Latency)
	require.Positive(t, res.Latency.P50MS)
	require.LessOrEqual(t, res.Latency.P50MS, res.Latency.MaxMS)
	res.Latency = nil
	require.Equal(t, control.TypeResult{CharsSent: 240, KeysSent: 480, Seen: 240}, res)
}

func TestClosedLoopTypingReportsWhatWasLostAndReordered(t *testing.T) {
	g := newGuest()
	g.lose[3], g.late[6] = true, true
	controltest.DrawDigest(g.Console, 320, 240, 99999, 1)
	path, _ := controltest.Open(t, server.Config{Console: g, Scan: g.scan})
	d := controltest.Dial(t, path)
	res, err := d.Type(controltest.Within(t), control.TypeParams{Text: "abcdeabcde", Confirm: true, ConfirmMS: new(uint32(100))})
	require.NoError(t, err)
	res.Latency = nil
	require.Equal(t, control.TypeResult{CharsSent: 10, KeysSent: 20, Seen: 8, Lost: 1, Reordered: 1, Oddities: []string{
		`'d', character 3, was not shown within 100ms`,
		`'b', character 6, was not shown within 100ms`,
		`late: {"keypress":{"scancode":0,"timestamp_ms":1003,"unicode":"b"}}`,
	}}, res)
}

func TestTypingKnowsTheLayoutOfTheGuest(t *testing.T) {
	c := controltest.New(8, 8)
	path, _ := controltest.Open(t, server.Config{Console: c})
	d := controltest.Dial(t, path)
	for _, tc := range []struct{ layout, text, want string }{
		{"us", "aZ@", "[1e -1e 2a 2c -2c -2a 2a 03 -03 -2a]"},
		{"", "\t\r\n", "[0f -0f 1c -1c]"},
		{"uk", `"@#£`, "[2a 03 -03 -2a 2a 28 -28 -2a 2b -2b 2a 04 -04 -2a]"},
		{"de", "zy@ö", "[15 -15 2c -2c e038 10 -10 -e038 27 -27]"},
		{"de", "é^", "[0d -0d 12 -12 29 -29 39 -39]"},
		{"fr", "aq1.ê", "[10 -10 1e -1e 2a 02 -02 -2a 2a 33 -33 -2a 1a -1a 12 -12]"},
	} {
		before := len(c.Keys())
		res, err := d.Type(controltest.Within(t), control.TypeParams{Text: tc.text, Layout: tc.layout, DelayMS: new(uint32)})
		require.NoError(t, err)
		require.Equal(t, tc.want, fmt.Sprint(c.Keys()[before:]), "%s %q", tc.layout, tc.text)
		require.Equal(t, len(c.Keys())-before, res.KeysSent)
	}
	before := len(c.Keys())
	_, err := d.Type(controltest.Within(t), control.TypeParams{Text: "aéb→", Layout: "us"})
	require.ErrorIs(t, err, &control.Error{Code: control.CodeUnmappable})
	require.ErrorContains(t, err, "U+00E9 'é', U+2192 '→'")
	_, err = d.Type(controltest.Within(t), control.TypeParams{Text: "a", Layout: "dvorak"})
	require.ErrorIs(t, err, &control.Error{Code: control.CodeBadParams})
	_, err = d.Type(controltest.Within(t), control.TypeParams{Text: "a", Confirm: true})
	require.ErrorIs(t, err, &control.Error{Code: control.CodeBadParams})
	require.Len(t, c.Keys(), before)
}

func TestEveryPrintableASCIICharacterIsOnEveryLayout(t *testing.T) {
	c := controltest.New(8, 8)
	path, _ := controltest.Open(t, server.Config{Console: c})
	d := controltest.Dial(t, path)
	text := ""
	for r := rune(0x20); r < 0x7f; r++ {
		text += string(r)
	}
	for _, layout := range control.Layouts() {
		_, err := d.Type(controltest.Within(t), control.TypeParams{Text: text, Layout: layout, DelayMS: new(uint32)})
		require.NoError(t, err, layout)
	}
}

func TestParseKeyReadsKeysAsAPersonWritesThem(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want []uint16
	}{
		{"Enter", []uint16{0x1c}}, {"a", []uint16{0x1e}}, {"A", []uint16{0x2a, 0x1e}}, {"F10", []uint16{0x44}}, {"f12", []uint16{0x58}},
		{"Ctrl+Alt+Delete", []uint16{0x1d, 0x38, 0xe053}}, {"Left", []uint16{0xe04b}}, {"0xe04b", []uint16{0xe04b}},
		{"+", []uint16{0x2a, 0x0d}}, {"Ctrl++", []uint16{0x1d, 0x2a, 0x0d}}, {"Shift+a", []uint16{0x2a, 0x1e}}, {"Space", []uint16{0x39}},
	} {
		got, err := control.ParseKey(tc.in)
		require.NoError(t, err, tc.in)
		require.Equal(t, tc.want, got, tc.in)
	}
	for _, in := range []string{"", "Entre", "Ctrl+", "é", "0x4be0", "0x9e", "0xzz", "a+"} {
		_, err := control.ParseKey(in)
		require.Error(t, err, in)
	}
}
