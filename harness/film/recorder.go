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

// A Screen is what a Recorder films. Its methods are called from one goroutine at a time.
type Screen interface {
	// Displays lists what has a picture now.
	Displays() []Display
	// Copy copies the part r of a display's picture into dst, without padding between its rows.
	// It may use dst's memory, and keeps none of it. It is false if the display is not
	// there any more, or is not that large.
	Copy(display uint8, r image.Rectangle, dst *Pixels) bool
}

// A Display is one picture of a Screen.
type Display struct {
	Number uint8
	Size   image.Point
	// Session identifies the pictures of one session: a display with another Session is looked at again.
	Session any
}

// A Config says what to film and where to.
type Config struct {
	// Path is the file. An existing one is replaced.
	Path string
	// Clock is when the timeline of the lane began.
	Clock time.Time
	// Screen is what is filmed.
	Screen Screen
	// MaxBytes is how large the file grows. Beyond it the older half is thinned: key frames stay,
	// then every second of them. Default: 8 MiB.
	MaxBytes int64
	// Share is how much of one processor filming may take in the long run; a screen that
	// changes all the time is filmed less often. Default: 0.02.
	Share float64
	// Settle is for how long what is drawn is put together in one frame. Default: 30 ms.
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

	// noted has what was drawn since the last look. Its lock is never held for long, because
	// Drawn must not delay the code that draws.
	noted struct {
		sync.Mutex
		dirty   map[uint8][]image.Rectangle
		last    time.Time           // when something was drawn last
		first   map[uint8]time.Time // when each display was drawn on first since it was looked at
		changed bool                // displays may have come or gone
	}

	// looking is held while pixels are copied, so that a picture that somebody takes and
	// the film's frames have one order. It guards what follows.
	looking  sync.Mutex
	displays map[uint8]*display
	floor    time.Duration // the time of the newest frame or picture, if there is any
	any      bool
	queue    []shot // frames to be written
	waiting  int    // pixels in the queue
	copied   Pixels
	spare    []byte // of a key frame that was written

	out writer // of the goroutine run
	err error  // valid after done
}

// A display is what is known of a picture that is filmed.
type display struct {
	Display
	pix     []byte    // what the film shows
	wantKey bool      // the next frame is to be a key frame
	at      time.Time // of the last frame
	frames  int       // since the last key frame
	// seen are the patches since the last key frame that no later one hides.
	seen []image.Rectangle
}

// To show a moment means to decode a key frame and what is seen of the frames after it, and that
// must be quick. So another key frame comes after so many frames, or when what is seen of them is
// as much work as the key frame takes so many times.
const (
	groupFrames = 128
	groupWork   = 2
	// patchWork is what it takes to decode a PNG, however small it is, in pixels of a large one.
	patchWork = 12 << 10
)

// work is what it takes to decode patches, in pixels.
func work(patches []image.Rectangle) int {
	n := 0
	for _, r := range patches {
		n += area(r) + patchWork
	}
	return n
}

// late is after which time a frame says since when what it shows was drawn.
const late = 100 * time.Millisecond

// A shot is a frame that is to be compressed.
type shot struct {
	at      time.Time
	since   time.Time // zero if it is not late
	display uint8
	size    image.Point
	key     bool
	gone    bool
	patches []Pixels
}

// maxWaiting is how many pixels may wait to be compressed. Pictures that are taken when there are
// more are not put into the film.
const maxWaiting = 8 << 20

// maxDirty is how many rectangles of a display are looked at one by one.
const maxDirty = 24

// Start begins to film.
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

// Drawn notes that pixels of a display changed at a moment. It never blocks.
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

// addRect adds a rectangle to those that are to be looked at.
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

// Changed notes that displays may have come or gone, or are of another session. It never blocks.
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

// Take takes a picture with snapshot, which returns all of a display, and puts it into the film:
// what the film shows at the returned moment is that picture to the pixel, unless so much waits
// to be written that the film leaves it out.
func (r *Recorder) Take(number uint8, snapshot func() (*Pixels, error)) (time.Time, error) {
	if r == nil {
		_, err := snapshot()
		return time.Now(), err
	}
	r.looking.Lock()
	defer r.looking.Unlock()
	// NB: before the picture, which then is what differs from this.
	r.findDisplays(time.Now())
	r.noted.Lock()
	first := r.noted.first[number]
	delete(r.noted.first, number) // the picture has it
	r.noted.Unlock()
	p, err := snapshot()
	at := r.moment(time.Now())
	if err != nil || p == nil || r.waiting > maxWaiting {
		return at, err
	}
	d := r.displays[number]
	if d == nil || p.Rect != (image.Rectangle{Max: d.Size}) {
		return at, nil // it came or changed its size in between: the next look will see it
	}
	r.add(d, first, at, d.compare(p, nil))
	r.ring()
	return at, nil
}

// moment returns the time for a frame of something that happened at t: after all others, and in
// whole microseconds, which is what the film and the timeline count in.
func (r *Recorder) moment(t time.Time) time.Time {
	at := t.Sub(r.cfg.Clock).Truncate(time.Microsecond)
	if r.any && at <= r.floor {
		at = r.floor + time.Microsecond
	}
	r.floor, r.any = at, true
	return r.cfg.Clock.Add(at)
}

// run looks at the screen when something was drawn on it, and writes what it sees.
func (r *Recorder) run(ctx context.Context) {
	defer close(r.done)
	var rest time.Duration // what this has cost and has not been waited for
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

// finish writes what is on the screen at the end, and ends the file.
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

// Close films what the screen shows now, ends the film and says what could not be written.
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

// look copies what was drawn since the last look, and queues what differs from what the film
// shows.
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

// findDisplays looks which displays there are, if that may have changed. One that has come is
// filmed as it is.
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
			r.Changed() // it has gone or changed meanwhile; look again
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

// gap is how many equal rows part two rectangles of a frame.
const gap = 12

// compare takes over what of p differs from what the film shows, and adds to changed the rectangle
// of each run of rows that does.
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

// slack is how many pixels that did not change may be in a frame to make one patch of two. A guest
// draws a text letter by letter. One PNG of a line is smaller, and shown sooner, than one for each
// letter.
const slack = 4096

// join adds a rectangle to a list, as one with those that are near it.
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

// cut copies a rectangle of what the film shows. It uses the memory of spare if that is enough.
func (d *display) cut(r image.Rectangle, spare []byte) Pixels {
	out := Pixels{Rect: r, Stride: 4 * r.Dx(), Pix: slices.Grow(spare[:0], 4*r.Dx()*r.Dy())}
	for y := r.Min.Y; y < r.Max.Y; y++ {
		out.Pix = append(out.Pix, d.pix[4*(y*d.Size.X+r.Min.X):4*(y*d.Size.X+r.Max.X)]...)
	}
	return out
}

// add queues a frame: what has changed, or all of the screen if a key frame is wanted. What has
// changed was drawn between first and at.
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
	// A patch of all of the screen is a key frame.
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
