package headless_test

import (
	"image"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/headless"
	"github.com/spicelane/spicelane/harness/screen/needle"
	"github.com/spicelane/spicelane/harness/screen/pixmap"
	"github.com/spicelane/spicelane/harness/timeline"
	"github.com/spicelane/spicelane/spice/control"
	"github.com/spicelane/spicelane/spice/control/conform"
	"github.com/spicelane/spicelane/spice/control/controltest"
	"github.com/spicelane/spicelane/spice/control/server"
)

const setupScreen = "../screen/text/testdata/ovmf-setup.png"

// show draws a picture onto a console's primary surface.
func show(c *controltest.Console, p *pixmap.Picture) {
	c.Draw(0, 0, p.Bounds(), func(pix []byte, _ int) {
		for i := 0; i < len(pix); i += 4 {
			pix[i], pix[i+1], pix[i+2] = p.Pix[i+2], p.Pix[i+1], p.Pix[i]
		}
	})
}

func TestTheControlSocketFindsWhatPackageScreenFinds(t *testing.T) {
	p, err := pixmap.ReadFile(setupScreen)
	require.NoError(t, err)
	c := controltest.NewFull(p.Width, p.Height)
	path, _ := controltest.Open(t, server.Config{Console: c, Finder: headless.Finder})
	d := controltest.Dial(t, path)
	ctx := controltest.Within(t)

	dir := t.TempDir()
	area := needle.Area{X: 240, Y: 135, Width: 144, Height: 19, Type: needle.TypeMatch, Margin: new(int), Click: &needle.Click{X: 3, Y: 4}}
	n, err := needle.New("setup", []needle.Area{area}, []string{"menu"}, p)
	require.NoError(t, err)
	require.NoError(t, n.Save(dir))
	menu := control.ScreenCondition{Dir: dir, Tag: "menu"}
	r, err := d.Match(ctx, control.MatchParams{Screen: &menu})
	require.NoError(t, err)
	require.False(t, r.Matched)
	require.Contains(t, r.Saw, `"menu" is not on the screen: needle setup, area 1 at (240,135) has only`)

	show(c.Console, p)
	res, err := d.Await(ctx, control.AwaitParams{Condition: control.Condition{All: []control.Condition{
		{Screen: &menu}, {Text: &control.TextCondition{Pattern: "Device +Manager"}}}}})
	require.NoError(t, err)
	require.Equal(t, &control.MatchResult{Matched: true, Saw: `"menu" is on the screen: needle setup, area 1 at (240,135) is equal`,
		Needle: "setup", Candidates: 1, Click: &control.Point{X: 243, Y: 139},
		Areas: []control.MatchedArea{{Rect: control.Rect{X: 240, Y: 135, Width: 144, Height: 19}, OK: true, Similarity: 100, Need: 100}}}, res.Seen[0].Match)
	hit := res.Seen[1].Match
	require.Equal(t, "Device Manager", hit.Found)
	require.Equal(t, 14*8, hit.Rect.Width)
	require.Equal(t, 19, hit.Rect.Height)
	require.Equal(t, &control.Point{X: hit.Rect.X + 56, Y: hit.Rect.Y + 9}, hit.Click)
	within := func(r control.Rect) bool {
		t.Helper()
		got, err := d.Match(ctx, control.MatchParams{Text: &control.TextCondition{Literal: "Device Manager", Area: control.Area{Rect: &r}}})
		require.NoError(t, err)
		return got.Matched
	}
	require.True(t, within(*hit.Rect))
	require.False(t, within(control.Rect{X: hit.Rect.X, Y: hit.Rect.Y + 1, Width: hit.Rect.Width, Height: hit.Rect.Height}))

	// One pixel off is not there, unless it is masked.
	off := p.Crop(p.Bounds())
	off.Pix[140*off.Stride+4*300] ^= 1
	show(c.Console, off)
	r, err = d.Match(ctx, control.MatchParams{Screen: &menu})
	require.NoError(t, err)
	require.False(t, r.Matched)
	require.Equal(t, 1, r.Areas[0].Differ)
	menu.Masks = []control.Rect{{X: 300, Y: 140, Width: 1, Height: 1}}
	r, err = d.Match(ctx, control.MatchParams{Screen: &menu})
	require.NoError(t, err)
	require.True(t, r.Matched)
	menu.Masks = nil
	c.SetMouseMode("client")
	require.NoError(t, d.MouseMove(ctx, control.MouseMoveParams{X: 310, Y: 150}))
	menu.Ignore = []string{"pointer"}
	r, err = d.Match(ctx, control.MatchParams{Screen: &menu})
	require.NoError(t, err)
	require.True(t, r.Matched)

	for want, p := range map[string]control.MatchParams{
		`no needle in ` + dir + ` has the tag or the name "menus" (did you mean "menu"?)`: {Screen: &control.ScreenCondition{Dir: dir, Tag: "menus"}},
		"missing":           {Screen: &control.ScreenCondition{Dir: filepath.Join(dir, "missing"), Tag: "menu"}},
		"missing closing )": {Text: &control.TextCondition{Pattern: "("}},
		`no font "klingon"`: {Text: &control.TextCondition{Literal: "a", Fonts: []string{"klingon"}}},
	} {
		_, err := d.Match(ctx, p)
		require.ErrorIs(t, err, &control.Error{Code: control.CodeBadParams})
		require.ErrorContains(t, err, want)
	}
}

