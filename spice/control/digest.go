package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"image"
	"slices"
	"sync"
	"time"
)

// digestWatcher decodes the digest whenever the pixels of its region have
// changed, and does nothing otherwise.
type digestWatcher struct {
	cfg     *Config
	scan    DigestScanner
	publish func(Digest)
	dirty   chan struct{}
	stop    chan struct{}
	done    chan struct{}

	mu     sync.Mutex
	region image.Rectangle // on the primary surface; empty if not known
	onto   Surface         // the primary surface
	sizes  int             // how often these may have changed
	at     time.Time       // of the newest draw on the region
	n      DigestCounts
	recent []Digest // the newest ones, at most recentDigests
	count  int      // how many there have been
}

// recentDigests is how many digests are kept for those who wait: one who is
// woken late must not miss an event that a later digest no longer has.
const recentDigests = 64

// watchDigest starts the session's digest watcher if it is not running yet.
func (s *session) watchDigest() *digestWatcher {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.digests != nil || s.srv.cfg.Scan == nil {
		return s.digests
	}
	w := &digestWatcher{
		cfg:  &s.srv.cfg,
		scan: s.srv.scan,
		publish: func(d Digest) {
			s.emit(EventDigestUpdated, d)
			s.wake()
		},
		dirty: make(chan struct{}, 1),
		stop:  make(chan struct{}),
		done:  make(chan struct{}),
	}
	s.digests = w
	w.poke()
	go w.run()
	return w
}

func (w *digestWatcher) poke() {
	select {
	case w.dirty <- struct{}{}:
	default:
	}
}

// drawn notes a draw; it is called on the producer's path.
func (w *digestWatcher) drawn(n Drawn) {
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
func (w *digestWatcher) resized() {
	w.mu.Lock()
	w.region = image.Rectangle{}
	w.sizes++
	w.mu.Unlock()
	w.poke()
}

func (w *digestWatcher) close() {
	close(w.stop)
	<-w.done
}

func (w *digestWatcher) counts() DigestCounts {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.n
}

// last returns the newest digest; false before the first.
func (w *digestWatcher) last() (Digest, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.recent) == 0 {
		return Digest{}, false
	}
	return w.recent[len(w.recent)-1], true
}

// since returns the digests after number seq, as far as they are kept, and the
// number of the newest. A negative seq asks for the newest only.
func (w *digestWatcher) since(seq int) ([]Digest, int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.count - seq
	if seq < 0 {
		n = 1
	}
	n = min(n, len(w.recent))
	return slices.Clone(w.recent[len(w.recent)-n:]), w.count
}

func (w *digestWatcher) run() {
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
		d, err := w.scan(pic.Pix, pic.Stride, pic.Width, pic.Height)
		if at.IsZero() {
			at = pic.Drawn
		}
		w.note(d, err, at, begin)
	}
}

// look copies the digest region, asking for its place only if that may have
// changed: a guest draws its code in a thousand pieces, and asking is dear.
func (w *digestWatcher) look() *Picture {
	w.mu.Lock()
	region, onto, sizes := w.region, w.onto, w.sizes
	w.mu.Unlock()
	if !region.Empty() {
		if pic, err := w.cfg.Console.Snapshot(onto.ChannelID, onto.SurfaceID, region); err == nil {
			return pic
		}
	}
	onto, region, pic := lookAtDigest(w.cfg)
	w.mu.Lock()
	if w.sizes == sizes { // what was answered still stands
		w.region, w.onto = region, onto
	}
	w.mu.Unlock()
	return pic
}

// note counts the outcome of a scan and publishes a digest that is new.
func (w *digestWatcher) note(d Digest, err error, at, begin time.Time) {
	w.mu.Lock()
	switch {
	case errors.Is(err, ErrNoDigest):
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
	d.stamp(at, begin)
	if len(w.recent) == recentDigests {
		w.recent = slices.Delete(w.recent, 0, 1)
	}
	w.recent = append(w.recent, d)
	w.count++
	w.mu.Unlock()
	w.publish(d)
}

// stamp fills in the times.
func (d *Digest) stamp(drawn, begin time.Time) {
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

// lookAtDigest copies the digest region of the primary surface; nil if there is none.
func lookAtDigest(cfg *Config) (Surface, image.Rectangle, *Picture) {
	sf, ok := primary(cfg.Console.Status())
	if !ok {
		return sf, image.Rectangle{}, nil
	}
	region := cfg.digestRegion(sf.Width, sf.Height)
	if region.Empty() {
		return sf, region, nil
	}
	pic, err := cfg.Console.Snapshot(sf.ChannelID, sf.SurfaceID, region)
	if err != nil {
		return sf, region, nil // the surface went; its end is noticed as a change
	}
	return sf, region, pic
}

// digest answers the digest that is on the screen now.
func (s *session) digest(*call) (any, error) {
	_, _, pic := lookAtDigest(&s.srv.cfg)
	if pic == nil {
		return nil, errorf(CodeNoSuchSurface, "there is no surface to read a digest from yet")
	}
	begin := time.Now()
	d, err := s.srv.scan(pic.Pix, pic.Stride, pic.Width, pic.Height)
	if err != nil {
		// A code that is being drawn at this moment is no news: the last good
		// one still stands, if somebody has been watching.
		s.mu.Lock()
		w := s.digests
		s.mu.Unlock()
		if w != nil && !errors.Is(err, ErrNoDigest) {
			if last, ok := w.last(); ok {
				return last, nil
			}
		}
		return nil, errorf(CodeNoDigest, "%s", err)
	}
	d.stamp(pic.Drawn, begin)
	return d, nil
}
