package harness

import (
	"context"
	"errors"
	"fmt"
	"image"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/headless"
	"github.com/spicelane/spicelane/harness/screen"
	"github.com/spicelane/spicelane/harness/screen/needle"
	"github.com/spicelane/spicelane/harness/screen/pixmap"
	"github.com/spicelane/spicelane/harness/screen/text"
	"github.com/spicelane/spicelane/harness/verdict"
)

// A Screen is what the client shows at one moment.
type Screen struct {
	// Picture is nil if it could not be taken.
	Picture *pixmap.Picture

	pointer *image.Point // where it was moved last, if the guest draws it
	lane    *Lane
	err     error
}

// Screen takes a picture for Matches and Text. If that fails, these return the error.
func (l *Lane) Screen(ctx context.Context) *Screen {
	img, err := l.Screenshot(ctx)
	if err != nil {
		return &Screen{lane: l, err: err}
	}
	return &Screen{Picture: pixmap.Of(img), pointer: drive.Pointer(ctx, l.driver), lane: l}
}

// Matches looks for the reference images with a tag or name. If none of them is on the screen, that
// is no error: the result says so.
func (s *Screen) Matches(tag string) (*needle.Result, error) {
	return s.MatchesNeedle(screen.NeedleQuery{Query: needle.Query{Tag: tag}})
}

// MatchesNeedle does what Matches does, with the options of q: further masks, no text cursor, no
// mouse pointer, another screen size. One picture does not show whether a cursor blinks, so
// IgnoreCursor masks only a cursor that underlines a cell.
func (s *Screen) MatchesNeedle(q screen.NeedleQuery) (*needle.Result, error) {
	if s.err != nil {
		return nil, s.err
	}
	m, err := s.lane.matcher(q)
	if err != nil {
		return nil, err
	}
	r, err := m.Match(s.lane.Context(), s.Picture, s.pointer)
	headless.NoteNeedle(s.lane.log, r, false)
	return r, verdict.Classify("match screen", err)
}

// Text reads what is written on the screen.
func (s *Screen) Text() (*text.Grid, error) {
	if s.err != nil {
		return nil, s.err
	}
	reader, err := s.lane.textReader()
	if err != nil {
		return nil, err
	}
	g, err := reader.Read(s.Picture)
	if err != nil {
		return nil, &verdict.Error{Verdict: verdict.Product, Op: "read text", Err: err}
	}
	return g, nil
}

// Text takes a picture and reads what is written on it.
func (l *Lane) Text(ctx context.Context) (*text.Grid, error) { return l.Screen(ctx).Text() }

// textReader returns a reader with the fonts of the test, of the guest and of package text.
func (l *Lane) textReader() (text.Reader, error) {
	fonts, err := l.guestFonts()
	if err != nil {
		return text.Reader{}, verdict.Classify("fonts of the guest", err)
	}
	return text.Reader{Fonts: slices.Concat(fonts, text.Fonts()), Memory: &l.textMemory}, nil
}

// guestFonts returns the fonts of the test and of the guest.
func (l *Lane) guestFonts() ([]*text.Font, error) {
	guest, err := l.loadFonts()
	return slices.Concat(l.cfg.Fonts, guest), err
}

// needles reads the directory of reference images. It reads it anew each time, because a test may
// add images.
func (l *Lane) needles() (*needle.Dir, error) {
	dir, err := needle.Open(l.cfg.needles())
	return dir, verdict.Classify("match screen", err)
}

// matcher returns a matcher for the query.
func (l *Lane) matcher(q screen.NeedleQuery) (*screen.Matcher, error) {
	dir, err := l.needles()
	if err != nil {
		return nil, err
	}
	m := &screen.Matcher{Dir: dir, Query: q}
	if q.IgnoreCursor {
		m.Reader, err = l.textReader()
	}
	return m, err
}

// AwaitScreen waits until a reference image with a tag or name is on the screen. If none appears,
// the error says which one came nearest and what it lacked. The lane's directory then has that
// image, the screen, and their difference, area by area.
func (l *Lane) AwaitScreen(ctx context.Context, tag string) (*needle.Result, error) {
	return l.AwaitNeedle(ctx, screen.NeedleQuery{Query: needle.Query{Tag: tag}})
}

// AwaitNeedle does what AwaitScreen does, with the options of q: further masks, no text cursor, no
// mouse pointer, another screen size.
func (l *Lane) AwaitNeedle(ctx context.Context, q screen.NeedleQuery) (*needle.Result, error) {
	m, err := l.matcher(q)
	if err != nil {
		return nil, err
	}
	if _, err := m.Dir.Lookup(q.Tag); err != nil {
		return nil, verdict.Classify("await screen", err)
	}
	var r *needle.Result
	err = l.watchScreen(ctx, "await screen", func(ctx context.Context, src screen.Source) error {
		var err error
		r, err = screen.AwaitNeedle(ctx, src, m)
		return err
	})
	headless.NoteNeedle(l.log, r, false)
	err = blameReading(r, err)
	if err != nil && r != nil && !r.Matched() {
		files, werr := r.WriteEvidence(l.dir)
		if werr != nil {
			err = errors.Join(err, fmt.Errorf("evidence: %w", werr))
		}
		for _, file := range files {
			l.log.Add(headless.KindNeedle, map[string]any{"tag": q.Tag, "file": file})
		}
		return l.update(r, q.Tag, err)
	}
	return r, err
}

