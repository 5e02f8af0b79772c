package canvas

import (
	"fmt"
	"image"
	"slices"
)

// Fixed is a coordinate with four bits after the point.
type Fixed int32

// round returns the nearest whole number; exactly half is rounded down.
func (f Fixed) round() int {
	if f&15 > 8 {
		return int(f>>4) + 1
	}
	return int(f >> 4)
}

// PointFix is a point of a path.
type PointFix struct{ X, Y Fixed }

// Segment is a run of points of a path.
type Segment struct {
	Begin  bool // its first point starts a new line
	End    bool // the line ends with its last point
	Close  bool // with End: another line leads back to its start
	Bezier bool // points come in threes, two of control and the next corner
	Points []PointFix
}

// Pen says how to stroke a path: one pixel wide, through a raster operation, without its last
// point.
type Pen struct {
	Brush Brush
	Rop   Rop
	// Dash has the lengths of drawn and omitted pieces in turn; nil for a solid line.
	Dash []Fixed
	// StartWithGap makes the first length of Dash a gap.
	StartWithGap bool
}

const (
	// maxPathPoints limits the corners of a stroke, including those of flattened curves.
	maxPathPoints = 1 << 18
	// maxPathWork limits the steps of drawing a stroke, one per pixel: a second or two.
	maxPathWork = 1 << 28
	// maxCurveDepth limits how often a curve is halved. 2^16 pieces are enough for the longest
	// curve that coordinates allow.
	maxCurveDepth = 16
)

// Stroke draws the lines of a path. Where lines cross, the raster operation is applied each time.
func (m *Image) Stroke(a Area, path []Segment, pen Pen) error {
	lines, err := flatten(path)
	if err != nil {
		return err
	}
	corners := 0
	for _, l := range lines {
		corners += len(l)
	}
	var rects []image.Rectangle
	steps := 0
	err = m.each(Area{Box: a.Box, Clipped: a.Clipped, Clip: a.Clip}, func(r image.Rectangle) {
		rects = append(rects, r)
		steps += max(r.Dx(), r.Dy())
	})
	if err != nil {
		return err
	}
	if len(rects) > 1 {
		steps += max(m.Width, m.Height)
	}
	if steps > 0 && corners > maxPathWork/steps {
		return &ArgumentError{Problem: fmt.Sprintf("path of %d points on %d clip rectangles takes too long", corners, len(a.Clip))}
	}
	tile := &Image{Format: m.Format, Width: 1, Height: 1, Stride: CellSize, Pix: make([]byte, CellSize)}
	tile.Set(0, 0, pen.Brush.color&m.Format.mask())
	if pen.Brush.kind == brushPattern {
		if tile, err = pen.Brush.tile(m.Format); err != nil {
			return err
		}
	}
	k := pen.Rop.masks(m.Format)
	pos := pen.Brush.pos
	if len(pen.Dash) > 0 {
		spans, err := pen.dashes(lines, m.bounds(a))
		if err != nil {
			return err
		}
		if len(spans) > maxPathWork/max(1, len(a.Clip)) {
			return &ArgumentError{Problem: fmt.Sprintf("dashes of %d pieces on %d clip rectangles take too long", len(spans), len(a.Clip))}
		}
		return m.each(a, func(r image.Rectangle) {
			for _, s := range spans {
				if run := r.Intersect(image.Rect(s.x, s.y, s.x+s.w, s.y+1)); !run.Empty() {
					m.tileRect(run, tile, pos, pen.Rop)
				}
			}
		})
	}
	plot := func(x, y int) {
		s := tile.At(mod(x-pos.X, tile.Width), mod(y-pos.Y, tile.Height))
		m.Set(x, y, k.apply(s, m.At(x, y)))
	}
	if bands := columns(rects); bands != nil {
		var spans []span
		for _, l := range lines {
			for i := 1; i < len(l); i++ {
				spans = clipInPlace(lineSpans(spans[:0], l[i-1], l[i], m.Bounds()), bands)
				for _, s := range spans {
					for x := s.x; x < s.x+s.w; x++ {
						plot(x, s.y)
					}
				}
			}
		}
		return nil
	}
	for _, r := range rects {
		for _, l := range lines {
			for i := 1; i < len(l); i++ {
				thinLine(l[i-1], l[i], r, plot)
			}
		}
	}
	return nil
}