func TestTheControlSocketsFinderPassesTheChecksOfIt(t *testing.T) {
	c := controltest.NewFull(320, 240)
	path, _ := controltest.Open(t, server.Config{Console: c, Scan: controltest.Scan, Finder: headless.Finder})
	checked := 0
	for _, r := range conform.Run(t.Context(), path, conform.Options{Burst: controltest.Noticer(c.Console), Patience: 10 * time.Second}) {
		require.Equal(t, conform.Pass, r.Outcome, "%s", r)
		checked++
	}
	require.Greater(t, checked, 40)
}

// A pointer's mask must not be confused with one of the whole screen.
func TestAMaskedPointerHidesOnlyWhatIsNearIt(t *testing.T) {
	p, err := pixmap.ReadFile(setupScreen)
	require.NoError(t, err)
	dir := t.TempDir()
	n, err := needle.New("setup", []needle.Area{{Width: p.Width, Height: p.Height, Type: needle.TypeMatch, Margin: new(int)}}, nil, p)
	require.NoError(t, err)
	require.NoError(t, n.Save(dir))
	look, err := headless.Finder.Screen(control.ScreenCondition{Dir: dir, Tag: "setup", Ignore: []string{"pointer"}})
	require.NoError(t, err)
	for at, want := range map[image.Point]bool{{X: 100, Y: 100}: true, {X: 132, Y: 132}: true, {X: 68, Y: 68}: true, {X: 133, Y: 100}: false, {X: 100, Y: 67}: false} {
		off := p.Crop(p.Bounds())
		off.Pix[at.Y*off.Stride+4*at.X] ^= 1
		r, err := look(off.Image(), &image.Point{X: 100, Y: 100})
		require.NoError(t, err)
		require.Equal(t, want, r.Matched, "%v", at)
		strict, err := headless.Finder.Screen(control.ScreenCondition{Dir: dir, Tag: "setup"})
		require.NoError(t, err)
		r, err = strict(off.Image(), &image.Point{X: 100, Y: 100})
		require.NoError(t, err)
		require.False(t, r.Matched, "nobody asked for it")
	}
}

// The first look finds nothing, the second nothing new, the third the reference image.
func TestAWaitForAReferenceImageIsNotedOnceAndWhatEndedItAgain(t *testing.T) {
	p, err := pixmap.ReadFile(setupScreen)
	require.NoError(t, err)
	dir := t.TempDir()
	n, err := needle.New("setup", []needle.Area{{Width: 8, Height: 8, Type: needle.TypeMatch, Margin: new(int)}}, []string{"menu"}, p)
	require.NoError(t, err)
	require.NoError(t, n.Save(dir))
	file := filepath.Join(t.TempDir(), timeline.File)
	log, err := timeline.Open(file, time.Now())
	require.NoError(t, err)
	look, err := headless.FinderTo(log).Screen(control.ScreenCondition{Dir: dir, Tag: "menu"})
	require.NoError(t, err)
	off := p.Crop(p.Bounds())
	off.Pix[0] ^= 1
	for _, img := range []*pixmap.Picture{off, off, p, p} {
		_, err := look(img.Image(), nil)
		require.NoError(t, err)
	}
	require.NoError(t, log.Close())
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	var lines []string
	for line := range strings.Lines(string(b)) {
		lines = append(lines, regexp.MustCompile(`"t_us":\d+`).ReplaceAllString(line, `"t_us":0`))
	}
	require.Equal(t, []string{
		`{"kind":"needle","matched":false,"t_us":0,"tag":"menu"}` + "\n",
		`{"again":true,"kind":"needle","matched":true,"needle":"setup","t_us":0,"tag":"menu"}` + "\n",
	}, lines)
}
