//go:build !race

// The race detector takes half a minute for so many pixels.

package needle_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/screen/needle"
	"github.com/spicelane/spicelane/harness/screen/pixmap"
	"github.com/spicelane/spicelane/internal/need"
)

// The largest screens have 256 MiB of pixels. A search computes the sums of its own part of them
// only.
func TestOnAVeryLargeScreenAnAreaIsFoundAndOnePixelOffIsNot(t *testing.T) {
	need.Long(t)
	p := console(8192, 8192, 1)
	size := p.Bounds().Max
	for i := range 40 { // marks in the empty corner
		copy(p.Pix[(size.Y-1-i)*p.Stride+4*(size.X-1-3*i):], []byte{uint8(i), 200, 30})
	}
	for _, similarity := range []float64{0, 96} {
		area := needle.Area{X: size.X - 300, Y: size.Y - 200, Width: 300, Height: 200, Type: needle.TypeMatch, Match: similarity, Margin: margin(20)}
		n := newNeedle(t, p, area)
		require.True(t, match(t, n, needle.Query{}, p).Matched())
		moved := &pixmap.Picture{Pix: p.Pix[4*7:], Stride: p.Stride, Width: size.X - 7, Height: size.Y}
		r := match(t, n, needle.Query{Scale: false}, moved)
		require.False(t, r.Matched(), "it has another size")
		require.Contains(t, r.String(), "the screen has 8185×8192")
		x, y := size.X-1, size.Y-1
		was := p.At(x, y)
		p.Pix[y*p.Stride+4*x] ^= 1
		require.Equal(t, similarity == 96, match(t, n, needle.Query{}, p).Matched(), "a pixel in its corner")
		p.Pix[y*p.Stride+4*x] ^= 1
		require.Equal(t, was, p.At(x, y))
	}
}
