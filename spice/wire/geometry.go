package wire

import "image"

// Point is a place on a surface, in pixels.
type Point struct{ X, Y int32 }

// Point16 is a place of the cursor or in an image, in pixels.
type Point16 struct{ X, Y int16 }

// Fixed is a number with 4 bits after the point (fixed28_4).
type Fixed int32

// PointFix is a corner of a path.
type PointFix struct{ X, Y Fixed }

// Rect is an area of a surface or image, in pixels; right and bottom are outside. The order of the
// fields is that of the wire.
type Rect struct{ Top, Left, Bottom, Right int32 }

// Bounds returns the same area as a rectangle of package image. It is not made
// canonical: a malformed one is Empty.
func (r Rect) Bounds() image.Rectangle {
	return image.Rectangle{
		Min: image.Point{X: int(r.Left), Y: int(r.Top)},
		Max: image.Point{X: int(r.Right), Y: int(r.Bottom)},
	}
}

// RectOf returns the Rect whose Bounds are r. Coordinates must fit into 32 bits.
func RectOf(r image.Rectangle) Rect {
	return Rect{Top: int32(r.Min.Y), Left: int32(r.Min.X), Bottom: int32(r.Max.Y), Right: int32(r.Max.X)}
}

// Transform is the first two rows of a matrix of 16.16 fixed-point numbers.
type Transform struct{ T00, T01, T02, T10, T11, T12 uint32 }

func readPoint(r *Reader) Point       { return Point{r.Int32(), r.Int32()} }
func readPoint16(r *Reader) Point16   { return Point16{r.Int16(), r.Int16()} }
func readPointFix(r *Reader) PointFix { return PointFix{Fixed(r.Int32()), Fixed(r.Int32())} }

func readRect(r *Reader) Rect {
	return Rect{Top: r.Int32(), Left: r.Int32(), Bottom: r.Int32(), Right: r.Int32()}
}

func readTransform(r *Reader) Transform {
	return Transform{r.Uint32(), r.Uint32(), r.Uint32(), r.Uint32(), r.Uint32(), r.Uint32()}
}

func (w *writer) point(p Point)       { w.i32(p.X); w.i32(p.Y) }
func (w *writer) point16(p Point16)   { w.i16(p.X); w.i16(p.Y) }
func (w *writer) pointFix(p PointFix) { w.i32(int32(p.X)); w.i32(int32(p.Y)) }
func (w *writer) rect(r Rect)         { w.i32(r.Top); w.i32(r.Left); w.i32(r.Bottom); w.i32(r.Right) }

func (w *writer) transform(t Transform) {
	for _, v := range []uint32{t.T00, t.T01, t.T02, t.T10, t.T11, t.T12} {
		w.u32(v)
	}
}

func (w *writer) bool(v bool) {
	if v {
		w.u8(1)
	} else {
		w.u8(0)
	}
}
