package canvas

import (
	"cmp"
	"fmt"
	"image"
	"math"
	"slices"
)

// Dashes are drawn as in the X server's mi layer ("wide dashes" one pixel wide), because the
// reference does so. Every dash is a rectangle one pixel wide along the line. Where a dash goes
// around a corner, the gap between two rectangles is filled. The arithmetic, partly floating point
// and partly integer, decides which pixels are hit, so it follows the reference step by step.

// maxDashes limits the dashes and gaps of one stroke.
const maxDashes = 1 << 16

// span is a run of pixels of a row.
type span struct{ x, y, w int }

// corner is a corner of a polygon, relative to a whole point.
type corner struct{ x, y float64 }

// slope is a side of a polygon: its direction, and k = x*dy - y*dx for the points on it.
type slope struct {
	dx, dy int
	k      float64
}

// face is an end of a line: where it is, the direction away from it, and one corner of the end.
type face struct {
	x, y, dx, dy int
	xa, ya, k    float64
}

// edge is a side of a polygon during the walk down, row by row.
type edge struct{ height, x, step, sign, e, dx, dy int }

func (d *edge) down() {
	d.x += d.step
	if d.e += d.dx; d.e > 0 {
		d.x += d.sign
		d.e -= d.dy
	}
}

// ceil rounds up as the reference does: negative numbers towards zero.
func ceil(x float64) int {
	n := int(x)
	if float64(n) == x || x < 0 {
		return n
	}
	return n + 1
}

// newEdge returns a side that begins at y0, and the row in which it begins. add is 1 for sides on
// the left, whose pixels are inside.
func newEdge(y0 float64, s slope, at image.Point, add int) (edge, int) {
	if s.dy < 0 {
		s.dx, s.dy, s.k = -s.dx, -s.dy, -s.k
	}
	y := ceil(y0)
	v := ceil(s.k) + y*s.dx
	var x int
	if v <= 0 {
		x = -(-v / s.dy) - 1
	} else {
		x = (v - 1) / s.dy
	}
	e := v - x*s.dy
	d := edge{sign: 1, step: s.dx / s.dy, dx: s.dx % s.dy}
	if s.dx < 0 {
		d.sign, d.step, d.dx = -1, -(-s.dx / s.dy), -s.dx%s.dy
		e = s.dy - e + 1
	}
	d.dy = s.dy
	d.x = x + add + at.X
	d.e = e - s.dy
	return d, y + at.Y
}

// polygon passes the pixels of a convex polygon to fill. sides[i] leads from corner i to the next.
func polygon(corners []corner, sides []slope, at image.Point, fill func(span)) {
	n := len(corners)
	top, bottom := 0, 0
	for i, c := range corners {
		if i > 0 && c.y < corners[top].y {
			top = i
		}
		if i > 0 && c.y >= corners[bottom].y {
			bottom = i
		}
	}
	low := ceil(corners[bottom].y) + at.Y
	before := sides[(top+n-1)%n]
	right, skew := 1, 0 // the direction in which the right side is walked, and the side that begins at a corner there
	if before.dy*sides[top].dx > sides[top].dy*before.dx {
		right, skew = -1, -1
	}
	first := 0
	walk := func(dir, skew, add int) []edge {
		var edges []edge
		last := 0
		for i, s := top, (top+skew+n)%n; i != bottom; i, s = (i+dir+n)%n, (s+dir+n)%n {
			if sides[s].dy == 0 {
				continue
			}
			d, y := newEdge(corners[i].y, sides[s], at, add)
			if len(edges) > 0 {
				edges[len(edges)-1].height = y - last
			} else if add == 0 {
				first = y
			}
			edges = append(edges, d)
			last = y
		}
		if len(edges) > 0 {
			edges[len(edges)-1].height = low - last
		}
		return edges
	}
	rights := walk(right, skew, 0)
	lefts := walk(-right, -1-skew, 1)
	y := first
	var l, r edge
	for (len(lefts) > 0 || l.height != 0) && (len(rights) > 0 || r.height != 0) {
		if l.height == 0 && len(lefts) > 0 {
			l, lefts = lefts[0], lefts[1:]
		}
		if r.height == 0 && len(rights) > 0 {
			r, rights = rights[0], rights[1:]
		}
		h := min(l.height, r.height)
		l.height -= h
		r.height -= h
		for ; h > 0; h-- {
			if r.x >= l.x {
				fill(span{l.x, y, r.x - l.x + 1})
			}
			y++
			l.down()
			r.down()
		}
	}
}

