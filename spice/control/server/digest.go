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

// digestSide is the width and height of the digest region in pixels: a version 5 QR code has 37
// modules and a quiet zone of 4 on each side, at 4 pixels per module.
const digestSide = 180

// DefaultDigestRegion returns the place of the digest on a surface of w×h pixels: 180×180 in the
// bottom right corner, less if the surface is smaller.
func DefaultDigestRegion(w, h int) image.Rectangle {
	return image.Rect(w-digestSide, h-digestSide, w, h).Intersect(image.Rect(0, 0, w, h))
}

// A DigestScanner reads the digest from pixels in the byte order B, G, R, X. They are exactly the
// digest region. If there is no code, the error wraps [control.ErrNoDigest]; if the code cannot be
// read or its payload is wrong, it is another error. A [DigestReader] never calls it from two
// goroutines at a time.
type DigestScanner func(pix []byte, stride, w, h int) (control.Digest, error)

// A DigestReader reads the digest on a console's screen. Console and Scan must be set. Its methods
// may be called concurrently.
type DigestReader struct {
	Console Console
	Scan    DigestScanner
	// Region returns the place of the digest on a primary surface of w×h pixels. Nil means
	// [DefaultDigestRegion].
	Region func(w, h int) image.Rectangle

	scanning sync.Mutex // held while the scanner runs, so that it may reuse buffers
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
		return sf, region, nil // the surface is gone; another notice says so
	}
	return sf, region, pic
}

// Read reads the digest on the screen. The error is a *control.Error: no_such_surface if there is
// no screen, no_digest if it has no readable digest.
func (r *DigestReader) Read() (control.Digest, error) {
	d, err, _ := r.read()
	return d, err
}

// read does what Read does. damaged reports whether there is a code that cannot be read.
func (r *DigestReader) read() (d control.Digest, err error, damaged bool) {
	_, _, pic := r.look()
	if pic == nil {
		_, err := pickSurface(r.Console, nil, nil)
		if err == nil { // the surface appeared or disappeared in between
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

// stamp sets the times.
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

// A DigestWatcher decodes the digest whenever pixels of its region have changed, and is idle
// otherwise. Make it with [DigestReader.Watch].
type DigestWatcher struct {
	reader  *DigestReader
	publish func(control.Digest)
	unwatch func() // ends the observation of the console
	dirty   chan struct{}
	stop    chan struct{}
	done    chan struct{}
	looked  chan struct{} // closed when the screen at the beginning has been checked
	waiting wakers

	mu     sync.Mutex
	region image.Rectangle // on the primary surface; empty if not known
	onto   control.Surface // the primary surface
	sizes  int             // how often these may have changed
	at     time.Time       // of the newest draw on the region
	n      control.DigestCounts
	recent []control.Digest // the newest, at most recentDigests
	count  int              // how many there have been
	gone   bool             // the screen no longer shows the newest, but no code at all
}

// recentDigests is how many digests are kept for waits: one that wakes late must not miss an event
// that a later digest no longer has.
const recentDigests = 64

// Watch decodes the digest now on the screen, and again whenever it changes. It calls publish, if
// that is not nil, with each digest that is of another frame than the previous one. Close the watcher
// when done.
func (r *DigestReader) Watch(publish func(control.Digest)) *DigestWatcher {
	w := &DigestWatcher{
		reader: r, publish: publish,
		dirty:  make(chan struct{}, 1),
		stop:   make(chan struct{}),
		done:   make(chan struct{}),
		looked: make(chan struct{}),
	}
	w.unwatch = r.Console.Observe(w.observe)
	w.poke()
	go w.run()
	return w
}

// Close ends the watcher and joins it. publish is not called any more.
func (w *DigestWatcher) Close() {
	w.unwatch()
	close(w.stop)
	<-w.done
}

// Counts returns the results of reading the region so far.
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

// since returns the digests after number seq, if they are still kept, and the number of the newest.
// A negative seq returns only the newest, unless it is gone from the screen.
func (w *DigestWatcher) since(seq int) ([]control.Digest, int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.count - seq
	switch {
	case seq < 0 && w.gone:
		n = 0
	case seq < 0:
		n = 1
	}
	n = min(n, len(w.recent))
	return slices.Clone(w.recent[len(w.recent)-n:]), w.count
}

func (w *DigestWatcher) poke() { poke(w.dirty) }

// observe receives notices of the console, on the producer's goroutine.
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

// resized records that the primary surface may have changed.
func (w *DigestWatcher) resized() {
	w.mu.Lock()
	w.region = image.Rectangle{}
	w.sizes++
	w.mu.Unlock()
	w.poke()
}

func (w *DigestWatcher) run() {
	defer close(w.done)
	looked := sync.OnceFunc(func() { close(w.looked) })
	defer looked()
	var seen []byte // the pixels of the last check
	for {
		select {
		case <-w.stop:
			return
		case <-w.dirty:
		}
		seen = w.check(seen)
		looked()
	}
}

// check reads the digest on the screen, if its pixels are not those of the last check. It returns
// the pixels.
func (w *DigestWatcher) check(seen []byte) []byte {
	w.mu.Lock()
	at := w.at
	w.mu.Unlock()
	pic := w.look()
	if pic == nil {
		w.mu.Lock()
		w.gone = true
		w.mu.Unlock()
		return nil
	}
	if bytes.Equal(pic.Pix, seen) {
		return seen
	}
	seen = append(seen[:0], pic.Pix...)
	begin := time.Now()
	d, err := w.reader.scan(pic)
	if at.IsZero() {
		at = pic.Drawn
	}
	w.note(d, err, at, begin)
	return seen
}

// look copies the digest region. It asks for the region's place only if that may have changed: a
// guest draws its code in a thousand pieces, and asking is expensive.
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
	if w.sizes == sizes { // the answer is still valid
		w.region, w.onto = region, onto
	}
	w.mu.Unlock()
	return pic
}

// note counts the result of a scan and publishes a new digest.
func (w *DigestWatcher) note(d control.Digest, err error, at, begin time.Time) {
	w.mu.Lock()
	switch {
	case errors.Is(err, control.ErrNoDigest):
		w.n.Absent++
		w.gone = true
	case err != nil:
		w.n.Damaged++
	default:
		w.n.Decoded++
	}
	n := len(w.recent)
	same := n > 0 && w.recent[n-1].SameFrame(d)
	if err != nil || same && !w.gone {
		w.mu.Unlock()
		return
	}
	w.gone = false
	stamp(&d, at, begin)
	if len(w.recent) == recentDigests {
		w.recent = slices.Delete(w.recent, 0, 1)
	}
	w.recent = append(w.recent, d)
	w.count++
	w.mu.Unlock()
	if w.publish != nil && !same {
		w.publish(d)
	}
	w.waiting.wake()
}

// digest answers with the digest on the screen.
func (cn *connection) digest(*call) (any, error) {
	d, err, damaged := cn.srv.digests.read()
	if damaged {
		// While a new code is being drawn, answer with the last complete one, if there is a
		// watcher.
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
