package quic

import "math/bits"

// number decodes the codeword of code l at the top of acc, whose 32 highest bits at
// least are valid, and returns the number and the codeword's length. A number
// beyond f.max is no number that an encoder writes.
func (f *family) number(acc uint64, l uint8) (n uint32, length uint) {
	zeros := uint(bits.LeadingZeros64(acc))
	if zeros < uint(f.prefix[l&7]) {
		// zeros-1 rather than zeros, because the shifted bits include the one
		// that ends the prefix.
		return uint32((zeros-1)<<(l&7)) + uint32(acc>>((63-zeros-uint(l))&63)), zeros + 1 + uint(l)
	}
	length = uint(f.prefix[l&7] + f.suffix[l&7])
	return uint32(f.plain[l&7]) + uint32(acc<<(f.prefix[l&7]&63)>>((64-f.suffix[l&7])&63)), length
}

// unfold turns a number back into a difference, modulo 1<<32; only the channel's
// bits mean something.
func unfold(n uint32) uint32 { return n>>1 ^ -(n & 1) }

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

// colour decodes the numbers of the three colours, red first, in the contexts of c.
// It returns them and their contexts packed in the order of a pixel.
func (d *Decoder) colour(f *family, c uint32) (numbers, contexts uint32, ok bool) {
	for shift := 16; shift >= 0; shift -= 8 {
		n, length := f.number(d.in.acc, d.chans[shift/8].best[c>>shift&7])
		d.in.drop(length)
		if n > f.max {
			return 0, 0, false
		}
		numbers |= n << shift
		contexts |= uint32(f.bucket[n]) << shift
	}
	return numbers, contexts, true
}

// updateColours counts the numbers of a pixel that were coded in the contexts of c.
func (d *Decoder) updateColours(f *family, c, numbers uint32) {
	trigger := d.rgb.trigger
	d.chans[2].update(f, uint8(c>>16), numbers>>16&255, trigger)
	d.chans[1].update(f, uint8(c>>8), numbers>>8&255, trigger)
	d.chans[0].update(f, uint8(c), numbers&255, trigger)
}

// differences unfolds three packed numbers.
func (f *family) differences(numbers uint32) uint32 {
	r, g, b := numbers>>16&255, numbers>>8&255, numbers&255
	return unfold(r)&f.max<<16 | unfold(g)&f.max<<8 | unfold(b)&f.max
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
		numbers, contexts, ok := d.colour(f, c)
		if !ok {
			return false
		}
		left = add(left, f.differences(numbers)) & f.fold
		cur[i], d.ctx[i] = left, contexts
		if s.wait > 0 {
			s.wait--
		} else {
			s.wait = s.next()
			d.updateColours(f, c, numbers)
		}
		c = contexts
	}
	return true
}

// colours decodes the pixels from i to end of a row that is not the first.
func (d *Decoder) colours(f *family, cur, prev []uint32, i, end int) bool {
	s := &d.rgb
	if i == 0 {
		// The column to the left of the first is the first of the row above.
		c := d.ctx[0]
		numbers, contexts, ok := d.colour(f, c)
		if !ok {
			return false
		}
		cur[0], d.ctx[0] = add(prev[0]&colours, f.differences(numbers))&f.fold, contexts
		if s.wait > 0 {
			s.wait--
		} else {
			s.wait = s.next()
			d.updateColours(f, c, numbers)
		}
		i = 1
	}
	stop := i + s.wait // the pixel after which the model is updated
	runAt := -1
	for i < end {
		if i > 2 && i != runAt && (prev[i-1]^prev[i])&colours == 0 && cur[i-1] == cur[i-2] {
			s.wait = stop - i
			runAt = i
			n := d.in.run(s, end-i)
			if n > end-i {
				return false
			}
			for v := cur[i-1]; n > 0; n-- {
				cur[i] = v
				i++
			}
			if i == end {
				return true
			}
			stop = i + s.wait
			continue
		}
		c := d.ctx[i-1]
		numbers, contexts, ok := d.colour(f, c)
		if !ok {
			return false
		}
		cur[i] = add(mean(cur[i-1], prev[i]&colours), f.differences(numbers)) & f.fold
		d.ctx[i] = contexts
		if i == stop {
			d.updateColours(f, c, numbers)
			stop = i + 1 + s.next()
		}
		i++
	}
	s.wait = stop - end
	return true
}

// single decodes one alpha in context c.
func (d *Decoder) single(c uint8) (n uint32, ok bool) {
	n, length := family8.number(d.in.acc, d.chans[3].best[c&7])
	d.in.drop(length)
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
		d.actx[i] = family8.bucket[n]
		if s.wait > 0 {
			s.wait--
		} else {
			s.wait = s.next()
			d.chans[3].update(family8, c, n, s.trigger)
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
		d.actx[0] = family8.bucket[n]
		if s.wait > 0 {
			s.wait--
		} else {
			s.wait = s.next()
			d.chans[3].update(family8, c, n, s.trigger)
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
		d.actx[i] = family8.bucket[n]
		if i == stop {
			d.chans[3].update(family8, c, n, s.trigger)
			stop = i + 1 + s.next()
		}
		i++
	}
	s.wait = stop - end
	return true
}
