// Package pixmap has the type of pictures of screens: opaque, 8 bits per colour channel, starting
// at (0,0). Package needle searches in such pictures, and package text reads them.
package pixmap

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"io"
	"os"
)

// MaxPixels limits the pictures that are read from files: 16384×8192, twice the largest screens. A
// PNG of a few bytes can claim any size.
const MaxPixels = 16384 * 8192

// A Picture is a picture of a screen. Pix has the bytes R, G, B and 255 for each pixel, and Stride
// bytes per row. Width and Height are in pixels. A Picture is immutable.
type Picture struct {
	Pix    []byte
	Stride int
	Width  int
	Height int
}

// Of returns img as a Picture. It shares img's pixels if they have the right form. It ignores the
// alpha of translucent pixels, because a screen has nothing behind it.
func Of(img image.Image) *Picture {
	b := img.Bounds()
	p := &Picture{Width: b.Dx(), Height: b.Dy()}
	switch img := img.(type) {
	case *image.NRGBA:
		if img.Opaque() {
			return p.share(img.Pix[img.PixOffset(b.Min.X, b.Min.Y):], img.Stride)
		}
	case *image.RGBA:
		if img.Opaque() {
			return p.share(img.Pix[img.PixOffset(b.Min.X, b.Min.Y):], img.Stride)
		}
	}
	return p.copyOf(img)
}

func (p *Picture) share(pix []byte, stride int) *Picture {
	p.Pix, p.Stride = pix, stride
	return p
}

func (p *Picture) copyOf(img image.Image) *Picture {
	b := img.Bounds()
	dst := image.NewNRGBA(image.Rect(0, 0, p.Width, p.Height))
	switch src := img.(type) {
	case *image.NRGBA:
		for y := range p.Height {
			copy(dst.Pix[y*dst.Stride:], src.Pix[src.PixOffset(b.Min.X, b.Min.Y+y):][:4*p.Width])
		}
	default:
		if o, ok := img.(interface{ Opaque() bool }); ok && o.Opaque() {
			draw.Draw(dst, dst.Rect, img, b.Min, draw.Src)
			break
		}
		for y := range p.Height {
			for x := range p.Width {
				dst.Set(x, y, color.NRGBAModel.Convert(img.At(b.Min.X+x, b.Min.Y+y)))
			}
		}
	}
	for i := 3; i < len(dst.Pix); i += 4 {
		dst.Pix[i] = 0xff
	}
	return p.share(dst.Pix, dst.Stride)
}

// ReadFile reads a PNG file of any kind: palette, grey, 8 or 16 bits. It keeps the upper 8 of 16
// bits.
func ReadFile(path string) (*Picture, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p, err := Read(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}

// Read reads a PNG (see [ReadFile]) of at most [MaxPixels].
func Read(r io.Reader) (*Picture, error) {
	// Check the size before allocating memory for it.
	var head bytes.Buffer
	cfg, err := png.DecodeConfig(io.TeeReader(r, &head))
	if err != nil {
		return nil, err
	}
	if int64(cfg.Width)*int64(cfg.Height) > MaxPixels {
		return nil, fmt.Errorf("the picture has %d×%d pixels, which is more than the %d that are read", cfg.Width, cfg.Height, MaxPixels)
	}
	img, err := png.Decode(io.MultiReader(&head, r))
	if err != nil {
		return nil, err
	}
	return Of(img), nil
}

// Bounds returns the rectangle of all pixels.
func (p *Picture) Bounds() image.Rectangle { return image.Rect(0, 0, p.Width, p.Height) }

// Row returns the bytes of row y from pixel x0 up to, not including, x1.
func (p *Picture) Row(y, x0, x1 int) []byte {
	at := y * p.Stride
	return p.Pix[at+4*x0 : at+4*x1]
}

// At returns the colour of a pixel.
func (p *Picture) At(x, y int) RGB {
	i := y*p.Stride + 4*x
	return RGB{p.Pix[i], p.Pix[i+1], p.Pix[i+2]}
}

// Image returns a view of p for package image. It shares p's pixels.
func (p *Picture) Image() *image.NRGBA {
	return &image.NRGBA{Pix: p.Pix, Stride: p.Stride, Rect: p.Bounds()}
}

// Crop returns a copy of the part of p that is in r.
func (p *Picture) Crop(r image.Rectangle) *Picture {
	r = r.Intersect(p.Bounds())
	c := &Picture{Pix: make([]byte, 4*r.Dx()*r.Dy()), Stride: 4 * r.Dx(), Width: r.Dx(), Height: r.Dy()}
	for y := range c.Height {
		copy(c.Pix[y*c.Stride:], p.Row(r.Min.Y+y, r.Min.X, r.Max.X))
	}
	return c
}

// Scaled returns p scaled to another size, in pixels. Each pixel is the nearest one of p. So it
// restores a picture exactly that was enlarged by a whole number.
func (p *Picture) Scaled(width, height int) *Picture {
	s := &Picture{Pix: make([]byte, 4*width*height), Stride: 4 * width, Width: width, Height: height}
	for y := range height {
		from := (2*y + 1) * p.Height / (2 * height)
		for x := range width {
			i := from*p.Stride + 4*((2*x+1)*p.Width/(2*width))
			copy(s.Pix[y*s.Stride+4*x:], p.Pix[i:i+4])
		}
	}
	return s
}

// RGB is the colour of a pixel.
type RGB struct{ R, G, B uint8 }

// String returns the colour as in HTML: #1e90ff.
func (c RGB) String() string { return fmt.Sprintf("#%02x%02x%02x", c.R, c.G, c.B) }

// RGBA implements color.Color.
func (c RGB) RGBA() (r, g, b, a uint32) { return color.NRGBA{c.R, c.G, c.B, 255}.RGBA() }