// dasher walks along a dashed line.
type dasher struct {
	dash   []int
	index  int // of the dash or gap that the line is in; even ones are drawn
	offset int // into it
	left   int // dashes that may still be drawn
	fill   func(span)
}

// skip moves by a distance, for the offset of the first dash.
func (d *dasher) skip(dist int) {
	if dist < d.dash[d.index]-d.offset {
		d.offset += dist
		return
	}
	dist -= d.dash[d.index] - d.offset
	d.index = (d.index + 1) % len(d.dash)
	total := 0
	for _, n := range d.dash {
		total += n
	}
	if total > 0 && total <= dist {
		dist %= total
	}
	for dist >= d.dash[d.index] {
		dist -= d.dash[d.index]
		d.index = (d.index + 1) % len(d.dash)
	}
	d.offset = dist
}

// segment draws the dashes from p to q, which must differ, and returns the faces of its ends.
func (d *dasher) segment(p, q image.Point) (start, end face, ok bool) {
	const top, right, bottom, left = 0, 1, 2, 3 // of a line that goes right and down
	dx, dy := q.X-p.X, q.Y-p.Y
	fx, fy := float64(dx), float64(dy)
	remain := d.dash[d.index] - d.offset
	const half = 0.5
	var length, rdx, rdy float64
	switch {
	case dx == 0:
		length, rdy = math.Abs(fy), math.Copysign(half, fy)
	case dy == 0:
		length, rdx = math.Abs(fx), math.Copysign(half, fx)
	default:
		length = math.Hypot(fx, fy)
		r := half / length
		rdx, rdy = float64(r*fx), float64(r*fy)
	}
	k := half * length
	sides := []slope{{dx, dy, k}, {-dy, dx, 0}, {-dx, -dy, k}, {dy, -dx, 0}}
	corners := []corner{{rdy, -rdx}, {rdy, -rdx}, {-rdy, rdx}, {-rdy, rdx}}
	rest := length
	for rest > float64(remain) {
		if d.left--; d.left < 0 {
			return start, end, false
		}
		stepX, stepY := float64(float64(remain)*fx)/length, float64(float64(remain)*fy)/length
		for _, i := range []int{right, bottom} {
			corners[i].x += stepX
			corners[i].y += stepY
		}
		sides[right].k = float64(corners[right].x*fx) + float64(corners[right].y*fy)
		if d.index%2 == 0 {
			polygon(corners, sides, p, d.fill)
		}
		rest -= float64(remain)
		d.index = (d.index + 1) % len(d.dash)
		remain = d.dash[d.index]
		corners[top], corners[left] = corners[right], corners[bottom]
		sides[left].k = -sides[right].k
	}
	if d.index%2 == 0 {
		// The rest is drawn from the far end, so that it meets the next line.
		for _, i := range []int{top, left} {
			corners[i].x -= fx
			corners[i].y -= fy
		}
		corners[right], corners[bottom] = corner{rdy, -rdx}, corner{-rdy, rdx}
		sides[right].k = 0
		sides[left].k += float64(dx*dx + dy*dy)
		polygon(corners, sides, q, d.fill)
	}
	remain = int(float64(remain) - rest)
	if remain == 0 {
		d.index = (d.index + 1) % len(d.dash)
		remain = d.dash[d.index]
	}
	d.offset = d.dash[d.index] - remain
	start = face{p.X, p.Y, dx, dy, rdy, -rdx, k}
	end = face{q.X, q.Y, -dx, -dy, -rdy, rdx, k}
	return start, end, true
}

