package quic

import (
	"encoding/binary"
	"math/bits"
)

// A group is the bytes of a pixel that are coded together: the three colours, or the
// fourth byte by itself.
type group struct {
	modelState
	mask        uint32 // the bytes of a pixel that are its own
	keep        uint32 // those that were decoded before
	first, last int    // the channels, by their byte in a pixel; the first one is coded first

	// contexts has, by column, the numbers that were last coded there, each in its
	// channel's place. Runs leave them as they are.
	contexts []uint32
}

// reset prepares the group for an image. The colours come first, and zero the fourth byte. The
// alpha comes second, or stands alone in gray images.
func (g *group) reset(alpha bool, width int) {
	// NB: the contexts are not cleared. The first row has no runs, so it writes all
	// of them before they are read.
	*g = group{modelState: newModelState(), mask: 0x00ffffff, first: 2, contexts: grow(g.contexts, width)}
	if alpha {
		g.mask, g.keep, g.first, g.last = 0xff000000, 0x00ffffff, 3, 3
	}
}

// grow returns a slice of n elements, s's memory if it is large enough.
func grow(s []uint32, n int) []uint32 {
	if cap(s) >= n {
		return s[:n]
	}
	return make([]uint32, n)
}

// number decodes the codeword of code l at the top of acc, of which at least codeLimit bits are
// valid. It returns the number and the codeword's length in bits. No encoder writes a number beyond
// f.max.
func (f *family) number(acc uint64, l uint8) (n uint32, length int) {
	zeros := bits.LeadingZeros64(acc)
	if zeros >= int(f.prefix[l&7]) {
		return f.escaped(acc, l)
	}
	// zeros-1 rather than zeros, because the shifted bits include the one
	// that ends the prefix.
	return uint32((zeros-1)<<(l&7)) + uint32(acc>>((63-zeros-int(l))&63)), zeros + 1 + int(l)
}

// escaped does what number does, for a codeword with the longest prefix.
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

// decode decodes the numbers of a pixel in the contexts of c. It reports whether an
// encoder could have written them.
func (d *Decoder) decode(g *group, f *family, c uint32) (numbers uint32, ok bool) {
	for k := g.first; k >= g.last; k-- {
		n, length := f.number(d.in.acc, d.chans[k].best[c>>(8*k)&255])
		if n > f.max {
			return 0, false
		}
		numbers |= n << (8 * k)
		d.in.skip(length)
	}
	return numbers, true
}

// count ends a pixel that was coded with the given numbers in the contexts of c: it
// updates the model if that is due.
func (d *Decoder) count(g *group, f *family, c, numbers uint32) {
	if g.wait > 0 {
		g.wait--
		return
	}
	g.wait = g.next()
	for k := g.first; k >= g.last; k-- {
		d.chans[k].update(f, uint8(c>>(8*k)), uint8(numbers>>(8*k)), g.trigger)
	}
}

// row decodes the group's bytes of a row into cur. prev is the row above, nil for the first row. It
// reports whether an encoder could have written the data.
func (d *Decoder) row(g *group, f *family, cur, prev []uint32) bool {
	for i := 0; i < len(cur); {
		end := len(cur)
		if g.waitBits < waitMax {
			end = min(end, i+g.left)
		}
		if !d.segment(g, f, cur, prev, i, end) {
			return false
		}
		if g.waitBits < waitMax {
			if g.left -= end - i; g.left == 0 {
				g.waitBits++
				g.trigger = triggers[g.waitBits]
				g.left = waitPixels
			}
		}
		i = end
	}
	return true
}

// pixel decodes the group's bytes of pixel i of a row, in the contexts c and with the
// prediction p.
func (d *Decoder) pixel(g *group, f *family, cur []uint32, i int, c, p uint32) bool {
	numbers, ok := d.decode(g, f, c)
	cur[i] = cur[i]&g.keep | add(p, unfold(numbers))&f.fold&g.mask
	g.contexts[i] = numbers
	d.count(g, f, c, numbers)
	return ok
}

// segment decodes the part of a row from i to end, which has one waiting mask. Runs do not
// extend beyond it.
func (d *Decoder) segment(g *group, f *family, cur, prev []uint32, i, end int) bool {
	if prev == nil {
		if i == 0 {
			if !d.pixel(g, f, cur, 0, 0, 0) {
				return false
			}
			i = 1
		}
		for ; i < end; i++ {
			if !d.pixel(g, f, cur, i, g.contexts[i-1], cur[i-1]) {
				return false
			}
		}
		return true
	}
	if i == 0 {
		// The column to the left of the first is the first of the row above.
		if !d.pixel(g, f, cur, 0, g.contexts[0], prev[0]) {
			return false
		}
		i = 1
	}
	runAt := 2 // no run here, nor to the left
	for i < end {
		if i > runAt && ((prev[i-1]^prev[i])|(cur[i-1]^cur[i-2]))&g.mask == 0 {
			runAt = i
			n := d.in.run(&g.modelState, end-i)
			if n > end-i {
				return false
			}
			g.repeat(cur, i, n)
			i += n
			continue
		}
		// Up to the next update, or to where a run may begin.
		till := min(i+g.wait+1, end)
		var next int
		var long bool
		if g.first == 2 {
			next, long = d.colours(f, cur[:till], prev[:till], g.contexts[:till], i)
		} else {
			next, long = d.alphas(f, cur[:till], prev[:till], g.contexts[:till], i)
		}
		if next > i {
			g.wait -= next - i - 1
			i = next
			d.count(g, f, g.contexts[i-2], g.contexts[i-1])
		}
		if long {
			if !d.pixel(g, f, cur, i, g.contexts[i-1], mean(cur[i-1], prev[i])) {
				return false
			}
			i++
		}
	}
	return true
}

