package codectest

import (
	"encoding/binary"
	"math/bits"
)

// Types of QUIC images: QuicImageType in spice-common's common/quic.h.
const (
	QUICGray = 1 + iota
	QUICRGB16
	QUICRGB24
	QUICRGB32
	QUICRGBA
)

// EncodeQUIC returns the picture as a QUIC image of the given type. QUICGray takes the
// green channel, QUICRGB16 loses colour (see Picture.RGB555).
//
// It is written for clarity and independently of package quic, so that a mistake in the model there
// does not cancel out here. It keeps contexts as values, builds codes from their definition, and
// computes the whole model again at each update.
func EncodeQUIC(p *Picture, quicType int) []byte {
	e := &quicEncoder{width: p.Width}
	for _, v := range []int{0x43495551, 0, quicType, p.Width, p.Height} {
		e.write(uint32(v), 32)
	}
	depth := 8
	var groups [][]int // offsets of the channels in a pixel, by group
	switch quicType {
	case QUICGray:
		groups = [][]int{{1}}
	case QUICRGB16:
		depth = 5
		groups = [][]int{{2, 1, 0}}
	case QUICRGBA:
		groups = [][]int{{2, 1, 0}, {3}}
	default:
		groups = [][]int{{2, 1, 0}}
	}
	var coders []*quicGroup
	for _, g := range groups {
		coders = append(coders, newQUICGroup(e, g, depth, p.Width))
	}
	rows := make([][]int, p.Height)
	for y := range rows {
		rows[y] = make([]int, 4*p.Width)
		for i := range rows[y] {
			rows[y][i] = int(p.Pix[y*4*p.Width+i]) >> (8 - depth)
		}
		for _, c := range coders {
			if y == 0 {
				c.row(nil, rows[y])
			} else {
				c.row(rows[y-1], rows[y])
			}
		}
	}
	// The last word is filled up, and one more follows for decoders that read ahead.
	e.write(0, (32-e.bits%32)%32)
	e.write(0, 32)
	return e.out
}

type quicEncoder struct {
	width int
	out   []byte
	word  uint32
	bits  int
}

// write writes the low n bits of v, the highest first.
func (e *quicEncoder) write(v uint32, n int) {
	for n--; n >= 0; n-- {
		e.word = e.word<<1 | v>>n&1
		if e.bits++; e.bits%32 == 0 {
			e.out = binary.LittleEndian.AppendUint32(e.out, e.word)
		}
	}
}

// A quicGroup is the channels that share runs and the pace of updates.
type quicGroup struct {
	e        *quicEncoder
	offsets  []int
	depth    int
	contexts [][]int        // by channel and column
	costs    [][8][8]int    // by channel, bucket and code
	best     [][8]int       // by channel and bucket
	seed     int            // position in quicWaits
	wait     int            // pixels before the next update
	mask     int            // logarithm of the largest distance of updates
	left     int            // pixels before mask rises
	run      int            // state of the run length code
	lengths  [256][8][2]int // zeros and bits behind them, by number and code
	codes    [256][8]int
}

func newQUICGroup(e *quicEncoder, offsets []int, depth, width int) *quicGroup {
	g := &quicGroup{e: e, offsets: offsets, depth: depth, seed: -1, left: 2048}
	for range offsets {
		g.contexts = append(g.contexts, make([]int, width))
		g.costs = append(g.costs, [8][8]int{})
		var best [8]int
		for i := range best {
			best[i] = depth - 1
		}
		g.best = append(g.best, best)
	}
	for n := range 1 << depth {
		for l := range depth {
			zeros := min(26-depth, 1<<(depth-l)-1)
			if plain := zeros << l; n < plain {
				g.lengths[n][l] = [2]int{n >> l, l + 1}
				g.codes[n][l] = 1<<l | n&(1<<l-1)
			} else {
				g.lengths[n][l] = [2]int{zeros, bits.Len(uint(1<<depth - plain - 1))}
				g.codes[n][l] = n - plain
			}
		}
	}
	return g
}

func (g *quicGroup) bucket(context int) int {
	return min(bits.Len(uint(context+1))-1, g.depth-1)
}

func (g *quicGroup) same(row []int, i, j int) bool {
	for _, o := range g.offsets {
		if row[4*i+o] != row[4*j+o] {
			return false
		}
	}
	return true
}

func (g *quicGroup) row(prev, cur []int) {
	at := 0
	for width := g.e.width; ; {
		end := width
		if g.mask < 6 {
			end = min(end, at+g.left)
			g.left -= end - at
		}
		if at < end {
			g.segment(prev, cur, at, end)
		}
		at = end
		if g.mask < 6 && g.left == 0 {
			g.mask++
			g.left = 2048
		} else if at == width {
			return
		}
	}
}

