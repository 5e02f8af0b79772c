package canvas

import (
	"encoding/binary"
	"fmt"
	"image"
)

// Glyph is one raster glyph of a string.
type Glyph struct {
	// Box is the glyph's place on the destination: its render position plus its origin.
	Box image.Rectangle
	// Data is the glyph's coverage in the string's depth: rows from the bottom up, padded to bytes,
	// leftmost pixel in the highest bits.
	Data []byte
}

// String is a run of raster glyphs.
type String struct {
	// Depth is 1 or 4 bits of coverage per pixel. With 8 bits, the reference takes each row of a
	// glyph from one row further, and so reads the first one from beyond the glyph: the result is
	// undefined.
	Depth  int
	Glyphs []Glyph
}

// Text draws a string. Where glyphs overlap, the larger coverage counts. Before that, back fills
// the part of the area in backArea, if that is not empty. If fore is a pattern, its position is
// relative to the top left of the string.
func (m *Image) Text(a Area, s String, fore, back Brush, backArea image.Rectangle) error {
	switch s.Depth {
	case 1, 4:
	case 8:
		return &UnsupportedError{What: "text of depth 8 (the reference reads beyond its glyphs)"}
	default:
		return &UnsupportedError{What: fmt.Sprintf("text of depth %d (vector glyphs)", s.Depth)}
	}
	var all image.Rectangle
	for i, g := range s.Glyphs {
		if w, h := g.Box.Dx(), g.Box.Dy(); w < 0 || h < 0 || len(g.Data) < (w*s.Depth+7)/8*h {
			return &ArgumentError{Problem: fmt.Sprintf("glyph %d of %d×%d pixels has %d bytes, want %d", i, w, h, len(g.Data), (w*s.Depth+7)/8*h)}
		}
		all = all.Union(g.Box)
	}
	var tile *Image
	if fore.kind == brushPattern {
		var err error
		if tile, err = fore.tile(m.Format); err != nil {
			return err
		}
	}
	if !backArea.Empty() {
		inner := a
		inner.Box = a.Box.Intersect(backArea)
		if !inner.Box.Empty() {
			if err := m.Fill(inner, back, RopCopy); err != nil {
				return err
			}
		}
	}
	within := all.Intersect(m.bounds(a))
	if within.Empty() || fore.kind == brushNone {
		return nil
	}
	cover := s.coverage(within)
	color := toARGB(m.Format, fore.color) | 0xff000000
	if m.Format == RGB565 {
		// The reference treats the colours of all 16-bit text as 15-bit ones, and so does QEMU's
		// own picture of the screen.
		color = toARGB(RGB555, fore.color)
	}
	origin := all.Min.Add(fore.pos)
	return m.each(a, func(r image.Rectangle) {
		r = r.Intersect(within)
		for y := r.Min.Y; y < r.Max.Y; y++ {
			row := m.row(y, r.Min.X, r.Max.X)
			cov := cover[(y-within.Min.Y)*within.Dx()+r.Min.X-within.Min.X:]
			for i := range r.Dx() {
				if cov[i] == 0 {
					continue
				}
				c := color
				if tile != nil {
					c = toARGB(tile.Format, tile.At(mod(r.Min.X+i-origin.X, tile.Width), mod(y-origin.Y, tile.Height)))
				}
				if cov[i] != 255 {
					c = scale8(c, uint32(cov[i]))
				}
				cell := row[i*CellSize:]
				v := over(c, toARGB(m.Format, binary.LittleEndian.Uint32(cell)))
				binary.LittleEndian.PutUint32(cell, fromARGB(m.Format, v))
			}
		}
	})
}

// coverage returns a byte of coverage for each pixel of r, row by row.
func (s String) coverage(r image.Rectangle) []byte {
	out := make([]byte, r.Dx()*r.Dy())
	for _, g := range s.Glyphs {
		stride := (g.Box.Dx()*s.Depth + 7) / 8
		part := g.Box.Intersect(r)
		for y := part.Min.Y; y < part.Max.Y; y++ {
			src := g.Data[(g.Box.Max.Y-1-y)*stride:]
			dst := out[(y-r.Min.Y)*r.Dx():][:r.Dx()]
			for x := part.Min.X; x < part.Max.X; x++ {
				i := x - g.Box.Min.X
				var c byte
				switch s.Depth {
				case 1:
					c = -(src[i/8] >> (7 - i%8) & 1)
				case 4:
					// Four bits of coverage fill only the upper half of a byte: full coverage is
					// 240 of 255. If two pixels share a byte and the left one is not empty, the
					// right one replaces the coverage that is already there, even if that is
					// larger.
					c = src[i/2] << (i % 2 * 4) & 0xf0
					if i%2 == 1 && src[i/2] >= 16 {
						dst[x-r.Min.X] = c
						continue
					}
				}
				dst[x-r.Min.X] = max(dst[x-r.Min.X], c)
			}
		}
	}
	return out
}
