package replay

import (
	"cmp"
	"encoding/base64"
	"slices"
	"strings"
	"time"

	"github.com/spicelane/spicelane/harness/film"
)

// pack puts the film and the pictures into one block of base64, one PNG after the other. It returns
// the block, and the frames with the places of their PNGs. It leaves out frames if the block would
// be too long.
func (l *lane) pack(o Options) (string, []pageFrame) {
	var b strings.Builder
	put := func(png []byte) [2]int {
		at := b.Len()
		b.WriteString(base64.StdEncoding.EncodeToString(png))
		return [2]int{at, b.Len() - at}
	}
	room := o.maxBytes() * 3 / 4 * 7 / 10 // bytes of PNG: base64 makes four bytes of three
	if l.film != nil {
		// The film has what the client showed at each of these moments.
		l.pics = slices.DeleteFunc(l.pics, func(p picture) bool { return p.via == viaClient })
	}
	if o.LastPicture {
		l.pics = nil
	}
	kept := l.pics[:0]
	slices.SortStableFunc(l.pics, func(a, b picture) int { return cmp.Compare(us(b.at), us(a.at)) })
	for _, p := range l.pics { // the newest first
		if len(p.png) > room/2 {
			l.lack("the picture %s is left out: the page would become too large", p.name)
			continue
		}
		room -= len(p.png)
		p.at = max(p.at, 0)
		kept = append(kept, p)
	}
	slices.Reverse(kept)
	l.pics = kept
	for i := range l.pics {
		l.pics[i].in = put(l.pics[i].png)
	}
	var out []pageFrame
	l.where, l.shapes = l.pointers()
	for _, sh := range l.shapes {
		if len(sh.png) > room/10 {
			l.shapesIn = append(l.shapesIn, [2]int{}) // this shape is not shown
			continue
		}
		room -= len(sh.png)
		l.shapesIn = append(l.shapesIn, put(sh.png))
	}
	if l.film != nil {
		frames := l.thinFilm(l.film.Frames, room)
		for _, f := range frames {
			p := pageFrame{T: us(f.At), Since: us(f.Since), Display: f.Display, Key: f.Key, Gone: f.Gone, Size: [2]int{f.Size.X, f.Size.Y}}
			for _, patch := range f.Patches {
				in := put(patch.PNG)
				r := patch.Rect
				p.Patches = append(p.Patches, [6]int{r.Min.X, r.Min.Y, r.Dx(), r.Dy(), in[0], in[1]})
			}
			out = append(out, p)
		}
	}
	l.head.Left = l.left
	return b.String(), out
}

// thinFilm leaves out frames until the others are no larger than room, in bytes. It begins with
// those farthest from the failure. It leaves out the frames that depend on a key frame before the
// key frame itself. The quarter of the film around the failure loses frames last.
func (l *lane) thinFilm(frames []film.Frame, room int) []film.Frame {
	size := 0
	for _, f := range frames {
		size += f.Bytes()
	}
	if size <= room {
		return frames
	}
	type group struct {
		frames []int
		far    time.Duration
	}
	var groups []*group
	newest := map[uint8]*group{}
	focus := l.focus()
	for i, f := range frames {
		if f.Key || f.Gone || newest[f.Display] == nil {
			newest[f.Display] = &group{far: max(f.At-focus, focus-f.At)}
			groups = append(groups, newest[f.Display])
		}
		g := newest[f.Display]
		g.frames = append(g.frames, i)
		g.far = min(g.far, max(f.At-focus, focus-f.At))
	}
	slices.SortStableFunc(groups, func(a, b *group) int { return cmp.Compare(b.far, a.far) })
	gone, lost := map[int]bool{}, 0
	drop := func(list []int) {
		for _, i := range slices.Backward(list) {
			// The note that a display has gone takes no room, so to leave it out saves none.
			if n := frames[i].Bytes(); size > room && n > 0 && !gone[i] {
				gone[i] = true
				size -= n
				lost++
			}
		}
	}
	near := len(groups) - max(1, len(groups)/4)
	for _, part := range [][]*group{groups[:near], groups[near:]} {
		for _, g := range part {
			drop(g.frames[1:])
		}
		for _, g := range part {
			drop(g.frames[:1])
		}
	}
	kept := make([]film.Frame, 0, len(frames)-len(gone))
	for i, f := range frames {
		if !gone[i] {
			kept = append(kept, f)
		}
	}
	l.lack("%d of %d frames of the film are left out, those around the failure last: the page would become too large", lost, len(frames))
	return kept
}

