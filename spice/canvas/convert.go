package canvas

import (
	"encoding/binary"
	"image"
)

// Convert returns the image in another format: m itself if its cells can be used unchanged,
// otherwise a copy. Colours lose their low bits when converted to 16 bits, and repeat their high
// bits on the way back. Alpha alone becomes black, and an opaque colour gets full alpha.
func (m *Image) Convert(f Format) *Image {
	if m.Format == f || m.Format.bits32() && f.bits32() {
		return m
	}
	out := New(f, m.Width, m.Height)
	out.convertRect(out.Bounds(), m, image.Point{})
	return out
}

// convertRect copies cells, converted, from src at r moved by off to r. Both must be within their
// images.
func (m *Image) convertRect(r image.Rectangle, src *Image, off image.Point) {
	for y := r.Min.Y; y < r.Max.Y; y++ {
		d := m.row(y, r.Min.X, r.Max.X)
		s := src.row(y+off.Y, r.Min.X+off.X, r.Max.X+off.X)
		for i := 0; i < len(d); i += CellSize {
			v := toARGB(src.Format, binary.LittleEndian.Uint32(s[i:]))
			binary.LittleEndian.PutUint32(d[i:], fromARGB(m.Format, v))
		}
	}
}

// toARGB widens a cell to alpha and colours of eight bits.
func toARGB(f Format, v uint32) uint32 {
	switch f {
	case A1:
		return -(v & 1) & 0xff000000
	case A8:
		return v << 24
	case RGB555:
		r, g, b := v>>10&31, v>>5&31, v&31
		return 0xff000000 | (r<<3|r>>2)<<16 | (g<<3|g>>2)<<8 | (b<<3 | b>>2)
	case RGB565:
		r, g, b := v>>11&31, v>>5&63, v&31
		return 0xff000000 | (r<<3|r>>2)<<16 | (g<<2|g>>4)<<8 | (b<<3 | b>>2)
	case XRGB:
		return v | 0xff000000
	}
	return v
}

// fromARGB narrows alpha and colours of eight bits to a cell.
func fromARGB(f Format, v uint32) uint32 {
	switch f {
	case A1:
		return v >> 31
	case A8:
		return v >> 24
	case RGB555:
		return v>>9&0x7c00 | v>>6&0x03e0 | v>>3&0x1f
	case RGB565:
		return v>>8&0xf800 | v>>5&0x07e0 | v>>3&0x1f
	}
	return v
}
