package canvas

import (
	"encoding/binary"
	"fmt"
	"image"
)

// ScaleMode is SPICE_IMAGE_SCALE_MODE_* of spice/enums.h.
type ScaleMode uint8

const (
	Interpolate ScaleMode = 0 // bilinear
	Nearest     ScaleMode = 1
)

// maxScaleSource limits the width and height of a scaled image, so that positions fit into 16.16
// fixed point.
const maxScaleSource = 1<<15 - 1

// bilinearBits is the precision of a weight in bilinear interpolation, in bits.
const bilinearBits = 7

// step returns the distance in source pixels, 16.16, between two destination pixels.
func step(src, dst int) int64 { return int64(src) << 16 / int64(dst) }

// axis is one direction of scaling in 16.16: the source position of the middle of destination pixel
// i is first+i*step.
type axis struct{ first, step int64 }

func newAxis(src, dst, start int) axis {
	s := step(src, dst)
	return axis{first: (s*0x8000+0x8000)>>16 + int64(start)<<16, step: s}
}

func (a axis) at(i int) int64 { return a.first + int64(i)*a.step }

// scaled returns the part from of m, scaled to the area's box of dst and restricted to what the
// area can touch. Its pixel 0,0 is at dst.bounds(a).Min. Pixels outside m are zero. The result has
// m's format; with fill, which is for drawing on a surface with alpha, it has ARGB instead of XRGB.
func (m *Image) scaled(dst *Image, a Area, from image.Rectangle, mode ScaleMode, fill bool) (*Image, error) {
	if mode != Interpolate && mode != Nearest {
		return nil, &UnsupportedError{What: fmt.Sprintf("scale mode %d", mode)}
	}
	if from.Dx() <= 0 || from.Dy() <= 0 || from.Dx() > maxScaleSource || from.Dy() > maxScaleSource ||
		from.Min.X < -maxScaleSource || from.Min.Y < -maxScaleSource || from.Max.X > maxScaleSource || from.Max.Y > maxScaleSource {
		return nil, &ArgumentError{Problem: fmt.Sprintf("cannot scale from %v to %v", from, a.Box)}
	}
	b := dst.bounds(a)
	if b.Empty() {
		return New(m.Format, 0, 0), nil
	}
	if dst.Format.bits32() && (m.Format == RGB555 || m.Format == RGB565) {
		m = m.Convert(XRGB) // pixman scales with eight bits a channel
	}
	x := newAxis(from.Dx(), a.Box.Dx(), from.Min.X)
	y := newAxis(from.Dy(), a.Box.Dy(), from.Min.Y)
	return m.resample(x, y, b.Sub(a.Box.Min), mode, fill), nil
}

// resample computes the pixels r of the scaled image that x and y describe.
func (m *Image) resample(x, y axis, r image.Rectangle, mode ScaleMode, fill bool) *Image {
	out := New(m.Format, r.Dx(), r.Dy())
	var set uint32
	if fill && m.Format == XRGB {
		out.Format, set = ARGB, 0xff000000
	}
	top := m.Format.mask()
	if m.Format == RGB555 {
		top = 0x7fff // pixman leaves the bit without meaning clear
	}
	if mode == Nearest {
		for j := range out.Height {
			// The middle of a pixel belongs to the previous pixel: pixman subtracts the smallest
			// step.
			sy := int((y.at(r.Min.Y+j) - 1) >> 16)
			if sy < 0 || sy >= m.Height {
				continue
			}
			row := out.row(j, 0, out.Width)
			for i := range out.Width {
				if sx := int((x.at(r.Min.X+i) - 1) >> 16); sx >= 0 && sx < m.Width {
					binary.LittleEndian.PutUint32(row[i*CellSize:], m.At(sx, sy)&top|set)
				}
			}
		}
		return out
	}
	keep := uint32(0xffffffff)
	if out.Format == XRGB {
		keep = 0x00ffffff
	}
	for j := range out.Height {
		row := out.row(j, 0, out.Width)
		for i := range out.Width {
			v := m.bilinear(x.at(r.Min.X+i), y.at(r.Min.Y+j))
			binary.LittleEndian.PutUint32(row[i*CellSize:], fromARGB(out.Format, v)&keep)
		}
	}
	return out
}

// pixel returns the colour at x, y with alpha, zero outside of m.
func (m *Image) pixel(x, y int) uint32 {
	if uint(x) >= uint(m.Width) || uint(y) >= uint(m.Height) {
		return 0
	}
	return toARGB(m.Format, m.At(x, y))
}

// bilinear returns the colour at a position in 16.16, interpolated between the four pixels around
// it.
func (m *Image) bilinear(x, y int64) uint32 {
	x -= 0x8000
	y -= 0x8000
	const one = 1 << bilinearBits
	dx, dy := uint32(x>>(16-bilinearBits))&(one-1), uint32(y>>(16-bilinearBits))&(one-1)
	ix, iy := int(x>>16), int(y>>16)
	return interpolate(m.pixel(ix, iy), m.pixel(ix+1, iy), m.pixel(ix, iy+1), m.pixel(ix+1, iy+1), dx, dy)
}

// interpolate averages four pixels; dx and dy are the weights of right and bottom, out of 128. The
// result is rounded down.
func interpolate(tl, tr, bl, br, dx, dy uint32) uint32 {
	const one = 1 << bilinearBits
	wtl, wtr, wbl, wbr := (one-dx)*(one-dy), dx*(one-dy), (one-dx)*dy, dx*dy
	var v uint32
	for s := 0; s < 32; s += 8 {
		c := tl>>s&0xff*wtl + tr>>s&0xff*wtr + bl>>s&0xff*wbl + br>>s&0xff*wbr
		v |= c >> (2 * bilinearBits) << s
	}
	return v
}

// copyScaled does what Copy does if the sizes differ.
func (m *Image) copyScaled(a Area, src *Image, from image.Rectangle, rop Rop, mode ScaleMode) error {
	b := m.bounds(a)
	if b.Empty() {
		return nil
	}
	part, err := src.scaled(m, a, from, mode, rop == RopCopy)
	if err != nil {
		return err
	}
	return m.each(a, func(r image.Rectangle) { m.blitRect(r, part, image.Point{}.Sub(b.Min), rop) })
}
