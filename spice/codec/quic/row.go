package quic

import (
	"encoding/binary"
	"math/bits"
)

// number decodes the codeword of code l at the top of acc, of whose bits codeLimit at
// least are valid, and returns the number and the codeword's length. A number
// beyond f.max is no number that an encoder writes.
func (f *family) number(acc uint64, l uint8) (n uint32, length int) {
	zeros := bits.LeadingZeros64(acc)
	if zeros >= int(f.prefix[l&7]) {
		return f.escaped(acc, l)
	}
	// zeros-1 rather than zeros, because the shifted bits include the one
	// that ends the prefix.
	return uint32((zeros-1)<<(l&7)) + uint32(acc>>((63-zeros-int(l))&63)), zeros + 1 + int(l)
}

// escaped is number for a codeword whose prefix is the longest.
func (f *family) escaped(acc uint64, l uint8) (n uint32, length int) {
	l &= 7
	return uint32(f.plain[l]) + uint32(acc<<f.prefix[l]>>(64-f.suffix[l])), int(f.prefix[l] + f.suffix[l])
}

// unfold turns packed numbers back into differences, modulo 256.
func unfold(n uint32) uint32 { return n>>1&0x7f7f7f7f ^ n&0x01010101*0xff }

// add adds bytes, each modulo 256.
func add(a, b uint32) uint32 { return (a&0x7f7f7f7f + b&0x7f7f7f7f) ^ (a^b)&0x80808080 }

// mean returns the means of bytes, rounded down.
func mean(a, b uint32) uint32 { return a&b + (a^b)>>1&0x7f7f7f7f }

const colours = 0x00ffffff

// raise doubles the mean distance between updates.
func (s *modelState) raise() {
	s.waitBits++
	s.trigger = triggers[s.waitBits]
	s.left = waitPixels
}

// row decodes a row into cur: the three colours, zeroing the fourth byte, or with s
// the alpha's state the fourth byte alone. prev is the row above, nil for the
// first row. It reports whether the data can be an encoder's.
func (d *Decoder) row(s *modelState, f *family, cur, prev []uint32) bool {
	for pos := 0; pos < len(cur); {
		end := len(cur)
		if s.waitBits < waitMax {
			if s.left == 0 {
				s.raise()
				continue
			}
			end = min(end, pos+s.left)
			s.left -= end - pos
		}
		var ok bool
		switch {
		case s == &d.alpha && prev == nil:
			ok = d.firstAlpha(cur, pos, end)
		case s == &d.alpha:
			ok = d.alphas(cur, prev, pos, end)
		case prev == nil:
			ok = d.firstColours(f, cur, pos, end)
		default:
			ok = d.colours(f, cur, prev, pos, end)
		}
		if !ok {
			return false
		}
		pos = end
	}
	if s.waitBits < waitMax && s.left == 0 {
		s.raise()
	}
	return true
}

// colour decodes the numbers of the three colours in the contexts of c, red first, and
// packs them in the order of a pixel.
func (d *Decoder) colour(f *family, c uint32) (numbers uint32, ok bool) {
	for shift := 16; shift >= 0; shift -= 8 {
		n, length := f.number(d.in.window(), d.chans[shift/8].best[c>>shift&255])
		d.in.pos += length
		if n > f.max {
			return 0, false
		}
		numbers |= n << shift
	}
	return numbers, true
}

// updateColours counts the numbers of a pixel that were coded in the contexts of c.
func (d *Decoder) updateColours(f *family, c, numbers uint32) {
	trigger := d.rgb.trigger
	d.chans[2].update(f, uint8(c>>16), uint8(numbers>>16), trigger)
	d.chans[1].update(f, uint8(c>>8), uint8(numbers>>8), trigger)
	d.chans[0].update(f, uint8(c), uint8(numbers), trigger)
}

// firstColours decodes the pixels from i to end of the first row. They
// have nothing above them, and there are no runs.
func (d *Decoder) firstColours(f *family, cur []uint32, i, end int) bool {
	s := &d.rgb
	var left, c uint32
	if i > 0 {
		left, c = cur[i-1], d.ctx[i-1]
	}
	for ; i < end; i++ {
		numbers, ok := d.colour(f, c)
		if !ok {
			return false
		}
		left = add(left, unfold(numbers)) & f.fold
		cur[i], d.ctx[i] = left, numbers
		if s.wait > 0 {
			s.wait--
		} else {
			s.wait = s.next()
			d.updateColours(f, c, numbers)
		}
		c = numbers
	}
	return true
}

