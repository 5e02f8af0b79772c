package needle_test

import (
	"fmt"
	"image"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/screen/needle"
	"github.com/spicelane/spicelane/harness/screen/pixmap"
)

// console returns a screen like that of a text console: black, with marks of 8×16 pixels.
func console(w, h int, seed uint64) *pixmap.Picture {
	img := image.NewNRGBA(image.Rect(0, 0, w, h))
	for i := 3; i < len(img.Pix); i += 4 {
		img.Pix[i] = 0xff
	}
	r := rand.New(rand.NewPCG(seed, 1))
	for y := 0; y+16 <= h; y += 16 {
		for x := 0; x+8 <= w*2/3; x += 8 {
			bits := r.Uint64() & r.Uint64()
			for i := range 64 {
				if bits>>i&1 != 0 {
					at := img.PixOffset(x+i%8, y+4+i/8)
					copy(img.Pix[at:], []byte{0xaa, 0xaa, 0xaa})
				}
			}
		}
	}
	return pixmap.Of(img)
}

func benchmark(b *testing.B, n []*needle.Needle, q needle.Query, p *pixmap.Picture, want bool) {
	b.Helper()
	for b.Loop() {
		r, err := needle.Match(b.Context(), n, q, p)
		if err != nil || r.Matched() != want {
			b.Fatal(r, err)
		}
	}
}

func one(b *testing.B, p *pixmap.Picture, a needle.Area) []*needle.Needle {
	b.Helper()
	a.Type = needle.TypeMatch
	n, err := needle.New("n", []needle.Area{a}, nil, p)
	require.NoError(b, err)
	return []*needle.Needle{n}
}

func BenchmarkExactAtItsPlace(b *testing.B) {
	p := console(1280, 800, 1)
	benchmark(b, one(b, p, needle.Area{X: 160, Y: 160, Width: 400, Height: 300}), needle.Query{}, p, true)
}

// moved returns p shifted down and to the right.
func moved(p *pixmap.Picture, by int) *pixmap.Picture {
	q := console(p.Width, p.Height, 99)
	for y := by; y < p.Height; y++ {
		copy(q.Row(y, by, p.Width), p.Row(y-by, 0, p.Width-by))
	}
	return q
}

func BenchmarkExactMovedByAMarginOf100(b *testing.B) {
	p := console(1280, 800, 1)
	benchmark(b, one(b, p, needle.Area{X: 160, Y: 160, Width: 400, Height: 300, Margin: margin(100)}), needle.Query{}, moved(p, 100), true)
}

func BenchmarkAbsentWithAMarginOf100(b *testing.B) {
	p := console(1280, 800, 1)
	benchmark(b, one(b, p, needle.Area{X: 160, Y: 160, Width: 400, Height: 300, Margin: margin(100)}), needle.Query{}, console(1280, 800, 2), false)
}

// The worst case for a search is an area of one colour on a screen of that colour, with single
// pixels that spoil each place.
func BenchmarkOneColourWithAMarginOf100(b *testing.B) {
	p := pixmap.Of(image.NewNRGBA(image.Rect(0, 0, 1280, 800)))
	n := one(b, p, needle.Area{X: 160, Y: 160, Width: 400, Height: 300, Margin: margin(100)})
	screen := p
	for y := 50; y < 800; y += 200 {
		for x := 50; x < 1280; x += 300 {
			screen = changed(screen, x, y, pixmap.RGB{R: 1})
		}
	}
	benchmark(b, n, needle.Query{}, screen, false)
}

// landscape returns a screen like a photograph: soft shapes, with noise, in very many colours.
func landscape(w, h int, seed uint64) *pixmap.Picture {
	img := image.NewNRGBA(image.Rect(0, 0, w, h))
	r := rand.New(rand.NewPCG(seed, 2))
	wave := func(n int) []float64 {
		at, by := 6*r.Float64(), 0.01+0.04*r.Float64()
		values := make([]float64, n)
		for i := range values {
			values[i] = 60 * math.Sin(at+by*float64(i))
		}
		return values
	}
	for c := range 3 {
		columns, rows := wave(w), wave(h)
		for y := range h {
			for x := range w {
				img.Pix[img.PixOffset(x, y)+c] = uint8(125 + columns[x] + rows[y] + float64(r.IntN(7)))
			}
		}
	}
	for i := 3; i < len(img.Pix); i += 4 {
		img.Pix[i] = 0xff
	}
	return pixmap.Of(img)
}

func Benchmark200Alternatives(b *testing.B) {
	for _, kind := range []struct {
		name   string
		screen func(w, h int, seed uint64) *pixmap.Picture
	}{{"text", console}, {"photograph", landscape}} {
		var pictures []*pixmap.Picture
		for i := range 20 {
			pictures = append(pictures, kind.screen(1280, 800, uint64(100+i)))
		}
		for name, similarity := range map[string]float64{"exact": 0, "96": 96} {
			b.Run(kind.name+"/"+name, func(b *testing.B) {
				var all []*needle.Needle
				for i := range 200 {
					n, err := needle.New(fmt.Sprint("n", i), []needle.Area{{X: 100 + i, Y: 2 * i, Width: 200, Height: 60, Type: needle.TypeMatch, Match: similarity}},
						[]string{"t"}, pictures[i%len(pictures)])
					require.NoError(b, err)
					all = append(all, n)
				}
				benchmark(b, all, needle.Query{}, kind.screen(1280, 800, 1), false)
			})
		}
	}
}

func BenchmarkNewNeedle(b *testing.B) {
	p := console(1280, 800, 1)
	for b.Loop() {
		one(b, p, needle.Area{X: 160, Y: 160, Width: 400, Height: 300})
	}
}

func BenchmarkScreenOf8192By8192(b *testing.B) {
	p := console(8192, 8192, 1)
	benchmark(b, one(b, p, needle.Area{X: 4000, Y: 4000, Width: 400, Height: 300}), needle.Query{}, p, true)
}
