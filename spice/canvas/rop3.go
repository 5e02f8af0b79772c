package canvas

import (
	"encoding/binary"
	"fmt"
	"image"
	"math"
)

// Rop3 draws through one of the 256 ternary raster operations. Bit 4*p+2*s+d of code is the result
// for a pattern bit p (from the brush), a source bit s and a destination bit d, as in the Windows
// GDI.
//
// If from and the area's box have the same size, from must be within src.
func (m *Image) Rop3(a Area, src *Image, from image.Rectangle, b Brush, code uint8, mode ScaleMode) error {
	box := m.bounds(a)
	if box.Empty() {
		return nil
	}
	part, off := src, from.Min.Sub(a.Box.Min)
	if from.Size() != a.Box.Size() {
		var err error
		if part, err = src.scaledWhole(m, a, from, mode); err != nil {
			return err
		}
		off = image.Point{}.Sub(box.Min)
	} else if !from.In(src.Bounds()) {
		return &ArgumentError{Problem: fmt.Sprintf("rop3 source %v is not within %v", from, src.Bounds())}
	} else if src == m && off != (image.Point{}) {
		part, off = m.within(a, off)
	}
	part = part.Convert(m.Format)
	tile := &Image{Format: m.Format, Width: 1, Height: 1, Stride: CellSize, Pix: make([]byte, CellSize)}
	var start image.Point
	switch b.kind {
	case brushPattern:
		var err error
		if tile, err = b.tile(m.Format); err != nil {
			return err
		}
		start = a.Box.Min.Sub(b.pos)
	default:
		tile.Set(0, 0, b.color&m.Format.mask())
	}
	origin := a.Box.Min
	cols, rows := repeat{start.X, tile.Width}, repeat{start.Y, tile.Height}
	if start.X < 0 || start.Y < 0 {
		var err error
		if tile, err = m.unwrapped(a, tile, cols, rows, b.unknownMemory); err != nil {
			return err
		}
		cols, rows, origin = repeat{0, tile.Width}, repeat{0, tile.Height}, box.Min
	}
	keep := m.Format.mask()
	var minterm [8]uint32
	for i := range minterm {
		minterm[i] = -(uint32(code) >> i & 1) & keep
	}
	return m.each(a, func(r image.Rectangle) {
		for y := r.Min.Y; y < r.Max.Y; y++ {
			dst := m.row(y, r.Min.X, r.Max.X)
			srcRow := part.row(y+off.Y, r.Min.X+off.X, r.Max.X+off.X)
			ty, tx := rows.at(y-origin.Y), cols.at(r.Min.X-origin.X)
			for i := 0; i < len(dst); i += CellSize {
				p, s, d := tile.At(tx, ty), binary.LittleEndian.Uint32(srcRow[i:]), binary.LittleEndian.Uint32(dst[i:])
				lo := ^s&^d&minterm[0] | ^s&d&minterm[1] | s&^d&minterm[2] | s&d&minterm[3]
				hi := ^s&^d&minterm[4] | ^s&d&minterm[5] | s&^d&minterm[6] | s&d&minterm[7]
				binary.LittleEndian.PutUint32(dst[i:], ^p&lo|p&hi)
				if tx++; tx == tile.Width {
					tx = 0
				}
			}
		}
	})
}

// repeat is one direction of a pattern of n pixels. start is where in the pattern the box's edge
// is.
type repeat struct{ start, n int }

// at returns the position in the pattern of the box's pixel i. Like the reference's, it is negative
// until the pattern's own edge is reached: the remainder of a division has the dividend's sign
// there.
func (p repeat) at(i int) int {
	if p.start %= p.n; p.start+i < 0 {
		return p.start + i
	}
	return (p.start + i) % p.n
}

// unwrapped returns a pattern as large as the part of its box that a can touch, for boxes that
// begin left of the pattern or above it. The reference counts such pixels back in memory from the
// pattern's first one. It stores the rows of images last to first, so left of a row are the last
// pixels of the next one. Memory outside the pattern, and the unused bytes at the end of a row of
// 16 bits, are unknown: if a touches them, unwrapped returns an error.
func (m *Image) unwrapped(a Area, tile *Image, cols, rows repeat, unknown bool) (*Image, error) {
	pitch := tile.Width
	if m.Format == RGB555 || m.Format == RGB565 {
		pitch += pitch & 1 // rows begin at a multiple of four bytes
	}
	last := tile.Height - 1
	b := m.bounds(a)
	out := New(m.Format, b.Dx(), b.Dy())
	outside := false
	err := m.each(a, func(r image.Rectangle) {
		for y := r.Min.Y; y < r.Max.Y; y++ {
			for x := r.Min.X; x < r.Max.X; x++ {
				tx, ty := cols.at(x-a.Box.Min.X), rows.at(y-a.Box.Min.Y)
				if tx < 0 || ty < 0 {
					i := (last-ty)*pitch + tx
					if unknown || i < 0 || i/pitch > last || i%pitch >= tile.Width {
						outside = true
						return
					}
					tx, ty = i%pitch, last-i/pitch
				}
				out.Set(x-b.Min.X, y-b.Min.Y, tile.At(tx, ty))
			}
		}
	})
	if err == nil && outside {
		err = &UnsupportedError{What: "rop3 left of or above its pattern (the reference reads beyond it)"}
	}
	return out, err
}

// scaledWhole does what scaled does, for ternary operations: the step is rounded down twice, and
// the source begins at a whole number of destination pixels.
func (m *Image) scaledWhole(dst *Image, a Area, from image.Rectangle, mode ScaleMode) (*Image, error) {
	if _, err := m.scaled(dst, Area{Box: a.Box, Clipped: true}, from, mode, false); err != nil {
		return nil, err
	}
	along := func(start, src, dst int) axis {
		ratio := float64(src) / float64(dst)
		s := int64(ratio * 65536)
		skip := int64(math.Floor(float64(start)/ratio + 0.5))
		return axis{first: (s*0x8000+0x8000)>>16 + skip*s, step: s}
	}
	x := along(from.Min.X, from.Dx(), a.Box.Dx())
	y := along(from.Min.Y, from.Dy(), a.Box.Dy())
	return m.resample(x, y, dst.bounds(a).Sub(a.Box.Min), mode, false), nil
}
