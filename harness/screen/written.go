package screen

import (
	"context"
	"fmt"
	"image"
	"regexp"
	"slices"

	"github.com/spicelane/spicelane/harness/screen/pixmap"
	"github.com/spicelane/spicelane/harness/screen/text"
)

// IsPrompt reports whether the text s is on the screen with a text cursor directly after it, or
// after s and a space.
func IsPrompt(g *text.Grid, s string) bool {
	for _, behind := range []string{" ", ""} {
		if _, ok := (TextQuery{Pattern: regexp.MustCompile(regexp.QuoteMeta(s) + behind + "$"), Cursor: true}).find(g); ok {
			return true
		}
	}
	return false
}

// AwaitPrompt waits until the text s is on the screen with a text cursor after it (see [IsPrompt]).
func AwaitPrompt(ctx context.Context, src Source, r text.Reader, s string) error {
	var known *text.Grid
	return Await(ctx, src, fmt.Sprintf("the prompt %q with the cursor behind it", s), func(p *pixmap.Picture) (bool, string, error) {
		g, err := readAgain(r, known, p)
		if err != nil {
			return false, err.Error(), nil
		}
		known = g
		return IsPrompt(g, s), Quote(g), nil
	})
}

// AwaitWritten waits until the text s is within one line at a place on the screen where it was not
// before.
func AwaitWritten(ctx context.Context, src Source, r text.Reader, before *text.Grid, s string) (text.Hit, error) {
	pattern := regexp.MustCompile(regexp.QuoteMeta(s))
	var hit text.Hit
	known := before
	err := Await(ctx, src, fmt.Sprintf("%q where it was not before", s), func(p *pixmap.Picture) (bool, string, error) {
		g, err := readAgain(r, known, p)
		if err != nil {
			return false, err.Error(), nil
		}
		known = g
		old := before.Find(pattern, image.Rectangle{})
		for _, h := range g.Find(pattern, image.Rectangle{}) {
			if !slices.Contains(old, h) {
				hit = h
				return true, Quote(g), nil
			}
		}
		return false, Quote(g), nil
	})
	return hit, err
}

// AwaitOtherText waits until the screen's text differs from that of before. A cursor that appears
// or disappears makes no difference.
func AwaitOtherText(ctx context.Context, src Source, r text.Reader, before *text.Grid) error {
	known := before
	return Await(ctx, src, "another text on the screen", func(p *pixmap.Picture) (bool, string, error) {
		g, err := readAgain(r, known, p)
		if err != nil {
			return true, err.Error(), nil // the text is gone
		}
		known = g
		return g.Text() != before.Text(), Quote(g), nil
	})
}
