package playback

import (
	"cmp"
	"errors"
	"fmt"
	"image"
	"slices"
	"strings"
	"time"

	"github.com/spicelane/spicelane/harness/film"
	"github.com/spicelane/spicelane/harness/replay"
)

// ErrNoFilm means that a lane has no film, or a film without pictures. The error that wraps it says
// why, as far as that is known.
var ErrNoFilm = errors.New("there is no film")

// A Playback is a lane's film, cut according to Options.
type Playback struct {
	cut     cut
	opt     Options
	rec     *replay.Recording
	film    *film.Film
	display uint8
	size    image.Point
	shots   []shot
	inputs  []input
}

// A shot is a frame of the playback.
type shot struct {
	at, lasts time.Duration // in the playback
	lane      time.Duration // in the lane: the picture has what was filmed up to then
	inputs    int           // the number of inputs up to then
}

// Limits of the playback.
const (
	// minShot is the shortest time of a frame. Browsers show shorter ones for 100 ms.
	minShot = 20 * time.Millisecond
	// maxPixels is the largest picture, in pixels. A film may come from anywhere, and its header is
	// not verified.
	maxPixels = 1 << 25
)

// Open cuts the film of a lane's recording. The error matches ErrNoFilm if there is no film. It is
// a *RangeError if the options are invalid, or ask for something that the film does not have.
func Open(r *replay.Recording, o Options) (*Playback, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	p := &Playback{opt: o, rec: r}
	if err := p.find(); err != nil {
		return nil, err
	}
	frames := p.film.Frames
	first := slices.IndexFunc(frames, func(f film.Frame) bool {
		return f.Display == p.display && !f.Gone
	})
	begin := frames[first].At
	end := max(r.End, frames[len(frames)-1].At)
	from, to := cmp.Or(o.From, begin), cmp.Or(o.To, end)
	to = min(to, end)
	switch {
	case from > to && o.From == 0:
		return nil, &RangeError{fmt.Sprintf("to %v: the display had no picture before %v", to, from)}
	case from > to:
		return nil, &RangeError{fmt.Sprintf("from %v: what is known of this lane ends at %v", from, end)}
	}
	if o.DrawInput {
		p.inputs = readInputs(r)
	}
	var moments []time.Duration
	for _, f := range frames {
		if f.Display == p.display {
			moments = append(moments, f.At)
		}
	}
	for _, in := range p.inputs {
		moments = append(moments, in.at)
	}
	p.cut = newCut(o, from, to, moments)
	if p.cut.length() > maxLength {
		return nil, &RangeError{fmt.Sprintf(
			"a playback of %v: more than %v cannot be written; choose a part or a higher speed",
			p.cut.length(), maxLength)}
	}
	p.plan(moments)
	return p, p.measure()
}

// maxLength is the longest playback. Longer ones have more frames than players can handle.
const maxLength = 24 * time.Hour

// find chooses the display, and drops the film's frames after that display's last picture.
func (p *Playback) find() error {
	f := p.rec.Film
	if f == nil {
		return fmt.Errorf("playback: %w: %s", ErrNoFilm, whyNoFilm(p.rec))
	}
	shown := map[uint8]bool{}
	for _, fr := range f.Frames {
		if !fr.Gone {
			shown[fr.Display] = true
		}
	}
	if len(shown) == 0 {
		return fmt.Errorf("playback: %w with a picture: the client ended before it showed one", ErrNoFilm)
	}
	for d := range 256 {
		if number := uint8(d); shown[number] {
			p.display = number
			break
		}
	}
	if want := p.opt.Display; want != nil {
		if !shown[*want] {
			return &RangeError{fmt.Sprintf("display %d: it had no picture; display %d had", *want, p.display)}
		}
		p.display = *want
	}
	// A display disappears at the end of its session. The playback ends with its last picture instead.
	last := len(f.Frames)
	for ; last > 0; last-- {
		if fr := f.Frames[last-1]; fr.Display == p.display && !fr.Gone {
			break
		}
	}
	kept := *f
	kept.Frames = f.Frames[:last]
	p.film = &kept
	return nil
}

