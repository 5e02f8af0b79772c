package needle_test

import (
	"context"
	"errors"
	"fmt"
	"image"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/screen/needle"
	"github.com/spicelane/spicelane/harness/screen/ocr"
	"github.com/spicelane/spicelane/harness/screen/pixmap"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/internal/need"
)

// deviceManager is the place where the firmware's setup has these words, in cells of 8×19 pixels
// from (24,173).
var deviceManager = needle.Area{X: 16, Y: 173, Width: 184, Height: 19, Type: needle.TypeOCR}

func setup(t *testing.T) *pixmap.Picture {
	t.Helper()
	p, err := pixmap.ReadFile("../text/testdata/ovmf-setup.png")
	require.NoError(t, err)
	return p
}

// overwritten returns the screen with the letter of one cell in place of another.
func overwritten(p *pixmap.Picture, from, to image.Point) *pixmap.Picture {
	q := p.Crop(p.Bounds())
	for y := range 19 {
		copy(q.Row(to.Y+y, to.X, to.X+8), p.Row(from.Y+y, from.X, from.X+8))
	}
	return q
}

func TestTextIsReadByTesseractAndALetterThatIsWrongIsNoMatch(t *testing.T) {
	need.Program(t, "tesseract")
	p := setup(t)
	words, err := ocr.Read(t.Context(), p, deviceManager.Rect())
	require.NoError(t, err)
	require.Equal(t, "Device Manager", words)
	head := needle.Area{X: 8, Y: 21, Width: 200, Height: 19, Type: needle.TypeMatch, Margin: margin(0)}
	cell := func(col int) image.Point { return image.Pt(24+8*col, 173) }
	// "Device Manager" with its last letter, r, replaced by an e from it.
	near := overwritten(p, cell(12), cell(13))
	wrong, err := ocr.Read(t.Context(), near, deviceManager.Rect())
	require.NoError(t, err)
	require.NotEqual(t, words, wrong)

	stated := deviceManager
	stated.Text = "  Device\n Manager "
	almost := deviceManager
	almost.Match = 90
	for _, tc := range []struct {
		name   string
		areas  []needle.Area
		screen *pixmap.Picture
		want   string // begins with
	}{
		{"only text", []needle.Area{deviceManager}, p, `"tag" is on the screen: needle n, area 1 at (16,173) reads "` + words + `"; this rests on OCR, which guesses`},
		{"a match area and text", []needle.Area{head, deviceManager}, p, `"tag" is on the screen: needle n, area 1 at (8,21) is equal; area 2 at (16,173) reads "` + words + `"; this rests on OCR, which guesses`},
		{"an excluded area between them", []needle.Area{head, {Width: 1, Height: 1, Type: needle.TypeExclude}, deviceManager}, p, `"tag" is on the screen: needle n, area 1 at (8,21) is equal; area 3 at (16,173) reads "` + words},
		{"one letter is wrong", []needle.Area{deviceManager}, near, fmt.Sprintf(`"tag" is not on the screen: needle n, area 1 at (16,173) reads %q and should read %q`, wrong, words)},
		{"one letter is wrong, and may be", []needle.Area{almost}, near, fmt.Sprintf(`"tag" is on the screen: needle n, area 1 at (16,173) reads %q for %q, which has %.2f %% of the 90 %% that it needs; this rests on OCR`,
			wrong, words, 100-100/float64(len([]rune(words))))},
	} {
		r := match(t, newNeedle(t, p, tc.areas...), needle.Query{Tag: "tag"}, tc.screen)
		require.True(t, strings.HasPrefix(r.String(), tc.want), "%s: %s", tc.name, r)
		require.Equal(t, r.Matched(), r.RestsOnOCR(), tc.name)
	}
	require.True(t, match(t, newNeedle(t, p, stated), needle.Query{}, p).Matched(), "how spaces are written is nothing")
	stated.Text = "Device Manages"
	r := match(t, newNeedle(t, p, stated), needle.Query{}, p)
	require.False(t, r.Matched(), "one letter of the needle is wrong")
	require.False(t, r.RestsOnOCR())
	require.False(t, match(t, newNeedle(t, p, head), needle.Query{}, p).RestsOnOCR(), "pixels were compared")
}

