package needle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"image"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spicelane/spicelane/harness/screen/ocr"
	"github.com/spicelane/spicelane/harness/screen/pixmap"
)

// A Dir has the needles of a directory and its subdirectories.
type Dir struct {
	Path string
	// Needles are sorted by name.
	Needles []*Needle
	// Problems are the JSON files that are not valid needles. Only a query for such a file fails.
	Problems []Problem
}

// A Problem is a JSON file that is not a valid needle.
type Problem struct {
	// Name is the name that the needle would have.
	Name string
	// Err has the file's path and the error in it.
	Err error
}

// Open reads the needles of a directory, without hidden subdirectories. The pictures are read when
// they are first needed.
func Open(dir string) (*Dir, error) {
	d := &Dir{Path: dir}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && path != dir && strings.HasPrefix(e.Name(), "."):
			return fs.SkipDir // .git, and thumbnails
		case e.IsDir() || filepath.Ext(path) != ".json":
			return nil
		}
		n, err := ReadFile(path)
		if err != nil {
			d.Problems = append(d.Problems, Problem{Name: strings.TrimSuffix(e.Name(), ".json"), Err: err})
			return nil
		}
		d.Needles = append(d.Needles, n)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("needles: %w", err)
	}
	slices.SortStableFunc(d.Needles, func(a, b *Needle) int { return cmp.Compare(a.Name, b.Name) })
	return d, nil
}

// Lookup returns the needles for a tag, or for several tags separated by spaces, all of which a
// needle must have. If there are none, it returns the needles with that name. If there are none
// either, it returns an error.
func (d *Dir) Lookup(tag string) ([]*Needle, error) {
	var found []*Needle
	for _, n := range d.Needles {
		if n.HasTags(tag) {
			found = append(found, n)
		}
	}
	if len(found) > 0 {
		return found, nil
	}
	for _, n := range d.Needles {
		if n.Name == tag {
			found = append(found, n)
		}
	}
	if len(found) > 0 {
		return found, nil
	}
	for _, p := range d.Problems {
		if p.Name == tag {
			return nil, p.Err
		}
	}
	err := fmt.Errorf("no needle in %s has the tag or the name %q", d.Path, tag)
	if near := d.like(tag); near != "" {
		err = fmt.Errorf("%w (did you mean %q?)", err, near)
	}
	if n := len(d.Problems); n > 0 {
		err = fmt.Errorf("%w; %d files there are no needles, the first: %w", err, n, d.Problems[0].Err)
	}
	return nil, err
}

// like returns the existing tag or name whose spelling is nearest to a missing one; empty if none
// is near.
func (d *Dir) like(tag string) string {
	best, near := len(tag)/2+1, ""
	for _, n := range d.Needles {
		for _, t := range append(slices.Clone(n.Tags), n.Name) {
			if far := distance([]byte(tag), []byte(t)); far < best || far == best && t < near {
				best, near = far, t
			}
		}
	}
	return near
}

// distance returns how many elements must be changed, added or removed to turn a into b.
func distance[T comparable](a, b []T) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		last := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := last
			if a[i] != b[j] {
				change++
			}
			last = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// A Query says what to look for.
type Query struct {
	// Tag is a tag, several tags separated by spaces, or the name of a needle.
	Tag string
	// Masks are parts of the screen that are not compared, such as the pointer or a blinking
	// cursor. An area does not match if masks cover more than half of it.
	Masks []image.Rectangle
	// Scale scales a screen of another size to that of the needle's picture. Without Scale, such a
	// screen does not match.
	Scale bool
}

// Match looks for the needles that a query selects (see [Match]). It returns an error if there are
// no such needles, or if one of them cannot be used.
func (d *Dir) Match(ctx context.Context, q Query, screen *pixmap.Picture) (*Result, error) {
	needles, err := d.Lookup(q.Tag)
	if err != nil {
		return nil, err
	}
	return Match(ctx, needles, q, screen)
}

