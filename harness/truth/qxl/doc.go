// Package qxl packs the commands of a QXL device into its memory, as a guest's driver writes them
// and spice-server reads them. Layouts and numbers are those of spice/qxl_dev.h.
//
//	off, err := qxl.Pack(mem, &qxl.Drawable{
//		Box: image.Rect(10, 10, 20, 20),
//		Op:  &qxl.Fill{Brush: qxl.Solid(0xff8000), Rop: qxl.RopPut},
//	}, 1, nil)
//
// All structures are packed and little-endian. An address is an offset in the memory. 0 is not an
// address, so Memory must not return it. The package checks nothing, because a test must be able to
// write what a broken driver would.
package qxl

import (
	"encoding/binary"
	"image"
)

// Memory allocates space for structures.
type Memory interface {
	// Alloc allocates n zeroed bytes, and returns them and their address, which is not 0.
	Alloc(n int) (addr uint64, b []byte, err error)
}

// A Command is a command for the device's rings.
type Command interface {
	// Type returns the command's type (QXL_CMD_*).
	Type() uint32
	// pack writes the command and returns its address. The server releases it by id.
	pack(p *packer, id uint64) uint64
}

// The types of commands (QXL_CMD_*).
const (
	CmdDraw    = 1
	CmdCursor  = 3
	CmdMessage = 4
	CmdSurface = 5
)

// Pack writes a command into mem and returns its address. Its memory is free again when the server
// releases id. The error is that of mem.
//
// pixels, if not nil, makes the pixels of all images instead of the images' own Data.
func Pack(mem Memory, c Command, id uint64, pixels func(*Image) []byte) (addr uint64, err error) {
	p := packer{mem: mem, ids: id << 8, pixels: pixels}
	addr = c.pack(&p, id)
	return addr, p.err
}

// packer allocates memory and remembers the first error.
type packer struct {
	mem Memory
	err error
	ids uint64 // the last id for images without an ID

	pixels func(*Image) []byte // see Pack
}

func (p *packer) put(b []byte) uint64 {
	if p.err != nil {
		return 0
	}
	addr, to, err := p.mem.Alloc(len(b))
	if err != nil {
		p.err = err
		return 0
	}
	copy(to, b)
	return addr
}

// buf is a structure that is being written.
type buf []byte

func (b *buf) u8(v uint8)   { *b = append(*b, v) }
func (b *buf) u16(v uint16) { *b = binary.LittleEndian.AppendUint16(*b, v) }
func (b *buf) u32(v uint32) { *b = binary.LittleEndian.AppendUint32(*b, v) }
func (b *buf) u64(v uint64) { *b = binary.LittleEndian.AppendUint64(*b, v) }
func (b *buf) i16(v int)    { b.u16(uint16(int16(v))) }
func (b *buf) i32(v int)    { b.u32(uint32(int32(v))) }

func (b *buf) bool(v bool) {
	if v {
		b.u8(1)
	} else {
		b.u8(0)
	}
}

func (b *buf) point(p image.Point) {
	b.i32(p.X)
	b.i32(p.Y)
}

// rect writes a QXLRect, whose order is top, left, bottom, right.
func (b *buf) rect(r image.Rectangle) {
	b.i32(r.Min.Y)
	b.i32(r.Min.X)
	b.i32(r.Max.Y)
	b.i32(r.Max.X)
}

// chunk writes a QXLDataChunk with the first part of data to the end of a structure, and chains the
// other parts to it.
func (p *packer) chunk(b *buf, data []byte, parts int) {
	first, rest := split(data, parts)
	b.u32(uint32(len(first)))
	b.u64(0)
	b.u64(p.chain(rest, parts-1))
	*b = append(*b, first...)
}

// chain writes data as a chain of QXLDataChunks, and returns the address of the first. The backward
// links stay 0, because no server reads them.
func (p *packer) chain(data []byte, parts int) uint64 {
	if parts < 1 {
		return 0
	}
	var b buf
	p.chunk(&b, data, parts)
	return p.put(b)
}

// split cuts off the first of several parts of about the same size.
func split(data []byte, parts int) (first, rest []byte) {
	if parts <= 1 {
		return data, nil
	}
	n := (len(data) + parts - 1) / parts
	return data[:n], data[n:]
}
