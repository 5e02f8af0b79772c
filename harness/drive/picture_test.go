package drive_test

import (
	"context"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice/control/controltest"
	"github.com/spicelane/spicelane/spice/control/server"
)

func TestTheFirstDifferenceOfTwoPicturesIsNamed(t *testing.T) {
	t.Parallel()
	paint := func(r image.Rectangle) *image.NRGBA {
		img := image.NewNRGBA(r)
		for y := r.Min.Y; y < r.Max.Y; y++ {
			for x := r.Min.X; x < r.Max.X; x++ {
				img.Set(x, y, color.NRGBA{byte(x - r.Min.X), byte(y - r.Min.Y), 7, 255})
			}
		}
		return img
	}
	want := paint(image.Rect(0, 0, 5, 3))
	assert.Empty(t, drive.FirstDifference(paint(image.Rect(0, 0, 5, 3)), want))
	assert.Empty(t, drive.FirstDifference(paint(image.Rect(10, 20, 15, 23)), want), "where it lies makes no difference")
	larger := image.NewNRGBA(image.Rect(0, 0, 9, 9))
	part := larger.SubImage(image.Rect(2, 2, 7, 5)).(*image.NRGBA)
	for y := range 3 {
		copy(part.Pix[y*part.Stride:][:20], want.Pix[y*want.Stride:][:20])
	}
	assert.Empty(t, drive.FirstDifference(part, want), "nor how far its rows are apart")

	assert.Equal(t, "the client's picture is (5,2), QEMU's is (5,3)", drive.FirstDifference(paint(image.Rect(0, 0, 5, 2)), want))
	for i := range want.Pix {
		got := paint(image.Rect(0, 0, 5, 3))
		got.Pix[i] ^= 1
		assert.NotEmpty(t, drive.FirstDifference(got, want), "byte %d", i)
	}
	got := paint(image.Rect(0, 0, 5, 3))
	got.SetNRGBA(4, 2, color.NRGBA{4, 2, 8, 255})
	assert.Equal(t, "at (4,2) the client has 04 02 08 ff, QEMU has 04 02 07 ff (RGBA)", drive.FirstDifference(got, want))
}

func TestAPictureIsReplacedWholeAndWhatIsNoFileIsNotReplaced(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "screen.png")
	require.NoError(t, drive.WritePNG(path, image.NewNRGBA(image.Rect(0, 0, 5, 3))))
	held, err := os.Open(path)
	require.NoError(t, err)
	defer held.Close()
	require.NoError(t, drive.WritePNG(path, image.NewNRGBA(image.Rect(0, 0, 7, 2))))
	was, err := png.Decode(held)
	require.NoError(t, err, "who has begun to read the old picture reads it to its end")
	assert.Equal(t, image.Pt(5, 3), was.Bounds().Size())

	link := filepath.Join(dir, "link")
	require.NoError(t, os.Symlink("screen.png", link))
	require.NoError(t, drive.WritePNG(link, image.NewNRGBA(image.Rect(0, 0, 1, 9))))
	st, err := os.Lstat(link)
	require.NoError(t, err)
	assert.NotZero(t, st.Mode()&os.ModeSymlink, "as with a device: it is written to")
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	is, err := png.Decode(f)
	require.NoError(t, err)
	assert.Equal(t, image.Pt(1, 9), is.Bounds().Size())
}

// If the control socket is gone, the console is not to blame.
func TestAWaitForAPictureThatLosesItsSocketIsNoFaultOfTheProduct(t *testing.T) {
	t.Parallel()
	console := controltest.New(32, 24)
	console.Draw(0, 0, image.Rect(0, 0, 32, 24), func(pix []byte, _ int) { clear(pix) }) // one colour: only the lost socket ends the wait
	path, srv := controltest.Open(t, server.Config{Console: console})
	d := controltest.Dial(t, path)
	go func() {
		_, _ = d.Status(context.WithoutCancel(t.Context()))
		_ = srv.Close()
	}()
	_, err := drive.AwaitSurface(t.Context(), d)
	require.ErrorContains(t, err, "await picture: ")
	require.Equal(t, verdict.Harness, verdict.Of(err), "%v", err)
}