// band is a set of clip rectangles side by side.
type band struct {
	top, bottom int
	columns     [][2]int // x from and up to
}

// columns sorts clip rectangles, which come in bands, into bands. It returns nil if no two of them
// are side by side.
func columns(rects []image.Rectangle) []band {
	var bands []band
	wide := false
	for _, r := range rects {
		n := len(bands) - 1
		if n < 0 || bands[n].top != r.Min.Y {
			bands = append(bands, band{r.Min.Y, r.Max.Y, [][2]int{{r.Min.X, r.Max.X}}})
			continue
		}
		last := &bands[n].columns[len(bands[n].columns)-1]
		if r.Min.X == last[1] {
			last[1] = r.Max.X
			continue
		}
		bands[n].columns = append(bands[n].columns, [2]int{r.Min.X, r.Max.X})
		wide = true
	}
	if !wide {
		return nil
	}
	return bands
}

// lineSpans appends the pixels of a line within a rectangle: one span for each row, from the top
// down.
func lineSpans(spans []span, p, q image.Point, within image.Rectangle) []span {
	thinLine(p, q, within, func(x, y int) {
		n := len(spans) - 1
		if n < 0 || spans[n].y != y {
			spans = append(spans, span{x: x, y: y, w: 1})
			return
		}
		spans[n].x = min(spans[n].x, x)
		spans[n].w++
	})
	if q.Y < p.Y {
		slices.Reverse(spans) // the reference takes the rows from the top
	}
	return spans
}

// clipInPlace clips spans to bands as the reference does: it writes the pieces over the spans that
// it reads. If a span is split into several pieces, the next spans are lost. The pieces that
// overwrote them are drawn twice, which shows with exclusive or.
func clipInPlace(spans []span, bands []band) []span {
	out := 0
	for i, n := 0, len(spans); i < n; i++ {
		s := spans[i]
		at, found := slices.BinarySearchFunc(bands, s.y, func(b band, y int) int {
			switch {
			case b.bottom <= y:
				return -1
			case b.top > y:
				return 1
			}
			return 0
		})
		if !found {
			continue
		}
		for _, c := range bands[at].columns {
			from, to := max(s.x, c[0]), min(s.x+s.w, c[1])
			if from >= to {
				continue
			}
			piece := span{x: from, y: s.y, w: to - from}
			if out < len(spans) {
				spans[out] = piece
			} else {
				spans = append(spans, piece)
			}
			out++
		}
	}
	return spans[:out]
}

// dashes returns the pixels of dashed lines that are within a rectangle.
func (p *Pen) dashes(lines [][]image.Point, within image.Rectangle) ([]span, error) {
	dash, skip, err := p.lengths()
	if err != nil {
		return nil, err
	}
	// With operations that undo themselves, a pixel of several dashes of a line counts once.
	careful := false
	switch p.Rop {
	case RopNor, RopEquiv, RopInvert, RopOrReverse, RopAndReverse, RopXor, RopNand:
		careful = true
	}
	var spans []span
	budget := maxDashes
	for _, l := range lines {
		if spans, err = dashed(l, dash, skip, careful && len(l) > 2, &budget, within, spans); err != nil {
			return nil, err
		}
	}
	return spans, nil
}

// thinLine plots the pixels in r of a line from p to q, without q. It uses Bresenham's algorithm;
// ties go as in the X server's zero-width lines of that octant.
func thinLine(p, q image.Point, r image.Rectangle, plot func(x, y int)) {
	dx, dy := q.X-p.X, q.Y-p.Y
	adx, ady := abs(dx), abs(dy)
	if adx > ady {
		// Ties are rounded towards the start where x decreases.
		bias := 0
		if dx < 0 {
			bias = 1
		}
		from, to := along(p.X, dx, adx, r.Min.X, r.Max.X)
		for i := from; i < to; i++ {
			y := p.Y + sign(dy)*((2*i*ady+adx-bias)/(2*adx))
			if y >= r.Min.Y && y < r.Max.Y {
				plot(p.X+sign(dx)*i, y)
			}
		}
		return
	}
	bias := 0
	if dy < 0 {
		bias = 1
	}
	from, to := along(p.Y, dy, ady, r.Min.Y, r.Max.Y)
	for i := from; i < to; i++ {
		x := p.X + sign(dx)*((2*i*adx+ady-bias)/(2*ady))
		if x >= r.Min.X && x < r.Max.X {
			plot(x, p.Y+sign(dy)*i)
		}
	}
}

