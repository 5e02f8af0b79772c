package qemu_test

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/qmp"
)

const ppm = "P6\n# by QEMU\n2 1\n255\n\x01\x02\x03\xff\x00\x80"

func TestAScreendumpIsReadInEitherFormat(t *testing.T) {
	t.Parallel()
	want := image.NewNRGBA(image.Rect(0, 0, 2, 1))
	want.Set(0, 0, color.NRGBA{1, 2, 3, 255})
	want.Set(1, 0, color.NRGBA{255, 0, 128, 255})

	got, err := qemu.DecodeScreendump(qmp.PPM, []byte(ppm))
	require.NoError(t, err)
	assert.Equal(t, want, got)

	var b bytes.Buffer
	require.NoError(t, png.Encode(&b, want))
	got, err = qemu.DecodeScreendump(qmp.PNG, b.Bytes())
	require.NoError(t, err)
	assert.Equal(t, want.Pix, got.Pix)
}

func TestEveryPrefixOfAScreendumpIsRejected(t *testing.T) {
	t.Parallel()
	for n := range len(ppm) {
		_, err := qemu.DecodeScreendump(qmp.PPM, []byte(ppm[:n]))
		assert.Error(t, err, "the first %d bytes", n)
	}
	for _, bad := range []string{
		"P5\n2 1\n255\n123456", "P6\n0 1\n255\n", "P6\n-2 1\n255\n123456", "P6\n2 1\n65535\n123456",
		"P6\n99999 99999\n255\n123456", "P6\nx 1\n255\n123456", "P6\n11111111111111111111 1\n255\n",
	} {
		_, err := qemu.DecodeScreendump(qmp.PPM, []byte(bad))
		assert.Error(t, err, "%q", bad)
	}
}

func FuzzDecodeScreendump(f *testing.F) {
	f.Add([]byte(ppm))
	f.Add([]byte("P6 1 1 255 abc"))
	f.Add([]byte("P6\n16384 16384\n255\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		img, err := qemu.DecodeScreendump(qmp.PPM, b)
		if err == nil && len(img.Pix)/4*3 > len(b) {
			t.Errorf("%d pixels out of %d bytes", len(img.Pix)/4, len(b))
		}
	})
}