// join fills the gap at the outside of a corner where the lines of two faces meet. single means
// that pixels are drawn one by one. Then a line that goes right, or straight down, covers the
// corner itself.
func join(l, r face, single bool, fill func(span)) {
	denom := float64(-l.dx)*float64(r.dy) + float64(r.dx)*float64(l.dy)
	if single {
		if l.dx > 0 || l.dx == 0 && l.dy > 0 || r.dx > 0 || r.dx == 0 && r.dy > 0 {
			return
		}
	}
	if denom == 0 {
		return
	}
	swap := denom <= 0
	if swap {
		r.xa, r.ya, r.dx, r.dy = -r.xa, -r.ya, -r.dx, -r.dy
	} else {
		l.xa, l.ya, l.dx, l.dy = -l.xa, -l.ya, -l.dx, -l.dy
	}
	corners := []corner{{r.xa, r.ya}, {}, {l.xa, l.ya}}
	sides := []slope{{-r.dy, r.dx, 0}, {l.dy, -l.dx, 0}}
	ldx, ldy, rdx, rdy := float64(l.dx), float64(l.dy), float64(r.dx), float64(r.dy)
	my := (ldy*(float64(r.xa*rdy)-float64(r.ya*rdx)) - rdy*(float64(l.xa*ldy)-float64(l.ya*ldx))) / denom
	var mx float64
	if l.dy != 0 {
		mx = l.xa + float64((my-l.ya)*ldx)/ldy
	} else {
		mx = r.xa + float64((my-r.ya)*rdx)/rdy
	}
	// Corners sharper than 11 degrees are cut off: 1/sin²(5.5°).
	const sharpest = 108.856472512142
	if (float64(mx*mx)+float64(my*my))*4 <= sharpest {
		a, b := slope{l.dx, l.dy, l.k}, slope{r.dx, r.dy, r.k}
		if swap {
			a, b = slope{-a.dx, -a.dy, -a.k}, slope{-b.dx, -b.dy, -b.k}
		}
		corners = append(corners, corner{mx, my})
		sides = append(sides, a, b)
	} else {
		dx, dy := r.xa-l.xa, r.ya-l.ya
		scale := max(math.Abs(dx), math.Abs(dy))
		s := slope{dx: int(float64(dx*65536) / scale), dy: int(float64(dy*65536) / scale)}
		s.k = (float64((l.xa+r.xa)*float64(s.dy)) - float64((l.ya+r.ya)*float64(s.dx))) / 2
		sides = append(sides, s)
	}
	polygon(corners, sides, image.Pt(l.x, l.y), fill)
}

// dashed returns the pixels of a dashed line through points that are within a rectangle. With once,
// it returns each pixel at most once.
func dashed(points []image.Point, dash []int, skip int, once bool, budget *int, within image.Rectangle, spans []span) ([]span, error) {
	before := len(spans)
	emit := func(s span) {
		if run := within.Intersect(image.Rect(s.x, s.y, s.x+s.w, s.y+1)); !run.Empty() {
			spans = append(spans, span{run.Min.X, run.Min.Y, run.Dx()})
		}
	}
	d := &dasher{dash: dash, left: *budget, fill: emit}
	d.skip(skip)
	closed := points[0] == points[len(points)-1]
	var first, last face
	firstDrawn, lastDrawn, begun := false, false, false
	for i := 1; i < len(points); i++ {
		p, q := points[i-1], points[i]
		if p != q {
			drawn := d.index%2 == 0
			start, end, ok := d.segment(p, q)
			if !ok {
				return nil, &ArgumentError{Problem: fmt.Sprintf("stroke of more than %d dashes", maxDashes)}
			}
			if drawn {
				switch {
				case !begun && closed:
					first, firstDrawn = start, true
				case begun && lastDrawn:
					join(start, last, !once, emit)
				}
			}
			// If it is even with an offset, or odd without one, the line ended within a dash.
			lastDrawn = (d.index&1 != 0) != (d.offset != 0)
			last, begun = end, true
		}
		if i == len(points)-1 && begun && lastDrawn && closed && firstDrawn {
			join(first, last, !once, emit)
		}
	}
	*budget = d.left
	if once {
		spans = append(spans[:before], merged(spans[before:])...)
	}
	return spans, nil
}

// merged returns the pixels without duplicates. It changes the order of all.
func merged(all []span) []span {
	slices.SortFunc(all, func(a, b span) int { return cmp.Or(cmp.Compare(a.y, b.y), cmp.Compare(a.x, b.x)) })
	out := all[:0]
	for _, s := range all {
		if n := len(out); n > 0 && out[n-1].y == s.y && s.x <= out[n-1].x+out[n-1].w {
			out[n-1].w = max(out[n-1].w, s.x+s.w-out[n-1].x)
			continue
		}
		out = append(out, s)
	}
	return out
}

// lengths returns the dashes of a pen in pixels, and the offset at which lines begin.
func (p *Pen) lengths() (dash []int, skip int, err error) {
	total := 0
	for _, f := range p.Dash {
		n := f.round() & 0xff // the reference keeps them as bytes
		dash = append(dash, n)
		total += n
	}
	if total == 0 {
		return nil, 0, &ArgumentError{Problem: "dashes without length"}
	}
	if p.StartWithGap {
		dash = append(dash[1:], dash[0])
		skip = dash[0]
	}
	return dash, skip, nil
}
