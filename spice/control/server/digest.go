package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"image"
	"slices"
	"sync"
	"time"

	"github.com/spicelane/spicelane/spice/control"
)

// digestSide is the width and height of the digest region in pixels: a version
// 5 QR code has 37 modules and 4 of quiet zone on each side, at 4 pixels a module.
const digestSide = 180

// DefaultDigestRegion returns where the digest stands on a surface of w×h pixels:
// 180×180 in the bottom right corner, less if the surface is smaller.
func DefaultDigestRegion(w, h int) image.Rectangle {
	return image.Rect(w-digestSide, h-digestSide, w, h).Intersect(image.Rect(0, 0, w, h))
}

// DigestScanner reads the digest from pixels in the byte order B, G, R, X. They
// are the digest region and nothing else. It returns an error that wraps
// [control.ErrNoDigest] if there is no code at all, and another one if there is a code
// that cannot be read or whose payload is wrong. A [DigestReader] never calls it
// from two goroutines at a time.
type DigestScanner func(pix []byte, stride, w, h int) (control.Digest, error)

// A DigestReader reads the digest on a console's screen. Console and Scan must be
// set. Its methods may be called at the same time.
type DigestReader struct {
	Console Console
	Scan    DigestScanner
	// Region says where the digest stands on a primary surface of w×h pixels. Nil
	// is [DefaultDigestRegion].
	Region func(w, h int) image.Rectangle

	scanning sync.Mutex // held while the scanner runs, so that it may keep buffers
}

func (r *DigestReader) region(w, h int) image.Rectangle {
	if r.Region == nil {
		return DefaultDigestRegion(w, h)
	}
	return r.Region(w, h)
}

func (r *DigestReader) scan(pic *Picture) (control.Digest, error) {
	r.scanning.Lock()
	defer r.scanning.Unlock()
	return r.Scan(pic.Pix, pic.Stride, pic.Width, pic.Height)
}

// look copies the digest region of the primary surface; nil if there is none.
func (r *DigestReader) look() (control.Surface, image.Rectangle, *Picture) {
	sf, ok := r.Console.Status().Primary()
	if !ok {
		return sf, image.Rectangle{}, nil
	}
	region := r.region(sf.Width, sf.Height)
	if region.Empty() {
		return sf, region, nil
	}
	pic, err := r.Console.Snapshot(sf.ChannelID, sf.SurfaceID, region)
	if err != nil {
		return sf, region, nil // the surface went; its end is noticed as a change
	}
	return sf, region, pic
}

// Read reads the digest that is on the screen now. The error is a *control.Error:
// no_such_surface if there is no screen, no_digest if no digest can be read from
// it.
func (r *DigestReader) Read() (control.Digest, error) {
	d, err, _ := r.read()
	return d, err
}

// read is Read. damaged says that there is a code that cannot be read.
func (r *DigestReader) read() (d control.Digest, err error, damaged bool) {
	_, _, pic := r.look()
	if pic == nil {
		_, err := pickSurface(r.Console, nil, nil)
		if err == nil { // it came in between, or it went
			err = errorf(control.CodeNoSuchSurface, "there is no surface at this moment to read a digest from")
		}
		return d, err, false
	}
	begin := time.Now()
	if d, err = r.scan(pic); err != nil {
		return control.Digest{}, errorf(control.CodeNoDigest, "%s", err), !errors.Is(err, control.ErrNoDigest)
	}
	stamp(&d, pic.Drawn, begin)
	return d, nil, false
}

// stamp fills in the times.
func stamp(d *control.Digest, drawn, begin time.Time) {
	now := time.Now()
	d.WallclockUS = now.UnixMicro()
	d.DecodeUS = now.Sub(begin).Microseconds()
	if !drawn.IsZero() {
		d.DrawnAtUS = drawn.UnixMicro()
	}
	if d.Events == nil {
		d.Events = []json.RawMessage{} // an array on the wire, never null
	}
}

// A DigestWatcher decodes the digest whenever the pixels of its region have
// changed, and does nothing otherwise. Make it with [DigestReader.Watch].
type DigestWatcher struct {
	reader  *DigestReader
	publish func(control.Digest)
	unwatch func() // ends the observation of the console
	dirty   chan struct{}
	stop    chan struct{}
	done    chan struct{}
	waiting wakers

	mu     sync.Mutex
	region image.Rectangle // on the primary surface; empty if not known
	onto   control.Surface // the primary surface
	sizes  int             // how often these may have changed
	at     time.Time       // of the newest draw on the region
	n      control.DigestCounts
	recent []control.Digest // the newest ones, at most recentDigests
	count  int              // how many there have been
}

// recentDigests is how many digests are kept for those who wait: one who is
// woken late must not miss an event that a later digest no longer has.
const recentDigests = 64