// colours decodes the pixels from i to end of a row that is not the first.
func (d *Decoder) colours(f *family, cur, prev []uint32, i, end int) bool {
	s := &d.rgb
	if i == 0 {
		// The column to the left of the first is the first of the row above.
		c := d.ctx[0]
		numbers, ok := d.colour(f, c)
		if !ok {
			return false
		}
		cur[0], d.ctx[0] = add(prev[0]&colours, unfold(numbers))&f.fold, numbers
		if s.wait > 0 {
			s.wait--
		} else {
			s.wait = s.next()
			d.updateColours(f, c, numbers)
		}
		i = 1
	}
	// From here on everything that changes with a pixel is in a variable.
	cur, prev, ctx := cur[:end], prev[:end], d.ctx[:end]
	src, pos := d.in.src, d.in.pos
	stop := i + s.wait // the pixel after which the model is updated
	runAt := 2         // no run here, nor to the left
	left, above, c := cur[i-1], prev[i-1]&colours, ctx[i-1]
	bestR, bestG, bestB := &d.chans[2].best, &d.chans[1].best, &d.chans[0].best
	flat := i > 1 && left == cur[i-2] // the last two pixels are the same
	for i < end {
		next := prev[i] & colours
		if next == above && flat && i > runAt {
			s.wait = stop - i
			d.in.pos = pos
			n := d.in.run(s, end-i)
			pos = d.in.pos
			if n > end-i {
				return false
			}
			runAt = i
			for range n {
				cur[i] = left
				i++
			}
			if i == end {
				return true
			}
			stop = i + s.wait
			c, next = ctx[i-1], prev[i]&colours
			if n > 0 {
				above = prev[i-1] & colours
				continue
			}
		}
		above = next

		// number, three times over, and window: calls would take half as long again.
		// Two codewords and what a third may need fit in a window only if the two
		// are not among the longest.
		var acc uint64
		if at := uint(pos) >> 5 * 4; at+12 <= uint(len(src)) {
			w := src[at : at+12]
			acc = bits.RotateLeft64(binary.LittleEndian.Uint64(w), 32)<<(uint(pos)&31) |
				uint64(binary.LittleEndian.Uint32(w[8:]))>>(32-uint(pos)&31)
		} else {
			acc = lastWindow(src, pos)
		}
		start := pos
		var r, g, b uint32
		l := bestR[c>>16&255]
		if zeros := bits.LeadingZeros64(acc); zeros < int(f.prefix[l&7]) {
			r = uint32((zeros-1)<<(l&7)) + uint32(acc>>((63-uint(zeros)-uint(l))&63))
			zeros += 1 + int(l)
			acc <<= uint(zeros) & 63
			pos += zeros
		} else {
			var n int
			r, n = f.escaped(acc, l)
			acc <<= uint(n)
			pos += n
		}
		l = bestG[c>>8&255]
		if zeros := bits.LeadingZeros64(acc); zeros < int(f.prefix[l&7]) {
			g = uint32((zeros-1)<<(l&7)) + uint32(acc>>((63-uint(zeros)-uint(l))&63))
			zeros += 1 + int(l)
			acc <<= uint(zeros) & 63
			pos += zeros
		} else {
			var n int
			g, n = f.escaped(acc, l)
			acc <<= uint(n)
			pos += n
		}
		if pos-start > 64-codeLimit {
			acc = window(src, pos)
		}
		l = bestB[c&255]
		if zeros := bits.LeadingZeros64(acc); zeros < int(f.prefix[l&7]) {
			b = uint32((zeros-1)<<(l&7)) + uint32(acc>>((63-uint(zeros)-uint(l))&63))
			pos += zeros + 1 + int(l)
		} else {
			var n int
			b, n = f.escaped(acc, l)
			pos += n
		}
		if (r|g|b)&^f.max != 0 {
			d.in.pos = pos
			return false
		}
		numbers := r<<16 | g<<8 | b
		v := add(mean(left, above), unfold(numbers)) & f.fold
		flat = v == left
		left = v
		cur[i], ctx[i] = v, numbers
		if i == stop {
			d.updateColours(f, c, numbers)
			stop = i + 1 + s.next()
		}
		c = numbers
		i++
	}
	d.in.pos = pos
	s.wait = stop - end
	return true
}

// single decodes one alpha in context c.
func (d *Decoder) single(c uint8) (n uint32, ok bool) {
	n, length := family8.number(d.in.window(), d.chans[3].best[c])
	d.in.pos += length
	return n, n <= 255
}

// firstAlpha is firstColours for the fourth byte.
func (d *Decoder) firstAlpha(cur []uint32, i, end int) bool {
	s := &d.alpha
	var left uint32
	var c uint8
	if i > 0 {
		left, c = cur[i-1]>>24, d.actx[i-1]
	}
	for ; i < end; i++ {
		n, ok := d.single(c)
		if !ok {
			return false
		}
		left = (left + unfold(n)) & 255
		cur[i] = cur[i]&colours | left<<24
		d.actx[i] = uint8(n)
		if s.wait > 0 {
			s.wait--
		} else {
			s.wait = s.next()
			d.chans[3].update(family8, c, uint8(n), s.trigger)
		}
		c = d.actx[i]
	}
	return true
}

// alphas is colours for the fourth byte.
func (d *Decoder) alphas(cur, prev []uint32, i, end int) bool {
	s := &d.alpha
	if i == 0 {
		c := d.actx[0]
		n, ok := d.single(c)
		if !ok {
			return false
		}
		cur[0] = cur[0]&colours | (prev[0]>>24+unfold(n))<<24
		d.actx[0] = uint8(n)
		if s.wait > 0 {
			s.wait--
		} else {
			s.wait = s.next()
			d.chans[3].update(family8, c, uint8(n), s.trigger)
		}
		i = 1
	}
	stop := i + s.wait
	runAt := -1
	for i < end {
		if i > 2 && i != runAt && (prev[i-1]^prev[i])>>24 == 0 && (cur[i-1]^cur[i-2])>>24 == 0 {
			s.wait = stop - i
			runAt = i
			n := d.in.run(s, end-i)
			if n > end-i {
				return false
			}
			for v := cur[i-1] &^ colours; n > 0; n-- {
				cur[i] = cur[i]&colours | v
				i++
			}
			if i == end {
				return true
			}
			stop = i + s.wait
			continue
		}
		c := d.actx[i-1]
		n, ok := d.single(c)
		if !ok {
			return false
		}
		cur[i] = cur[i]&colours | ((cur[i-1]>>24+prev[i]>>24)>>1+unfold(n))<<24
		d.actx[i] = uint8(n)
		if i == stop {
			d.chans[3].update(family8, c, uint8(n), s.trigger)
			stop = i + 1 + s.next()
		}
		i++
	}
	s.wait = stop - end
	return true
}
