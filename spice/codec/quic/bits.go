package quic

import (
	"encoding/binary"
	"math/bits"
)

// A bitReader reads little-endian 32-bit words from their highest bit down. Beyond the end it reads
// zeros, and exhausted reports that.
type bitReader struct {
	src []byte

	// acc has the next bits, the first one highest. At least 32 are valid. Below them there may be
	// more of the same data, or zeros. at is the position in src, in bytes, of the word after the
	// valid ones.
	acc   uint64
	valid uint
	at    uint
}

// reset begins to read src at byte start.
func (r *bitReader) reset(src []byte, start int) {
	*r = bitReader{src: src, at: uint(start)}
	r.skip(0)
	r.skip(0)
}

// skip passes over n bits, at most 32.
func (r *bitReader) skip(n int) {
	r.acc <<= uint(n) & 63
	if r.valid -= uint(n); r.valid >= 32 {
		return
	}
	if r.at+4 <= uint(len(r.src)) {
		r.acc |= uint64(binary.LittleEndian.Uint32(r.src[r.at:])) << 32 >> r.valid
	}
	// If a word is not complete, exhausted reports it as missing.
	r.at += 4
	r.valid += 32
}

// pos returns how many bits have been passed over.
func (r *bitReader) pos() int { return int(8*r.at - r.valid) }

// offset returns the position of the next bit in bytes, rounded up.
func (r *bitReader) offset() int { return min((r.pos()+7)/8, len(r.src)) }

// exhausted reports whether the word after the one that holds the last bit
// read is missing. Encoders write it, and reference decoders read it ahead.
func (r *bitReader) exhausted() bool { return (r.pos()+31)/32*4+4 > len(r.src) }

// run reads the length of a run. First come ones: each stands for as many pixels as the state says,
// and raises the state. Then come a zero, and the rest in as many bits as the state then says. If
// the length is above limit, run may return a smaller one that is still above limit.
func (r *bitReader) run(s *modelState, limit int) int {
	length := 0
	ones := bits.LeadingZeros64(^r.acc)
	for ; ones >= 32; ones = bits.LeadingZeros64(^r.acc) {
		length += s.raise(32)
		if length > limit {
			return length
		}
		r.skip(32)
	}
	length += s.raise(ones)
	r.skip(ones + 1)
	n := int(runBits[s.run&31])
	length += int(uint32(r.acc>>32) >> (32 - n))
	r.skip(n)
	s.run = max(s.run-1, 0)
	return length
}