// A letter that something hides is not read: for example a cursor, on the screen or on the needle's
// picture.
func TestWhatIsMaskedOrExcludedIsNotRead(t *testing.T) {
	need.Program(t, "tesseract")
	p := setup(t)
	behind := image.Rect(24+15*8, 173, 24+16*8, 192) // a cell behind the words
	cursor := p.Crop(p.Bounds())
	for y := behind.Min.Y; y < behind.Max.Y; y++ {
		for x := behind.Min.X; x < behind.Max.X; x++ {
			copy(cursor.Pix[y*cursor.Stride+4*x:], []byte{0xff, 0, 0})
		}
	}
	excluded := needle.Area{X: behind.Min.X, Y: behind.Min.Y, Width: behind.Dx(), Height: behind.Dy(), Type: needle.TypeExclude}
	mask := needle.Query{Masks: []image.Rectangle{behind}}
	for name, pictures := range map[string][2]*pixmap.Picture{"on the screen": {p, cursor}, "on the needle's picture": {cursor, p}} {
		require.True(t, match(t, newNeedle(t, pictures[0], deviceManager), mask, pictures[1]).Matched(), name)
		require.True(t, match(t, newNeedle(t, pictures[0], deviceManager, excluded), needle.Query{}, pictures[1]).Matched(), name)
	}
	// The mask hides no letter of the words.
	near := overwritten(cursor, image.Pt(24+8*12, 173), image.Pt(24+8*13, 173))
	require.False(t, match(t, newNeedle(t, p, deviceManager), mask, near).Matched())
	r := match(t, newNeedle(t, p, deviceManager), needle.Query{Masks: []image.Rectangle{image.Rect(0, 0, 640, 183)}}, p)
	require.False(t, r.Matched())
	require.Contains(t, r.String(), "area 1 cannot be compared: masks cover more than half of it")
}

// tesseract puts a program of that name, which returns a text, first in the path. It returns a
// function that says how often the program was run since the last call.
func tesseract(t *testing.T, answer string) (asked func() int) {
	t.Helper()
	dir := t.TempDir()
	log := filepath.Join(dir, "asked")
	script := "#!/bin/sh\ncat >/dev/null\necho x >>'" + log + "'\n" + answer + "\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "tesseract"), []byte(script), 0o700))
	t.Setenv("PATH", dir+string(filepath.ListSeparator)+os.Getenv("PATH"))
	return func() int {
		b, err := os.ReadFile(log)
		if errors.Is(err, os.ErrNotExist) {
			return 0
		}
		require.NoError(t, err)
		require.NoError(t, os.Remove(log))
		return len(b) / 2
	}
}

