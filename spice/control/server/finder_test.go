package server_test

import (
	"image"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice/control"
	"github.com/spicelane/spicelane/spice/control/controltest"
	"github.com/spicelane/spicelane/spice/control/server"
)

// black returns a reference image that a new console does not show.
func black(w, h int) *image.NRGBA {
	img := image.NewNRGBA(image.Rect(0, 0, w, h))
	for i := 3; i < len(img.Pix); i += 4 {
		img.Pix[i] = 255
	}
	return img
}

func blacken(c *controltest.Console, w, h int) {
	c.Draw(0, 0, image.Rect(0, 0, w, h), func(pix []byte, _ int) { clear(pix) })
}

func TestMatchSaysWhatIsOnTheScreenNow(t *testing.T) {
	c := controltest.NewFull(32, 24)
	path, _ := controltest.Open(t, server.Config{Console: c, Finder: controltest.Finder{Images: map[string]*image.NRGBA{"dark": black(32, 24)}}})
	d := controltest.Dial(t, path)
	ctx := controltest.Within(t)
	dark := control.MatchParams{Screen: &control.ScreenCondition{Dir: "/", Tag: "dark"}}
	r, err := d.Match(ctx, dark)
	require.NoError(t, err)
	require.False(t, r.Matched)
	require.Equal(t, "dark, 767 pixels differ", r.Saw)
	require.Equal(t, []control.MatchedArea{{Rect: control.Rect{Width: 32, Height: 24}, Similarity: 99, Need: 100, Differ: 767}}, r.Areas)
	require.Nil(t, r.Click)
	blacken(c.Console, 32, 24)
	r, err = d.Match(ctx, dark)
	require.NoError(t, err)
	require.True(t, r.Matched)
	require.Equal(t, &control.Point{X: 16, Y: 12}, r.Click)

	login := control.MatchParams{Text: &control.TextCondition{Pattern: "log.n:"}}
	r, err = d.Match(ctx, login)
	require.NoError(t, err)
	require.Equal(t, control.MatchResult{Saw: `""`}, r)
	controltest.Write(c.Console, "host login: ")
	r, err = d.Match(ctx, login)
	require.NoError(t, err)
	require.Equal(t, control.MatchResult{Matched: true, Saw: `"host login: "`, Found: "login:", Rect: &control.Rect{X: 5, Width: 6, Height: 1}, Click: &control.Point{X: 8}}, r)

	c.AddSurface(0, 0, 16, 16)
	_, err = d.Match(ctx, dark)
	require.ErrorIs(t, err, &control.Error{Method: "match", Code: control.CodeBadParams})
	require.ErrorContains(t, err, "the surface is (16,16), dark is (32,24)")
	c.RemoveSurfaces()
	_, err = d.Match(ctx, dark)
	require.ErrorIs(t, err, &control.Error{Method: "match", Code: control.CodeNoSuchSurface})
}

func TestAwaitEndsWhenTheReferenceImageOrTheTextIsThere(t *testing.T) {
	c := controltest.NewFull(32, 24)
	path, _ := controltest.Open(t, server.Config{Console: c, Finder: controltest.Finder{Images: map[string]*image.NRGBA{"dark": black(32, 24)}}})
	d := controltest.Dial(t, path)
	ctx := controltest.Within(t)
	for _, tc := range []struct {
		cond   control.Condition
		make   func()
		wanted string
		result control.ConditionResult
	}{
		{control.Condition{Screen: &control.ScreenCondition{Dir: "/", Tag: "dark"}}, func() { blacken(c.Console, 32, 24) },
			`the reference image "dark"`, control.ConditionResult{Saw: "dark, 0 pixels differ"}},
		{control.Condition{Text: &control.TextCondition{Literal: "login:"}}, func() { controltest.Write(c.Console, "login: ") },
			`the text "login:"`, control.ConditionResult{Saw: `"login: "`}},
	} {
		_, err := d.Await(ctx, control.AwaitParams{Condition: tc.cond, TimeoutMS: new(uint32)})
		require.ErrorIs(t, err, &control.Error{Method: "await", Code: control.CodeTimeout})
		require.ErrorContains(t, err, tc.wanted)
		done := make(chan struct{})
		var res control.AwaitResult
		go func() {
			defer close(done)
			res, err = d.Await(ctx, control.AwaitParams{Condition: tc.cond})
		}()
		tc.make()
		<-done
		require.NoError(t, err)
		require.Len(t, res.Seen, 1)
		require.Equal(t, tc.result.Saw, res.Seen[0].Saw)
		require.True(t, res.Seen[0].Match.Matched)
	}
	// A reference image that can never be compared ends the wait at once.
	c.AddSurface(0, 0, 16, 16)
	_, err := d.Await(ctx, control.AwaitParams{Condition: control.Condition{Screen: &control.ScreenCondition{Dir: "/", Tag: "dark"}}})
	require.ErrorIs(t, err, &control.Error{Method: "await", Code: control.CodeBadParams})
	require.ErrorContains(t, err, "dark is (32,24)")
}

