package truth

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/truth/catalogue"
	"github.com/spicelane/spicelane/spice/canvas"
)

func TestPicturesOfDifferentSizesOrFormatsAreNeverCloseEnough(t *testing.T) {
	want := canvas.New(canvas.XRGB, 4, 3)
	require.Nil(t, compare(7, want, canvas.New(canvas.XRGB, 4, 3)))
	for says, got := range map[string]*canvas.Image{
		"surface 7: it has 4×2 pixels of 32_xrgb, want 4×3 pixels of 32_xrgb": canvas.New(canvas.XRGB, 4, 2),
		"surface 7: it has 5×3 pixels of 32_xrgb, want 4×3 pixels of 32_xrgb": canvas.New(canvas.XRGB, 5, 3),
		"surface 7: it has 4×3 pixels of 16_565, want 4×3 pixels of 32_xrgb":  canvas.New(canvas.RGB565, 4, 3),
	} {
		d := compare(7, want, got)
		require.NotNil(t, d, says)
		require.Equal(t, says, d.String())
		require.False(t, d.within(255), says)
	}
	got := canvas.New(canvas.XRGB, 4, 3)
	got.Pix[0] = 30 // blue, a mean of 10
	d := compare(7, want, got)
	require.True(t, d.within(10), d)
	require.False(t, d.within(9.9), d)
}

func TestAGroupThatRunsOnceRunsWithTheFirstSettingThatSuitsIt(t *testing.T) {
	jpeg, off := Setting{JPEG: true}, Setting{Compression: "off"}
	plain, photos := catalogue.Group{Once: true}, catalogue.Group{Once: true, JPEG: true}
	require.Equal(t, 1, firstFor(plain, []Setting{jpeg, off, off}))
	require.Equal(t, 0, firstFor(photos, []Setting{jpeg, off}))
	require.Equal(t, -1, firstFor(plain, []Setting{jpeg}))
}