// repeat copies the group's bytes of pixel i-1 to the n pixels from i on. It may also write the
// pixels after them in the row, which are still to be decoded.
func (g *group) repeat(row []uint32, i, n int) {
	v := row[i-1]
	if g.keep != 0 {
		v &= g.mask
		for x, was := range row[i : i+n] {
			row[i+x] = was&g.keep | v
		}
		return
	}
	if n <= 16 && 16 <= len(row)-i {
		// Most runs are this short. The end of a loop over so few pixels would be mispredicted.
		p := (*[16]uint32)(row[i:])
		p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7] = v, v, v, v, v, v, v, v
		if n > 8 {
			p[8], p[9], p[10], p[11], p[12], p[13], p[14], p[15] = v, v, v, v, v, v, v, v
		}
		return
	}
	row = row[i : i+n]
	few := row[:min(len(row), 16)]
	for x := range few {
		few[x] = v
	}
	for n := len(few); n < len(row); {
		n += copy(row[n:], row[:n])
	}
}

// colours decodes the colours of the pixels from i on, and zeroes the fourth byte. It ends at the
// end of above, or where a run may begin: the last two pixels are equal, and so are those above the
// last one and the next. It stops before a pixel with a codeword that is not in f.short, or that is
// near the end of the data, and reports that as long. It returns where it stopped. The fourth byte
// of the pixel before i is zero.
//
// NB: this is the inner loop of most images. It calls nothing, so its state stays in registers. The
// limit is how soon a codeword's length is known after the previous one. So there is a table, with
// the length where a shift can use it as it is, and words are fetched a pixel ahead.
func (d *Decoder) colours(f *family, row, above, contexts []uint32, i int) (next int, long bool) {
	src := d.in.src
	acc, valid, at := d.in.acc, d.in.valid, d.in.at
	row, contexts = row[:len(above)], contexts[:len(above)]
	left, c := row[i-1], contexts[i-1]
	x := uint(i)
	for x < uint(len(above)) {
		up := above[x]
		// Three short codewords are 30 bits; 32 are valid.
		r := f.short[d.chans[2].best[c>>16&255]&7][acc>>(64-shortBits)]
		rest := acc << (r & 63)
		g := f.short[d.chans[1].best[c>>8&255]&7][rest>>(64-shortBits)]
		rest <<= g & 63
		b := f.short[d.chans[0].best[c&255]&7][rest>>(64-shortBits)]
		rest <<= b & 63
		if r&g&b&isShort == 0 || at+4 > uint(len(src)) {
			long = true
			break
		}
		valid -= uint(r+g+b) & 63
		// The bits of the next word that are already there are added once more, unchanged.
		acc = rest | uint64(binary.LittleEndian.Uint32(src[at:at+4]))<<32>>(valid&63)
		more := (valid - 32) >> (bits.UintSize - 1) // 1 if the word was needed
		at += more * 4
		valid += more * 32

		c = uint32(r&0xff00)<<8 | uint32(g&0xff00) | uint32(b>>8)
		was := left
		left = add(mean(left, up&0xffffff), unfold(c)) & f.fold
		row[x], contexts[x] = left, c
		x++
		if left == was && (x >= uint(len(above)) || (up^above[x])&0xffffff == 0) {
			break
		}
	}
	d.in.acc, d.in.valid, d.in.at = acc, valid, at
	return int(x), long
}

// alphas does what colours does, for the fourth byte; it leaves the other three alone.
func (d *Decoder) alphas(f *family, row, above, contexts []uint32, i int) (next int, long bool) {
	src := d.in.src
	acc, valid, at := d.in.acc, d.in.valid, d.in.at
	row, contexts = row[:len(above)], contexts[:len(above)]
	left, c := row[i-1]>>24, contexts[i-1]>>24
	x := uint(i)
	for x < uint(len(above)) {
		up := above[x]
		a := f.short[d.chans[3].best[c&255]&7][acc>>(64-shortBits)]
		if a&isShort == 0 || at+4 > uint(len(src)) {
			long = true
			break
		}
		valid -= uint(a & 63)
		acc = acc<<(a&63) | uint64(binary.LittleEndian.Uint32(src[at:at+4]))<<32>>(valid&63)
		more := (valid - 32) >> (bits.UintSize - 1)
		at += more * 4
		valid += more * 32

		c = uint32(a >> 8)
		was := left
		left = ((was+up>>24)>>1 + unfold(c)) & 255
		row[x], contexts[x] = row[x]&0x00ffffff|left<<24, c<<24
		x++
		if left == was && (x >= uint(len(above)) || (up^above[x])>>24 == 0) {
			break
		}
	}
	d.in.acc, d.in.valid, d.in.at = acc, valid, at
	return int(x), long
}
