// Package pixels decodes and converts pictures.
package pixels

import (
	"bytes"
	"fmt"
	"image"
	"image/png"
)

// maxPixels limits the pictures that are decoded: twice the largest screens. The other side of a
// socket chooses the size, and may claim any with a few bytes.
const maxPixels = 16384 * 8192

// DecodePNG decodes a PNG of at most maxPixels.
func DecodePNG(b []byte) (image.Image, error) {
	cfg, err := png.DecodeConfig(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	if int64(cfg.Width)*int64(cfg.Height) > maxPixels {
		return nil, fmt.Errorf("the PNG has %dx%d pixels, which is more than the %d that are read", cfg.Width, cfg.Height, maxPixels)
	}
	return png.Decode(bytes.NewReader(b))
}

// NRGBA converts a decoded PNG. It may return img itself.
func NRGBA(img image.Image) *image.NRGBA {
	b := img.Bounds()
	if n, ok := img.(*image.NRGBA); ok {
		return n
	}
	out := image.NewNRGBA(b)
	if rgba, ok := img.(*image.RGBA); ok && rgba.Opaque() {
		copy(out.Pix, rgba.Pix)
		return out
	}
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			out.Set(x, y, img.At(x, y))
		}
	}
	return out
}
