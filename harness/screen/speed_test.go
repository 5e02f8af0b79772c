//go:build !race

// The race detector slows down one side more than the other.

package screen_test

import (
	"bytes"
	"fmt"
	"image"
	"image/png"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/screen/needle"
	"github.com/spicelane/spicelane/harness/screen/pixmap"
	"github.com/spicelane/spicelane/harness/screen/text"
	"github.com/spicelane/spicelane/internal/need"
)

// console draws a screen of the firmware's console, half full of letters, from (0, top).
func console(w, h, top int, seed uint64) *pixmap.Picture {
	f, err := text.Load("ovmf")
	if err != nil {
		panic(err)
	}
	img := image.NewNRGBA(image.Rect(0, 0, w, h))
	for i := 3; i < len(img.Pix); i += 4 {
		img.Pix[i] = 0xff
	}
	r := rand.New(rand.NewPCG(seed, 1))
	for y := top; y+19 <= h; y += 19 {
		for x := 0; x+8 <= w; x += 8 {
			c := rune('!' + r.IntN(94))
			if r.IntN(2) == 0 {
				continue
			}
			for i := range 8 * 19 {
				if f.Drawn(c, false, i%8, i/8) {
					img.Set(x+i%8, y+i/8, pixmap.RGB{R: 0xaa, G: 0xaa, B: 0xaa})
				}
			}
		}
	}
	return pixmap.Of(img)
}

// A look is an operation on a picture of a screen, and how long it may take: a multiple of the time
// in which image/png decodes the same picture.
type look struct {
	name   string
	screen *pixmap.Picture
	at     func() error
	most   float64
}

func looks(tb testing.TB) []look {
	tb.Helper()
	ovmf, err := text.LoadAll("ovmf")
	require.NoError(tb, err)
	grid, full, other := console(800, 600, 5, 1), console(1280, 800, 0, 1), console(1280, 800, 0, 2)
	within := func(px int) *int { return &px }
	made := func(p *pixmap.Picture, a needle.Area) *needle.Needle {
		a.Type = needle.TypeMatch
		n, err := needle.New("n", []needle.Area{a}, nil, p)
		require.NoError(tb, err)
		return n
	}
	match := func(want bool, screen *pixmap.Picture, all ...*needle.Needle) func() error {
		return func() error {
			r, err := needle.Match(tb.Context(), all, needle.Query{}, screen)
			if err == nil && r.Matched() != want {
				err = fmt.Errorf("%s", r)
			}
			return err
		}
	}
	area := needle.Area{X: 160, Y: 160, Width: 400, Height: 300, Margin: within(0)}
	far := area
	far.Margin = within(100)
	moved := console(1280, 800, 0, 3)
	for y := 100; y < 800; y++ {
		copy(moved.Row(y, 100, 1280), full.Row(y-100, 0, 1180))
	}
	var pictures []*pixmap.Picture
	for i := range 10 {
		pictures = append(pictures, console(1280, 800, 0, uint64(100+i)))
	}
	alternatives := func(similarity float64) (all []*needle.Needle) {
		for i := range 200 {
			all = append(all, made(pictures[i%10], needle.Area{X: 100 + i, Y: 2 * i, Width: 200, Height: 60, Match: similarity}))
		}
		return all
	}
	return []look{
		{"a grid of 100×31 cells is read", grid, func() error {
			g, err := text.Reader{Fonts: ovmf, Origin: &image.Point{Y: 5}}.Read(grid)
			if err == nil && (g.Cols != 100 || g.Rows != 31 || g.UnknownCells() > 0) {
				err = fmt.Errorf("%v, %d unknown", g, g.UnknownCells())
			}
			return err
		}, 0.5},
		{"an exact area is at its place", full, match(true, full, made(full, area)), 0.05},
		{"an exact area is 100 pixels away, margin 100", full, match(true, moved, made(full, far)), 0.2},
		{"an exact area is not there, margin 100", other, match(false, other, made(full, far)), 8},
		{"200 alternatives, none there", other, match(false, other, alternatives(0)...), 15},
		{"200 alternatives, none there, similarity 96", other, match(false, other, alternatives(96)...), 30},
	}
}

// decoder returns a function that decodes a picture of the screen.
func decoder(tb testing.TB, p *pixmap.Picture) func() error {
	tb.Helper()
	var b bytes.Buffer
	require.NoError(tb, png.Encode(&b, p.Image()))
	return func() error {
		_, err := png.Decode(bytes.NewReader(b.Bytes()))
		return err
	}
}

// Both take turns, and the fastest turn of each counts: other programs that run meanwhile slow down
// some turns of both.
func TestALookAtAScreenTakesNoLongerThanAFewDecodingsOfIt(t *testing.T) {
	need.Long(t)
	const turns = 5
	for _, l := range looks(t) {
		decode := decoder(t, l.screen)
		best := [2]time.Duration{time.Hour, time.Hour}
		for range turns {
			for i, f := range []func() error{decode, l.at} {
				began := time.Now()
				require.NoError(t, f(), l.name)
				best[i] = min(best[i], time.Since(began))
			}
		}
		ratio := float64(best[1]) / float64(best[0])
		t.Logf("%s: %v, %.2f × decoding (%v)", l.name, best[1].Round(time.Microsecond), ratio, best[0].Round(time.Microsecond))
		require.LessOrEqual(t, ratio, l.most, l.name)
	}
}