// whyNoFilm returns why a lane has no film, and what to do.
func whyNoFilm(r *replay.Recording) string {
	for _, lack := range r.Head.Left {
		if strings.HasPrefix(lack, "film: ") || strings.HasPrefix(lack, film.File) {
			return lack // there is one, and it cannot be read
		}
	}
	switch {
	case r.Head.Film == "off":
		return "this lane was not filmed; leave out --film off, Config.Film and SPICELANE_FILM"
	case r.Head.Outcome == "passed":
		return "this lane passed, and by default only lanes that fail keep their films; " +
			"bring it up with --film always, or set SPICELANE_FILM=always"
	default:
		return "only the built-in client makes one"
	}
}

// plan decides when each frame begins. Changes that follow each other too closely share a frame.
func (p *Playback) plan(moments []time.Duration) {
	type change struct{ at, lane time.Duration }
	changes := []change{{0, p.cut.from()}}
	for _, t := range moments {
		if p.cut.has(t) {
			changes = append(changes, change{p.cut.at(t), t})
		}
	}
	for _, in := range p.inputs {
		// The drawing for a key or a button disappears after its time.
		at := p.cut.at(in.at) + in.fades()
		if in.kind != "pointer" && p.cut.has(in.at) && at < p.cut.length() {
			changes = append(changes, change{at, in.at})
		}
	}
	slices.SortStableFunc(changes, func(a, b change) int { return cmp.Compare(a.at, b.at) })
	var lane time.Duration
	for i := 0; i < len(changes); {
		at := changes[i].at
		if n := len(p.shots); n > 0 {
			at = max(at, p.shots[n-1].at+minShot)
		}
		for ; i < len(changes) && changes[i].at <= at; i++ {
			lane = max(lane, changes[i].lane)
		}
		p.shots = append(p.shots, shot{at: at, lane: lane, inputs: p.inputsUntil(at)})
	}
	for i := range p.shots {
		next := max(p.cut.length(), p.shots[i].at+minShot)
		if i+1 < len(p.shots) {
			next = p.shots[i+1].at
		}
		p.shots[i].lasts = next - p.shots[i].at
	}
}

// measure sets the size of the picture: that of the largest picture that is shown.
func (p *Playback) measure() error {
	from, to := p.cut.from(), p.cut.to()
	frames := p.film.Play(p.display).Frames()
	for i, f := range frames {
		until := to + 1
		if i+1 < len(frames) {
			until = frames[i+1].At
		}
		if f.At <= to && until > from {
			p.size = image.Pt(max(p.size.X, f.Size.X), max(p.size.Y, f.Size.Y))
		}
	}
	switch {
	case p.size == (image.Point{}):
		return &RangeError{fmt.Sprintf("from %v to %v: the display had no picture then", from, to)}
	case p.size.X > maxPixels/p.size.Y:
		return &RangeError{fmt.Sprintf("a picture of %d×%d pixels: that is too large", p.size.X, p.size.Y)}
	}
	return nil
}

// Size returns the size of the picture in pixels.
func (p *Playback) Size() image.Point { return p.size }

// Length returns the length of the playback.
func (p *Playback) Length() time.Duration {
	last := p.shots[len(p.shots)-1]
	return last.at + last.lasts
}

// Frames returns the number of frames of the playback.
func (p *Playback) Frames() int { return len(p.shots) }

// each calls f with the picture of each frame. The picture is valid until f returns.
func (p *Playback) each(f func(s shot, img *image.NRGBA) error) error {
	player := p.film.Play(p.display)
	img := image.NewNRGBA(image.Rectangle{Max: p.size})
	for _, s := range p.shots {
		screen, err := player.Seek(s.lane)
		if err != nil {
			return err
		}
		black(img)
		if screen != nil {
			place(img, screen)
		}
		if p.opt.DrawInput {
			p.drawInput(img, s)
		}
		if err := f(s, img); err != nil {
			return err
		}
	}
	return nil
}

func black(img *image.NRGBA) {
	clear(img.Pix)
	for i := 3; i < len(img.Pix); i += 4 {
		img.Pix[i] = 0xff
	}
}

// place copies the screen to the upper left corner of img, without alpha.
func place(img, screen *image.NRGBA) {
	w := min(img.Rect.Dx(), screen.Rect.Dx())
	for y := range min(img.Rect.Dy(), screen.Rect.Dy()) {
		to, from := img.Pix[y*img.Stride:][:4*w], screen.Pix[y*screen.Stride:][:4*w]
		copy(to, from)
		for i := 3; i < len(to); i += 4 {
			to[i] = 0xff
		}
	}
}
