package film

import (
	"context"
	"errors"
	"fmt"
	"image"
	"slices"
	"sync"
	"time"
)

// A Screen is what a Recorder films. Its methods are called by one goroutine at a time.
type Screen interface {
	// Displays lists the displays that have a picture now.
	Displays() []Display
	// Copy copies the part r of a display's picture into dst, without padding between its rows.
	// It may use dst's memory, and must not keep it. It returns false if the display does not
	// exist any more, or is not that large.
	Copy(display uint8, r image.Rectangle, dst *Pixels) bool
}

// A Display is one picture of a Screen.
type Display struct {
	Number uint8
	Size   image.Point
	// Session identifies the pictures of one session. If it changes, the display is filmed anew,
	// with a key frame. It must be comparable.
	Session any
}

// A Config configures a Recorder.
type Config struct {
	// Path is the path of the film's file. An existing file is replaced.
	Path string
	// Clock is when the timeline of the lane began.
	Clock time.Time
	// Screen is the screen to film.
	Screen Screen
	// MaxBytes limits the size of the file. A file that reaches it is thinned to half of it. The
	// oldest frames that are not key frames go first, then every second key frame, and so on. The
	// newest quarter stays. Default: 8 MiB.
	MaxBytes int64
	// Share is the part of one processor that filming may use in the long run. A screen that
	// changes all the time is filmed less often. Default: 0.02.
	Share float64
	// Settle is the time from the first drawing to its frame. Drawings within it are one frame.
	// Default: 30 ms.
	Settle time.Duration
}

func (c Config) maxBytes() int64 {
	if c.MaxBytes > 0 {
		return c.MaxBytes
	}
	return 8 << 20
}

func (c Config) share() float64 {
	if c.Share > 0 {
		return c.Share
	}
	return 0.02
}

func (c Config) settle() time.Duration {
	if c.Settle > 0 {
		return c.Settle
	}
	return 30 * time.Millisecond
}

// A Recorder films a Screen until Close. A nil Recorder films nothing.
type Recorder struct {
	cfg  Config
	wake chan struct{}
	stop context.CancelFunc
	done chan struct{}

	// noted has what was drawn since the last call of look. Its lock is never held for long,
	// because Drawn must not delay the code that draws.
	noted struct {
		sync.Mutex
		dirty   map[uint8][]image.Rectangle
		last    time.Time           // when something was drawn last
		first   map[uint8]time.Time // by display: when it was first drawn on since then
		changed bool                // displays may have come or gone
	}

	// looking is held while pixels are copied, so that pictures of Take and frames of the film have
	// one order. It guards the fields up to spare.
	looking  sync.Mutex
	displays map[uint8]*display
	floor    time.Duration // the time of the newest frame or picture, if there is any
	any      bool
	queue    []shot // frames to be written
	waiting  int    // pixels in the queue
	copied   Pixels
	spare    []byte // of a key frame that was written

	out writer // used only by the goroutine run
	err error  // valid after done
}

// A display is the state of a display that is filmed.
type display struct {
	Display
	pix     []byte    // the picture that the film shows
	wantKey bool      // the next frame must be a key frame
	at      time.Time // of the last frame
	frames  int       // since the last key frame
	// seen has the patches since the last key frame that no later patch hides.
	seen []image.Rectangle
}

// Showing a moment means decoding a key frame and the visible patches after it, and that must be
// quick. So there is a new key frame after groupFrames frames, or when the visible patches are more
// than groupWork times as much work as the key frame.
const (
	groupFrames = 128
	groupWork   = 2
	// patchWork is the fixed cost of decoding a PNG, in pixels of a large one.
	patchWork = 12 << 10
)

// work returns the cost of decoding patches, in pixels.
func work(patches []image.Rectangle) int {
	n := 0
	for _, r := range patches {
		n += area(r) + patchWork
	}
	return n
}

// late is the age of a change from which on its frame has a Since.
const late = 100 * time.Millisecond

