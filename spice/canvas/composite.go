package canvas

import (
	"encoding/binary"
	"fmt"
	"image"
)

// Repeat says what is outside an image (X render's repeat attribute).
type Repeat uint8

const (
	RepeatNone    Repeat = iota // nothing: zero
	RepeatNormal                // the image again
	RepeatPad                   // its border pixels
	RepeatReflect               // the image mirrored
)

// Filter says how to interpolate between pixels, with the numbers of pixman's filters.
type Filter uint8

const (
	FilterFast     Filter = 0 // nearest
	FilterGood     Filter = 1 // bilinear
	FilterBest     Filter = 2 // bilinear
	FilterNearest  Filter = 3
	FilterBilinear Filter = 4
)

// Transform maps a position of the destination to one of a source: two rows of a matrix of 16.16
// fixed-point numbers.
type Transform [2][3]int32

// Sampled is an image as a source or mask of Composite.
type Sampled struct {
	Image *Image
	// Opaque makes an ARGB image opaque.
	Opaque    bool
	Transform *Transform // nil is the identity
	Filter    Filter
	Repeat    Repeat
	// Origin is added to positions before they are transformed. Positions are relative to the top
	// left corner of the area's box.
	Origin image.Point
}

// sampler reads transformed pixels along a row.
type sampler struct {
	Sampled
	format   Format
	matrix   Transform
	bilinear bool
	whole    bool        // the transform moves by whole pixels:
	shift    image.Point // by this
}

func (s Sampled) sampler(what string) (*sampler, error) {
	if s.Image == nil || s.Image.Width <= 0 || s.Image.Height <= 0 {
		return nil, &ArgumentError{Problem: "composite " + what + " without pixels"}
	}
	p := &sampler{Sampled: s, format: s.Image.Format, matrix: Transform{{1 << 16, 0, 0}, {0, 1 << 16, 0}}}
	if s.Transform != nil {
		p.matrix = *s.Transform
	}
	if s.Opaque && p.format == ARGB {
		p.format = XRGB
	}
	switch s.Filter {
	case FilterFast, FilterNearest:
	case FilterGood, FilterBest, FilterBilinear:
		p.bilinear = true
	default:
		return nil, &UnsupportedError{What: fmt.Sprintf("composite filter %d", s.Filter)}
	}
	if s.Repeat > RepeatReflect {
		return nil, &UnsupportedError{What: fmt.Sprintf("composite repeat %d", s.Repeat)}
	}
	t := p.matrix
	if t[0][0] == 1<<16 && t[0][1] == 0 && t[1][0] == 0 && t[1][1] == 1<<16 && t[0][2]&0xffff == 0 && t[1][2]&0xffff == 0 {
		p.whole, p.shift = true, image.Pt(int(t[0][2]>>16), int(t[1][2]>>16))
	}
	return p, nil
}

// opaque reports whether every pixel read for r, relative to the box, has full alpha.
func (p *sampler) opaque(r image.Rectangle) bool {
	switch p.format {
	case XRGB, RGB555, RGB565:
	default:
		return false
	}
	if p.Repeat != RepeatNone {
		return true
	}
	var area image.Rectangle // what is read
	if p.whole {
		area = r.Add(p.Origin).Add(p.shift)
	} else {
		reach := int64(1) // from the position that a pixel is read for, in 16.16
		if p.bilinear {
			reach = 0x8000
		}
		for i, corner := range []image.Point{r.Min, {r.Max.X - 1, r.Min.Y}, {r.Min.X, r.Max.Y - 1}, r.Max.Sub(image.Pt(1, 1))} {
			sx, sy := p.start(corner.Y)
			sx += int64(corner.X) * int64(p.matrix[0][0])
			sy += int64(corner.X) * int64(p.matrix[1][0])
			far := reach
			if !p.bilinear {
				far = -reach
			}
			one := image.Rect(int((sx-reach)>>16), int((sy-reach)>>16), int((sx+far)>>16)+1, int((sy+far)>>16)+1)
			if i == 0 {
				area = one
			} else {
				area = area.Union(one)
			}
		}
	}
	return area.In(p.Image.Bounds())
}

