package quic

import (
	"encoding/binary"
	"math/bits"
)

// A bitReader reads little-endian 32-bit words from their highest bit down. Beyond
// the end it reads zeros, and exhausted tells.
type bitReader struct {
	src []byte
	pos int    // bytes taken into acc, and beyond the end of src what would have been
	acc uint64 // the next bits, the first one highest; what is beyond n is zero
	n   uint   // valid bits in acc
}

func (r *bitReader) reset(src []byte, pos int) {
	*r = bitReader{src: src, pos: pos}
	r.fill()
}

// fill makes at least 32 bits available.
func (r *bitReader) fill() {
	for r.n <= 32 {
		r.acc |= uint64(word(r.src, r.pos)) << 32 >> r.n
		r.pos += 4
		r.n += 32
	}
}

// word returns the word at byte pos of src, or 0 if there is none.
func word(src []byte, pos int) uint32 {
	if pos+4 <= len(src) {
		return binary.LittleEndian.Uint32(src[pos:])
	}
	return 0
}

// drop passes over at most 32 bits and makes the next 32 available.
func (r *bitReader) drop(n uint) {
	r.acc <<= n
	r.n -= n
	r.fill()
}

// offset returns the position of the next bit in bytes, rounded up.
func (r *bitReader) offset() int {
	return min(r.pos-int(r.n)/8, len(r.src))
}

// exhausted reports whether the word after the one that holds the last bit
// read is missing. Encoders write it, and reference decoders read it ahead.
func (r *bitReader) exhausted() bool {
	used := r.pos*8 - int(r.n) // bits
	return (used+31)/32*4+4 > len(r.src)
}

// run reads the length of a run. A length above limit may come out smaller than
// it is but still above limit.
func (r *bitReader) run(s *modelState, limit int) int {
	length := 0
	for {
		hits := bits.LeadingZeros8(^uint8(r.acc >> 56))
		for range hits {
			length += 1 << runBits[s.run]
			if s.run < len(runBits)-1 {
				s.run++
			}
		}
		if length > limit {
			return length
		}
		if hits < 8 {
			r.drop(uint(hits) + 1)
			break
		}
		r.drop(8)
	}
	if n := uint(runBits[s.run]); n > 0 {
		length += int(r.acc >> (64 - n))
		r.drop(n)
	}
	if s.run > 0 {
		s.run--
	}
	return length
}