func TestTesseractIsAskedOnlyIfNothingElseDecidesAndOnlyOnceAboutTheSamePixels(t *testing.T) {
	p := picture(40, 30)
	exact := needle.Area{X: 10, Y: 8, Width: 12, Height: 9, Type: needle.TypeMatch, Margin: margin(0)}
	reads := needle.Area{X: 0, Y: 20, Width: 30, Height: 9, Type: needle.TypeOCR, Text: "Welcome"}
	asked := tesseract(t, "echo Welcome")
	both := newNeedle(t, p, exact, reads)
	require.False(t, match(t, both, needle.Query{}, changed(p, 11, 9, pixmap.RGB{})).Matched())
	require.Zero(t, asked(), "the match area does not match")
	r, err := needle.Match(t.Context(), []*needle.Needle{both, newNeedle(t, p, exact)}, needle.Query{}, p)
	require.NoError(t, err)
	require.True(t, r.Matched())
	require.False(t, r.RestsOnOCR())
	require.Zero(t, asked(), "another needle matches without it")
	for range 3 {
		r = match(t, both, needle.Query{}, p)
		require.True(t, r.RestsOnOCR())
	}
	require.Equal(t, 1, asked())
	require.True(t, match(t, both, needle.Query{}, changed(p, 35, 25, pixmap.RGB{})).Matched())
	require.Zero(t, asked(), "the pixel is beside the area")
	other := p
	for x := range 30 {
		other = changed(other, x, 25, pixmap.RGB{R: 255 * uint8(x%2), G: 255 * uint8(x%2), B: 255 * uint8(x%2)})
	}
	require.True(t, match(t, both, needle.Query{}, other).Matched())
	require.Equal(t, 1, asked())
	// If two may be read, the better one is named.
	worse := reads
	worse.Text, worse.Match = "Welcomes", 80
	r, err = needle.Match(t.Context(), []*needle.Needle{newNeedle(t, p, worse), both}, needle.Query{}, p)
	require.NoError(t, err)
	require.Same(t, both, r.Match.Needle)
	require.Zero(t, asked())
}

func TestTheClickPointMayBeInAreasOfText(t *testing.T) {
	tesseract(t, "echo Welcome")
	p := picture(40, 30)
	exact := needle.Area{X: 10, Y: 8, Width: 12, Height: 8, Type: needle.TypeMatch, Margin: margin(0)}
	reads := needle.Area{X: 0, Y: 20, Width: 30, Height: 8, Type: needle.TypeOCR, Text: "Welcome"}
	click := func(areas ...needle.Area) image.Point {
		return match(t, newNeedle(t, p, areas...), needle.Query{}, p).Match.ClickPoint()
	}
	require.Equal(t, image.Pt(16, 12), click(exact, reads), "what was compared is surer")
	require.Equal(t, image.Pt(15, 24), click(reads))
	reads.Click = &needle.Click{X: 2, Y: 3}
	require.Equal(t, image.Pt(2, 23), click(exact, reads))
}

func TestWithoutTesseractANeedleIsSkippedOrTheHostsFaultAndSaysHowToInstallIt(t *testing.T) {
	p := picture(40, 30)
	exact := needle.Area{X: 10, Y: 8, Width: 12, Height: 9, Type: needle.TypeMatch, Margin: margin(0)}
	reads := needle.Area{X: 0, Y: 20, Width: 30, Height: 9, Type: needle.TypeOCR, Text: "Welcome"}
	t.Setenv("PATH", t.TempDir())
	both, plain := newNeedle(t, p, exact, reads), newNeedle(t, changed(p, 11, 9, pixmap.RGB{}), exact)
	const why = "needle n: area 2 is of type ocr: tesseract is not installed (Debian: apt-get install tesseract-ocr)"
	_, err := needle.Match(t.Context(), []*needle.Needle{both}, needle.Query{}, p)
	require.EqualError(t, err, why)
	require.ErrorIs(t, err, ocr.ErrAbsent)
	require.Equal(t, verdict.Host, verdict.Of(verdict.Classify("match", err)))
	r := match(t, both, needle.Query{}, changed(p, 11, 9, pixmap.RGB{}))
	require.False(t, r.Matched(), "its match area is not there, so it is not missed")
	require.NoError(t, r.Unread)
	r, err = needle.Match(t.Context(), []*needle.Needle{both, plain}, needle.Query{Tag: "t"}, p)
	require.NoError(t, err)
	require.False(t, r.Matched())
	require.EqualError(t, r.Unread, why)
	require.Same(t, plain, r.Nearest.Needle)
	require.True(t, strings.HasSuffix(r.String(), "; skipped: "+why), r.String())
	r, err = needle.Match(t.Context(), []*needle.Needle{both, plain}, needle.Query{}, changed(p, 11, 9, pixmap.RGB{}))
	require.NoError(t, err)
	require.True(t, r.Matched())
}

