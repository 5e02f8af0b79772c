package server_test

import (
	"bytes"
	"context"
	"image/color"
	"image/png"
	"testing"
	"testing/synctest"

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
	require.False(t, st.SPICEConnected)
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

// stuck is a console whose guest neither acknowledges moves nor has an agent that introduces itself.
type stuck struct{ *controltest.Full }

func wait(ctx context.Context) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

func (s stuck) MouseMove(ctx context.Context, _ uint8, _, _ int, _ bool) error { return wait(ctx) }
func (s stuck) ClipboardSet(ctx context.Context, _ string) error               { return wait(ctx) }
func (s stuck) SetDisplay(ctx context.Context, _, _ int) error                 { return wait(ctx) }

func TestAVerbThatTheGuestNeverFinishesHoldsUpLaterRequestsOnlyForAWhile(t *testing.T) {
	for _, params := range []string{
		`"mouse_move","params":{"x":1,"y":1}`, `"clipboard_set","params":{"text":"a"}`, `"set_display","params":{"width":8,"height":8}`,
	} {
		synctest.Test(t, func(t *testing.T) {
			c := stuck{controltest.NewFull(8, 8)}
			c.SetAgent(true)
			c.SetMouseMode("client")
			r := controltest.RawOn(t, controltest.Pipe(t, server.Config{Console: c}))
			r.Hello()
			r.Send(`{"id":1,"method":`+params+`}`, `{"id":2,"method":"status","params":{}}`)
			require.Contains(t, r.Line(), "not within 5s")
			require.Contains(t, r.Line(), `{"id":2,"ok":true`)
		})
	}
}
