package canvas

import (
	"encoding/binary"
	"fmt"
	"image"
	"math"
)

// Rop3 draws through one of the 256 ternary raster operations: bit 4*p+2*s+d of code is the result for a pattern bit p (from the brush), a
// source bit s and a destination bit d, as in the Windows GDI.
//
// When the sizes of from and the area's box are equal, from must lie within src.
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
	switch b.kind {
	case brushPattern:
		var err error
		if tile, err = b.tile(m.Format); err != nil {
			return err
		}
	default:
		tile.Set(0, 0, b.color&m.Format.mask())
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
			ty, tx := mod(y-b.pos.Y, tile.Height), mod(r.Min.X-b.pos.X, tile.Width)
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

// scaledWhole is scaled as ternary operations do it: the step is rounded down twice, and the source begins at a whole number of
// destination pixels.
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
