package ocr_test

import (
	"image"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/screen/ocr"
	"github.com/spicelane/spicelane/harness/screen/pixmap"
	"github.com/spicelane/spicelane/internal/need"
)

const setupScreen = "../text/testdata/ovmf-setup.png"

// The words are large and clear; that tesseract reads them shows that it was asked well.
func TestARegionIsReadByTesseract(t *testing.T) {
	need.Program(t, "tesseract")
	p, err := pixmap.ReadFile(setupScreen)
	require.NoError(t, err)
	for want, region := range map[string]image.Rectangle{
		"Device Manager": image.Rect(16, 173, 200, 192), // black on grey
		"Move Highlight": image.Rect(32, 420, 180, 439), // grey on black
	} {
		got, err := ocr.Read(t.Context(), p, region)
		require.NoError(t, err)
		require.Contains(t, got, want)
	}
	_, err = ocr.Read(t.Context(), p, image.Rect(0, 0, 641, 10))
	require.ErrorContains(t, err, "is not within the picture, which has 640×480 pixels")
}

func TestAnAbsentTesseractIsSaid(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	p, err := pixmap.ReadFile(setupScreen)
	require.NoError(t, err)
	_, err = ocr.Read(t.Context(), p, image.Rectangle{})
	require.ErrorIs(t, err, ocr.ErrAbsent)
}

func TestAPictureForTesseractIsBlackOnWhiteWhateverItsColours(t *testing.T) {
	for _, c := range [][2]pixmap.RGB{{{R: 255, G: 255}, {B: 128}}, {{B: 128}, {R: 255, G: 255}}, {{R: 100, G: 100, B: 100}, {R: 110, G: 110, B: 110}}} {
		ink, ground := c[0], c[1]
		img := image.NewNRGBA(image.Rect(0, 0, 5, 4))
		for y := range 4 {
			for x := range 5 {
				img.Set(x, y, ground)
			}
		}
		img.Set(1, 2, ink)
		got := ocr.Prepare(pixmap.Of(img))
		require.Equal(t, image.Rect(0, 0, 35, 32), got.Rect)
		for y := range 32 {
			for x := range 35 {
				want := uint8(255)
				if image.Pt(x, y).In(image.Rect(13, 16, 16, 19)) {
					want = 0
				}
				require.Equal(t, want, got.GrayAt(x, y).Y, "%v: %d,%d", c, x, y)
			}
		}
	}
}
