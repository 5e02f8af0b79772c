package headless

import (
	"cmp"
	"context"
	"errors"
	"image"
	"regexp"
	"slices"
	"sync"

	"github.com/spicelane/spicelane/harness/screen"
	"github.com/spicelane/spicelane/harness/screen/needle"
	"github.com/spicelane/spicelane/harness/screen/ocr"
	"github.com/spicelane/spicelane/harness/screen/pixmap"
	"github.com/spicelane/spicelane/harness/screen/text"
	"github.com/spicelane/spicelane/harness/timeline"
	"github.com/spicelane/spicelane/spice/control"
	"github.com/spicelane/spicelane/spice/control/server"
)

// A finder finds what package screen finds, for the control socket. Searches are noted on the
// timeline: the first look of a wait, and the one that matched.
type finder struct {
	log *timeline.Writer
	// fonts returns the guest's fonts; nil without any.
	fonts func() ([]*text.Font, error)
	// memory remembers where text was read last, by any request.
	memory *text.Memory
}

func newFinder(fonts func() ([]*text.Font, error), log *timeline.Writer) finder {
	f := finder{log: log, memory: new(text.Memory)}
	if fonts != nil {
		f.fonts = sync.OnceValues(fonts)
	}
	return f
}

// reader returns a reader with the fonts of a request, those of the guest and those of package text.
func (f finder) reader(named []string) (text.Reader, error) {
	fonts, err := text.LoadAll(named...)
	if err != nil {
		return text.Reader{}, err
	}
	if f.fonts != nil {
		guest, err := f.fonts()
		if err != nil {
			return text.Reader{}, err
		}
		fonts = slices.Concat(fonts, guest)
	}
	return text.Reader{Fonts: slices.Concat(fonts, text.Fonts()), Memory: f.memory}, nil
}

// Screen implements [server.Finder].
func (f finder) Screen(c control.ScreenCondition) (server.Look, error) {
	dir, err := needle.Open(c.Dir)
	if err != nil {
		return nil, err
	}
	if _, err := dir.Lookup(c.Tag); err != nil {
		return nil, err
	}
	q := screen.NeedleQuery{
		Query:         needle.Query{Tag: c.Tag, Scale: c.Scale},
		IgnoreCursor:  slices.Contains(c.Ignore, "cursor"),
		IgnorePointer: slices.Contains(c.Ignore, "pointer"),
	}
	for _, m := range c.Masks {
		q.Masks = append(q.Masks, m.Rectangle())
	}
	m := &screen.Matcher{Dir: dir, Query: q}
	if q.IgnoreCursor {
		if m.Reader, err = f.reader(nil); err != nil {
			return nil, err
		}
	}
	asked, found := false, false
	return func(ctx context.Context, img *image.NRGBA, pointer *image.Point) (control.MatchResult, error) {
		r, err := m.Match(ctx, pixmap.Of(img), pointer)
		if errors.As(err, new(*ocr.Error)) {
			return control.MatchResult{}, &control.Error{Code: control.CodeNotImplemented, Message: err.Error()}
		}
		if err != nil {
			return control.MatchResult{}, err
		}
		if !asked || r.Matched() && !found {
			NoteNeedle(f.log, r, asked)
		}
		asked, found = true, r.Matched()
		return matchResult(r), nil
	}, nil
}

func matchResult(r *needle.Result) control.MatchResult {
	res := control.MatchResult{Matched: r.Matched(), Saw: r.String(), Candidates: r.Candidates, OCR: r.RestsOnOCR()}
	if r.Matched() {
		at := r.Match.ClickPoint()
		res.Click = &control.Point{X: at.X, Y: at.Y}
	}
	found := cmp.Or(r.Match, r.Nearest)
	res.Needle = found.Needle.Name
	for _, a := range found.Areas {
		res.Areas = append(res.Areas, control.MatchedArea{Rect: rect(a.At), OK: a.OK, Similarity: a.Similarity, Need: a.Need, Differ: a.Differ, Read: a.Read, Wanted: a.Wanted})
	}
	return res
}

// Text implements [server.Finder].
func (f finder) Text(c control.TextCondition) (server.Look, error) {
	pattern, err := regexp.Compile(cmp.Or(regexp.QuoteMeta(c.Literal), c.Pattern))
	if err != nil {
		return nil, err
	}
	q := screen.TextQuery{Pattern: pattern, Cursor: c.Cursor}
	if c.Rect != nil {
		q.Region = c.Rect.Rectangle()
	}
	reader, err := f.reader(c.Fonts)
	if err != nil {
		return nil, err
	}
	m := &screen.TextMatcher{Reader: reader, Query: q}
	return func(_ context.Context, img *image.NRGBA, _ *image.Point) (control.MatchResult, error) {
		hit, ok, saw := m.Match(pixmap.Of(img))
		res := control.MatchResult{Matched: ok, Saw: saw}
		if ok {
			at, click := rect(hit.Rect), hit.ClickPoint()
			res.Found, res.Rect, res.Click = hit.Text, &at, &control.Point{X: click.X, Y: click.Y}
		}
		return res, nil
	}, nil
}

func rect(r image.Rectangle) control.Rect {
	return control.Rect{X: r.Min.X, Y: r.Min.Y, Width: r.Dx(), Height: r.Dy()}
}