// plain reports whether the image is read unchanged: not transformed, and not repeated beyond its
// border.
func (p *sampler) plain() bool {
	return p.whole && p.shift == image.Point{} && p.Repeat <= RepeatNormal
}

// cell returns the cell at a whole position, repeated if requested. It returns false outside an
// image that is not repeated.
func (p *sampler) cell(x, y int) (uint32, bool) {
	m := p.Image
	if uint(x) >= uint(m.Width) || uint(y) >= uint(m.Height) {
		switch p.Repeat {
		case RepeatNone:
			return 0, false
		case RepeatNormal:
			x, y = mod(x, m.Width), mod(y, m.Height)
		case RepeatPad:
			x, y = max(0, min(x, m.Width-1)), max(0, min(y, m.Height-1))
		case RepeatReflect:
			if x = mod(x, 2*m.Width); x >= m.Width {
				x = 2*m.Width - 1 - x
			}
			if y = mod(y, 2*m.Height); y >= m.Height {
				y = 2*m.Height - 1 - y
			}
		}
	}
	return m.At(x, y), true
}

// pixel returns the colour at a whole position; zero outside.
func (p *sampler) pixel(x, y int) uint32 {
	if v, ok := p.cell(x, y); ok {
		return toARGB(p.format, v)
	}
	return 0
}

// pixelFloat returns what pixel returns, in floating point.
func (p *sampler) pixelFloat(x, y int) colorF {
	if v, ok := p.cell(x, y); ok {
		return toFloat(p.format, v)
	}
	return colorF{}
}

// start returns the position in the source, 16.16, of destination pixel 0 of row y.
func (p *sampler) start(y int) (sx, sy int64) {
	vx := int64(p.Origin.X)<<16 + 0x8000
	vy := int64(y+p.Origin.Y)<<16 + 0x8000
	row := func(t [3]int32) int64 {
		return (int64(t[0])*vx + int64(t[1])*vy + int64(t[2])<<16 + 0x8000) >> 16
	}
	return row(p.matrix[0]), row(p.matrix[1])
}

// at returns the colour for destination pixel x, y, relative to the box.
func (p *sampler) at(x, y int) uint32 {
	if p.whole {
		return p.pixel(x+p.Origin.X+p.shift.X, y+p.Origin.Y+p.shift.Y)
	}
	sx, sy := p.start(y)
	sx += int64(x) * int64(p.matrix[0][0])
	sy += int64(x) * int64(p.matrix[1][0])
	if !p.bilinear {
		return p.pixel(int((sx-1)>>16), int((sy-1)>>16))
	}
	sx -= 0x8000
	sy -= 0x8000
	const one = 1 << bilinearBits
	dx, dy := uint32(sx>>(16-bilinearBits))&(one-1), uint32(sy>>(16-bilinearBits))&(one-1)
	ix, iy := int(sx>>16), int(sy>>16)
	return interpolate(p.pixel(ix, iy), p.pixel(ix+1, iy), p.pixel(ix, iy+1), p.pixel(ix+1, iy+1), dx, dy)
}

// floatAt returns what at returns, in floating point.
func (p *sampler) floatAt(x, y int) colorF {
	if p.whole {
		return p.pixelFloat(x+p.Origin.X+p.shift.X, y+p.Origin.Y+p.shift.Y)
	}
	sx, sy := p.start(y)
	sx += int64(x) * int64(p.matrix[0][0])
	sy += int64(x) * int64(p.matrix[1][0])
	if !p.bilinear {
		return p.pixelFloat(int((sx-1)>>16), int((sy-1)>>16))
	}
	sx -= 0x8000
	sy -= 0x8000
	dx, dy := float32(sx&0xffff)*(1.0/65536), float32(sy&0xffff)*(1.0/65536)
	ix, iy := int(sx>>16), int(sy>>16)
	tl, tr := p.pixelFloat(ix, iy), p.pixelFloat(ix+1, iy)
	bl, br := p.pixelFloat(ix, iy+1), p.pixelFloat(ix+1, iy+1)
	mix := func(tl, tr, bl, br float32) float32 {
		return float32(tl*float32((1-dx)*(1-dy))) + float32(tr*float32(dx*(1-dy))) +
			float32(bl*float32((1-dx)*dy)) + float32(br*float32(dx*dy))
	}
	return colorF{mix(tl.a, tr.a, bl.a, br.a), mix(tl.r, tr.r, bl.r, br.r), mix(tl.g, tr.g, bl.g, br.g), mix(tl.b, tr.b, bl.b, br.b)}
}

