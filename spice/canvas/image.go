// Package canvas draws on SPICE surfaces. It implements the operations of the display channel pixel
// for pixel as the reference implementation does (spice-common's software canvas over pixman).
//
//	s := canvas.New(canvas.XRGB, 1024, 768)
//	box := image.Rect(10, 10, 20, 20)
//	err := s.Fill(canvas.Area{Box: box}, canvas.Solid(0xff8000), canvas.RopCopy)
//
// Every image, source or destination, has one type: rows of 32-bit cells, little-endian, so that a
// 32-bit pixel is in memory as B, G, R, X or B, G, R, A. Narrower formats have their value in the
// low bits of a cell. So every operation is written once, and is exact for raster operations on
// 16-bit and 8-bit surfaces, too.
//
// The package knows no messages and no compression: package spice translates messages to calls, and
// codec packages fill images. It has no state besides the images, and starts no goroutines. If it
// cannot draw something exactly, it returns an *UnsupportedError and leaves the destination
// unchanged.
package canvas

import (
	"encoding/binary"
	"fmt"
	"image"
)

// Format is the meaning of an image's cells. The values are those of SPICE_SURFACE_FMT_* in
// spice/enums.h.
type Format uint32

const (
	A1     Format = 1  // one bit of alpha, in bit 0 of the cell
	A8     Format = 8  // alpha, in the low byte
	RGB555 Format = 16 // five bits each, blue lowest
	XRGB   Format = 32 // B, G, R and a byte without meaning
	RGB565 Format = 80
	ARGB   Format = 96 // B, G, R, A; colours are premultiplied where alpha is used
)

// Known reports whether f is a format of the protocol.
func (f Format) Known() bool {
	switch f {
	case A1, A8, RGB555, XRGB, RGB565, ARGB:
		return true
	}
	return false
}

// String returns the name of the format in lower case, "format-N" if it is unknown.
func (f Format) String() string {
	switch f {
	case A1:
		return "1_a"
	case A8:
		return "8_a"
	case RGB555:
		return "16_555"
	case XRGB:
		return "32_xrgb"
	case RGB565:
		return "16_565"
	case ARGB:
		return "32_argb"
	}
	return fmt.Sprintf("format-%d", uint32(f))
}

// mask returns the bits of a cell that the format uses.
func (f Format) mask() uint32 {
	switch f {
	case A1:
		return 1
	case A8:
		return 0xff
	case RGB555, RGB565:
		return 0xffff
	}
	return 0xffffffff
}

// bits32 reports whether cells are 32-bit colours.
func (f Format) bits32() bool { return f == XRGB || f == ARGB }

// hasAlpha reports whether pixels can be transparent.
func (f Format) hasAlpha() bool { return f == A1 || f == A8 || f == ARGB }

// CellSize is the size of one pixel in memory, in bytes, in every format.
const CellSize = 4

// Image is a rectangle of pixels. Rows are top down. The zero value is an empty image.
type Image struct {
	Format        Format
	Width, Height int
	Stride        int // bytes from one row to the next, at least 4*Width
	Pix           []byte
}

// New returns an image of zero cells. Width and height must not be negative. It allocates four
// bytes per pixel, so the caller must limit their product.
func New(f Format, width, height int) *Image {
	return &Image{Format: f, Width: width, Height: height, Stride: width * CellSize, Pix: make([]byte, width*height*CellSize)}
}

// Bounds returns the rectangle from 0,0 to the image's size.
func (m *Image) Bounds() image.Rectangle { return image.Rect(0, 0, m.Width, m.Height) }

// At returns the cell at x, y, which must be within Bounds.
func (m *Image) At(x, y int) uint32 {
	return binary.LittleEndian.Uint32(m.Pix[y*m.Stride+x*CellSize:])
}

// Set changes the cell at x, y, which must be within Bounds.
func (m *Image) Set(x, y int, v uint32) {
	binary.LittleEndian.PutUint32(m.Pix[y*m.Stride+x*CellSize:], v)
}

// row returns the cells from x0 up to x1 of row y.
func (m *Image) row(y, x0, x1 int) []byte {
	o := y * m.Stride
	return m.Pix[o+x0*CellSize : o+x1*CellSize : o+x1*CellSize]
}

// Clone returns a copy with separate memory and no padding between rows.
func (m *Image) Clone() *Image {
	c := New(m.Format, m.Width, m.Height)
	for y := range m.Height {
		copy(c.row(y, 0, c.Width), m.row(y, 0, m.Width))
	}
	return c
}

// UnsupportedError says that this package cannot do a drawing exactly. What names the drawing for
// counting, such as "composite operator 0x3f".
type UnsupportedError struct{ What string }

func (e *UnsupportedError) Error() string { return "canvas: unsupported " + e.What }

// ArgumentError says that a drawing makes no sense, such as one from outside of its source.
type ArgumentError struct{ Problem string }

func (e *ArgumentError) Error() string { return "canvas: " + e.Problem }
