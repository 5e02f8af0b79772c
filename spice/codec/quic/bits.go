package quic

import (
	"encoding/binary"
	"math/bits"
)

// A bitReader reads little-endian 32-bit words from their highest bit down. Beyond
// the end it reads zeros, and exhausted tells.
type bitReader struct {
	src []byte
	pos int // bits passed over
}

// window returns the next 64 bits, the first one highest.
func (r *bitReader) window() uint64 { return window(r.src, r.pos) }

// window returns the 64 bits of src from bit pos on.
func window(src []byte, pos int) uint64 {
	// Inlined where it counts: two words, and what shifting leaves of a third.
	at, shift := pos>>5*4, uint(pos)&31
	if uint(at)+12 > uint(len(src)) {
		return lastWindow(src, pos)
	}
	src = src[at : at+12]
	return bits.RotateLeft64(binary.LittleEndian.Uint64(src), 32)<<shift |
		uint64(binary.LittleEndian.Uint32(src[8:]))>>(32-shift)
}

// ahead returns the next bits in acc, how many of them are valid, at least 32, and where the
// word after them lies. The rest of acc is zero.
func (r *bitReader) ahead() (acc uint64, valid, at uint) {
	shift := uint(r.pos) & 31
	first, second := uint(r.pos)>>5*4, uint(r.pos)>>5*4+4
	if second+4 > uint(len(r.src)) {
		return r.window() &^ (1<<shift - 1), 64 - shift, second + 4
	}
	acc = uint64(binary.LittleEndian.Uint32(r.src[first:]))<<32 | uint64(binary.LittleEndian.Uint32(r.src[second:]))
	return acc << shift, 64 - shift, second + 4
}

// lastWindow is window near the end of src or beyond it.
func lastWindow(src []byte, pos int) uint64 {
	var last [12]byte
	if at := pos >> 5 * 4; at < len(src) {
		// A word that is not complete does not count.
		copy(last[:], src[at:len(src)&^3])
	}
	return window(last[:], pos&31)
}

// offset returns the position of the next bit in bytes, rounded up.
func (r *bitReader) offset() int { return min((r.pos+7)/8, len(r.src)) }

// exhausted reports whether the word after the one that holds the last bit
// read is missing. Encoders write it, and reference decoders read it ahead.
func (r *bitReader) exhausted() bool { return (r.pos+31)/32*4+4 > len(r.src) }

// run reads the length of a run. A length above limit may come out smaller than
// it is but still above limit.
func (r *bitReader) run(s *modelState, limit int) int {
	length := 0
	for {
		hits := bits.LeadingZeros8(^uint8(r.window() >> 56))
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
			r.pos += hits + 1
			break
		}
		r.pos += 8
	}
	if n := int(runBits[s.run]); n > 0 {
		length += int(r.window() >> (64 - n))
		r.pos += n
	}
	if s.run > 0 {
		s.run--
	}
	return length
}