func (g *quicGroup) segment(prev, cur []int, i, end int) {
	ranAt := -1
	for i < end {
		if prev != nil && i > 2 && i != ranAt && g.same(prev, i-1, i) && g.same(cur, i-1, i-2) {
			ranAt = i
			n := 0
			for i < end && g.same(cur, i, i-1) {
				n++
				i++
			}
			g.length(n)
			continue
		}
		update := g.wait == 0
		if update {
			g.seed++
			g.wait = int(quicWaits[g.seed%256]) & (1<<g.mask - 1)
		} else {
			g.wait--
		}
		for k, o := range g.offsets {
			g.value(k, o, i, prev, cur, update)
		}
		i++
	}
}

func (g *quicGroup) value(k, o, i int, prev, cur []int, update bool) {
	guess, context := 0, 0
	switch {
	case i > 0 && prev != nil:
		guess, context = (cur[4*(i-1)+o]+prev[4*i+o])/2, g.contexts[k][i-1]
	case i > 0:
		guess, context = cur[4*(i-1)+o], g.contexts[k][i-1]
	case prev != nil:
		guess, context = prev[o], g.contexts[k][0]
	}
	levels := 1 << g.depth
	n := (cur[4*i+o] - guess + levels) % levels
	if n < levels/2 {
		n = 2 * n
	} else {
		n = 2*(levels-1-n) + 1
	}
	b := g.bucket(context)
	l := g.best[k][b]
	g.e.write(0, g.lengths[n][l][0])
	g.e.write(uint32(g.codes[n][l]), g.lengths[n][l][1])
	g.contexts[k][i] = n
	if !update {
		return
	}
	costs := &g.costs[k][b]
	best := g.depth - 1
	for l := g.depth - 1; l >= 0; l-- {
		costs[l] += g.lengths[n][l][0] + g.lengths[n][l][1]
		if costs[l] < costs[best] {
			best = l
		}
	}
	g.best[k][b] = best
	if costs[best] > [...]int{110, 550, 900, 800, 550, 400, 350}[g.mask] {
		for l := range costs {
			costs[l] /= 2
		}
	}
}

// length writes the length of a run.
func (g *quicGroup) length(n int) {
	power := func() int { return int(quicRuns[g.run] - '0') }
	for n >= 1<<power() {
		g.e.write(1, 1)
		n -= 1 << power()
		g.run = min(g.run+1, 31)
	}
	g.e.write(0, 1)
	g.e.write(uint32(n), power())
	g.run = max(g.run-1, 0)
}

// quicRuns has for each state the logarithm of the run length that one bit stands for, as
// characters from '0' on.
const quicRuns = "0000111122223333445566778" + "9:;<=>?"

// quicWaits are the pseudo-random distances of updates, before they are masked.
var quicWaits = [256]uint8{
	2, 23, 19, 21, 7, 18, 40, 14, 12, 32, 47, 44, 36, 6, 18, 11, 4, 19, 42, 29, 16, 63, 57, 51, 16, 3, 5, 14, 15, 30, 20, 9,
	36, 45, 3, 57, 61, 0, 8, 5, 41, 14, 43, 27, 43, 59, 31, 35, 39, 60, 42, 38, 13, 54, 62, 1, 26, 3, 11, 61, 52, 34, 7, 48,
	4, 59, 22, 12, 22, 8, 50, 4, 10, 6, 44, 8, 11, 46, 31, 51, 53, 17, 1, 43, 46, 60, 36, 54, 10, 27, 39, 44, 22, 41, 23, 2,
	44, 0, 40, 53, 40, 48, 16, 43, 32, 28, 33, 12, 20, 2, 56, 62, 55, 58, 18, 20, 13, 55, 38, 29, 57, 19, 49, 33, 47, 63, 59, 0,
	35, 61, 19, 25, 46, 38, 60, 4, 35, 1, 26, 40, 28, 10, 5, 14, 25, 18, 48, 49, 20, 59, 62, 34, 46, 7, 33, 52, 34, 58, 9, 29,
	8, 55, 62, 60, 37, 36, 37, 50, 6, 3, 10, 28, 48, 24, 26, 61, 57, 30, 11, 54, 2, 6, 50, 47, 7, 17, 35, 53, 32, 12, 23, 17,
	5, 21, 49, 55, 51, 45, 52, 27, 39, 25, 39, 63, 22, 24, 42, 52, 56, 38, 41, 41, 56, 32, 13, 24, 26, 51, 27, 56, 58, 37, 24, 42,
	15, 28, 17, 30, 31, 15, 16, 23, 25, 54, 33, 34, 1, 29, 31, 50, 53, 21, 49, 15, 47, 9, 0, 58, 37, 45, 30, 13, 9, 45, 63, 21,
}