// Match looks for needles that are alternatives of each other. It runs tesseract only if nothing
// matches without it, and only for needles whose match areas all match. If tesseract fails, Match
// skips these needles; if all needles have areas of type ocr, it returns an error.
func Match(ctx context.Context, needles []*Needle, q Query, screen *pixmap.Picture) (*Result, error) {
	if len(needles) == 0 {
		return nil, errors.New("no needle to match")
	}
	r := &Result{Tag: q.Tag, Candidates: len(needles), screen: screen, query: q}
	scenes := map[image.Point]*scene{{X: screen.Width, Y: screen.Height}: {Picture: screen, masks: q.Masks}}
	var losers, readable []*candidate
	exact := 0 // needles without areas of type ocr
	for _, n := range needles {
		c, err := n.compile()
		if err != nil {
			return nil, err
		}
		s := scenes[c.size]
		if s == nil && q.Scale {
			s = scaled(screen, c.size, q.Masks)
			scenes[c.size] = s
		}
		if len(c.texts) == 0 {
			exact++
		}
		found := n.look(c, s, screen)
		switch {
		case !found.ok():
			losers = append(losers, found)
		case len(c.texts) > 0:
			readable = append(readable, found)
		default:
			r.offer(found)
		}
	}
	if r.Match == nil {
		for _, found := range readable {
			err := found.read(ctx)
			switch {
			case errors.As(err, new(*ocr.Error)):
				r.Unread = errors.Join(r.Unread, err)
				found.reason = "it was not read"
				losers = append(losers, found)
			case err != nil:
				return nil, err
			case found.ok():
				r.offer(found)
			default:
				losers = append(losers, found)
			}
		}
		if r.Match != nil {
			r.Unread = nil
		} else if r.Unread != nil && exact == 0 {
			return nil, r.Unread
		}
	}
	if r.Match == nil {
		r.Nearest = slices.MinFunc(losers, func(a, b *candidate) int {
			if better(a, b) {
				return -1
			}
			return 1
		}).diagnose()
	}
	return r, nil
}

func scaled(screen *pixmap.Picture, size image.Point, masks []image.Rectangle) *scene {
	s := &scene{Picture: screen.Scaled(size.X, size.Y)}
	for _, m := range masks {
		s.masks = append(s.masks, image.Rect(
			m.Min.X*size.X/screen.Width, m.Min.Y*size.Y/screen.Height,
			(m.Max.X*size.X+screen.Width-1)/screen.Width, (m.Max.Y*size.Y+screen.Height-1)/screen.Height))
	}
	return s
}

// offer makes a matching needle the result if it is the best one so far.
func (r *Result) offer(found *candidate) {
	if r.Match == nil || better(found, r.winner) {
		r.winner, r.Match = found, found.describe()
	}
}

// Again repeats the query on the same screen, with the needles of d.
func (r *Result) Again(ctx context.Context, d *Dir) (*Result, error) {
	return d.Match(ctx, r.query, r.screen)
}

// Replace makes the screen the new picture of the nearest needle, and writes the needle's files.
// Areas and tags stay. It returns the path of the picture. It returns an error if the query
// matched, if the screen has another size than the old picture, or if the needle would not match
// even then.
func (r *Result) Replace(ctx context.Context) (string, error) {
	if r.Matched() {
		return "", fmt.Errorf("needle %s matches: there is nothing to replace", r.Match.Needle.Name)
	}
	old := r.Nearest.Needle
	if size := old.ready.size; size != image.Pt(r.screen.Width, r.screen.Height) {
		return "", fmt.Errorf("needle %s: its picture has %d×%d pixels, the screen has %d×%d: its areas may be elsewhere, so make it again with spicelane needle new",
			old.Name, size.X, size.Y, r.screen.Width, r.screen.Height)
	}
	n, err := Parse(old.raw)
	if err != nil {
		return "", fmt.Errorf("needle %s: it is in no file: %w", old.Name, err)
	}
	n.Name, n.made = old.Name, r.screen
	// A new picture does not help if masks cover the needle's areas, or if refstr wants another text.
	now, err := Match(ctx, []*Needle{n}, r.query, r.screen)
	if err != nil {
		return "", err
	}
	if !now.Matched() {
		return "", fmt.Errorf("needle %s: the screen as its picture would not match either: %s", old.Name, now)
	}
	if err := n.Save(filepath.Dir(old.Path)); err != nil {
		return "", err
	}
	return n.PNG(), nil
}