// A shot is a frame that waits to be compressed.
type shot struct {
	at      time.Time
	since   time.Time // zero if it is not late
	display uint8
	size    image.Point
	key     bool
	gone    bool
	patches []Pixels
}

// maxWaiting is the number of pixels that may wait to be compressed. If there are more, pictures of
// Take are not put into the film.
const maxWaiting = 8 << 20

// maxDirty is the number of rectangles of a display that are compared separately. More are merged.
const maxDirty = 24

// Start begins to film. It returns an error if the file cannot be created.
func Start(cfg Config) (*Recorder, error) {
	r := &Recorder{cfg: cfg, wake: make(chan struct{}, 1), done: make(chan struct{}), displays: map[uint8]*display{}}
	r.noted.dirty, r.noted.first = map[uint8][]image.Rectangle{}, map[uint8]time.Time{}
	r.noted.changed = true
	if err := r.out.open(cfg.Path, cfg.maxBytes()); err != nil {
		return nil, fmt.Errorf("film: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	go r.run(ctx)
	r.ring()
	return r, nil
}

// Drawn notes that pixels of display number in rect changed at a moment. It never blocks.
func (r *Recorder) Drawn(number uint8, rect image.Rectangle, at time.Time) {
	if r == nil || rect.Empty() {
		return
	}
	n := &r.noted
	n.Lock()
	n.dirty[number] = addRect(n.dirty[number], rect)
	n.last = at
	if _, known := n.first[number]; !known {
		n.first[number] = at
	}
	n.Unlock()
	r.ring()
}

// addRect adds a rectangle to those that must be compared.
func addRect(list []image.Rectangle, rect image.Rectangle) []image.Rectangle {
	for i, known := range list {
		if rect.In(known) {
			return list
		}
		if known.In(rect) {
			list[i] = rect
			return list
		}
	}
	if len(list) < maxDirty {
		return append(list, rect)
	}
	for _, known := range list {
		rect = rect.Union(known)
	}
	return append(list[:0], rect)
}

// Changed notes that displays may have appeared or gone, or belong to another session. It never
// blocks.
func (r *Recorder) Changed() {
	if r == nil {
		return
	}
	r.noted.Lock()
	r.noted.changed = true
	r.noted.Unlock()
	r.ring()
}

func (r *Recorder) ring() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Take takes a picture with snapshot, which returns the whole picture of display number, and puts
// it into the film. At the returned moment, the film shows exactly that picture. The film leaves
// the picture out if too much waits to be written, or if the display appeared or changed its size
// just now. The error is that of snapshot.
func (r *Recorder) Take(number uint8, snapshot func() (*Pixels, error)) (time.Time, error) {
	if r == nil {
		_, err := snapshot()
		return time.Now(), err
	}
	r.looking.Lock()
	defer r.looking.Unlock()
	// NB: this comes before the snapshot, because the snapshot is compared with these displays.
	r.findDisplays(time.Now())
	r.noted.Lock()
	first := r.noted.first[number]
	delete(r.noted.first, number) // the picture will show that change
	r.noted.Unlock()
	p, err := snapshot()
	at := r.moment(time.Now())
	if err != nil || p == nil || r.waiting > maxWaiting {
		return at, err
	}
	d := r.displays[number]
	if d == nil || p.Rect != (image.Rectangle{Max: d.Size}) {
		return at, nil // the display appeared or changed its size in between: look will find it
	}
	r.add(d, first, at, d.compare(p, nil))
	r.ring()
	return at, nil
}

// moment returns the time for a frame of something that happened at t. It is after all earlier
// frames, and in whole microseconds, the unit of the film and the timeline.
func (r *Recorder) moment(t time.Time) time.Time {
	at := t.Sub(r.cfg.Clock).Truncate(time.Microsecond)
	if r.any && at <= r.floor {
		at = r.floor + time.Microsecond
	}
	r.floor, r.any = at, true
	return r.cfg.Clock.Add(at)
}

// run films the screen when something was drawn on it, and writes the frames.
func (r *Recorder) run(ctx context.Context) {
	defer close(r.done)
	var rest time.Duration // how long to pause for the work done so far
	for {
		select {
		case <-ctx.Done():
			r.err = r.finish()
			return
		case <-r.wake:
		}
		began := time.Now()
		pause(ctx, max(r.cfg.settle(), rest))
		rest = max(0, rest-time.Since(began))
		end := stopwatch()
		r.look()
		err := r.write()
		spent := end()
		r.out.stats.CPU += spent
		rest += time.Duration(float64(spent) / r.cfg.share())
		if err != nil {
			r.err = err
			<-ctx.Done()
			r.err = errors.Join(err, r.out.close())
			return
		}
	}
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// finish films the screen a last time, and ends the file.
func (r *Recorder) finish() error {
	end := stopwatch()
	r.look()
	err := r.write()
	r.out.stats.CPU += end()
	if err == nil {
		err = r.out.end()
	}
	return errors.Join(err, r.out.close())
}

// Close films the screen a last time and ends the film. It returns an error if a part of the film
// could not be written.
func (r *Recorder) Close() error {
	if r == nil {
		return nil
	}
	r.stop()
	<-r.done
	if r.err != nil {
		return fmt.Errorf("film: %w", r.err)
	}
	return nil
}

// look copies what was drawn since the last call, and queues frames of what differs from the film.
func (r *Recorder) look() {
	r.looking.Lock()
	defer r.looking.Unlock()
	n := &r.noted
	n.Lock()
	dirty, first, last := n.dirty, n.first, n.last
	n.dirty, n.first = map[uint8][]image.Rectangle{}, map[uint8]time.Time{}
	n.Unlock()
	now := time.Now()
	r.findDisplays(now)
	if last.IsZero() || last.After(now) {
		last = now
	}
	for number, rects := range dirty {
		d := r.displays[number]
		if d == nil {
			continue
		}
		var changed []image.Rectangle
		for _, rect := range rects {
			rect = rect.Intersect(image.Rectangle{Max: d.Size})
			if rect.Empty() {
				continue
			}
			if !r.cfg.Screen.Copy(number, rect, &r.copied) || r.copied.Rect != rect {
				r.Changed()
				break
			}
			changed = d.compare(&r.copied, changed)
		}
		if len(changed) > 0 {
			r.add(d, first[number], r.moment(last), changed)
		}
	}
}

// findDisplays updates the displays, if they may have changed. It queues a key frame of each new
// one, and a note for each one that has gone.
func (r *Recorder) findDisplays(now time.Time) {
	n := &r.noted
	n.Lock()
	changed := n.changed
	n.changed = false
	n.Unlock()
	if !changed {
		return
	}
	there := map[uint8]bool{}
	for _, info := range r.cfg.Screen.Displays() {
		there[info.Number] = true
		d := r.displays[info.Number]
		if d != nil && d.Display == info {
			continue
		}
		fresh := &display{Display: info, wantKey: true}
		if !r.cfg.Screen.Copy(info.Number, image.Rectangle{Max: info.Size}, &r.copied) ||
			r.copied.Rect != (image.Rectangle{Max: info.Size}) || r.copied.Stride != 4*info.Size.X {
			r.Changed() // the display has gone or changed meanwhile, so try again
			there[info.Number] = d != nil
			continue
		}
		fresh.pix = r.copied.Pix
		r.copied = Pixels{}
		r.displays[info.Number] = fresh
		r.add(fresh, time.Time{}, r.moment(now), nil)
	}
	for number, d := range r.displays {
		if there[number] {
			continue
		}
		delete(r.displays, number)
		r.queue = append(r.queue, shot{at: r.moment(now), display: d.Number, gone: true})
	}
}

// gap is the number of equal rows that separates two rectangles of a frame.
const gap = 12

// compare copies the pixels of p that differ into d.pix. It adds the rectangle of each run of rows
// that differ to changed, and returns it.
func (d *display) compare(p *Pixels, changed []image.Rectangle) []image.Rectangle {
	stride := 4 * d.Size.X
	var run image.Rectangle
	for y := p.Rect.Min.Y; y < p.Rect.Max.Y; y++ {
		got := p.row(y, p.Rect.Min.X, p.Rect.Max.X)
		have := d.pix[y*stride+4*p.Rect.Min.X:][:len(got)]
		from, to := differ(have, got)
		if from == to {
			continue
		}
		if !run.Empty() && y-run.Max.Y >= gap {
			changed = join(changed, run)
			run = image.Rectangle{}
		}
		copy(have, got)
		run = run.Union(image.Rect(p.Rect.Min.X+from, y, p.Rect.Min.X+to, y+1))
	}
	if !run.Empty() {
		changed = join(changed, run)
	}
	return changed
}

// slack is the number of unchanged pixels that a patch may have so that it replaces two. A guest
// draws a text letter by letter. One PNG of a line is smaller, and faster to show, than one for
// each letter.
const slack = 4096

// join adds a rectangle to a list, and merges it with those that are near it.
func join(list []image.Rectangle, r image.Rectangle) []image.Rectangle {
	for again := true; again; {
		again = false
		list = slices.DeleteFunc(list, func(known image.Rectangle) bool {
			all := r.Union(known)
			if area(all) > area(r)+area(known)+slack {
				return false
			}
			r, again = all, true
			return true
		})
	}
	return append(list, r)
}

func area(r image.Rectangle) int { return r.Dx() * r.Dy() }

// cut copies a rectangle of the film's picture. It uses the memory of spare if that is large
// enough.
func (d *display) cut(r image.Rectangle, spare []byte) Pixels {
	out := Pixels{Rect: r, Stride: 4 * r.Dx(), Pix: slices.Grow(spare[:0], 4*r.Dx()*r.Dy())}
	for y := r.Min.Y; y < r.Max.Y; y++ {
		out.Pix = append(out.Pix, d.pix[4*(y*d.Size.X+r.Min.X):4*(y*d.Size.X+r.Max.X)]...)
	}
	return out
}

// add queues a frame: the rectangles that changed, or the whole screen if a key frame is due. The
// changes were drawn between first and at.
func (r *Recorder) add(d *display, first, at time.Time, changed []image.Rectangle) {
	if len(changed) == 0 && !d.wantKey {
		return
	}
	d.frames++
	whole := image.Rectangle{Max: d.Size}
	for _, rect := range changed {
		d.seen = slices.DeleteFunc(d.seen, func(known image.Rectangle) bool { return known.In(rect) })
		d.seen = append(d.seen, rect)
	}
	// A patch of the whole screen is a key frame.
	if slices.Contains(changed, whole) || d.frames >= groupFrames || work(d.seen) > groupWork*work([]image.Rectangle{whole}) {
		d.wantKey = true
	}
	f := shot{at: at, display: d.Number, size: d.Size, key: d.wantKey}
	if first.After(d.at) && at.Sub(first) > late {
		f.since = first
	}
	d.at = at
	if d.wantKey {
		f.patches = []Pixels{d.cut(whole, r.spare)}
		d.wantKey, d.frames, d.seen, r.spare = false, 0, d.seen[:0], nil
	} else {
		for _, rect := range changed {
			f.patches = append(f.patches, d.cut(rect, nil))
		}
	}
	r.queue = append(r.queue, f)
	for _, p := range f.patches {
		r.waiting += len(p.Pix) / 4
	}
}

// write compresses and writes the queue.
func (r *Recorder) write() error {
	for {
		r.looking.Lock()
		queue := r.queue
		r.queue, r.waiting = nil, 0
		r.looking.Unlock()
		if len(queue) == 0 {
			return nil
		}
		for _, s := range queue {
			if err := r.out.add(s, s.at.Sub(r.cfg.Clock)); err != nil {
				return err
			}
			if s.key {
				r.looking.Lock()
				r.spare = s.patches[0].Pix
				r.looking.Unlock()
			}
		}
	}
}
