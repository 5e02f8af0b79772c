package pixmap_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/png"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/screen/pixmap"
)

// colours returns a picture of 4×3 pixels in each form of PNG file. All show the same.
func colours(t *testing.T) map[string]image.Image {
	t.Helper()
	r := image.Rect(10, 20, 14, 23)
	at := func(x, y int) color.NRGBA { return color.NRGBA{uint8(x), uint8(10 * y), uint8(x * y), 255} }
	nrgba, rgba, deep := image.NewNRGBA(r), image.NewRGBA(r), image.NewNRGBA64(r)
	var palette color.Palette
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := r.Min.X; x < r.Max.X; x++ {
			palette = append(palette, at(x, y))
		}
	}
	paletted := image.NewPaletted(r, palette)
	seeThrough := image.NewNRGBA(r)
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := r.Min.X; x < r.Max.X; x++ {
			c := at(x, y)
			nrgba.Set(x, y, c)
			rgba.Set(x, y, c)
			deep.Set(x, y, c)
			paletted.Set(x, y, c)
			c.A = 7
			seeThrough.SetNRGBA(x, y, c)
		}
	}
	return map[string]image.Image{"NRGBA": nrgba, "RGBA": rgba, "16 bits": deep, "palette": paletted, "translucent": seeThrough}
}

func TestEveryKindOfPNGBecomesTheSamePicture(t *testing.T) {
	all := colours(t)
	want := pixmap.Of(all["NRGBA"])
	require.Equal(t, pixmap.RGB{13, 220, 13 * 22 & 255}, want.At(3, 2))
	for name, img := range all {
		require.Equal(t, want.Crop(want.Bounds()), pixmap.Of(img).Crop(want.Bounds()), name)
		var b bytes.Buffer
		require.NoError(t, png.Encode(&b, img))
		got, err := pixmap.Read(&b)
		require.NoError(t, err)
		require.Equal(t, want.Crop(want.Bounds()), got.Crop(got.Bounds()), name)
	}
	other := image.NewNRGBA(image.Rect(0, 0, 4, 3))
	require.NotEqual(t, want.Crop(want.Bounds()), pixmap.Of(other).Crop(want.Bounds()))
}

func TestAPNGThatClaimsToBeHugeIsRefusedBeforeMemoryIsTaken(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, png.Encode(&b, image.NewGray(image.Rect(0, 0, 1, 1))))
	data := b.Bytes()
	// IHDR comes after the signature, a length and a name.
	binary.BigEndian.PutUint32(data[16:], 100_000)
	binary.BigEndian.PutUint32(data[20:], 100_000)
	binary.BigEndian.PutUint32(data[29:], crc32.ChecksumIEEE(data[12:29]))
	_, err := pixmap.Read(bytes.NewReader(data))
	require.ErrorContains(t, err, "100000×100000 pixels")
	_, err = pixmap.Read(bytes.NewReader(data[:20]))
	require.Error(t, err)
}

func TestScalingUpByAWholeNumberAndBackLosesNothing(t *testing.T) {
	p := pixmap.Of(colours(t)["RGBA"])
	up := p.Scaled(12, 6)
	require.Equal(t, p.At(1, 2), up.At(5, 5))
	require.Equal(t, p.Crop(p.Bounds()), up.Scaled(4, 3))
}
