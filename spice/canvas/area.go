package canvas

import (
	"fmt"
	"image"
	"slices"
)

// Area says which pixels of the destination an operation may change: those of Box that are within
// the destination, the clip and the mask.
type Area struct {
	Box image.Rectangle
	// Clipped enables Clip. If Clip is then empty, nothing is drawn.
	Clipped bool
	Clip    []image.Rectangle
	// Mask, if not nil, excludes single pixels.
	Mask *Mask
}

// Mask is a stencil: a pixel is drawn where the bit is set (or clear, with Invert). Pixels outside
// Image are never drawn.
type Mask struct {
	Image *Image      // format A1
	Pos   image.Point // the pixel of Image that lies on the top left corner of Area.Box
	// Invert draws where the bit is clear.
	Invert bool
}

// maxLooseRects limits the clip rectangles that have to be made disjoint first. That takes time
// that grows with the square of their number. Real servers send disjoint rectangles, in bands.
const maxLooseRects = 2048

// each calls fn with disjoint rectangles that together are the area within m. fn must not keep
// them.
func (m *Image) each(a Area, fn func(image.Rectangle)) error {
	box := a.Box.Intersect(m.Bounds())
	if a.Mask != nil {
		if err := a.Mask.check(); err != nil {
			return err
		}
		// Positions in the mask are relative to the box as it was sent, not to the remaining part.
		off := a.Mask.Pos.Sub(a.Box.Min)
		box = box.Intersect(a.Mask.Image.Bounds().Sub(off))
		inner := fn
		fn = func(r image.Rectangle) { a.Mask.each(r, off, inner) }
	}
	if box.Empty() {
		return nil
	}
	if !a.Clipped {
		fn(box)
		return nil
	}
	rects := a.Clip
	if !banded(rects) {
		var err error
		if rects, err = disjoint(rects, box); err != nil {
			return err
		}
	}
	for _, r := range rects {
		if r = r.Intersect(box); !r.Empty() {
			fn(r)
		}
	}
	return nil
}

// bounds returns the smallest rectangle around the area within m, the mask's holes included.
func (m *Image) bounds(a Area) image.Rectangle {
	box := a.Box.Intersect(m.Bounds())
	if !a.Clipped {
		return box
	}
	var all image.Rectangle
	for _, r := range a.Clip {
		all = all.Union(r.Intersect(box))
	}
	return all
}

// Extent returns the smallest rectangle around what an operation on this area can change.
func (m *Image) Extent(a Area) image.Rectangle { return m.bounds(a) }

func (k *Mask) check() error {
	if k.Image == nil || k.Image.Format != A1 {
		what := "nil"
		if k.Image != nil {
			what = k.Image.Format.String()
		}
		return &UnsupportedError{What: "mask of format " + what}
	}
	return nil
}

// each calls fn with the runs of drawn pixels in r, which lies within the mask moved by -off.
func (k *Mask) each(r image.Rectangle, off image.Point, fn func(image.Rectangle)) {
	var skip byte
	if k.Invert {
		skip = 1
	}
	for y := r.Min.Y; y < r.Max.Y; y++ {
		row := k.Image.row(y+off.Y, r.Min.X+off.X, r.Max.X+off.X)
		for x := 0; x < r.Dx(); {
			for x < r.Dx() && row[x*CellSize]&1 == skip {
				x++
			}
			start := x
			for x < r.Dx() && row[x*CellSize]&1 != skip {
				x++
			}
			if x > start {
				fn(image.Rect(r.Min.X+start, y, r.Min.X+x, y+1))
			}
		}
	}
}

// banded reports whether rectangles are disjoint and sorted in bands from top to bottom, and from
// left to right within a band. Regions are stored and sent in this order.
func banded(rects []image.Rectangle) bool {
	var last image.Rectangle
	for i, r := range rects {
		if r.Empty() {
			return false
		}
		if i > 0 && r.Min.Y < last.Max.Y &&
			(r.Min.Y != last.Min.Y || r.Max.Y != last.Max.Y || r.Min.X < last.Max.X) {
			return false
		}
		last = r
	}
	return true
}

// disjoint returns the union of rects within box as disjoint rectangles in bands.
func disjoint(rects []image.Rectangle, box image.Rectangle) ([]image.Rectangle, error) {
	in := make([]image.Rectangle, 0, min(len(rects), maxLooseRects))
	edges := make([]int, 0, 2*cap(in))
	for _, r := range rects {
		if r = r.Intersect(box); r.Empty() {
			continue
		}
		if len(in) == maxLooseRects {
			return nil, &ArgumentError{Problem: fmt.Sprintf("clip has more than %d rectangles that overlap or are not in order", maxLooseRects)}
		}
		in = append(in, r)
		edges = append(edges, r.Min.Y, r.Max.Y)
	}
	slices.Sort(edges)
	edges = slices.Compact(edges)
	slices.SortFunc(in, func(a, b image.Rectangle) int { return a.Min.X - b.Min.X })
	var out []image.Rectangle
	for i := 0; i+1 < len(edges); i++ {
		top, bottom := edges[i], edges[i+1]
		band := len(out)
		for _, r := range in {
			if r.Min.Y > top || r.Max.Y < bottom {
				continue
			}
			if n := len(out); n > band && r.Min.X <= out[n-1].Max.X {
				out[n-1].Max.X = max(out[n-1].Max.X, r.Max.X)
				continue
			}
			out = append(out, image.Rect(r.Min.X, top, r.Max.X, bottom))
		}
	}
	return out, nil
}
