package qxl

import "image"

// SurfaceFormat is the format of a surface's pixels (SPICE_SURFACE_FMT_*).
type SurfaceFormat uint32

// The formats of surfaces.
const (
	SurfaceA1   SurfaceFormat = 1
	SurfaceA8   SurfaceFormat = 8
	Surface555  SurfaceFormat = 16
	SurfaceXRGB SurfaceFormat = 32
	Surface565  SurfaceFormat = 80
	SurfaceARGB SurfaceFormat = 96
)

var surfaceNames = map[SurfaceFormat]string{SurfaceA1: "1_A", SurfaceA8: "8_A", Surface555: "16_555", SurfaceXRGB: "32_xRGB",
	Surface565: "16_565", SurfaceARGB: "32_ARGB"}

// String returns the format's name, such as "32_xRGB".
func (f SurfaceFormat) String() string { return surfaceNames[f] }

// Bits returns the size of a pixel in bits.
func (f SurfaceFormat) Bits() int {
	switch f {
	case SurfaceA1:
		return 1
	case SurfaceA8:
		return 8
	case Surface555, Surface565:
		return 16
	}
	return 32
}

// Stride returns the size of a row of w pixels in bytes: whole 32-bit words, as pixman requires.
func (f SurfaceFormat) Stride(w int) int { return (w*f.Bits() + 31) / 32 * 4 }

// CreateSurface creates an offscreen surface whose pixels are at the address Data.
type CreateSurface struct {
	Surface       uint32
	Format        SurfaceFormat
	Width, Height int
	Stride        int // bytes
	Data          uint64
}

// Type returns CmdSurface.
func (*CreateSurface) Type() uint32 { return CmdSurface }

func (c *CreateSurface) pack(p *packer, id uint64) uint64 {
	var b buf
	b.u64(id)
	b.u32(c.Surface)
	b.u8(0)
	b.u32(0)
	b.u32(uint32(c.Format))
	b.u32(uint32(c.Width))
	b.u32(uint32(c.Height))
	b.i32(c.Stride)
	b.u64(c.Data)
	return p.put(b)
}

// DestroySurface destroys an offscreen surface.
type DestroySurface struct{ Surface uint32 }

// Type returns CmdSurface.
func (*DestroySurface) Type() uint32 { return CmdSurface }

func (c *DestroySurface) pack(p *packer, id uint64) uint64 {
	var b buf
	b.u64(id)
	b.u32(c.Surface)
	b.u8(1)
	for len(b) < 41 {
		b.u8(0)
	}
	return p.put(b)
}

// CursorType is the format of a cursor's shape (SPICE_CURSOR_TYPE_*).
type CursorType uint16

// The types of cursors.
const (
	CursorAlpha   CursorType = 0
	CursorMono    CursorType = 1
	CursorColor4  CursorType = 2
	CursorColor8  CursorType = 3
	CursorColor16 CursorType = 4
	CursorColor24 CursorType = 5
	CursorColor32 CursorType = 6
)

// Shape is the image of a cursor.
type Shape struct {
	Unique        uint64 // key in the clients' cursor caches; 0: not cached
	CursorType    CursorType
	Width, Height int
	Hot           image.Point
	Data          []byte
	Chunks        int // of Data; 0 means 1
}

// SetCursor sets the pointer's shape and position.
type SetCursor struct {
	At      image.Point
	Visible bool
	Shape   *Shape
}

// MoveCursor moves the pointer.
type MoveCursor struct{ To image.Point }

// HideCursor hides the pointer.
type HideCursor struct{}

// TrailCursor requests a trail behind the pointer.
type TrailCursor struct{ Length, Frequency uint16 }

// Type returns CmdCursor.
func (*SetCursor) Type() uint32 { return CmdCursor }

// Type returns CmdCursor.
func (*MoveCursor) Type() uint32 { return CmdCursor }

// Type returns CmdCursor.
func (*HideCursor) Type() uint32 { return CmdCursor }

// Type returns CmdCursor.
func (*TrailCursor) Type() uint32 { return CmdCursor }

// cursorSize is the size of a QXLCursorCmd in bytes.
const cursorSize = 8 + 1 + 13 + 128

// cursor packs a QXLCursorCmd of a type (QXL_CURSOR_*).
func (p *packer) cursor(id uint64, kind uint8, rest func(*buf)) uint64 {
	var b buf
	b.u64(id)
	b.u8(kind)
	rest(&b)
	for len(b) < cursorSize {
		b.u8(0)
	}
	return p.put(b)
}

func (c *SetCursor) pack(p *packer, id uint64) uint64 {
	return p.cursor(id, 0, func(b *buf) {
		b.i16(c.At.X)
		b.i16(c.At.Y)
		b.bool(c.Visible)
		b.u64(p.shape(c.Shape))
	})
}

func (p *packer) shape(s *Shape) uint64 {
	if s == nil {
		return 0
	}
	var b buf
	b.u64(s.Unique)
	b.u16(uint16(s.CursorType))
	b.u16(uint16(s.Width))
	b.u16(uint16(s.Height))
	b.i16(s.Hot.X)
	b.i16(s.Hot.Y)
	b.u32(uint32(len(s.Data)))
	p.chunk(&b, s.Data, max(s.Chunks, 1))
	return p.put(b)
}

func (c *MoveCursor) pack(p *packer, id uint64) uint64 {
	return p.cursor(id, 1, func(b *buf) {
		b.i16(c.To.X)
		b.i16(c.To.Y)
	})
}

func (*HideCursor) pack(p *packer, id uint64) uint64 { return p.cursor(id, 2, func(*buf) {}) }

func (c *TrailCursor) pack(p *packer, id uint64) uint64 {
	return p.cursor(id, 3, func(b *buf) {
		b.u16(c.Length)
		b.u16(c.Frequency)
	})
}

// Monitor is the part of a surface that one monitor shows.
type Monitor struct {
	ID, Surface uint32
	Area        image.Rectangle
	Flags       uint32
}

// PackMonitors writes a QXLMonitorsConfig into mem and returns its address. most is the number of
// monitors that the driver supports; 0 means no limit.
func PackMonitors(mem Memory, most int, monitors ...Monitor) (uint64, error) {
	var b buf
	b.u16(uint16(len(monitors)))
	b.u16(uint16(most))
	for _, m := range monitors {
		b.u32(m.ID)
		b.u32(m.Surface)
		b.u32(uint32(m.Area.Dx()))
		b.u32(uint32(m.Area.Dy()))
		b.u32(uint32(m.Area.Min.X))
		b.u32(uint32(m.Area.Min.Y))
		b.u32(m.Flags)
	}
	p := packer{mem: mem}
	addr := p.put(b)
	return addr, p.err
}
