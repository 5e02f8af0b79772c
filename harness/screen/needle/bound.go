package needle

import (
	"cmp"
	"image"
	"math/rand/v2"
	"slices"
)

// A search rules out most places by a lower bound of their error, which costs a few loads. The bound
// compares sums of colours over blocks of pixels. Small blocks distinguish characters, and large
// ones distinguish the parts of a photograph.
//
// If the differences of n colours sum up to d, their squares sum up to d²/n at least. Differences
// below slightly count as nothing, so a sum up to (slightly-1)·n may mean no error at all. Up to
// twice that sum, the error is smallest if some differences count and the others are just too small.

// A block is a square of pixels whose colours are summed up.
type block struct {
	side int // in pixels
	unit int // sums are in multiples of it, so that the table of bounds stays small
}

var blocks = [...]block{{side: 3, unit: 4}, {side: 8, unit: 32}}

// bounds has, for each kind of block, the least error for each difference of two sums.
var bounds = func() (tables [len(blocks)][2048]uint32) {
	for kind, b := range blocks {
		colours := 3 * b.side * b.side
		for d := 1; d <= colours*255/b.unit; d++ {
			// Rounding takes less than a unit from each of the two sums.
			tables[kind][d] = leastError((d-1)*b.unit+1, colours)
		}
	}
	return tables
}()

// leastError returns the least sum of errors of n colours whose differences sum up to d.
func leastError(d, n int) uint32 {
	const nothing = slightly - 1
	switch {
	case d <= nothing*n:
		return 0
	case d < 2*nothing*n:
		return uint32(4 * nothing * (d - nothing*n))
	}
	return uint32(d * d / n)
}

// sums has the sums of a part of a scene: for each kind of block, the sums of the blocks at each
// pixel. A block extends from its pixel to the right and down.
type sums struct {
	rect image.Rectangle
	of   []uint16
}

// wholeScene is the largest number of pixels of a scene whose sums are made once for all searches.
// They take up to 16 MiB. A search on a larger scene makes the sums of its own part.
const wholeScene = 1 << 22

// sumsOf returns sums that include those of a part of the scene.
func (s *scene) sumsOf(part image.Rectangle) *sums {
	part = part.Intersect(s.Bounds())
	if s.sums != nil && part.In(s.sums.rect) {
		return s.sums
	}
	if s.Width*s.Height <= wholeScene {
		part = s.Bounds()
	}
	s.sums = s.sumUp(part)
	return s.sums
}

func (s *scene) sumUp(part image.Rectangle) *sums {
	w, h := part.Dx(), part.Dy()
	all := &sums{rect: part, of: make([]uint16, len(blocks)*w*h)}
	lines := make([]uint16, w*h)
	for y := range h {
		row := s.Row(part.Min.Y+y, part.Min.X, part.Max.X)
		line := lines[y*w:][:w]
		for x := range line {
			pixel := row[4*x:][:4]
			line[x] = uint16(pixel[0]) + uint16(pixel[1]) + uint16(pixel[2])
		}
	}
	columns := make([]int, w) // sums of the pixels of a block's height in each column
	for kind, b := range blocks {
		if w < b.side {
			continue
		}
		clear(columns)
		for y := range h {
			for x, v := range lines[y*w:][:w] {
				columns[x] += int(v)
			}
			if y < b.side-1 {
				continue
			}
			top := y - b.side + 1
			line := all.of[(kind*h+top)*w:][:w]
			sum := 0
			for _, column := range columns[:b.side-1] {
				sum += column
			}
			for x, column := range columns[b.side-1:] {
				sum += column
				line[x] = uint16(sum / b.unit)
				sum -= columns[x]
			}
			for x, v := range lines[top*w:][:w] {
				columns[x] -= int(v)
			}
		}
	}
	return all
}

// A look is a sum of one block of a template, to be compared with the same block of a scene.
type look struct {
	at   image.Point
	kind int // of block
	want int
}

// chooseLooks picks the blocks whose sums differ most from others of the template. They probably
// differ from those at a wrong place, too.
func (t *template) chooseLooks() {
	const most, candidates, samples = 48, 256, 64
	own := (&scene{Picture: t.picture()}).sumUp(image.Rect(0, 0, t.w, t.h))
	type candidate struct {
		look
		power int
	}
	var chosen []candidate
	r := rand.New(rand.NewPCG(uint64(t.w), uint64(t.h)))
	for kind, b := range blocks {
		if t.w < b.side || t.h < b.side {
			continue
		}
		var all []look
		for range 2 * candidates {
			l := look{at: image.Pt(r.IntN(t.w-b.side+1), r.IntN(t.h-b.side+1)), kind: kind}
			if l.want = int(own.of[own.index(l)]); t.comparesBlock(l.at, b.side) {
				all = append(all, l)
			}
		}
		for _, l := range all[:min(candidates, len(all))] {
			c := candidate{look: l}
			for _, other := range all[:min(samples, len(all))] {
				c.power += int(bounds[kind][max(l.want-other.want, other.want-l.want)])
			}
			chosen = append(chosen, c)
		}
	}
	slices.SortStableFunc(chosen, func(a, b candidate) int { return cmp.Compare(b.power, a.power) })
	for _, c := range chosen {
		if len(t.looks) == most {
			break
		}
		// NB: no pixel may count twice.
		if !slices.ContainsFunc(t.looks, func(l look) bool { return l.rect().Overlaps(c.rect()) }) {
			t.looks = append(t.looks, c.look)
		}
	}
}

func (l look) rect() image.Rectangle {
	side := blocks[l.kind].side
	return image.Rectangle{Min: l.at, Max: l.at.Add(image.Pt(side, side))}
}

// comparesBlock reports whether all pixels of a block are compared.
func (t *template) comparesBlock(at image.Point, side int) bool {
	if at.Y+side > t.h {
		return false
	}
	for _, spans := range t.rows[at.Y : at.Y+side] {
		if !slices.ContainsFunc(spans, func(s span) bool { return at.X >= s.x0 && at.X+side <= s.x1 }) {
			return false
		}
	}
	return true
}

// index returns the index of a look's sum for a template in the upper left corner.
func (s *sums) index(l look) int {
	return (l.kind*s.rect.Dy()+l.at.Y)*s.rect.Dx() + l.at.X
}

// looking has the looks of a template on a scene.
type looking struct {
	sums  *sums
	looks []placedLook
}

// A placedLook is a look's index in the sums, its wanted sum, and its bounds.
type placedLook struct {
	index, want int
	bounds      *[2048]uint32
}

// looking prepares the looks for the places within a rectangle.
func (t *template) looking(s *scene, places image.Rectangle) *looking {
	l := &looking{}
	if places.Empty() {
		return l
	}
	l.sums = s.sumsOf(image.Rectangle{Min: places.Min, Max: places.Max.Add(image.Pt(t.w-1, t.h-1))})
	for _, look := range t.looks {
		l.looks = append(l.looks, placedLook{index: l.sums.index(look), want: look.want, bounds: &bounds[look.kind]})
	}
	return l
}

// leastError returns a lower bound of the error at a place that no mask touches. It stops as soon as
// the bound is above most.
func (l *looking) leastError(at image.Point, most int64) (sum int64) {
	of := l.sums.of[(at.Y-l.sums.rect.Min.Y)*l.sums.rect.Dx()+at.X-l.sums.rect.Min.X:]
	for i := range l.looks {
		look := &l.looks[i]
		d := int(of[look.index]) - look.want
		sum += int64(look.bounds[max(d, -d)])
		if sum > most {
			break
		}
	}
	return sum
}
