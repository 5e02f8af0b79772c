package quic

// A channel's value at a pixel is coded as the difference, modulo the channel's range, between it
// and a prediction: the mean of the pixels to the left and above, or the only one of them. The
// difference is folded so that small ones of either sign become small numbers, and that number is
// written in one of a family of Golomb-Rice codes. Which code depends on the context: the folded
// number that the same column held the last time one was coded for the column to the left. Contexts
// are grouped in buckets that double in size, and each bucket counts what each code would have
// cost; the cheapest so far is the one in use.
//
// The counts are not updated at every pixel but at pseudo-random distances whose
// mean doubles, up to a limit, as the image proceeds.
//
// If the row above stays the same and the last two pixels are the same, a run of the pixel to the
// left is coded instead, with its length coded as in JPEG-LS.

const (
	maxCodes   = 8  // codes in the larger family
	codeLimit  = 26 // DEFmaxclen: no codeword is longer, in bits
	waitMax    = 6  // DEFwmimax: the last waiting mask is 1<<waitMax - 1
	waitPixels = 2048
	shortBits  = 10 // longer codewords are rare, and the table fits in a core's first cache
	isShort    = 1 << 7
)

// A family is the set of codes for a channel depth. Code l has codewords with a
// unary prefix and l more bits for numbers below plain[l]; any larger number has
// prefix[l] zeros and suffix[l] bits.
type family struct {
	codes  int      // codes in use, the depth in bits
	max    uint32   // largest number, all ones
	fold   uint32   // max in each byte of a pixel
	prefix [8]uint8 // bits
	suffix [8]uint8 // bits
	plain  [8]uint16
	length [256]costs // codeword lengths in bits by number; codes not in use cost more than any
	bucket [256]uint8 // bucket of a context
	end    [8]uint16  // the context after the last one of a bucket

	// short has, by code and the next shortBits bits, the codeword's length in the low
	// six bits, isShort, and the number in the high byte; or 0 if the codeword is
	// longer.
	short [8][1 << shortBits]uint16
}

var family8, family5 = newFamily(8), newFamily(5)

func newFamily(depth int) *family {
	f := &family{codes: depth, max: 1<<depth - 1}
	f.fold = f.max * 0x01010101
	for l := 0; l < depth; l++ {
		prefix := min(codeLimit-depth, 1<<(depth-l)-1)
		f.prefix[l] = uint8(prefix)
		f.plain[l] = uint16(prefix << l)
		rest := 1<<depth - prefix<<l
		for 1<<f.suffix[l] < rest {
			f.suffix[l]++
		}
		for n := range f.length {
			length := uint64(f.prefix[l] + f.suffix[l])
			if n < int(f.plain[l]) {
				length = uint64(n>>l + l + 1)
			}
			f.length[n][l/4] |= length << (16 * (l % 4))
		}
	}
	for n := range f.length {
		for l := depth; l < maxCodes; l++ {
			f.length[n][l/4] |= (codeLimit + 1) << (16 * (l % 4))
		}
	}
	for l := range depth {
		for next := range f.short[l] {
			n, length := f.number(uint64(next)<<(64-shortBits), uint8(l))
			if length <= shortBits && n <= f.max {
				f.short[l][next] = isShort | uint16(length) | uint16(n)<<8
			}
		}
	}
	// Buckets hold 1, 2, 4, … contexts; the last takes the one that is left over.
	for n := range f.bucket {
		b := 0
		for n+1 >= 2<<b && b < depth-1 {
			b++
		}
		f.bucket[n] = uint8(b)
		f.end[b] = uint16(n) + 1
	}
	return f
}

// A channel is the adaptive part of the model. For each bucket it has what each code would have
// cost so far. For each context it has the code in use, which is the same for all contexts of a
// bucket.
type channel struct {
	best [256]uint8
	cost [8]costs
}

// costs are eight 16-bit counters, that of code 0 in the low bits of the first word.
//
// NB: they do not overflow. An update adds from 1 to codeLimit+1, and once the least
// cost is above the trigger, 900 at most, all are halved. So there are at most 901
// updates between two halvings, and the largest cost stays below twice 901*27.
type costs [2]uint64

func (c *channel) reset(f *family) {
	c.cost = [8]costs{}
	for i := range c.best {
		c.best[i] = uint8(f.codes - 1)
	}
}

