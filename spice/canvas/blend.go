package canvas

import (
	"encoding/binary"
	"image"
)

// scale8 multiplies the four channels of v by a/255, each rounded.
func scale8(v, a uint32) uint32 {
	const low = 0x00ff00ff
	rb := v&low*a + 0x00800080
	rb = (rb + rb>>8&low) >> 8 & low
	ag := v>>8&low*a + 0x00800080
	ag = (ag + ag>>8&low) & (low << 8)
	return rb | ag
}

// add8 adds channels, each saturating at 255.
func add8(a, b uint32) uint32 {
	const low = 0x00ff00ff
	rb := a&low + b&low
	rb |= 0x01000100 - rb>>8&low
	ag := a>>8&low + b>>8&low
	ag |= 0x01000100 - ag>>8&low
	return rb&low | ag&low<<8
}

// over draws a premultiplied colour over another.
func over(s, d uint32) uint32 { return add8(s, scale8(d, 255-s>>24)) }

// Blend says how AlphaBlend reads its images.
type Blend struct {
	// Alpha scales the whole source: 0 draws nothing, 255 leaves it as it is.
	Alpha uint8
	// SrcAlpha makes the top byte of an XRGB source count as alpha
	// (SPICE_ALPHA_FLAGS_SRC_SURFACE_HAS_ALPHA).
	SrcAlpha bool
	// DestAlpha includes the top byte of an XRGB destination (SPICE_ALPHA_FLAGS_DEST_HAS_ALPHA).
	// The colours are the same either way.
	DestAlpha bool
}

// AlphaBlend draws the part from of src over the area, premultiplied with its alpha. It scales to
// the nearest pixel if the sizes differ.
func (m *Image) AlphaBlend(a Area, src *Image, from image.Rectangle, b Blend) error {
	if b.Alpha == 0 {
		return nil
	}
	part, off := src, from.Min.Sub(a.Box.Min)
	if from.Size() != a.Box.Size() {
		if m.bounds(a).Empty() {
			return nil
		}
		var err error
		if part, err = src.scaled(m, a, from, Nearest, false); err != nil {
			return err
		}
		off = image.Point{}.Sub(m.bounds(a).Min)
	} else if src == m && off != (image.Point{}) {
		part, off = m.within(a, off)
	}
	sf, df := part.Format, m.Format
	if sf == XRGB && b.SrcAlpha {
		sf = ARGB
	}
	if df == XRGB && b.DestAlpha {
		df = ARGB
	}
	return m.each(a, func(r image.Rectangle) {
		r = r.Intersect(part.Bounds().Sub(off))
		for y := r.Min.Y; y < r.Max.Y; y++ {
			d := m.row(y, r.Min.X, r.Max.X)
			s := part.row(y+off.Y, r.Min.X+off.X, r.Max.X+off.X)
			for i := 0; i < len(d); i += CellSize {
				v := toARGB(sf, binary.LittleEndian.Uint32(s[i:]))
				if b.Alpha != 255 {
					v = scale8(v, uint32(b.Alpha))
				}
				v = over(v, toARGB(df, binary.LittleEndian.Uint32(d[i:])))
				binary.LittleEndian.PutUint32(d[i:], fromARGB(df, v))
			}
		}
	})
}
