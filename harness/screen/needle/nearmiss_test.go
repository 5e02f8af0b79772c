package needle_test

import (
	"image"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/screen/needle"
	"github.com/spicelane/spicelane/harness/screen/pixmap"
	"github.com/spicelane/spicelane/harness/screen/text"
	"github.com/spicelane/spicelane/internal/need"
)

// The corpus is screens of lanes. On each, needles of random areas are made. Then the screen is
// changed within an area by as little as possible: one pixel by one step of a colour, one glyph
// into another of the screen, or one colour of the area by one step. None of these may match, and
// each unchanged screen must.
func TestNearMissesOfScreensGiveNoFalseMatch(t *testing.T) {
	need.Long(t)
	const needles = 60
	screens, err := filepath.Glob("../text/testdata/*.png")
	require.NoError(t, err)
	require.NotEmpty(t, screens)
	r := rand.New(rand.NewPCG(1, 8))
	tried, wrong := map[string]int{}, map[string]int{}
	missed := 0
	for _, path := range screens {
		p, err := pixmap.ReadFile(path)
		require.NoError(t, err)
		grid, err := text.Reader{}.Read(p)
		require.NoError(t, err)
		for range needles {
			w, h := 1+r.IntN(200), 1+r.IntN(60)
			b := image.Rect(0, 0, w, h).Add(image.Pt(r.IntN(p.Width-w), r.IntN(p.Height-h)))
			n := single(t, p, needle.Area{X: b.Min.X, Y: b.Min.Y, Width: w, Height: h, Margin: margin(0)})
			matches := func(screen *pixmap.Picture) bool {
				t.Helper()
				res, err := needle.Match(t.Context(), n, needle.Query{}, screen)
				require.NoError(t, err)
				return res.Matched()
			}
			if !matches(p) {
				missed++
			}
			changes := map[string]func(*pixmap.Picture) bool{
				"one pixel": func(q *pixmap.Picture) bool {
					x, y := b.Min.X+r.IntN(w), b.Min.Y+r.IntN(h)
					step(q.Pix[y*q.Stride+4*x+r.IntN(3):])
					return true
				},
				"one glyph": func(q *pixmap.Picture) bool { return swapGlyph(r, q, grid, b) },
				"one colour": func(q *pixmap.Picture) bool {
					was := q.At(b.Min.X+r.IntN(w), b.Min.Y+r.IntN(h))
					colour := r.IntN(3)
					for y := b.Min.Y; y < b.Max.Y; y++ {
						for x := b.Min.X; x < b.Max.X; x++ {
							if q.At(x, y) == was {
								step(q.Pix[y*q.Stride+4*x+colour:])
							}
						}
					}
					return true
				},
			}
			for _, name := range []string{"one pixel", "one glyph", "one colour"} {
				q := p.Crop(p.Bounds())
				if !changes[name](q) {
					continue
				}
				tried[name]++
				if matches(q) {
					wrong[name]++
				}
			}
		}
	}
	t.Logf("%d screens, %d needles: %d unchanged screens missed; near misses tried %v, false matches %v", len(screens), needles*len(screens), missed, tried, wrong)
	require.Zero(t, missed)
	require.Empty(t, wrong)
	for _, name := range []string{"one pixel", "one glyph", "one colour"} {
		require.Greater(t, tried[name], 80, name)
	}
}

func single(t *testing.T, p *pixmap.Picture, a needle.Area) []*needle.Needle {
	t.Helper()
	a.Type = needle.TypeMatch
	n, err := needle.New("n", []needle.Area{a}, nil, p)
	require.NoError(t, err)
	return []*needle.Needle{n}
}

// step changes a colour by the smallest possible amount.
func step(b []byte) {
	if b[0] == 255 {
		b[0]--
	} else {
		b[0]++
	}
}

// swapGlyph copies another cell of the screen onto one within the area. It returns false if all cells
// there look the same.
func swapGlyph(r *rand.Rand, q *pixmap.Picture, g *text.Grid, area image.Rectangle) bool {
	for range 50 {
		to := g.Rect(r.IntN(g.Cols), r.IntN(g.Rows))
		from := g.Rect(r.IntN(g.Cols), r.IntN(g.Rows))
		if !to.In(area) {
			to = g.Rect((area.Min.X-g.Origin.X)/g.Font.Width+1, (area.Min.Y-g.Origin.Y)/g.Font.Height+1)
		}
		if !to.In(area) || !from.In(q.Bounds()) {
			continue
		}
		changed := false
		for y := range to.Dy() {
			was, now := q.Row(to.Min.Y+y, to.Min.X, to.Max.X), q.Row(from.Min.Y+y, from.Min.X, from.Max.X)
			changed = changed || string(was) != string(now)
			copy(was, now)
		}
		if changed {
			return true
		}
	}
	return false
}