// update counts the number n coded in the given context. Among equals, the code with
// the most plain bits wins.
func (c *channel) update(f *family, context uint8, n uint8, trigger uint32) {
	bucket := f.bucket[context] & 7
	cost := &c.cost[bucket]
	low, high := cost[0]+f.length[n][0], cost[1]+f.length[n][1]
	// A cost and below it how far its code is from the last one: the least is the best.
	least := min(low<<3&(0xffff<<3)|7, low>>13&(0xffff<<3)|6, low>>29&(0xffff<<3)|5, low>>45&(0xffff<<3)|4,
		high<<3&(0xffff<<3)|3, high>>13&(0xffff<<3)|2, high>>29&(0xffff<<3)|1, high>>45&(0xffff<<3))
	if best := uint8(7 - least&7); c.best[context] != best {
		first := 1<<bucket - 1
		for i := range c.best[first:f.end[bucket]] {
			c.best[first+i] = best
		}
	}
	if uint32(least>>3) > trigger {
		low, high = low>>1&0x7fff_7fff_7fff_7fff, high>>1&0x7fff_7fff_7fff_7fff
	}
	cost[0], cost[1] = low, high
}

// modelState says when the model is next updated and what a run's length is
// expected to be. The three colours share one; alpha has its own.
type modelState struct {
	wait     int    // pixels to pass before the next update
	seed     uint8  // position in waits
	waitBits int    // wmidx: the distance of updates is below 1<<waitBits
	left     int    // wmileft: pixels until waitBits rises
	trigger  uint32 // a cost above it makes its bucket's costs halve

	run int // state of the run length code, index of runBits
}

func newModelState() modelState {
	return modelState{seed: 255, left: waitPixels, trigger: triggers[0]}
}

// next returns a pseudo-random distance to the next update.
func (s *modelState) next() int {
	s.seed++
	return int(waits[s.seed]) & (1<<s.waitBits - 1)
}

// raise raises the state of the run length code n times, at most 32. It returns how many pixels the
// bits that do so stand for.
func (s *modelState) raise(n int) int {
	was := s.run
	s.run = min(was+n, len(runBits)-1)
	return int(runPixels[(was+n)&63] - runPixels[was&63])
}

// triggers is the row of besttrigtab for DEFevol 3, by waitBits.
var triggers = [waitMax + 1]uint32{110, 550, 900, 800, 550, 400, 350}

// runBits is J: by state, the logarithm of the run length that one bit stands for.
var runBits = [32]uint8{
	0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 9, 10, 11, 12, 13, 14, 15,
}

// runPixels has, by state, the pixels that the bits from state 0 up to it stand for. Beyond the
// last state each bit stands for as many as in that state.
var runPixels = func() (sum [64]uint32) {
	for s := range len(sum) - 1 {
		sum[s+1] = sum[s] + 1<<runBits[min(s, len(runBits)-1)]
	}
	return sum
}()

// waits is the part of tabrand_chaos that a mask of waitMax bits lets through.
var waits = [256]uint8{
	2, 23, 19, 21, 7, 18, 40, 14, 12, 32, 47, 44, 36, 6, 18, 11, 4, 19, 42, 29, 16, 63, 57, 51, 16, 3, 5, 14, 15, 30, 20, 9,
	36, 45, 3, 57, 61, 0, 8, 5, 41, 14, 43, 27, 43, 59, 31, 35, 39, 60, 42, 38, 13, 54, 62, 1, 26, 3, 11, 61, 52, 34, 7, 48,
	4, 59, 22, 12, 22, 8, 50, 4, 10, 6, 44, 8, 11, 46, 31, 51, 53, 17, 1, 43, 46, 60, 36, 54, 10, 27, 39, 44, 22, 41, 23, 2,
	44, 0, 40, 53, 40, 48, 16, 43, 32, 28, 33, 12, 20, 2, 56, 62, 55, 58, 18, 20, 13, 55, 38, 29, 57, 19, 49, 33, 47, 63, 59, 0,
	35, 61, 19, 25, 46, 38, 60, 4, 35, 1, 26, 40, 28, 10, 5, 14, 25, 18, 48, 49, 20, 59, 62, 34, 46, 7, 33, 52, 34, 58, 9, 29,
	8, 55, 62, 60, 37, 36, 37, 50, 6, 3, 10, 28, 48, 24, 26, 61, 57, 30, 11, 54, 2, 6, 50, 47, 7, 17, 35, 53, 32, 12, 23, 17,
	5, 21, 49, 55, 51, 45, 52, 27, 39, 25, 39, 63, 22, 24, 42, 52, 56, 38, 41, 41, 56, 32, 13, 24, 26, 51, 27, 56, 58, 37, 24, 42,
	15, 28, 17, 30, 31, 15, 16, 23, 25, 54, 33, 34, 1, 29, 31, 50, 53, 21, 49, 15, 47, 9, 0, 58, 37, 45, 30, 13, 9, 45, 63, 21,
}