// blameReading blames the host for a reference image that did not appear, if an image was skipped
// because tesseract could not read it.
func blameReading(r *needle.Result, err error) error {
	if err == nil || r == nil || r.Unread == nil {
		return err
	}
	return &verdict.Error{Verdict: verdict.Host, Err: err}
}

// AwaitText waits until a text is on the screen, within one line. If it does not appear, the error
// has all the text that was on the screen last.
func (l *Lane) AwaitText(ctx context.Context, s string) (text.Hit, error) {
	return l.AwaitTextMatch(ctx, screen.TextQuery{Pattern: regexp.MustCompile(regexp.QuoteMeta(s))})
}

// AwaitTextMatch does what AwaitText does, for a pattern, a part of the screen, and a cursor
// position.
func (l *Lane) AwaitTextMatch(ctx context.Context, q screen.TextQuery) (text.Hit, error) {
	if q.Pattern == nil {
		return text.Hit{}, &verdict.Error{Verdict: verdict.Harness, Op: "await text", Err: errors.New("the query has no pattern")}
	}
	reader, err := l.textReader()
	if err != nil {
		return text.Hit{}, err
	}
	var hit text.Hit
	err = l.watchScreen(ctx, "await text", func(ctx context.Context, src screen.Source) error {
		var err error
		hit, err = screen.AwaitText(ctx, src, reader, q)
		return err
	})
	return hit, err
}

// AwaitStill waits until no pixel of a part of the screen, or of all of it if region is empty, has
// changed for d. A cursor that blinks does not count as a change.
func (l *Lane) AwaitStill(ctx context.Context, d time.Duration, region image.Rectangle) error {
	return l.watchScreen(ctx, "await still screen", screen.Still{For: d, Region: region, IgnoreBlink: true}.Await)
}

// AwaitChange waits until a part of the screen, or all of it if region is empty, differs from an
// earlier Screen. It returns the smallest rectangle that contains all changes.
func (l *Lane) AwaitChange(ctx context.Context, from *Screen, region image.Rectangle) (image.Rectangle, error) {
	if from.err != nil {
		return image.Rectangle{}, from.err
	}
	var where image.Rectangle
	err := l.watchScreen(ctx, "await change", func(ctx context.Context, src screen.Source) error {
		var err error
		where, err = screen.AwaitChange(ctx, src, from.Picture, region)
		return err
	})
	return where, err
}

// Click waits until a reference image or a text is on the screen and clicks on it with the left
// button. Then it waits until the screen changes, and returns the rectangle that has changed. what
// is the tag or name of a reference image; if there is no such image, it is a text. The click is at
// the image's click point, or in the middle of the text.
func (l *Lane) Click(ctx context.Context, what string) (image.Rectangle, error) {
	at, err := l.locate(ctx, what)
	if err != nil {
		return image.Rectangle{}, err
	}
	before := l.Screen(ctx)
	if err := l.press(ctx, at); err != nil {
		return image.Rectangle{}, err
	}
	where, err := l.AwaitChange(ctx, before, image.Rectangle{})
	if err != nil {
		return where, fmt.Errorf("after a click on %q at (%d,%d): %w", what, at.X, at.Y, err)
	}
	return where, nil
}

// locate waits for a reference image or a text, and returns where to click.
func (l *Lane) locate(ctx context.Context, what string) (image.Point, error) {
	if l.isNeedle(what) {
		r, err := l.AwaitScreen(ctx, what)
		if err != nil {
			return image.Point{}, err
		}
		return r.Match.ClickPoint(), nil
	}
	hit, err := l.AwaitText(ctx, what)
	if err != nil {
		return image.Point{}, err
	}
	return hit.ClickPoint(), nil
}

// isNeedle returns whether there is a reference image with a tag, or of a name.
func (l *Lane) isNeedle(what string) bool {
	dir, err := needle.Open(l.cfg.needles())
	if err != nil {
		return false
	}
	_, err = dir.Lookup(what)
	return err == nil
}

// watchScreen runs wait on the client's screen. The error includes what the lane knows of the
// cause.
func (l *Lane) watchScreen(ctx context.Context, op string, wait func(context.Context, screen.Source) error) error {
	if l.driver == nil {
		return l.errUndriven()
	}
	ctx, stop := l.whileUp(ctx)
	defer stop()
	began := time.Now()
	src, err := drive.WatchScreen(ctx, l.driver)
	if err != nil {
		return l.explain(&verdict.Error{Verdict: drive.VerdictOf(err), Op: op, Err: err})
	}
	defer src.Close()
	err = wait(ctx, src)
	var missing *screen.Error
	switch {
	case err == nil:
		l.noteAwaited(began, strings.TrimPrefix(op, "await "))
		return nil
	case errors.As(err, &missing):
		err = &drive.AwaitError{Wanted: missing.Wanted, Last: missing.Last, Err: missing.Err}
	case ctx.Err() == nil: // it could not look, or could not type
		return verdict.Classify(op, err)
	}
	return l.judgeWait(began, l.explain(&verdict.Error{Verdict: verdict.Product, Op: op, Err: err}))
}
