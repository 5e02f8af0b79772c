package needle

import (
	"cmp"
	"fmt"
	"image"
	"slices"
	"strings"

	"github.com/spicelane/spicelane/harness/screen/pixmap"
)

// A Result is the outcome of a query.
type Result struct {
	Tag string
	// Candidates is the number of needles that were tried.
	Candidates int
	// Match is the needle that matched best; nil if none did.
	Match *Found
	// Nearest is the needle with the smallest error if none matched; otherwise nil.
	Nearest *Found
	// Unread says which needles were skipped because tesseract could not read their areas of type
	// ocr. It is nil if a needle matched, or if none was skipped.
	Unread error

	winner *candidate
	screen *pixmap.Picture
	query  Query
}

// Matched reports whether a needle matched.
func (r *Result) Matched() bool { return r.Match != nil }

// RestsOnOCR reports whether the match depends on what tesseract read, which is a guess.
func (r *Result) RestsOnOCR() bool {
	return r.Match != nil && slices.ContainsFunc(r.Match.Areas, func(a FoundArea) bool { return a.Area.Type == TypeOCR })
}

// Found is the result for one needle.
type Found struct {
	Needle *Needle
	// Reason says why the areas were not compared; empty if they were.
	Reason string
	// Areas are the results for the needle's match areas, in the needle's order. Areas of type ocr
	// are included only if tesseract read them.
	Areas []FoundArea

	scene *scene
	scale func(image.Rectangle) image.Rectangle
}

// FoundArea is the result for one area.
type FoundArea struct {
	Area *Area
	// Number is the area's number in its needle, from 1.
	Number int
	// OK means that the area has the similarity that it needs.
	OK bool
	// At is the rectangle on the screen where the area fits best, in pixels.
	At image.Rectangle
	// Similarity is in percent. It is 100 only if all compared pixels are equal.
	Similarity float64
	// Need is the similarity that the area needs, in percent.
	Need float64
	// Pixels is the number of compared pixels, and Differ is the number of those that differ.
	Pixels, Differ int
	// First is the first pixel that differs, in the screen's coordinates. Got is its colour on the
	// screen, and Want is its colour in the needle. They are meaningless if Differ is 0.
	First     image.Point
	Got, Want pixmap.RGB
	// Read is what tesseract read in an area of type ocr, and Wanted is what it should have read. The
	// similarity is that of these texts.
	Read, Wanted string
	// Reason says why the area could not be compared; empty if it was compared.
	Reason string

	template *template
	at       image.Point // in the scene
}

// A candidate is a needle after the search for it.
type candidate struct {
	needle   *Needle
	scene    *scene
	screen   *pixmap.Picture
	reason   string
	areas    []lookedAt
	texts    []*template
	readings []FoundArea // of texts, after [candidate.read]
}

// ok reports whether all areas that were compared match.
func (c *candidate) ok() bool {
	return c.reason == "" && !slices.ContainsFunc(c.areas, func(a lookedAt) bool { return !a.ok }) &&
		!slices.ContainsFunc(c.readings, func(a FoundArea) bool { return !a.OK })
}

type lookedAt struct {
	t   *template
	fit fit
	ok  bool
}

// look searches for the areas of a needle on a scene; a nil scene means that the sizes differ.
func (n *Needle) look(c *compiled, s *scene, screen *pixmap.Picture) *candidate {
	found := &candidate{needle: n, scene: s, screen: screen, texts: c.texts}
	if s == nil {
		found.reason = fmt.Sprintf("its picture has %d×%d pixels, the screen has %d×%d (ask for scaling, or make a needle of this size)",
			c.size.X, c.size.Y, screen.Width, screen.Height)
		return found
	}
	for _, t := range c.templates {
		a := lookedAt{t: t}
		a.fit, a.ok = t.search(s)
		if !a.ok {
			// The fit at its own place ranks the needles that do not match. All sums above the limit for
			// 0 % are equally bad.
			a.fit = fit{at: t.area.Rect().Min, sum: 1 << 40, pixels: t.pixels}
			if t.visible(s, a.fit.at) > 0 {
				a.fit, _ = t.errorAt(s, a.fit.at, limit(0, t.pixels))
			}
		}
		found.areas = append(found.areas, a)
	}
	return found
}

// error returns the mean square of what the areas lack to a similarity of 100 %, as a fraction.
func (c *candidate) error() float64 {
	if c.reason != "" {
		return 2 // worse than any candidate that was compared
	}
	sum := 0.0
	for _, a := range c.areas {
		lack := 1 - a.fit.similarity()/100
		sum += lack * lack
	}
	for _, a := range c.readings {
		lack := 1 - a.Similarity/100
		sum += lack * lack
	}
	return sum / float64(max(1, len(c.areas)+len(c.readings)))
}

// better reports whether a ranks before b: by the smaller error, then workarounds first, then by
// name.
func better(a, b *candidate) bool {
	if c := cmp.Compare(a.error(), b.error()); c != 0 {
		return c < 0
	}
	if x, y := a.needle.HasProperty("workaround"), b.needle.HasProperty("workaround"); x != y {
		return x
	}
	return a.needle.Name < b.needle.Name
}

