package canvas

import (
	"encoding/binary"
	"fmt"
	"image"
)

// Operator is a compositing operator of Porter and Duff, with the numbers of the X render extension that SPICE_COMPOSITE_OP* hold.
type Operator uint8

// The operators that are implemented.
const (
	OpClear Operator = iota
	OpSrc
	OpDst
	OpOver
	OpOverReverse
	OpIn
	OpInReverse
	OpOut
	OpOutReverse
	OpAtop
	OpAtopReverse
	OpXorAlpha
	OpAdd
)

// Repeat says what lies outside of an image (X render's repeat attribute).
type Repeat uint8

const (
	RepeatNone    Repeat = iota // nothing: zero
	RepeatNormal                // the image again
	RepeatPad                   // its border pixels
	RepeatReflect               // the image mirrored
)

// Filter says how pixels between pixels are made, with the numbers of pixman's filters.
type Filter uint8

const (
	FilterFast     Filter = 0 // nearest
	FilterGood     Filter = 1 // bilinear
	FilterBest     Filter = 2 // bilinear
	FilterNearest  Filter = 3
	FilterBilinear Filter = 4
)

// Transform maps a position of the destination to one of a source: two rows of a matrix of 16.16 fixed-point numbers.
type Transform [2][3]int32

// Sampled is an image as a source or mask of Composite.
type Sampled struct {
	Image *Image
	// Opaque has the alpha of an ARGB image count as full.
	Opaque    bool
	Transform *Transform // nil is the identity
	Filter    Filter
	Repeat    Repeat
	// Origin is added to positions, which are relative to the top left corner of the area's box, before they are transformed.
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

// pixel is the colour at a whole position, repeated as asked for.
func (p *sampler) pixel(x, y int) uint32 {
	m := p.Image
	if uint(x) >= uint(m.Width) || uint(y) >= uint(m.Height) {
		switch p.Repeat {
		case RepeatNone:
			return 0
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
	return toARGB(p.format, m.At(x, y))
}

// start is the position in the source, 16.16, of destination pixel 0 of row y.
func (p *sampler) start(y int) (sx, sy int64) {
	vx := int64(p.Origin.X)<<16 + 0x8000
	vy := int64(y+p.Origin.Y)<<16 + 0x8000
	row := func(t [3]int32) int64 {
		return (int64(t[0])*vx + int64(t[1])*vy + int64(t[2])<<16 + 0x8000) >> 16
	}
	return row(p.matrix[0]), row(p.matrix[1])
}

// at is the colour for destination pixel x, y, relative to the box.
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

// mulEach multiplies channels of a and b pairwise, as fractions of 255, each rounded.
func mulEach(a, b uint32) uint32 {
	var v uint32
	for s := 0; s < 32; s += 8 {
		t := a>>s&0xff*(b>>s&0xff) + 0x80
		v |= (t + t>>8) >> 8 << s
	}
	return v
}

// grey is a word whose four channels are v.
func grey(v uint32) uint32 { return v * 0x01010101 }

// combine applies the operator to a source colour, the source's alpha for each channel of the destination, and a destination
// colour.
func (op Operator) combine(s, sa, d uint32) uint32 {
	da := d >> 24
	switch op {
	case OpClear:
		return 0
	case OpSrc:
		return s
	case OpDst:
		return d
	case OpOver:
		return add8(s, mulEach(d, ^sa))
	case OpOverReverse:
		return add8(scale8(s, 255-da), d)
	case OpIn:
		return scale8(s, da)
	case OpInReverse:
		return mulEach(d, sa)
	case OpOut:
		return scale8(s, 255-da)
	case OpOutReverse:
		return mulEach(d, ^sa)
	case OpAtop:
		return add8(scale8(s, da), mulEach(d, ^sa))
	case OpAtopReverse:
		return add8(scale8(s, 255-da), mulEach(d, sa))
	case OpXorAlpha:
		return add8(scale8(s, 255-da), mulEach(d, ^sa))
	}
	return add8(s, d) // OpAdd
}

// Composite combines a source, reduced by a mask unless that is nil, with the area. With componentAlpha every channel of the mask counts
// for its own channel, otherwise the mask's alpha counts for all.
func (m *Image) Composite(a Area, op Operator, source Sampled, mask *Sampled, componentAlpha bool) error {
	if op > OpAdd {
		return &UnsupportedError{What: fmt.Sprintf("composite operator %#x", uint8(op))}
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
	return m.each(a, func(r image.Rectangle) {
		for y := r.Min.Y; y < r.Max.Y; y++ {
			row := m.row(y, r.Min.X, r.Max.X)
			for x := r.Min.X; x < r.Max.X; x++ {
				px, py := x-a.Box.Min.X, y-a.Box.Min.Y
				s := src.at(px, py)
				sa := grey(s >> 24)
				if cover != nil {
					c := cover.at(px, py)
					if !componentAlpha {
						c = grey(c >> 24)
					}
					s, sa = mulEach(s, c), mulEach(sa, c)
				}
				cell := row[(x-r.Min.X)*CellSize:]
				v := op.combine(s, sa, toARGB(m.Format, binary.LittleEndian.Uint32(cell)))
				binary.LittleEndian.PutUint32(cell, fromARGB(m.Format, v))
			}
		}
	})
}