// focus returns the moment that the page shows first. If the lane did not pass, that is the end of
// the wait that failed, or else the verdict. Otherwise it is the lane's end.
func (l *lane) focus() time.Duration {
	if l.head.Outcome != "passed" {
		if l.wait != nil {
			return l.wait.at + l.wait.took
		}
		for _, m := range l.marks {
			if m.Kind == "verdict" {
				return time.Duration(m.T) * time.Microsecond
			}
		}
	}
	return l.last
}

// thinEvents leaves out events that can be spared, until about the part keep of all events is left.
// The beginning and the end stay.
func (l *lane) thinEvents(keep float64) {
	spare := 0
	for _, e := range l.events {
		if e.spare {
			spare++
		}
	}
	must := len(l.events) - spare
	left := max(0, int(keep*float64(len(l.events)))-must)
	first, n := left*3/10, 0
	lost := 0
	l.events = slices.DeleteFunc(l.events, func(e event) bool {
		if !e.spare {
			return false
		}
		n++
		gone := n > first && n <= spare-(left-first)
		if gone {
			lost++
		}
		return gone
	})
	l.thinned += lost
}

// pageData returns the data for the page's script.
func (l *lane) pageData(frames []pageFrame) *pageData {
	d := &pageData{Film: frames, Marks: l.marks, Left: slices.Clone(l.left), Name: l.head.Name, Stills: l.stills, From: 0, To: us(l.last), Focus: us(l.focus())}
	if l.thinned > 0 {
		d.Left = append(d.Left, "lines in the middle of the logs and the timeline are left out: the page would become too large")
	}
	used := map[string]bool{}
	for _, e := range l.events {
		used[e.track] = true
	}
	index := map[string]int{}
	for _, t := range tracks {
		if used[t.ID] {
			index[t.ID] = len(d.Tracks)
			d.Tracks = append(d.Tracks, t)
		}
	}
	n := len(l.events)
	d.T, d.D, d.K, d.X = make([]int64, n), make([]int64, n), make([]int, n), make([]string, n)
	before := int64(0)
	for i, e := range l.events {
		t := us(e.at)
		d.T[i], d.D[i], d.K[i], d.X[i] = t-before, us(e.took), index[e.track], e.text
		before = t
		d.From, d.To = min(d.From, t), max(d.To, t+us(e.took))
		if e.bad {
			d.Bad = append(d.Bad, i)
		}
	}
	for _, f := range frames {
		d.From, d.To = min(d.From, f.T), max(d.To, f.T)
	}
	for _, p := range l.pics {
		d.Pics = append(d.Pics, pagePicture{T: us(p.at), Name: p.name, Via: p.via, At: p.in})
	}
	for i, s := range l.shapes {
		d.Shapes = append(d.Shapes, pagePicture{At: l.shapesIn[i], Hot: s.hot})
	}
	for _, p := range l.where {
		d.Pointer = append(d.Pointer, [5]int64{us(p.at), int64(p.x), int64(p.y), int64(p.shape), flag(p.hidden, 1) | flag(p.down, 2)})
	}
	if len(l.loads) > 0 {
		qemu, lost := curve{Track: "load"}, curve{Track: "load", Bad: true}
		for _, s := range l.loads {
			qemu.T, qemu.V = append(qemu.T, us(s.at)), append(qemu.V, s.qemu)
			lost.T, lost.V = append(lost.T, us(s.at)), append(lost.V, s.lost)
		}
		d.Curves = []curve{qemu, lost}
	}
	return d
}

func flag(on bool, value int64) int64 {
	if on {
		return value
	}
	return 0
}
