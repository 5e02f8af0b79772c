package timeline

import (
	"image"
	"slices"
	"time"
)

// frameInterval is the time for which drawings are combined into one entry. A busy desktop draws
// thousands of rectangles per second.
const frameInterval = 250 * time.Millisecond

// maxRects is how many rectangles one entry lists. An entry always has the bounds of all.
const maxRects = 16

// hands are the kinds of entries after which the next frame is written at once, with its time,
// because it may be the answer.
var hands = map[string]bool{"key": true, "button": true}

// A Frame is one rectangle that was drawn.
type Frame struct {
	At      time.Time
	Channel uint8
	Surface uint32
	Op      string // "draw_copy", "draw_fill", …
	Rect    image.Rectangle
}

// frames is one interval on a display channel. Its first frame has already been written.
type frames struct {
	timer *time.Timer
	count int // since then
	first time.Time
	last  Frame
	rects []image.Rectangle
	all   image.Rectangle // the bounds of all, including unlisted ones
	mixed bool            // they are of several surfaces
	ops   map[string]int
}

// AddFrame writes a frame at once if the channel was quiet, or if a key or button was pressed since
// the last frame. Otherwise it goes into one entry with the others of the same quarter of a second:
// their number, their bounds and the first of them.
func (t *Writer) AddFrame(f Frame) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.frames[f.Channel]
	if p == nil {
		if t.w == nil {
			return
		}
		t.add(f.At, KindFrame, map[string]any{"channel": f.Channel, "surface": f.Surface, "op": f.Op, "rect": numbers(f.Rect)})
		p = &frames{}
		p.timer = time.AfterFunc(frameInterval, func() { t.nextInterval(f.Channel, p) })
		t.frames[f.Channel] = p
		return
	}
	if p.count++; p.count == 1 {
		p.first, p.all, p.rects, p.ops, p.mixed = f.At, f.Rect, nil, map[string]int{}, false
	} else {
		p.all = p.all.Union(f.Rect)
		p.mixed = p.mixed || p.last.Surface != f.Surface
	}
	p.ops[f.Op]++
	if len(p.rects) < maxRects && !slices.Contains(p.rects, f.Rect) {
		p.rects = append(p.rects, f.Rect)
	}
	p.last = f
}

// nextInterval writes the drawings of an interval, and begins another one if there were any.
func (t *Writer) nextInterval(channel uint8, p *frames) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.frames[channel] != p {
		return
	}
	if p.count == 0 {
		delete(t.frames, channel)
		return
	}
	t.addFrames(channel, p)
	p.timer.Reset(frameInterval)
}

// flushFrames writes the drawings since the last entry, and ends the intervals.
func (t *Writer) flushFrames() {
	for channel, p := range t.frames {
		p.timer.Stop()
		t.addFrames(channel, p)
		delete(t.frames, channel)
	}
}

func (t *Writer) addFrames(channel uint8, p *frames) {
	if p.count == 0 {
		return
	}
	e := map[string]any{"channel": channel, "rect": numbers(p.all), "count": p.count, "until_us": p.last.At.Sub(t.start).Microseconds()}
	if !p.mixed {
		e["surface"] = p.last.Surface
	}
	if len(p.ops) == 1 {
		e["op"] = p.last.Op
	} else {
		e["ops"] = p.ops
	}
	if len(p.rects) > 1 {
		list := make([][]int, len(p.rects))
		for i, r := range p.rects {
			list[i] = numbers(r)
		}
		e["rects"] = list
	}
	t.add(p.first, KindFrame, e)
	p.count = 0
}

// numbers returns a rectangle as x, y, width and height.
func numbers(r image.Rectangle) []int { return []int{r.Min.X, r.Min.Y, r.Dx(), r.Dy()} }
