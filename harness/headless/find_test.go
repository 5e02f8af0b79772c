package headless_test

import (
	"errors"
	"image"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/headless"
	"github.com/spicelane/spicelane/harness/screen/needle"
	"github.com/spicelane/spicelane/harness/screen/pixmap"
	"github.com/spicelane/spicelane/harness/screen/text"
	"github.com/spicelane/spicelane/harness/timeline"
	"github.com/spicelane/spicelane/internal/need"
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

	// A picture in which one pixel differs is not found, unless that pixel is masked.
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

// A pointer's mask must not be confused with a mask of the whole screen.
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
		r, err := look(t.Context(), off.Image(), &image.Point{X: 100, Y: 100})
		require.NoError(t, err)
		require.Equal(t, want, r.Matched, "%v", at)
		strict, err := headless.Finder.Screen(control.ScreenCondition{Dir: dir, Tag: "setup"})
		require.NoError(t, err)
		r, err = strict(t.Context(), off.Image(), &image.Point{X: 100, Y: 100})
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
		_, err := look(t.Context(), img.Image(), nil)
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

// upsideDown is a font that nobody else has: the firmware's, with each letter upside down. Its file
// is read as one of a host's fonts.
func upsideDown(t *testing.T) (file string) {
	t.Helper()
	f, err := text.Load("ovmf")
	require.NoError(t, err)
	var out strings.Builder
	for line := range strings.Lines(string(f.Hex())) {
		code, rows, glyph := strings.Cut(strings.TrimSpace(line), ":")
		if !glyph || strings.HasPrefix(line, "#") {
			out.WriteString(line)
			continue
		}
		pairs := slices.Collect(slices.Chunk([]byte(rows), 2))
		slices.Reverse(pairs)
		out.WriteString(code + ":" + string(slices.Concat(pairs...)) + "\n")
	}
	file = filepath.Join(t.TempDir(), "head.hex")
	require.NoError(t, os.WriteFile(file, []byte(out.String()), 0o600))
	return file
}

// The control socket uses the guest's fonts without being told to by the driver: to look for text,
// and to find a cursor.
func TestTheControlSocketReadsTheFontsOfTheGuestAndRemembersWhatItHasRead(t *testing.T) {
	file := upsideDown(t)
	fonts, err := text.LoadAll(file)
	require.NoError(t, err)
	page := func(cursor bool, line string) *pixmap.Picture {
		img := image.NewNRGBA(image.Rect(0, 0, 160, 57))
		for i := range img.Pix {
			img.Pix[i] = uint8(i & 3 / 3 * 0xff)
		}
		white := pixmap.RGB{R: 255, G: 255, B: 255}
		for col, r := range line {
			for i := range 8 * 19 {
				if fonts[0].Drawn(r, false, i%8, i/8) {
					img.Set(8*col+i%8, 19+i/8, white)
				}
			}
		}
		for i := range 8 * 2 {
			if cursor {
				img.Set(8*len(line)+i%8, 19+16+i/8, white)
			}
		}
		return pixmap.Of(img)
	}
	c := controltest.NewFull(160, 57)
	loads := 0
	guests := headless.FinderWith(func() ([]*text.Font, error) { loads++; return fonts, nil })
	open := func(f server.Finder) *control.Driver {
		path, _ := controltest.Open(t, server.Config{Console: c, Finder: f})
		return controltest.Dial(t, path)
	}
	plain, guest := open(headless.Finder), open(guests)
	ctx := controltest.Within(t)
	find := func(d *control.Driver, q control.TextCondition) bool {
		t.Helper()
		r, err := d.Match(ctx, control.MatchParams{Text: &q})
		require.NoError(t, err)
		return r.Matched
	}
	show(c.Console, page(false, "Shell> halt"))
	require.Zero(t, loads, "most clients read no text")
	require.False(t, find(plain, control.TextCondition{Literal: "halt"}))
	require.True(t, find(plain, control.TextCondition{Literal: "halt", Fonts: []string{file}}))
	require.True(t, find(guest, control.TextCondition{Literal: "halt"}))
	require.False(t, find(guest, control.TextCondition{Literal: "hart"}))
	require.Equal(t, 1, loads)
	// A reader with the same memory first tries the font that it read with last. alike is another
	// font that would fit, too, and comes first in the list.
	alike, err := text.Load(file)
	require.NoError(t, err)
	g, err := text.Reader{Fonts: []*text.Font{alike, fonts[0]}, Memory: headless.MemoryOf(guests)}.Read(page(false, "Shell> halt"))
	require.NoError(t, err)
	require.Same(t, fonts[0], g.Font)

	dir := t.TempDir()
	n, err := needle.New("shell", []needle.Area{{Width: 160, Height: 57, Type: needle.TypeMatch, Margin: new(int)}}, nil, page(false, "Shell> halt"))
	require.NoError(t, err)
	require.NoError(t, n.Save(dir))
	look := func(d *control.Driver, ignore ...string) bool {
		t.Helper()
		r, err := d.Match(ctx, control.MatchParams{Screen: &control.ScreenCondition{Dir: dir, Tag: "shell", Ignore: ignore}})
		require.NoError(t, err)
		return r.Matched
	}
	show(c.Console, page(true, "Shell> halt"))
	require.False(t, look(guest))
	require.True(t, look(guest, "cursor"))
	require.False(t, look(plain, "cursor"), "in no font that it knows")
	show(c.Console, page(true, "Shell> hart"))
	require.False(t, look(guest, "cursor"))
	require.Equal(t, 1, loads)

	// If fonts cannot be read, only the requests that need them get the error.
	broken := open(headless.FinderWith(func() ([]*text.Font, error) { return nil, errors.New("font lost.psf: gone") }))
	show(c.Console, page(false, "Shell> halt"))
	require.True(t, look(broken))
	_, err = broken.Match(ctx, control.MatchParams{Text: &control.TextCondition{Literal: "halt"}})
	require.ErrorContains(t, err, "font lost.psf: gone")
}

func TestTheControlSocketSaysWhatRestsOnOCRAndThatItCannotRead(t *testing.T) {
	p, err := pixmap.ReadFile(setupScreen)
	require.NoError(t, err)
	c := controltest.NewFull(p.Width, p.Height)
	path, _ := controltest.Open(t, server.Config{Console: c, Finder: headless.Finder})
	d := controltest.Dial(t, path)
	ctx := controltest.Within(t)
	dir := t.TempDir()
	for name, words := range map[string]string{"right": "", "wrong": "Device Manages"} {
		n, err := needle.New(name, []needle.Area{{X: 24, Y: 173, Width: 112, Height: 19, Type: needle.TypeOCR, Text: words}}, nil, p)
		require.NoError(t, err)
		require.NoError(t, n.Save(dir))
	}
	ask := func(name string) control.ScreenCondition { return control.ScreenCondition{Dir: dir, Tag: name} }
	right, wrong := ask("right"), ask("wrong")
	show(c.Console, p)
	t.Run("with tesseract", func(t *testing.T) {
		need.Program(t, "tesseract")
		r, err := d.Match(ctx, control.MatchParams{Screen: &right})
		require.NoError(t, err)
		require.True(t, r.OCR)
		require.Equal(t, []control.MatchedArea{{Rect: control.Rect{X: 24, Y: 173, Width: 112, Height: 19}, OK: true, Similarity: 100, Need: 100,
			Read: "Device Manager", Wanted: "Device Manager"}}, r.Areas)
		require.Contains(t, r.Saw, "this rests on OCR, which guesses")
		r, err = d.Match(ctx, control.MatchParams{Screen: &wrong})
		require.NoError(t, err)
		require.False(t, r.Matched)
		require.False(t, r.OCR)
		require.Contains(t, r.Saw, `reads "Device Manager" and should read "Device Manages"`)
		_, err = d.Await(ctx, control.AwaitParams{Condition: control.Condition{Screen: &right}})
		require.NoError(t, err)
	})
	t.Setenv("PATH", t.TempDir())
	_, err = d.Match(ctx, control.MatchParams{Screen: &right})
	require.ErrorIs(t, err, &control.Error{Method: "match", Code: control.CodeNotImplemented})
	require.ErrorContains(t, err, "tesseract is not installed (Debian: apt-get install tesseract-ocr)")
	_, err = d.Await(ctx, control.AwaitParams{Condition: control.Condition{Screen: &right}})
	require.ErrorIs(t, err, &control.Error{Method: "await", Code: control.CodeNotImplemented}, "waiting helps nothing")
}
