package truth

import (
	"encoding/binary"
	"fmt"
	"image"
	"image/color"

	"github.com/spicelane/spicelane/harness/truth/qxl"
	"github.com/spicelane/spicelane/spice/canvas"
)

// Difference is the difference between two pictures of a surface.
type Difference struct {
	Surface uint32
	// Rect encloses all pixels that differ; Pixels is their number.
	Rect   image.Rectangle
	Pixels int
	// At is the first of these pixels in reading order; Want and Got are the values there.
	At        image.Point
	Want, Got uint32
	// Mean is the mean difference of red, green and blue over these pixels, 0 to 255.
	Mean float64
	// Forms has the sizes and formats of both pictures if they differ; then no pixel was compared.
	Forms string
}

// within tells whether the difference is at most most, the largest allowed Mean. Pictures of
// different sizes or formats are never within it.
func (d *Difference) within(most float64) bool { return d.Forms == "" && d.Mean <= most }

func (d *Difference) String() string {
	if d.Forms != "" {
		return fmt.Sprintf("surface %d: %s", d.Surface, d.Forms)
	}
	return fmt.Sprintf("surface %d: %d pixels in %v differ, the first at %v is %08x and not %08x, colours are %.1f off", d.Surface, d.Pixels, d.Rect, d.At, d.Got, d.Want, d.Mean)
}

// mask returns the significant bits of a surface's pixels.
func mask(f qxl.SurfaceFormat) uint32 {
	switch f {
	case qxl.SurfaceA1:
		return 1
	case qxl.SurfaceA8:
		return 0xff
	case qxl.Surface555:
		return 0x7fff
	case qxl.Surface565:
		return 0xffff
	case qxl.SurfaceXRGB:
		return 0xffffff
	}
	return 0xffffffff
}

// pixel reads a pixel of the server's memory.
func (s *surface) pixel(mem []byte, x, y int) uint32 {
	row := mem[s.at+uint64(y*s.stride):]
	switch s.Format {
	case qxl.SurfaceA1:
		return uint32(row[x/8]>>(x%8)) & 1
	case qxl.SurfaceA8:
		return uint32(row[x])
	case qxl.Surface555, qxl.Surface565:
		return uint32(binary.LittleEndian.Uint16(row[2*x:]))
	}
	return binary.LittleEndian.Uint32(row[4*x:])
}

// cells copies a surface of the server into cells in the client's form. It reuses dst if its size
// fits; nil allocates.
func (s *surface) cells(mem []byte, dst *canvas.Image) *canvas.Image {
	if dst == nil || dst.Width != s.Width || dst.Height != s.Height {
		dst = canvas.New(canvas.Format(s.Format), s.Width, s.Height)
	}
	dst.Format = canvas.Format(s.Format)
	for y := range s.Height {
		row := dst.Pix[y*dst.Stride:]
		if s.Format.Bits() == 32 {
			copy(row[:4*s.Width], mem[s.at+uint64(y*s.stride):])
			continue
		}
		for x := range s.Width {
			binary.LittleEndian.PutUint32(row[4*x:], s.pixel(mem, x, y))
		}
	}
	return dst
}

// compare returns the difference between two pictures of surface id; nil if they are equal.
func compare(id uint32, want, got *canvas.Image) *Difference {
	m := mask(qxl.SurfaceFormat(want.Format))
	if want.Format != got.Format || want.Width != got.Width || want.Height != got.Height {
		form := func(c *canvas.Image) string { return fmt.Sprintf("%d×%d pixels of %s", c.Width, c.Height, c.Format) }
		return &Difference{Surface: id, Rect: want.Bounds(), Pixels: want.Width * want.Height,
			Forms: fmt.Sprintf("it has %s, want %s", form(got), form(want))}
	}
	m2 := uint64(m)<<32 | uint64(m)
	var d *Difference
	for y := range want.Height {
		a, b := want.Pix[y*want.Stride:][:4*want.Width], got.Pix[y*got.Stride:][:4*want.Width]
		if rowSame(a, b, m2) {
			continue
		}
		for x := range want.Width {
			p, q := binary.LittleEndian.Uint32(a[4*x:]), binary.LittleEndian.Uint32(b[4*x:])
			if (p^q)&m == 0 {
				continue
			}
			if d == nil {
				d = &Difference{Surface: id, At: image.Pt(x, y), Want: p & m, Got: q & m}
			}
			d.Pixels++
			d.Rect = d.Rect.Union(image.Rect(x, y, x+1, y+1))
			for shift := 0; shift < 24; shift += 8 {
				d.Mean += abs(float64(p>>shift&0xff) - float64(q>>shift&0xff))
			}
		}
	}
	if d != nil {
		d.Mean /= float64(3 * d.Pixels)
	}
	return d
}

func abs(f float64) float64 {
	if f < 0 {
		return -f
	}
	return f
}

func rowSame(a, b []byte, m uint64) bool {
	for len(a) >= 8 {
		if (binary.LittleEndian.Uint64(a)^binary.LittleEndian.Uint64(b))&m != 0 {
			return false
		}
		a, b = a[8:], b[8:]
	}
	return len(a) == 0 || (binary.LittleEndian.Uint32(a)^binary.LittleEndian.Uint32(b))&uint32(m) == 0
}

// Picture returns cells as an opaque image, for people to look at.
func Picture(c *canvas.Image) *image.NRGBA {
	im := image.NewNRGBA(c.Bounds())
	wide := c.Convert(canvas.XRGB)
	for y := range c.Height {
		for x := range c.Width {
			v := binary.LittleEndian.Uint32(wide.Pix[y*wide.Stride+4*x:])
			im.SetNRGBA(x, y, color.NRGBA{byte(v >> 16), byte(v >> 8), byte(v), 0xff})
		}
	}
	return im
}

// differencePicture returns a picture that is black where two pictures agree and bright where they
// differ.
func differencePicture(want, got *canvas.Image) *image.NRGBA {
	im := image.NewNRGBA(want.Bounds())
	m := mask(qxl.SurfaceFormat(want.Format))
	for y := range want.Height {
		for x := range want.Width {
			c := color.NRGBA{A: 0xff}
			if x >= got.Width || y >= got.Height {
				c.B = 0xff
			} else if v := (binary.LittleEndian.Uint32(want.Pix[y*want.Stride+4*x:]) ^ binary.LittleEndian.Uint32(got.Pix[y*got.Stride+4*x:])) & m; v != 0 {
				c.R, c.G, c.B = 0xff, byte(v>>8), byte(v)
			}
			im.SetNRGBA(x, y, c)
		}
	}
	return im
}