// along returns the range of steps, out of n, in which a position is from low up to high. The
// position is start at first, and each step moves it by one in the direction of d.
func along(start, d, n, low, high int) (from, to int) {
	if d < 0 {
		return max(0, start-high+1), min(n, start-low+1)
	}
	return max(0, low-start), min(n, high-start)
}

func abs(v int) int {
	if v < 0 {
		return -v
	}
	return v
}

func sign(v int) int {
	if v < 0 {
		return -1
	}
	return 1
}

// flatten returns the lines of a path in whole pixels, with curves as short straight pieces.
func flatten(path []Segment) ([][]image.Point, error) {
	var lines [][]image.Point
	var line []image.Point
	points := 0
	flush := func() {
		if len(line) > 0 {
			lines = append(lines, line)
			points += len(line)
		}
		line = nil
	}
	add := func(p PointFix) { line = append(line, image.Pt(p.X.round(), p.Y.round())) }
	for _, s := range path {
		rest := s.Points
		if s.Begin && len(rest) > 0 {
			flush()
			add(rest[0])
			rest = rest[1:]
		}
		if points+len(line)+len(rest) > maxPathPoints {
			return nil, &ArgumentError{Problem: fmt.Sprintf("path of more than %d points", maxPathPoints)}
		}
		if s.Bezier {
			if len(rest)%3 != 0 {
				return nil, &ArgumentError{Problem: fmt.Sprintf("curve with %d points, want a multiple of 3", len(rest))}
			}
			for ; len(rest) > 0; rest = rest[3:] {
				if len(line) == 0 {
					return nil, &ArgumentError{Problem: "curve without a start"}
				}
				last := line[len(line)-1]
				start := PointFix{Fixed(last.X << 4), Fixed(last.Y << 4)}
				line = curve(line, start, rest[0], rest[1], rest[2], maxCurveDepth)
				if points+len(line) > maxPathPoints {
					return nil, &ArgumentError{Problem: fmt.Sprintf("path of more than %d points", maxPathPoints)}
				}
			}
		}
		for _, p := range rest {
			add(p)
		}
		if s.End {
			if s.Close && len(line) > 0 {
				line = append(line, line[0])
			}
			flush()
		}
	}
	flush()
	return lines, nil
}

// curve appends the corners of a cubic curve after p0. It halves the curve until the control points
// are less than half a pixel away from the straight line.
func curve(line []image.Point, p0, p1, p2, p3 PointFix, depth int) []image.Point {
	dot := func(a, b, c, d PointFix) int64 { // (b-a)·(d-c)
		return (int64(b.X-a.X)*int64(d.X-c.X) + int64(b.Y-a.Y)*int64(d.Y-c.Y)) >> 4
	}
	a2, b2, c2 := dot(p0, p1, p0, p1), dot(p0, p3, p0, p3), dot(p3, p2, p3, p2)
	ab, cb := dot(p0, p1, p0, p3), dot(p3, p2, p3, p0)
	if depth == 0 || p0 == p1 && p1 == p2 && p2 == p3 ||
		(a2*b2-ab*ab)>>3 < b2 && (c2*b2-cb*cb)>>3 < b2 {
		return append(line, image.Pt(p3.X.round(), p3.Y.round()))
	}
	mid := func(a, b PointFix) PointFix { return PointFix{(a.X + b.X) / 2, (a.Y + b.Y) / 2} }
	p01, p12, p23 := mid(p0, p1), mid(p1, p2), mid(p2, p3)
	p012, p123 := mid(p01, p12), mid(p12, p23)
	middle := mid(p012, p123)
	line = curve(line, p0, p01, p012, middle, depth-1)
	return curve(line, middle, p123, p23, p3, depth-1)
}
