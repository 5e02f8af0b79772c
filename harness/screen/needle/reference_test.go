package needle_test

import (
	"fmt"
	"image"
	"image/color"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/screen/needle"
	"github.com/spicelane/spicelane/harness/screen/pixmap"
	"github.com/spicelane/spicelane/internal/need"
)

// A placed area is a result of the obvious implementation.
type placed struct {
	ok         bool
	at         image.Point
	similarity float64
	differ     int
}

// obvious looks for an area exactly as the documentation says: it compares each pixel at each place
// within the margin.
func obvious(reference, screen *image.NRGBA, a needle.Area, excluded, masks []image.Rectangle) placed {
	inside := func(p image.Point, rects []image.Rectangle) bool {
		for _, r := range rects {
			if p.In(r) {
				return true
			}
		}
		return false
	}
	margin := needle.DefaultMargin
	if a.Margin != nil {
		margin = *a.Margin
	}
	need := a.Match
	if need == 0 {
		need = 100
	}
	total := 0
	for y := range a.Height {
		for x := range a.Width {
			if !inside(image.Pt(a.X+x, a.Y+y), excluded) {
				total++
			}
		}
	}
	var best placed
	bestFar := 0
	for dy := -margin; dy <= margin; dy++ {
		for dx := -margin; dx <= margin; dx++ {
			to := image.Rect(a.X+dx, a.Y+dy, a.X+dx+a.Width, a.Y+dy+a.Height)
			if !to.In(screen.Rect) {
				continue
			}
			sum, n, differ := 0.0, 0, 0
			for y := range a.Height {
				for x := range a.Width {
					is := image.Pt(a.X+dx+x, a.Y+dy+y)
					if inside(image.Pt(a.X+x, a.Y+y), excluded) || inside(is, masks) {
						continue
					}
					n++
					want, got := reference.NRGBAAt(a.X+x, a.Y+y), screen.NRGBAAt(is.X, is.Y)
					if want != got {
						differ++
					}
					for _, d := range []int{int(want.R) - int(got.R), int(want.G) - int(got.G), int(want.B) - int(got.B)} {
						if d > 15 || d < -15 {
							sum += float64(d * d)
						}
					}
				}
			}
			if n == 0 || 2*n < total {
				continue
			}
			s := 100.0
			if differ > 0 {
				s = math.Max(0, math.Min(99.99, 90+(40-sum/float64(3*n))/3.8))
			}
			far := max(dx, -dx, dy, -dy)
			if s >= need && (!best.ok || s > best.similarity || s == best.similarity && far < bestFar) {
				best, bestFar = placed{true, is(a, dx, dy), s, differ}, far
			}
		}
	}
	return best
}

func is(a needle.Area, dx, dy int) image.Point { return image.Pt(a.X+dx, a.Y+dy) }

// A random case is areas of a picture, a screen that was made from it, and masks.
type randomCase struct {
	reference, screen *image.NRGBA
	areas             []needle.Area
	masks             []image.Rectangle
}

func randomRect(r *rand.Rand, w, h int) image.Rectangle {
	x, y := r.IntN(w), r.IntN(h)
	return image.Rect(x, y, x+1+r.IntN(w-x), y+1+r.IntN(h-y))
}

