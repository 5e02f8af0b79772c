package canvas

import "encoding/binary"

// Rop combines a source bit s and a destination bit d. It is a truth table: bit 2*s+d is the result.
type Rop uint8

// The sixteen raster operations.
const (
	RopClear        Rop = 0b0000
	RopNor          Rop = 0b0001
	RopAndInverted  Rop = 0b0010 // !s & d
	RopCopyInverted Rop = 0b0011
	RopAndReverse   Rop = 0b0100 // s & !d
	RopInvert       Rop = 0b0101
	RopXor          Rop = 0b0110
	RopNand         Rop = 0b0111
	RopAnd          Rop = 0b1000
	RopEquiv        Rop = 0b1001
	RopNoop         Rop = 0b1010
	RopOrInverted   Rop = 0b1011 // !s | d
	RopCopy         Rop = 0b1100
	RopOrReverse    Rop = 0b1101 // s | !d
	RopOr           Rop = 0b1110
	RopSet          Rop = 0b1111
)

// Descriptor is SPICE_ROPD_* of spice/enums.h: which inputs to invert, the operation, and whether
// to invert the result.
type Descriptor uint16

const (
	InvertSrc   Descriptor = 1 << 0
	InvertBrush Descriptor = 1 << 1
	InvertDest  Descriptor = 1 << 2
	OpPut       Descriptor = 1 << 3
	OpOr        Descriptor = 1 << 4
	OpAnd       Descriptor = 1 << 5
	OpXor       Descriptor = 1 << 6
	OpBlackness Descriptor = 1 << 7
	OpWhiteness Descriptor = 1 << 8
	OpInvert    Descriptor = 1 << 9
	InvertRes   Descriptor = 1 << 10
)

// Rop returns the raster operation of a descriptor. src is the flag that inverts the source:
// InvertSrc for an image, InvertBrush for a brush. dest is the one for the destination: InvertDest,
// or InvertSrc where a brush is drawn over an image. If several operations are set, the lowest
// counts; with none it is RopCopy.
func (d Descriptor) Rop(src, dest Descriptor) Rop {
	const s, t = RopCopy, RopNoop // the truth tables of the source and of the destination alone
	a, b := s, t
	if d&src != 0 {
		a ^= RopSet
	}
	if d&dest != 0 {
		b ^= RopSet
	}
	var r Rop
	switch {
	case d&OpPut != 0:
		r = a
	case d&OpOr != 0:
		r = a | b
	case d&OpAnd != 0:
		r = a & b
	case d&OpXor != 0:
		r = a ^ b
	case d&OpBlackness != 0:
		return RopClear
	case d&OpWhiteness != 0:
		return RopSet
	case d&OpInvert != 0:
		return RopInvert
	default:
		return RopCopy
	}
	if d&InvertRes != 0 {
		r ^= RopSet
	}
	return r
}

// ropMasks is a Rop expanded to whole words: which minterms are in the result.
type ropMasks struct{ nsnd, nsd, snd, sd, keep uint32 }

func (r Rop) masks(f Format) ropMasks {
	keep := f.mask()
	bit := func(i uint) uint32 { return -(uint32(r) >> i & 1) & keep }
	return ropMasks{nsnd: bit(0), nsd: bit(1), snd: bit(2), sd: bit(3), keep: keep}
}

func (m *ropMasks) apply(s, d uint32) uint32 {
	return s&d&m.sd | s&^d&m.snd | d&^s&m.nsd | ^(s|d)&m.nsnd
}

// solidRow applies the operation with one source value to a row of cells.
func (m *ropMasks) solidRow(row []byte, s uint32) {
	for ; len(row) >= CellSize; row = row[CellSize:] {
		binary.LittleEndian.PutUint32(row, m.apply(s, binary.LittleEndian.Uint32(row)))
	}
}

// row applies the operation to two rows of cells of the same length.
func (m *ropMasks) row(dst, src []byte) {
	for ; len(dst) >= CellSize && len(src) >= CellSize; dst, src = dst[CellSize:], src[CellSize:] {
		binary.LittleEndian.PutUint32(dst, m.apply(binary.LittleEndian.Uint32(src), binary.LittleEndian.Uint32(dst)))
	}
}