// diagnose searches for the best place of each area that did not match.
func (c *candidate) diagnose() *Found {
	for i := range c.areas {
		a := &c.areas[i]
		if a.ok {
			continue
		}
		if f, found := a.t.nearest(c.scene); found {
			a.fit = f
		} else {
			a.fit.pixels = 0
		}
	}
	return c.describe()
}

func (c *candidate) describe() *Found {
	f := &Found{Needle: c.needle, Reason: c.reason, scene: c.scene}
	if c.scene != nil {
		f.scale = c.scale
	}
	for _, a := range c.areas {
		fa := FoundArea{Area: a.t.area, Number: a.t.number, OK: a.ok, Need: a.t.area.Need(), Pixels: a.fit.pixels, template: a.t, at: a.fit.at}
		fa.At = f.scale(image.Rect(a.fit.at.X, a.fit.at.Y, a.fit.at.X+a.t.w, a.fit.at.Y+a.t.h))
		switch {
		case a.fit.pixels > 0:
			fa.Similarity = a.fit.similarity()
			if a.fit.equal {
				break
			}
			n, first := a.t.differences(c.scene, a.fit.at)
			if fa.Differ = n; n > 0 {
				p := a.fit.at.Add(first)
				fa.First = f.scale(image.Rectangle{Min: p, Max: p}).Min
				fa.Got = c.scene.At(p.X, p.Y)
				i := 4 * (first.Y*a.t.w + first.X)
				fa.Want = pixmap.RGB{R: a.t.pix[i], G: a.t.pix[i+1], B: a.t.pix[i+2]}
			}
		default:
			fa.Reason = hidden
		}
		f.Areas = append(f.Areas, fa)
	}
	f.Areas = append(f.Areas, c.readings...)
	slices.SortStableFunc(f.Areas, func(a, b FoundArea) int { return cmp.Compare(a.Number, b.Number) })
	return f
}

// hidden says why an area was not compared.
const hidden = "masks cover more than half of it"

// scale converts a rectangle from the scene's coordinates to the screen's.
func (c *candidate) scale(r image.Rectangle) image.Rectangle {
	size, screen := c.scene.Bounds().Max, c.screen.Bounds().Max
	if size == screen {
		return r
	}
	return image.Rect(r.Min.X*screen.X/size.X, r.Min.Y*screen.Y/size.Y, r.Max.X*screen.X/size.X, r.Max.Y*screen.Y/size.Y)
}

// ClickPoint returns the place on the screen to click: the needle's click point, or else the middle
// of its last match area. If it has only areas of type ocr, the last one of these counts.
func (f *Found) ClickPoint() image.Point {
	last := f.Areas[len(f.Areas)-1]
	for _, a := range f.Areas {
		if a.Area.Type == TypeMatch {
			last = a
		}
	}
	for _, a := range f.Areas {
		if c := a.Area.Click; c != nil && !c.Center {
			at := a.at.Add(image.Pt(c.X, c.Y))
			return f.scale(image.Rectangle{Min: at, Max: at}).Min
		} else if c != nil {
			last = a
		}
	}
	return last.At.Min.Add(last.At.Max).Div(2)
}

// String returns which needle matched, where and how well, or what the nearest one lacks.
func (r *Result) String() string {
	if r.Match != nil {
		s := fmt.Sprintf("%q is on the screen: %s", r.Tag, r.Match)
		if r.RestsOnOCR() {
			s += "; this rests on OCR, which guesses"
		}
		return s
	}
	s := fmt.Sprintf("%q is not on the screen", r.Tag)
	if r.Candidates > 1 {
		s += fmt.Sprintf(": the nearest of %d needles is %s", r.Candidates, r.Nearest)
	} else {
		s += fmt.Sprintf(": %s", r.Nearest)
	}
	if r.Unread != nil {
		s += "; skipped: " + strings.ReplaceAll(r.Unread.Error(), "\n", "; ")
	}
	return s
}

// String returns the results of all areas.
func (f *Found) String() string {
	if f.Reason != "" {
		return fmt.Sprintf("needle %s: %s", f.Needle.Name, f.Reason)
	}
	var parts []string
	for _, a := range f.Areas {
		parts = append(parts, fmt.Sprintf("area %d %s", a.Number, a))
	}
	return fmt.Sprintf("needle %s, %s", f.Needle.Name, strings.Join(parts, "; "))
}

// String returns where an area is and how well it fits.
func (a FoundArea) String() string {
	at := fmt.Sprintf("at (%d,%d)", a.At.Min.X, a.At.Min.Y)
	if home := a.Area.Rect().Min; a.At.Min != home {
		at += fmt.Sprintf(" instead of (%d,%d)", home.X, home.Y)
	}
	switch {
	case a.Reason != "":
		return "cannot be compared: " + a.Reason
	case a.Area.Type == TypeOCR:
		return at + " " + a.readings()
	case a.OK && a.Similarity == Exact:
		return at + " is equal"
	case a.OK:
		return fmt.Sprintf("%s has %.2f %% of the %v %% that it needs", at, a.Similarity, a.Need)
	}
	return fmt.Sprintf("%s has only %.2f %% of the %v %% that it needs: %d of %d pixels differ, the first at (%d,%d), which is %v and should be %v",
		at, a.Similarity, a.Need, a.Differ, a.Pixels, a.First.X, a.First.Y, a.Got, a.Want)
}