func newCase(r *rand.Rand) randomCase {
	w, h := 4+r.IntN(20), 4+r.IntN(16)
	palette := make([]color.NRGBA, 1+r.IntN(4))
	for i := range palette {
		palette[i] = color.NRGBA{uint8(r.IntN(256)), uint8(r.IntN(256)), uint8(r.IntN(256)), 255}
		if i > 0 && r.IntN(3) == 0 { // some differ slightly
			palette[i] = palette[0]
			palette[i].G ^= uint8(1 << r.IntN(6))
		}
	}
	c := randomCase{reference: image.NewNRGBA(image.Rect(0, 0, w, h)), screen: image.NewNRGBA(image.Rect(0, 0, w, h))}
	for y := range h {
		for x := range w {
			c.reference.SetNRGBA(x, y, palette[r.IntN(len(palette))])
		}
	}
	// The screen is the picture, shifted by a little, with some pixels changed.
	dx, dy := 0, 0
	if r.IntN(2) == 0 {
		dx, dy = r.IntN(7)-3, r.IntN(7)-3
	}
	for y := range h {
		for x := range w {
			c.screen.SetNRGBA(x, y, c.reference.NRGBAAt((x+dx+w)%w, (y+dy+h)%h))
		}
	}
	for range r.IntN(4) * r.IntN(4) {
		c.screen.SetNRGBA(r.IntN(w), r.IntN(h), palette[r.IntN(len(palette))])
	}
	if r.IntN(3) == 0 { // as a video signal does it
		for i := range c.screen.Pix {
			if i%4 != 3 {
				c.screen.Pix[i] = uint8(max(0, min(255, int(c.screen.Pix[i])+r.IntN(37)-18)))
			}
		}
	}
	for range 1 + r.IntN(3) {
		b := randomRect(r, w, h)
		margin := r.IntN(7)
		a := needle.Area{X: b.Min.X, Y: b.Min.Y, Width: b.Dx(), Height: b.Dy(), Type: needle.TypeMatch, Margin: &margin,
			Match: []float64{0, 0, 100, 99, 96, 80, 12.5}[r.IntN(7)]}
		c.areas = append(c.areas, a)
	}
	for range r.IntN(3) {
		b := randomRect(r, w, h)
		c.areas = append(c.areas, needle.Area{X: b.Min.X, Y: b.Min.Y, Width: b.Dx(), Height: b.Dy(), Type: needle.TypeExclude})
	}
	for range r.IntN(3) {
		c.masks = append(c.masks, randomRect(r, w, h))
	}
	return c
}

func TestMatchingAgreesWithLookingAtEachPixelOfEachPlace(t *testing.T) {
	need.Long(t)
	const cases = 10_000
	matched, moved, inexact, masked := 0, 0, 0, 0
	for seed := range uint64(cases) {
		c := newCase(rand.New(rand.NewPCG(seed, 12)))
		var excluded []image.Rectangle
		for i := range c.areas {
			if a := &c.areas[i]; a.Type == needle.TypeExclude {
				excluded = append(excluded, a.Rect())
			}
		}
		n, err := needle.New("case", c.areas, nil, pixmap.Of(c.reference))
		allExcluded := false
		for _, a := range c.areas {
			if a.Type != needle.TypeMatch {
				continue
			}
			left := false
			for y := a.Y; y < a.Y+a.Height; y++ {
				for x := a.X; x < a.X+a.Width; x++ {
					hit := false
					for _, e := range excluded {
						hit = hit || image.Pt(x, y).In(e)
					}
					left = left || !hit
				}
			}
			allExcluded = allExcluded || !left
		}
		if allExcluded {
			require.ErrorContains(t, err, "excluded completely", "case %d", seed)
			continue
		}
		require.NoError(t, err, "case %d", seed)
		got, err := needle.Match(t.Context(), []*needle.Needle{n}, needle.Query{Tag: "case", Masks: c.masks}, pixmap.Of(c.screen))
		require.NoError(t, err, "case %d", seed)
		found := got.Match
		if found == nil {
			found = got.Nearest
		}
		all := true
		i := 0
		for _, a := range n.Areas {
			if a.Type != needle.TypeMatch {
				continue
			}
			want, is := obvious(c.reference, c.screen, a, excluded, c.masks), found.Areas[i]
			i++
			all = all && want.ok
			require.Equal(t, want.ok, is.OK, "case %d area %d: %+v", seed, i, want)
			if !want.ok {
				if is.Reason == "" {
					require.Less(t, is.Similarity, is.Need, "case %d area %d", seed, i)
					require.Positive(t, is.Differ, "case %d area %d", seed, i)
				}
				continue
			}
			require.Equal(t, fmt.Sprint(want.at, want.differ), fmt.Sprint(is.At.Min, is.Differ), "case %d area %d", seed, i)
			require.InDelta(t, want.similarity, is.Similarity, 1e-9, "case %d area %d", seed, i)
			if want.at != a.Rect().Min {
				moved++
			}
			if want.similarity < 100 {
				inexact++
			}
			if len(c.masks) > 0 {
				masked++
			}
		}
		require.Equal(t, all, got.Matched(), "case %d", seed)
		if all {
			matched++
		}
	}
	t.Logf("%d cases: %d needles matched; of the areas found %d were moved, %d were not equal, %d had masks on the screen", cases, matched, moved, inexact, masked)
	for _, n := range []int{matched, moved, inexact, masked, cases - matched} {
		require.Greater(t, n, 1000, "the cases no longer show everything")
	}
}