// Watch starts to decode the digest on the screen now and whenever it changes. It
// calls publish, if that is not nil, with each digest that has another frame counter
// than the one before. Close the watcher when done.
func (r *DigestReader) Watch(publish func(control.Digest)) *DigestWatcher {
	w := &DigestWatcher{
		reader: r, publish: publish,
		dirty: make(chan struct{}, 1),
		stop:  make(chan struct{}),
		done:  make(chan struct{}),
	}
	w.unwatch = r.Console.Observe(w.observe)
	w.poke()
	go w.run()
	return w
}

// Close ends the watcher and joins it. Publish is not called any more.
func (w *DigestWatcher) Close() {
	w.unwatch()
	close(w.stop)
	<-w.done
}

// Counts returns what became of the changes of the region.
func (w *DigestWatcher) Counts() control.DigestCounts {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.n
}

// Newest returns the newest digest; false before the first.
func (w *DigestWatcher) Newest() (control.Digest, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.recent) == 0 {
		return control.Digest{}, false
	}
	return w.recent[len(w.recent)-1], true
}

// since returns the digests after number seq, as far as they are kept, and the
// number of the newest. A negative seq asks for the newest only.
func (w *DigestWatcher) since(seq int) ([]control.Digest, int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.count - seq
	if seq < 0 {
		n = 1
	}
	n = min(n, len(w.recent))
	return slices.Clone(w.recent[len(w.recent)-n:]), w.count
}

func (w *DigestWatcher) poke() { poke(w.dirty) }

// observe takes what happens on the console, on the producer's path.
func (w *DigestWatcher) observe(n Notice) {
	switch n := n.(type) {
	case Drawn:
		w.drawn(n)
	case Changed:
		w.resized()
	}
}

func (w *DigestWatcher) drawn(n Drawn) {
	w.mu.Lock()
	hit := w.region.Empty() ||
		n.Channel == w.onto.ChannelID && n.Surface == w.onto.SurfaceID && n.Rect.Overlaps(w.region)
	if hit {
		w.at = n.Received
		if w.at.IsZero() {
			w.at = n.At
		}
	}
	w.mu.Unlock()
	if hit {
		w.poke()
	}
}

// resized notes that the primary surface may be another one.
func (w *DigestWatcher) resized() {
	w.mu.Lock()
	w.region = image.Rectangle{}
	w.sizes++
	w.mu.Unlock()
	w.poke()
}

func (w *DigestWatcher) run() {
	defer close(w.done)
	var seen []byte // the pixels that were looked at last
	for {
		select {
		case <-w.stop:
			return
		case <-w.dirty:
		}
		w.mu.Lock()
		at := w.at
		w.mu.Unlock()
		pic := w.look()
		if pic == nil {
			continue
		}
		if bytes.Equal(pic.Pix, seen) {
			continue
		}
		seen = append(seen[:0], pic.Pix...)
		begin := time.Now()
		d, err := w.reader.scan(pic)
		if at.IsZero() {
			at = pic.Drawn
		}
		w.note(d, err, at, begin)
	}
}

// look copies the digest region, asking for its place only if that may have
// changed: a guest draws its code in a thousand pieces, and asking is dear.
func (w *DigestWatcher) look() *Picture {
	w.mu.Lock()
	region, onto, sizes := w.region, w.onto, w.sizes
	w.mu.Unlock()
	if !region.Empty() {
		if pic, err := w.reader.Console.Snapshot(onto.ChannelID, onto.SurfaceID, region); err == nil {
			return pic
		}
	}
	onto, region, pic := w.reader.look()
	w.mu.Lock()
	if w.sizes == sizes { // what was answered still stands
		w.region, w.onto = region, onto
	}
	w.mu.Unlock()
	return pic
}

// note counts the outcome of a scan and publishes a digest that is new.
func (w *DigestWatcher) note(d control.Digest, err error, at, begin time.Time) {
	w.mu.Lock()
	switch {
	case errors.Is(err, control.ErrNoDigest):
		w.n.Absent++
	case err != nil:
		w.n.Damaged++
	default:
		w.n.Decoded++
	}
	if n := len(w.recent); err != nil || n > 0 && w.recent[n-1].FrameCounter == d.FrameCounter {
		w.mu.Unlock()
		return
	}
	stamp(&d, at, begin)
	if len(w.recent) == recentDigests {
		w.recent = slices.Delete(w.recent, 0, 1)
	}
	w.recent = append(w.recent, d)
	w.count++
	w.mu.Unlock()
	if w.publish != nil {
		w.publish(d)
	}
	w.waiting.wake()
}

// digest answers the digest that is on the screen now.
func (cn *connection) digest(*call) (any, error) {
	d, err, damaged := cn.srv.digests.read()
	if damaged {
		// A code that is being drawn at this moment is no news: the last good
		// one still stands, if somebody has been watching.
		cn.mu.Lock()
		w := cn.digests
		cn.mu.Unlock()
		if w != nil {
			if last, ok := w.Newest(); ok {
				return last, nil
			}
		}
	}
	if err != nil {
		return nil, err
	}
	return d, nil
}