// Composite combines a source, multiplied by a mask unless that is nil, with the area. With
// componentAlpha, every channel of the mask applies to its own channel; otherwise the mask's alpha
// applies to all.
func (m *Image) Composite(a Area, op Operator, source Sampled, mask *Sampled, componentAlpha bool) error {
	if !op.known() {
		return &UnsupportedError{What: fmt.Sprintf("composite operator %#x", uint8(op))}
	}
	op = op.simple()
	if op.hsl() && mask != nil && componentAlpha {
		op = OpDst // pixman does not blend hue and the like with a mask for each channel
	}
	if source.Image == m {
		source.Image = m.Clone()
	}
	src, err := source.sampler("source")
	if err != nil {
		return err
	}
	var cover *sampler
	if mask != nil {
		k := *mask
		if k.Image == m {
			k.Image = m.Clone()
		}
		if cover, err = k.sampler("mask"); err != nil {
			return err
		}
	}
	if op.hsl() && cover != nil && m.Format.hasAlpha() && !src.plain() {
		// pixman reads uninitialised memory where the mask is zero.
		return &UnsupportedError{What: fmt.Sprintf("composite operator %#x with a mask and a moved source on a surface with alpha", uint8(op))}
	}
	if op == OpSaturate {
		// If pixman knows that the source is opaque, it uses a simpler operator, which differs only
		// in rounding.
		r := m.bounds(a).Sub(a.Box.Min)
		if src.opaque(r) && (cover == nil || !componentAlpha && cover.opaque(r)) {
			op = OpOverReverse
		}
	}
	// pixel combines one pixel, at x, y relative to the box, with the destination's cell.
	pixel := func(x, y int, cell uint32) uint32 {
		s := src.at(x, y)
		sa := grey(s >> 24)
		if cover != nil {
			c := cover.at(x, y)
			if !componentAlpha {
				c = grey(c >> 24)
			}
			s, sa = mulEach(s, c), mulEach(sa, c)
		}
		return op.combine(s, sa, toARGB(m.Format, cell))
	}
	if op.divides() {
		pixel = func(x, y int, cell uint32) uint32 {
			s := src.floatAt(x, y)
			sa := colorF{s.a, s.a, s.a, s.a}
			if cover != nil {
				c := cover.floatAt(x, y)
				switch {
				case op.hsl():
					// pixman uses the mask's alpha for all channels here, and applies it twice to
					// green but never to blue.
					s = colorF{s.a * c.a, s.r * c.a, float32(s.g*c.a) * c.a, s.b}
				case !componentAlpha:
					c = colorF{c.a, c.a, c.a, c.a}
					fallthrough
				default:
					s, sa = s.timesEach(c), sa.timesEach(c)
				}
			}
			return op.combineFloat(s, sa, toFloat(m.Format, cell)).argb()
		}
	}
	return m.each(a, func(r image.Rectangle) {
		for y := r.Min.Y; y < r.Max.Y; y++ {
			row := m.row(y, r.Min.X, r.Max.X)
			for x := r.Min.X; x < r.Max.X; x++ {
				cell := row[(x-r.Min.X)*CellSize:]
				v := pixel(x-a.Box.Min.X, y-a.Box.Min.Y, binary.LittleEndian.Uint32(cell))
				binary.LittleEndian.PutUint32(cell, fromARGB(m.Format, v))
			}
		}
	})
}
