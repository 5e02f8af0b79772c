package needle

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"image"
	"iter"
	"math"
	"slices"

	"github.com/spicelane/spicelane/harness/screen/pixmap"
)

// Similarity. A pixel's error is the mean of the squares of the differences of its three colours.
// Differences below slightly count as 0. The mean over the compared pixels becomes a percentage as
// in os-autoinst: a mean of 2 is 100, and one of 40 is 90.
const (
	slightly = 16
	ninety   = 40.0
	perPoint = 3.8
	// almost is the highest similarity of an area in which a pixel differs.
	almost = 99.99
)

// similarity returns the percentage for a sum of squares over a number of pixels. equal means that
// all pixels are equal.
func similarity(sum int64, pixels int, equal bool) float64 {
	if equal {
		return Exact
	}
	mean := float64(sum) / float64(3*pixels)
	return min(almost, max(0, 90+(ninety-mean)/perPoint))
}

// limit returns the largest sum of squares that an area with a similarity of need may have.
func limit(need float64, pixels int) int64 {
	most := math.Floor((ninety + perPoint*(90-need)) * float64(3*pixels))
	// The percentage decides, and not the rounding of a float's last digit.
	sum := int64(most) + 1
	for sum >= 0 && similarity(sum, pixels, false) < need {
		sum--
	}
	return sum
}

// A scene is a screen and the masks on it.
type scene struct {
	*pixmap.Picture
	masks []image.Rectangle
	sums  *sums // of the part that was searched last
}

// A fit is how well a template fits at a place.
type fit struct {
	at     image.Point
	sum    int64
	pixels int // compared
	equal  bool
}

func (f fit) similarity() float64 { return similarity(f.sum, f.pixels, f.equal) }

// search looks for the template within its margin. It returns the place that fits best; of equally
// good ones, the nearest. ok is false if the template has the needed similarity nowhere.
func (t *template) search(s *scene) (best fit, ok bool) {
	need, home := t.area.Need(), t.area.Rect().Min
	if need > almost { // only equal pixels have that
		return t.searchExact(s, home)
	}
	whole, bestFar := limit(need, t.pixels), 0
	places := t.places(s, home)
	looking := t.looking(s, places)
	try := func(at image.Point) {
		most := whole
		if t.touched(s, at) {
			pixels := t.visible(s, at)
			if pixels == 0 {
				return
			}
			most = limit(need, pixels)
		} else if looking.leastError(at, most) > most {
			return
		}
		f, done := t.errorAt(s, at, most)
		if !done || f.similarity() < need {
			return
		}
		if n := far(at.Sub(home)); !ok || f.similarity() > best.similarity() || f.similarity() == best.similarity() && n < bestFar {
			best, bestFar, ok = f, n, true
		}
	}
	if home.In(places) {
		if try(home); best.equal {
			return best, ok
		}
	}
	// Row by row is much faster than in a spiral.
	for y := places.Min.Y; y < places.Max.Y; y++ {
		for x := places.Min.X; x < places.Max.X; x++ {
			try(image.Pt(x, y))
		}
	}
	return best, ok
}

// far returns the larger of the two distances in d, horizontal and vertical.
func far(d image.Point) int { return max(d.X, -d.X, d.Y, -d.Y) }

// places returns the possible places of the template's upper left corner: within the margin, and
// such that the whole template is on the screen.
func (t *template) places(s *scene, home image.Point) image.Rectangle {
	m := t.area.SearchMargin()
	return image.Rect(home.X-m, home.Y-m, home.X+m+1, home.Y+m+1).Intersect(image.Rect(0, 0, s.Width-t.w+1, s.Height-t.h+1))
}

