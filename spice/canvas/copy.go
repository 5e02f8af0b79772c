package canvas

import (
	"image"
)

// Copy draws the part from of src over the area's box through a raster operation, scaled if the
// sizes differ. Without scaling, pixels outside src leave the destination unchanged; with scaling
// they are zero. src may be m itself.
func (m *Image) Copy(a Area, src *Image, from image.Rectangle, rop Rop, mode ScaleMode) error {
	if from.Size() != a.Box.Size() {
		return m.copyScaled(a, src, from, rop, mode)
	}
	off := from.Min.Sub(a.Box.Min)
	if src == m && off != (image.Point{}) {
		src, off = m.within(a, off)
	}
	return m.each(a, func(r image.Rectangle) { m.blitRect(r, src, off, rop) })
}

// within returns a copy of the pixels of m that an operation on a would read at an offset, and the
// offset in that copy.
func (m *Image) within(a Area, off image.Point) (*Image, image.Point) {
	r := m.bounds(a).Add(off).Intersect(m.Bounds())
	c := New(m.Format, r.Dx(), r.Dy())
	for y := range c.Height {
		copy(c.row(y, 0, c.Width), m.row(r.Min.Y+y, r.Min.X, r.Max.X))
	}
	return c, off.Sub(r.Min)
}

// blitRect draws src at r moved by off on r, which must be within m. Pixels outside src leave the
// destination unchanged.
func (m *Image) blitRect(r image.Rectangle, src *Image, off image.Point, rop Rop) {
	r = r.Intersect(src.Bounds().Sub(off))
	if r.Empty() {
		return
	}
	same := m.Format == src.Format || m.Format.bits32() && src.Format.bits32()
	switch {
	case !same && rop == RopCopy:
		m.convertRect(r, src, off)
	case !same:
		part := New(m.Format, r.Dx(), r.Dy())
		part.convertRect(part.Bounds(), src, r.Min.Add(off))
		m.blitRect(r, part, image.Point{}.Sub(r.Min), rop)
	case rop == RopCopy:
		for y := r.Min.Y; y < r.Max.Y; y++ {
			copy(m.row(y, r.Min.X, r.Max.X), src.row(y+off.Y, r.Min.X+off.X, r.Max.X+off.X))
		}
	default:
		k := rop.masks(m.Format)
		for y := r.Min.Y; y < r.Max.Y; y++ {
			k.row(m.row(y, r.Min.X, r.Max.X), src.row(y+off.Y, r.Min.X+off.X, r.Max.X+off.X))
		}
	}
}

// Opaque draws the part from of src, scaled if the sizes differ, and then a brush over it through a
// raster operation.
func (m *Image) Opaque(a Area, src *Image, from image.Rectangle, b Brush, rop Rop, mode ScaleMode) error {
	if err := m.Copy(a, src, from, RopCopy, mode); err != nil {
		return err
	}
	return m.Fill(a, b, rop)
}

// CopyBits moves pixels within m: the pixel at src goes to the top left corner of the area's box,
// and so on. The two may overlap. Pixels from outside m leave the destination unchanged.
func (m *Image) CopyBits(a Area, src image.Point) error {
	off := src.Sub(a.Box.Min)
	if off == (image.Point{}) {
		return nil
	}
	if a.Clipped || a.Mask != nil {
		from, off := m.within(a, off)
		return m.each(a, func(r image.Rectangle) { m.blitRect(r, from, off, RopCopy) })
	}
	r := a.Box.Intersect(m.Bounds()).Intersect(m.Bounds().Sub(off))
	if r.Empty() {
		return nil
	}
	move := func(y int) {
		copy(m.row(y, r.Min.X, r.Max.X), m.row(y+off.Y, r.Min.X+off.X, r.Max.X+off.X))
	}
	if off.Y < 0 { // down: the last row first
		for y := r.Max.Y - 1; y >= r.Min.Y; y-- {
			move(y)
		}
		return nil
	}
	for y := r.Min.Y; y < r.Max.Y; y++ {
		move(y)
	}
	return nil
}

// Transparent draws the part from of src, except pixels of the value key. It scales to the nearest
// pixel if the sizes differ. key is 0xRRGGBB on 32-bit surfaces, reduced to their precision on
// 16-bit ones.
func (m *Image) Transparent(a Area, src *Image, from image.Rectangle, key uint32) error {
	mask := m.Format.mask()
	switch m.Format {
	case XRGB, ARGB:
		mask = 0xffffff
	case RGB555, RGB565:
		key = fromARGB(m.Format, key)
	default:
		key = 0
	}
	key &= mask
	part := src
	off := from.Min.Sub(a.Box.Min)
	if from.Size() != a.Box.Size() {
		var err error
		if part, err = src.scaled(m, a, from, Nearest, false); err != nil {
			return err
		}
		off = image.Point{}.Sub(m.bounds(a).Min)
	} else if src == m && off != (image.Point{}) {
		part, off = m.within(a, off)
	}
	part = part.Convert(m.Format)
	return m.each(a, func(r image.Rectangle) {
		r = r.Intersect(part.Bounds().Sub(off))
		for y := r.Min.Y; y < r.Max.Y; y++ {
			for x := r.Min.X; x < r.Max.X; x++ {
				if v := part.At(x+off.X, y+off.Y); v&mask != key {
					m.Set(x, y, v)
				}
			}
		}
	})
}
