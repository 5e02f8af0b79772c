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
		// Of a word that is not complete, exhausted says that it is missing.
		copy(last[:], src[at:])
	}
	return window(last[:], pos&31)
}

// offset returns the position of the next bit in bytes, rounded up.
func (r *bitReader) offset() int { return min((r.pos+7)/8, len(r.src)) }

// exhausted reports whether the word after the one that holds the last bit
// read is missing. Encoders write it, and reference decoders read it ahead.
func (r *bitReader) exhausted() bool { return (r.pos+31)/32*4+4 > len(r.src) }

// run reads the length of a run: ones, each of which stands for as many pixels as the
// state says and raises the state, a zero, and the rest in as many bits as the
// state then says. A length above limit may come out smaller than it is but still
// above limit.
func (r *bitReader) run(s *modelState, limit int) int {
	length := 0
	acc := r.window()
	for {
		ones := bits.LeadingZeros64(^acc)
		for range min(ones, 32) {
			length += 1 << runBits[s.run&31]
			s.run = min(s.run+1, len(runBits)-1)
		}
		if ones < 32 {
			acc <<= ones + 1
			r.pos += ones + 1
			break
		}
		if length > limit {
			return length
		}
		r.pos += 32
		acc = r.window()
	}
	// 32 bits at least are left in acc.
	n := runBits[s.run&31]
	r.pos += int(n)
	s.run = max(s.run-1, 0)
	return length + int(uint32(acc>>32)>>(32-n))
}
