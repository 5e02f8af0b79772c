//go:build !race

// The race detector takes half a minute for so many pixels.

package text_test

import (
	"image"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/screen/text"
	"github.com/spicelane/spicelane/internal/need"
)

// A screen of the largest size: only the drawn part is looked at.
func TestTextInTheLastCornerOfAVeryLargeScreenIsRead(t *testing.T) {
	need.Long(t)
	f := font(t, "ovmf")
	p := blank(8192, 8192, black)
	write(p, f, image.Pt(8192-12*8, 8192/19*19-19), white, black, "Boot Manager")
	g, err := text.Reader{}.Read(p)
	require.NoError(t, err)
	hits := g.Find(regexp.MustCompile("Boot Manager"), image.Rectangle{})
	require.Len(t, hits, 1)
	require.Equal(t, image.Rect(8192-12*8, 8192/19*19-19, 8192, 8192/19*19), hits[0].Rect)
	require.Zero(t, g.UnknownCells())
	p = blank(8192, 8192, black)
	_, err = text.Reader{}.Read(p)
	require.ErrorIs(t, err, text.ErrNoText)
}
