// Package pixels converts pictures.
package pixels

import "image"

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