// searchExact looks for the nearest place where all pixels are equal.
func (t *template) searchExact(s *scene, home image.Point) (fit, bool) {
	// odd is the pixel of the screen that differed last. If all pixels of the template have one
	// colour, it rules out every place that covers it.
	odd := image.Pt(-1, -1)
	for d := range t.promising(s, home) {
		at := home.Add(d)
		if t.touched(s, at) {
			if t.visible(s, at) == 0 {
				continue
			}
			if f, done := t.errorAt(s, at, 0); done && f.equal {
				return f, true
			}
			continue
		}
		if in := odd.Sub(at); in.In(image.Rect(0, 0, t.w, t.h)) && t.compares(in) &&
			!bytes.Equal(s.Row(odd.Y, odd.X, odd.X+1), t.pix[4*(in.Y*t.w+in.X):][:4]) {
			continue
		}
		differs, where := t.firstDifference(s, at)
		if !differs {
			return fit{at: at, pixels: t.pixels, equal: true}, true
		}
		odd = where
	}
	return fit{}, false
}

// promising returns the offsets of the places within the margin and the screen that have the
// anchor, nearest first. It always includes places that masks touch.
func (t *template) promising(s *scene, home image.Point) iter.Seq[image.Point] {
	places := t.places(s, home)
	masked := len(s.masks) > 0
	anchored := func(at image.Point) bool {
		i := (at.Y+t.anchor.Y)*s.Stride + 4*(at.X+t.anchor.X)
		return binary.LittleEndian.Uint64(s.Pix[i:]) == t.anchorPix || masked && t.touched(s, at)
	}
	all := func(yield func(image.Point) bool) {
		for d := range spiral(t.area.SearchMargin(), s.Picture) {
			if at := home.Add(d); at.In(places) && (!t.anchored || anchored(at)) && !yield(d) {
				return
			}
		}
	}
	if !t.anchored || home.In(places) && anchored(home) && !masked {
		return all // it is probably at its place
	}
	var ways []image.Point
	for y := places.Min.Y; y < places.Max.Y; y++ {
		for x := places.Min.X; x < places.Max.X; x++ {
			if anchored(image.Pt(x, y)) {
				ways = append(ways, image.Pt(x, y).Sub(home))
			}
		}
	}
	slices.SortStableFunc(ways, func(a, b image.Point) int { return far(a) - far(b) })
	return slices.Values(ways)
}

// compares reports whether a pixel of the template is compared.
func (t *template) compares(p image.Point) bool {
	return slices.ContainsFunc(t.rows[p.Y], func(s span) bool { return p.X >= s.x0 && p.X < s.x1 })
}

// firstDifference reports whether a pixel differs, and returns the place of the first one on the
// screen.
func (t *template) firstDifference(s *scene, at image.Point) (bool, image.Point) {
	for y, spans := range t.rows {
		for _, sp := range spans {
			want := t.pix[4*(y*t.w+sp.x0) : 4*(y*t.w+sp.x1)]
			got := s.Row(at.Y+y, at.X+sp.x0, at.X+sp.x1)
			if bytes.Equal(want, got) {
				continue
			}
			for i := range want {
				if want[i] != got[i] {
					return true, image.Pt(at.X+sp.x0+i/4, at.Y+y)
				}
			}
		}
	}
	return false, image.Point{}
}

// within reports whether the whole template is on the screen if it is at that place.
func (t *template) within(s *scene, at image.Point) bool {
	return at.X >= 0 && at.Y >= 0 && at.X+t.w <= s.Width && at.Y+t.h <= s.Height
}

// visible returns the number of pixels that can be compared at a place. It is 0 if masks cover more
// than half of them, because the rest is too little evidence.
func (t *template) visible(s *scene, at image.Point) int {
	if !t.touched(s, at) {
		return t.pixels
	}
	n := 0
	t.eachSpan(s, at, func(_ int, sp span) bool {
		n += sp.x1 - sp.x0
		return true
	})
	if 2*n < t.pixels {
		return 0
	}
	return n
}

// touched reports whether a mask covers any pixel of the template at a place.
func (t *template) touched(s *scene, at image.Point) bool {
	r := image.Rect(at.X, at.Y, at.X+t.w, at.Y+t.h)
	return slices.ContainsFunc(s.masks, r.Overlaps)
}

// eachSpan calls f with each span of pixels that are compared at a place, until f returns false.
func (t *template) eachSpan(s *scene, at image.Point, f func(y int, sp span) bool) {
	touched := t.touched(s, at)
	for y, spans := range t.rows {
		if touched {
			for _, m := range s.masks {
				if at.Y+y >= m.Min.Y && at.Y+y < m.Max.Y {
					spans = without(spans, m.Min.X-at.X, m.Max.X-at.X)
				}
			}
		}
		for _, sp := range spans {
			if !f(y, sp) {
				return
			}
		}
	}
}

