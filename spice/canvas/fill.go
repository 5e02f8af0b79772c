package canvas

import (
	"encoding/binary"
	"image"
)

// Brush fills an area: with nothing, a colour or a pattern.
type Brush struct {
	kind    brushKind
	color   uint32
	pattern *Image
	pos     image.Point

	unknownMemory bool // see InUnknownMemory
}

type brushKind uint8

const (
	brushNone brushKind = iota
	brushSolid
	brushPattern
)

// NoBrush returns the zero Brush. Operations that need a source then use zero.
func NoBrush() Brush { return Brush{} }

// Solid returns a brush of one cell value, in the format of the destination: 0xRRGGBB on 32-bit
// surfaces.
func Solid(value uint32) Brush { return Brush{kind: brushSolid, color: value} }

// Pattern returns a brush that repeats an image in all directions, its top left pixel at pos of the
// destination.
func Pattern(m *Image, pos image.Point) Brush {
	return Brush{kind: brushPattern, pattern: m, pos: pos}
}

// InUnknownMemory returns b as a pattern whose layout in the reference's memory is unknown: a
// surface, or an image of the cache. Rop3, which may read beyond its pattern's edge, then refuses
// to draw.
func (b Brush) InUnknownMemory() Brush {
	b.unknownMemory = true
	return b
}

// Fill draws a brush through a raster operation.
func (m *Image) Fill(a Area, b Brush, rop Rop) error {
	if b.kind == brushPattern {
		tile, err := b.tile(m.Format)
		if err != nil {
			return err
		}
		return m.each(a, func(r image.Rectangle) { m.tileRect(r, tile, b.pos, rop) })
	}
	return m.each(a, func(r image.Rectangle) { m.solidRect(r, b.color, rop) })
}

// tile returns the pattern in format f.
func (b Brush) tile(f Format) (*Image, error) {
	if b.pattern == nil || b.pattern.Width <= 0 || b.pattern.Height <= 0 {
		return nil, &ArgumentError{Problem: "pattern without pixels"}
	}
	return b.pattern.Convert(f), nil
}

// Blackness clears every bit of the area.
func (m *Image) Blackness(a Area) error { return m.Fill(a, Solid(0), RopCopy) }

// Whiteness sets every bit of the area.
func (m *Image) Whiteness(a Area) error { return m.Fill(a, Solid(0xffffffff), RopCopy) }

// Invert inverts every bit of the area.
func (m *Image) Invert(a Area) error { return m.Fill(a, Solid(0), RopInvert) }

// solidRect draws one cell value on r, which must be within m.
func (m *Image) solidRect(r image.Rectangle, value uint32, rop Rop) {
	if rop != RopCopy {
		k := rop.masks(m.Format)
		for y := r.Min.Y; y < r.Max.Y; y++ {
			k.solidRow(m.row(y, r.Min.X, r.Max.X), value)
		}
		return
	}
	value &= m.Format.mask()
	first := m.row(r.Min.Y, r.Min.X, r.Max.X)
	binary.LittleEndian.PutUint32(first, value)
	for n := CellSize; n < len(first); n *= 2 {
		copy(first[n:], first[:n])
	}
	for y := r.Min.Y + 1; y < r.Max.Y; y++ {
		copy(m.row(y, r.Min.X, r.Max.X), first)
	}
}

// tileRect draws a repeated tile on r, which must be within m. tile must have m's format and at
// least one pixel.
func (m *Image) tileRect(r image.Rectangle, tile *Image, pos image.Point, rop Rop) {
	k := rop.masks(m.Format)
	x0, ty := mod(r.Min.X-pos.X, tile.Width), mod(r.Min.Y-pos.Y, tile.Height)
	for y := r.Min.Y; y < r.Max.Y; y++ {
		row := m.row(y, r.Min.X, r.Max.X)
		for tx := x0; len(row) > 0; tx = 0 {
			n := min(len(row), (tile.Width-tx)*CellSize)
			src := tile.row(ty, tx, tx+n/CellSize)
			if rop == RopCopy {
				copy(row, src)
			} else {
				k.row(row[:n], src)
			}
			row = row[n:]
		}
		if ty++; ty == tile.Height {
			ty = 0
		}
	}
}

// mod returns the non-negative remainder of a/n.
func mod(a, n int) int {
	if a %= n; a < 0 {
		a += n
	}
	return a
}