func TestATesseractThatFailsOrReadsNothingIsSaid(t *testing.T) {
	p := picture(40, 30)
	reads := needle.Area{X: 0, Y: 20, Width: 30, Height: 9, Type: needle.TypeOCR}
	t.Run("fails", func(t *testing.T) {
		tesseract(t, "echo no language >&2; exit 1")
		_, err := needle.Match(t.Context(), []*needle.Needle{newNeedle(t, p, reads)}, needle.Query{}, p)
		require.EqualError(t, err, "needle n: area 1 is of type ocr: ocr: tesseract: exit status 1: no language")
		require.Equal(t, verdict.Host, verdict.Of(verdict.Classify("match", err)))
	})
	t.Run("reads nothing", func(t *testing.T) {
		tesseract(t, "echo")
		r := match(t, newNeedle(t, p, reads), needle.Query{}, p)
		require.False(t, r.Matched())
		require.Contains(t, r.String(), "tesseract reads nothing in the needle's picture: say with refstr what it should read")
		reads.Text = "Welcome"
		r = match(t, newNeedle(t, p, reads), needle.Query{}, p)
		require.False(t, r.Matched())
		require.Contains(t, r.String(), `reads "" and should read "Welcome"`)
	})
	t.Run("is interrupted", func(t *testing.T) {
		tesseract(t, "exec sleep 600")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errors.New("the lane is gone"))
		_, err := needle.Match(ctx, []*needle.Needle{newNeedle(t, p, reads)}, needle.Query{}, p)
		require.ErrorContains(t, err, "the lane is gone")
		require.Equal(t, verdict.Harness, verdict.Of(verdict.Classify("match", err)))
	})
}

func TestAMismatchOfTextLeavesItsPictures(t *testing.T) {
	tesseract(t, "echo Welcome")
	p := picture(40, 30)
	n := newNeedle(t, p, needle.Area{X: 2, Y: 20, Width: 30, Height: 9, Type: needle.TypeOCR, Text: "Bye"})
	dir := t.TempDir()
	files, err := match(t, n, needle.Query{}, changed(p, 5, 22, pixmap.RGB{R: 9})).WriteEvidence(dir)
	require.NoError(t, err)
	require.Equal(t, filepath.Join(dir, "needle-n-area1.png"), files[2])
	side, err := pixmap.ReadFile(files[2])
	require.NoError(t, err)
	require.Equal(t, image.Rect(0, 0, 3*30+8, 9), side.Bounds())
	require.Equal(t, p.At(5, 22), side.At(3, 2))
	require.Equal(t, pixmap.RGB{R: 9}, side.At(30+4+3, 2))
	require.Equal(t, pixmap.RGB{R: 0xff}, side.At(2*(30+4)+3, 2))
}

func TestTheTextOfAnAreaIsPartOfTheFormat(t *testing.T) {
	const text = `{"area":[{"xpos":1,"ypos":2,"width":3,"height":4,"type":"ocr","refstr":"Wëlcome <1>"},{"width":1,"height":1,"type":"ocr","refstr":null}],"tags":[]}`
	n, err := needle.Parse([]byte(text))
	require.NoError(t, err)
	require.Equal(t, "Wëlcome <1>", n.Areas[0].Text)
	require.Empty(t, n.Areas[1].Text)
	b, err := n.Encode()
	require.NoError(t, err)
	require.Equal(t, text, string(b))
	n.Areas[0].Text = "Bye"
	b, err = n.Encode()
	require.NoError(t, err)
	require.JSONEq(t, strings.Replace(strings.Replace(text, "Wëlcome <1>", "Bye", 1), `"tags":[]`, `"tags":[],"properties":[]`, 1), string(b))
	_, err = needle.Parse([]byte(strings.Replace(text, `"Wëlcome <1>"`, "7", 1)))
	require.ErrorContains(t, err, "area: refstr is 7: want a string")
}