// errorAt sums up the errors at a place. As soon as the sum is above most, it stops and returns
// false.
func (t *template) errorAt(s *scene, at image.Point, most int64) (f fit, done bool) {
	f = fit{at: at, equal: true}
	t.eachSpan(s, at, func(y int, sp span) bool {
		want := t.pix[4*(y*t.w+sp.x0) : 4*(y*t.w+sp.x1)]
		got := s.Row(at.Y+y, at.X+sp.x0, at.X+sp.x1)
		f.pixels += sp.x1 - sp.x0
		if bytes.Equal(want, got) {
			return true
		}
		f.equal = false
		for i := 0; i+3 < len(want) && i+3 < len(got); i += 4 {
			if binary.LittleEndian.Uint32(want[i:]) == binary.LittleEndian.Uint32(got[i:]) {
				continue
			}
			f.sum += squares(want[i:i+4], got[i:i+4])
			if f.sum > most {
				return false
			}
		}
		return true
	})
	return f, f.sum <= most
}

// squares returns the error that one pixel adds to the sum.
func squares(want, got []byte) (sum int64) {
	for i := range 3 {
		if d := int64(want[i]) - int64(got[i]); d >= slightly || d <= -slightly {
			sum += d * d
		}
	}
	return sum
}

// nearest returns the place where the template fits best, for a message to a person. It compares
// some sums at each place, and then all pixels at the best of these places.
func (t *template) nearest(s *scene) (best fit, found bool) {
	home := t.area.Rect().Min
	type place struct {
		at  image.Point
		sum int64
	}
	const finalists = 8
	var places []place // the best, best first
	looking := t.looking(s, t.places(s, home))
	for d := range spiral(t.area.SearchMargin(), s.Picture) {
		at := home.Add(d)
		if !t.within(s, at) || t.touched(s, at) && t.visible(s, at) == 0 {
			continue
		}
		worst := int64(math.MaxInt64)
		if len(places) == finalists {
			if worst = places[finalists-1].sum; worst == 0 {
				break
			}
		}
		sum := looking.leastError(at, worst)
		if sum >= worst {
			continue
		}
		i, _ := slices.BinarySearchFunc(places, sum+1, func(p place, sum int64) int { return cmp.Compare(p.sum, sum) })
		places = slices.Insert(places, i, place{at, sum})
		places = places[:min(finalists, len(places))]
	}
	for _, p := range places {
		if f, _ := t.errorAt(s, p.at, math.MaxInt64); !found || f.similarity() > best.similarity() {
			best, found = f, true
		}
	}
	return best, found
}

// differences counts the pixels that differ at a place. It also returns the first one, from the
// template's corner.
func (t *template) differences(s *scene, at image.Point) (n int, first image.Point) {
	t.eachSpan(s, at, func(y int, sp span) bool {
		for x := sp.x0; x < sp.x1; x++ {
			if !bytes.Equal(t.pix[4*(y*t.w+x):][:4], s.Row(at.Y+y, at.X+x, at.X+x+1)) {
				if n == 0 {
					first = image.Pt(x, y)
				}
				n++
			}
		}
		return true
	})
	return n, first
}

// spiral returns the offsets from an area's place to all places within a margin, nearest first. The
// distance is the larger of the horizontal and the vertical one. Of equally near places, the upper
// ones come first, then those on the left.
func spiral(margin int, p *pixmap.Picture) iter.Seq[image.Point] {
	margin = min(margin, max(p.Width, p.Height))
	return func(yield func(image.Point) bool) {
		for r := 0; r <= margin; r++ {
			for y := -r; y <= r; y++ {
				step := 1
				if r > 0 && y > -r && y < r {
					step = 2 * r // only the two ends of the row have this distance
				}
				for x := -r; x <= r; x += step {
					if !yield(image.Pt(x, y)) {
						return
					}
				}
			}
		}
	}
}