func TestThePointerIsIgnoredWhereTheDriverMovedItUnlessTheClientDrawsIt(t *testing.T) {
	c := controltest.NewFull(32, 24)
	c.SetMouseMode("client")
	path, _ := controltest.Open(t, server.Config{Console: c, Finder: controltest.Finder{Images: map[string]*image.NRGBA{"dark": black(32, 24)}}})
	d := controltest.Dial(t, path)
	ctx := controltest.Within(t)
	blacken(c.Console, 32, 24)
	c.Draw(0, 0, image.Rect(5, 6, 6, 7), func(pix []byte, stride int) { pix[6*stride+4*5] = 1 })
	matches := func(ignore ...string) bool {
		t.Helper()
		r, err := d.Match(ctx, control.MatchParams{Screen: &control.ScreenCondition{Dir: "/", Tag: "dark", Ignore: ignore}})
		require.NoError(t, err)
		return r.Matched
	}
	require.False(t, matches("pointer"), "nobody has moved it")
	require.NoError(t, d.MouseMove(ctx, control.MouseMoveParams{X: 5, Y: 6}))
	require.True(t, matches("pointer"))
	require.True(t, matches("cursor", "pointer"))
	require.False(t, matches(), "nobody asked for it")
	require.False(t, matches("cursor"))
	now, err := d.Cursor(ctx)
	require.NoError(t, err)
	require.Equal(t, &control.Point{X: 5, Y: 6}, now.MovedTo)
	c.SetCursor(server.Cursor{Visible: true, X: 5, Y: 6})
	require.False(t, matches("pointer"), "the client draws it")
	c.SetCursor(server.Cursor{})
	require.NoError(t, d.MouseMove(ctx, control.MouseMoveParams{X: 7, Y: 6}))
	require.False(t, matches("pointer"), "it is elsewhere")
	require.NoError(t, d.MouseMove(ctx, control.MouseMoveParams{X: 5, Y: 6}))
	c.SetMouseMode("server")
	require.NoError(t, d.MouseMove(ctx, control.MouseMoveParams{X: 1, Y: 1, Relative: true}))
	require.False(t, matches("pointer"), "nobody knows where it is")
}

func TestAConditionThatCannotBeCheckedIsRefused(t *testing.T) {
	c := controltest.NewFull(32, 24)
	path, _ := controltest.Open(t, server.Config{Console: c, Finder: controltest.Finder{Images: map[string]*image.NRGBA{"a": black(32, 24)}}})
	r := controltest.DialRaw(t, path)
	r.Hello()
	refuse := func(method, params, want string) {
		t.Helper()
		r.Send(`{"id":1,"method":"` + method + `","params":` + params + `}`)
		line := r.Line()
		require.Contains(t, line, `"code":"bad_params"`, params)
		require.Contains(t, line, want, params)
	}
	for _, params := range []string{`{}`, `{"screen":{"dir":"/","tag":"a"},"text":{"literal":"b"}}`} {
		refuse("match", params, "want either screen or text")
		refuse("await", params, "want exactly one of all")
	}
	for params, want := range map[string]string{
		`{"screen":{"dir":"needles","tag":"a"}}`:              `screen.dir is \"needles\": want an absolute path`,
		`{"screen":{"dir":"/nowhere","tag":"b"}}`:             "open /nowhere/b.png: no such file or directory",
		`{"screen":{"dir":"/","tag":"a","ignore":["mouse"]}}`: `screen.ignore has \"mouse\"`,
		`{"screen":{"dir":"/","tags":"a"}}`:                   `unknown field \"tags\"`,
		`{"text":{}}`:                                         "want either literal or pattern",
		`{"text":{"literal":"a","pattern":"b"}}`:              "want either literal or pattern",
		`{"text":{"pattern":"("}}`:                            "missing closing )",
		`{"text":{"literal":"a","fonts":["b/c.psf"]}}`:        `text.fonts has \"b/c.psf\"`,

		// Such rectangles must not mean all of the surface, or another part of it.
		`{"text":{"literal":"a","rect":{"x":1,"y":2,"width":0,"height":3}}}`:                                                "text.rect has 0x3 at 1,2: want a part of the surface",
		`{"screen":{"dir":"/","tag":"a","masks":[{"x":1,"y":2,"width":3,"height":4},{"x":9,"y":9,"width":4,"height":-4}]}}`: "screen.masks has 4x-4 at 9,9: want a part of the surface",
		`{"screen":{"dir":"/","tag":"a","masks":[{"x":9223372036854775807,"y":0,"width":1,"height":1}]}}`:                   "screen.masks has 1x1 at 9223372036854775807,0: want",
	} {
		refuse("match", params, want)
		refuse("await", params, want)
	}

	// A server without a finder does not offer it.
	path, _ = controltest.Open(t, server.Config{Console: controltest.New(8, 8)})
	d := controltest.Dial(t, path)
	require.NotContains(t, d.Server().SupportedMethods, "match")
	_, err := d.Match(controltest.Within(t), control.MatchParams{Text: &control.TextCondition{Literal: "a"}})
	require.ErrorIs(t, err, &control.Error{Code: control.CodeUnknownMethod})
	_, err = d.Await(controltest.Within(t), control.AwaitParams{Condition: control.Condition{Text: &control.TextCondition{Literal: "a"}}})
	require.ErrorIs(t, err, &control.Error{Code: control.CodeBadParams})
	require.ErrorContains(t, err, "this server finds no reference images and no text")
}
