package viewer

import (
	"image"
	"slices"
	"sync"
)

// maxRects is how many rectangles a Damage keeps separate before it uses their bounds: a guest may
// draw its digest in a thousand pieces.
const maxRects = 16

// A Damage collects the changed parts of the primary surface since the last Take, for one viewer
// that redraws only those.
type Damage struct {
	v     *Viewer
	ready chan struct{}

	mu    sync.Mutex
	rects []image.Rectangle
	all   bool
}

// Damage returns a new collection, in which everything has changed. Close it when done.
func (v *Viewer) Damage() *Damage {
	d := &Damage{v: v, ready: make(chan struct{}, 1), all: true}
	d.wake()
	v.mu.Lock()
	v.damages[d] = true
	v.mu.Unlock()
	return d
}

// Close ends the collection.
func (d *Damage) Close() {
	d.v.mu.Lock()
	delete(d.v.damages, d)
	d.v.mu.Unlock()
}

// Ready returns a channel that has a value when something has changed.
func (d *Damage) Ready() <-chan struct{} { return d.ready }

// Take returns what has changed and forgets it. all means that everything has changed, possibly the
// size, too.
func (d *Damage) Take() (rects []image.Rectangle, all bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	rects, all = d.rects, d.all
	d.rects, d.all = nil, false
	return rects, all
}

func (d *Damage) wake() {
	select {
	case d.ready <- struct{}{}:
	default:
	}
}

func (d *Damage) add(r image.Rectangle) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.all {
		d.rects = addRect(d.rects, r)
	}
	d.wake()
}

// addRect adds r to rs, joining it with those that it touches.
func addRect(rs []image.Rectangle, r image.Rectangle) []image.Rectangle {
	if r.Empty() {
		return rs
	}
	for i := 0; i < len(rs); {
		if rs[i].Inset(-1).Overlaps(r) {
			r = r.Union(rs[i])
			rs = slices.Delete(rs, i, i+1)
			i = 0
			continue
		}
		i++
	}
	rs = append(rs, r)
	if len(rs) > maxRects {
		for _, o := range rs {
			r = r.Union(o)
		}
		rs = append(rs[:0], r)
	}
	return rs
}

func (v *Viewer) damage(r image.Rectangle) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for d := range v.damages {
		d.add(r)
	}
}

func (v *Viewer) damageAll() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for d := range v.damages {
		d.mu.Lock()
		d.rects, d.all = nil, true
		d.mu.Unlock()
		d.wake()
	}
}
