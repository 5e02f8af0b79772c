package film

import (
	"cmp"
	"errors"
	"io"
	"os"
	"slices"
	"time"
)

// A writer appends frames to a film's file and keeps it within its limit. It belongs to one
// goroutine.
type writer struct {
	path  string
	limit int64
	// thinAt is the size at which the film is thinned next.
	thinAt int64
	file   *os.File
	size   int64
	enc    *encoder
	stats  Stats
	left   LeftOut
	// groups are the groups in the file, oldest first.
	groups []*group
	newest map[uint8]*group // the newest of each display
}

// A group is a key frame and the frames that depend on it, or the note that a display has gone.
type group struct {
	display uint8
	at      time.Duration
	pieces  []*piece
	key     int64 // size of the key frame in bytes; 0 for a display that has gone
}

// A piece is the place of one frame in the file, in bytes.
type piece struct{ offset, length int64 }

func (w *writer) open(path string, limit int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	*w = writer{path: path, limit: limit, thinAt: limit, file: f, enc: newEncoder(), newest: map[uint8]*group{}}
	return nil
}

// add compresses and writes a frame.
func (w *writer) add(s shot, at time.Duration) error {
	var b []byte
	h := header{TUS: at.Microseconds(), Display: s.display}
	if s.gone {
		h.Gone = true
		b = h.record(nil)
	}
	if !s.since.IsZero() {
		h.SinceUS = (at - s.at.Sub(s.since)).Microseconds()
	}
	for i, p := range s.patches {
		data, err := w.enc.encode(&p)
		if err != nil {
			return err
		}
		h.Size, h.Key, h.More = [2]int{s.size.X, s.size.Y}, s.key, len(s.patches)-1-i
		h.Rect = [4]int{p.Rect.Min.X, p.Rect.Min.Y, p.Rect.Dx(), p.Rect.Dy()}
		b = append(b, h.record(data)...)
	}
	if s.key || s.gone {
		g := &group{display: s.display, at: at}
		w.groups = append(w.groups, g)
		w.newest[s.display] = g
	}
	g := w.newest[s.display]
	if s.key {
		g.key = int64(len(b))
	}
	g.pieces = append(g.pieces, &piece{w.size, int64(len(b))})
	w.stats.Frames++
	if err := w.append(b); err != nil {
		return err
	}
	if w.size > w.thinAt {
		return w.thin()
	}
	return nil
}

func (w *writer) append(b []byte) error {
	n, err := w.file.Write(b)
	w.size += int64(n)
	w.stats.Bytes += int64(n)
	return err
}

// thin drops frames of the older groups until the file has half its limit. It starts with the
// oldest. It first drops the frames that depend on a key frame, then every second key frame, and so
// on. The newest quarter stays as it is, because a lane that fails ends soon after the failure.
func (w *writer) thin() error {
	old, left := w.old(), w.size
	for _, g := range old {
		if left > w.limit/2 {
			left -= w.drop(g, 1)
		}
	}
	for step := 2; left > w.limit/2 && step < 2*len(old); step *= 2 {
		for i, g := range old {
			if left > w.limit/2 && i%step == step/2 {
				left -= w.drop(g, 0)
			}
		}
	}
	w.groups = slices.DeleteFunc(w.groups, func(g *group) bool { return len(g.pieces) == 0 })
	if err := w.rewrite(); err != nil {
		return err
	}
	// If the remaining groups are too large for the limit, do not thin again at every frame.
	w.thinAt = max(w.limit, w.size+w.limit/4)
	return nil
}

// old returns the groups that may be thinned, oldest first: all but the newest quarter, and those
// to which frames are still added.
func (w *writer) old() []*group {
	var newest int64
	n := len(w.groups)
	for n > 0 && newest+w.groups[n-1].bytes() < w.limit/4 {
		n--
		newest += w.groups[n].bytes()
	}
	var old []*group
	for _, g := range w.groups[:n] {
		if g.key > 0 && g != w.newest[g.display] {
			old = append(old, g)
		}
	}
	return old
}

// drop drops the pieces of g from the given index on, and returns the number of bytes that this
// saves.
func (w *writer) drop(g *group, from int) int64 {
	if len(g.pieces) <= from {
		return 0
	}
	var saved int64
	for _, p := range g.pieces[from:] {
		saved += p.length
		w.left.Frames++
	}
	g.pieces = g.pieces[:from]
	next := slices.IndexFunc(w.groups, func(o *group) bool { return o.display == g.display && o.at > g.at })
	w.left.Before = max(w.left.Before, w.groups[next].at) // next exists, because g is not the newest
	return saved
}

func (g *group) bytes() int64 {
	var n int64
	for _, p := range g.pieces {
		n += p.length
	}
	return n
}

// rewrite writes the remaining pieces to a new file, which replaces the old one. A process that is
// killed meanwhile leaves the old file.
func (w *writer) rewrite() error {
	tmp := w.path + ".new"
	f, err := os.Create(tmp)
	if err != nil {
		return err
	}
	fail := func(err error) error { return errors.Join(err, f.Close(), os.Remove(tmp)) }
	in, err := os.Open(w.path)
	if err != nil {
		return fail(err)
	}
	defer in.Close()
	var at int64
	// The pieces of several displays may alternate, so they are copied in the order of the file.
	var pieces []*piece
	for _, g := range w.groups {
		pieces = append(pieces, g.pieces...)
	}
	slices.SortFunc(pieces, func(a, b *piece) int { return cmp.Compare(a.offset, b.offset) })
	for _, p := range pieces {
		if _, err := io.Copy(f, io.NewSectionReader(in, p.offset, p.length)); err != nil {
			return fail(err)
		}
		p.offset = at
		at += p.length
	}
	note := header{Left: &w.left}.record(nil)
	if _, err := f.Write(note); err != nil {
		return fail(err)
	}
	if err := os.Rename(tmp, w.path); err != nil {
		return fail(err)
	}
	old := w.file
	w.file, w.size = f, at+int64(len(note))
	return old.Close()
}

// end writes what the film cost, as the last record.
func (w *writer) end() error {
	s := w.stats
	return w.append(header{Stats: &s}.record(nil))
}

func (w *writer) close() error { return w.file.Close() }
