// Package screen waits for conditions on a screen: a reference image, a text, a change, or no
// change. It takes a picture only when something has been drawn, so an idle screen costs nothing.
//
// The screen is a [Source]. It may be a lane's screen, or pictures in a test.
package screen

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"regexp"
	"time"

	"github.com/spicelane/spicelane/harness/screen/needle"
	"github.com/spicelane/spicelane/harness/screen/pixmap"
	"github.com/spicelane/spicelane/harness/screen/text"
)

// A Source is a screen to watch.
type Source interface {
	// Picture takes a picture. The error matches ErrNoPicture if there is none at the moment.
	Picture(ctx context.Context) (*pixmap.Picture, error)
	// Changed waits until something has been drawn since the last call of Picture began.
	Changed(ctx context.Context) error
}

// ErrNoPicture says that a screen shows nothing at the moment, for example because the guest
// changes its mode.
var ErrNoPicture = errors.New("the screen shows nothing")

// An Error says that a wait ended without success.
type Error struct {
	// Wanted says what the wait was for, and Last what it saw last.
	Wanted, Last string
	// Err says why the wait ended.
	Err error
}

func (e *Error) Error() string {
	return fmt.Sprintf("awaited %s, saw last %s: %v", e.Wanted, e.Last, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Await calls look with a picture of the screen now and after each change, until look returns true.
// look also returns in saw what it saw, for the *Error. If look returns an error, Await returns
// that error.
func Await(ctx context.Context, src Source, wanted string, look func(*pixmap.Picture) (ok bool, saw string, err error)) error {
	last := "nothing"
	for {
		p, err := src.Picture(ctx)
		switch {
		case errors.Is(err, ErrNoPicture):
			last = err.Error()
		case err == nil:
			var ok bool
			if ok, last, err = look(p); ok || err != nil {
				return err
			}
		}
		if err == nil || errors.Is(err, ErrNoPicture) {
			err = src.Changed(ctx)
		}
		if err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return &Error{Wanted: wanted, Last: last, Err: err}
		}
	}
}

// A PointerSource is a Source that knows where the mouse pointer was moved last.
type PointerSource interface {
	Source
	// Pointer returns the place to which the mouse pointer was moved last; nil if it is not known.
	Pointer(ctx context.Context) *image.Point
}

// AwaitNeedle waits until one of the needles that m's query selects is on the screen. If it fails,
// it also returns the last result, for its evidence; nil if there was none.
func AwaitNeedle(ctx context.Context, src Source, m *Matcher) (*needle.Result, error) {
	if _, err := m.Dir.Lookup(m.Query.Tag); err != nil {
		return nil, err
	}
	var r *needle.Result
	err := Await(ctx, src, fmt.Sprintf("%q on the screen", m.Query.Tag), func(p *pixmap.Picture) (bool, string, error) {
		var pointer *image.Point
		if at, ok := src.(PointerSource); ok && m.Query.IgnorePointer {
			pointer = at.Pointer(ctx)
		}
		now, err := m.Match(ctx, p, pointer)
		if err != nil {
			return false, "", err
		}
		r = now
		return r.Matched(), r.String(), nil
	})
	return r, err
}

// A TextQuery describes text to look for.
type TextQuery struct {
	// Pattern must match within a line.
	Pattern *regexp.Regexp
	// Region is the rectangle of pixels in which the text must be; empty means everywhere.
	Region image.Rectangle
	// Cursor requires that the cell after the text has the cursor, as after a prompt.
	Cursor bool
}

func (q TextQuery) String() string {
	s := fmt.Sprintf("text %q", q.Pattern)
	if !q.Region.Empty() {
		s += fmt.Sprintf(" within %v", q.Region)
	}
	if q.Cursor {
		s += " with the cursor behind it"
	}
	return s
}

// find returns the first hit of the query on a grid.
func (q TextQuery) find(g *text.Grid) (text.Hit, bool) {
	col, row, cursor := g.Cursor()
	for _, h := range g.Find(q.Pattern, q.Region) {
		if !q.Cursor || cursor && row == h.Row && col == h.Col+len([]rune(h.Text)) {
			return h, true
		}
	}
	return text.Hit{}, false
}

// AwaitText waits until a text is on the screen. The error has the whole text of the last picture.
func AwaitText(ctx context.Context, src Source, r text.Reader, q TextQuery) (text.Hit, error) {
	var hit text.Hit
	m := TextMatcher{Reader: r, Query: q}
	err := Await(ctx, src, q.String(), func(p *pixmap.Picture) (ok bool, saw string, err error) {
		hit, ok, saw = m.Match(p)
		return ok, saw, nil
	})
	return hit, err
}

// A TextMatcher looks for text on the pictures of one screen, one after another.
type TextMatcher struct {
	Reader text.Reader
	Query  TextQuery

	known *text.Grid
}

// Match looks for the query on a picture. It returns the first hit, and the whole text for an
// error.
func (m *TextMatcher) Match(p *pixmap.Picture) (hit text.Hit, ok bool, saw string) {
	g, err := readAgain(m.Reader, m.known, p)
	if err != nil {
		return hit, false, err.Error()
	}
	m.known = g
	hit, ok = m.Query.find(g)
	return hit, ok, Quote(g)
}

// readAgain reads a picture with the font and grid of the last one. If that fits worse than before,
// it searches for font and grid.
func readAgain(r text.Reader, known *text.Grid, p *pixmap.Picture) (*text.Grid, error) {
	if known != nil {
		g, err := text.Reader{Fonts: []*text.Font{known.Font}, Origin: &known.Origin}.Read(p)
		if err == nil && g.Misfits() <= known.Misfits() {
			return g, nil
		}
	}
	return r.Read(p)
}

// Quote returns a screen's size in cells and its text, for an error.
func Quote(g *text.Grid) string {
	return fmt.Sprintf("%d×%d cells with %q", g.Cols, g.Rows, g.Text())
}

// A Still waits until a screen does not change.
type Still struct {
	// For is how long the screen must not change.
	For time.Duration
	// Region is the rectangle of pixels that count; empty means all of them.
	Region image.Rectangle
	// IgnoreBlink ignores a blinking cursor: an area no larger than a character that alternates
	// between two pictures.
	IgnoreBlink bool
}

// Await waits until the screen has not changed for s.For. The error says where it changed last.
func (s Still) Await(ctx context.Context, src Source) error {
	wanted := fmt.Sprintf("a screen that is still for %v", s.For)
	seen := blinker{region: s.Region}
	last := "nothing"
	since := time.Now()
	for {
		p, err := src.Picture(ctx)
		switch {
		case errors.Is(err, ErrNoPicture):
			seen, since = blinker{region: s.Region}, time.Now()
			last = err.Error()
		case err != nil:
			return s.fail(ctx, wanted, last, err)
		default:
			where, blinked := seen.see(p)
			if !where.Empty() && !(s.IgnoreBlink && blinked) {
				since = time.Now()
				last = fmt.Sprintf("a change of %d×%d pixels at (%d,%d)", where.Dx(), where.Dy(), where.Min.X, where.Min.Y)
			}
			if time.Since(since) >= s.For {
				return nil
			}
		}
		soon, cancel := ctx, context.CancelFunc(func() {})
		if seen.now != nil {
			soon, cancel = context.WithDeadline(ctx, since.Add(s.For))
		}
		err = src.Changed(soon)
		expired := soon.Err() != nil
		cancel()
		switch {
		case err == nil:
		case ctx.Err() != nil || !expired:
			return s.fail(ctx, wanted, last, err)
		default:
			return nil // nothing has been drawn for long enough
		}
	}
}

func (s Still) fail(ctx context.Context, wanted, last string, err error) error {
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return &Error{Wanted: wanted, Last: last, Err: err}
}

// AwaitChange waits until the screen differs from a picture in a region, or anywhere if the region
// is empty. It returns the smallest rectangle with all pixels that differ.
func AwaitChange(ctx context.Context, src Source, from *pixmap.Picture, region image.Rectangle) (image.Rectangle, error) {
	var where image.Rectangle
	err := Await(ctx, src, "a change of the screen", func(p *pixmap.Picture) (bool, string, error) {
		where = Difference(from, p, region)
		return !where.Empty(), "no change", nil
	})
	return where, err
}

// Difference returns the smallest rectangle with all pixels that differ between two pictures in a
// region, or anywhere if the region is empty. If a is nil or of another size, it returns all of b.
func Difference(a, b *pixmap.Picture, region image.Rectangle) image.Rectangle {
	if a == nil || a.Bounds() != b.Bounds() {
		return b.Bounds()
	}
	if region.Empty() {
		region = b.Bounds()
	}
	region = region.Intersect(b.Bounds())
	where := image.Rectangle{}
	for y := region.Min.Y; y < region.Max.Y; y++ {
		p, q := a.Row(y, region.Min.X, region.Max.X), b.Row(y, region.Min.X, region.Max.X)
		if bytes.Equal(p, q) {
			continue
		}
		x0 := 0
		for p[x0] == q[x0] {
			x0++
		}
		x1 := len(p) - 1
		for p[x1] == q[x1] {
			x1--
		}
		where = where.Union(image.Rect(region.Min.X+x0/4, y, region.Min.X+x1/4+1, y+1))
	}
	return where
}
