package controltest

import (
	"context"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spicelane/spicelane/spice/control"
	"github.com/spicelane/spicelane/spice/control/server"
)

// Finder is a simple [server.Finder]. A reference image is Dir/Tag.png and must be equal to the
// whole surface. Text is what [Write] has written.
type Finder struct {
	// Images are reference images by their tags, besides those in files.
	Images map[string]*image.NRGBA
}

// Screen implements [server.Finder].
func (f Finder) Screen(c control.ScreenCondition) (server.Look, error) {
	want, ok := f.Images[c.Tag]
	if !ok {
		file, err := os.Open(filepath.Join(c.Dir, c.Tag+".png"))
		if err != nil {
			return nil, err
		}
		defer file.Close()
		img, err := png.Decode(file)
		if err != nil {
			return nil, err
		}
		want = image.NewNRGBA(img.Bounds())
		for y := range want.Rect.Dy() {
			for x := range want.Rect.Dx() {
				want.Set(x, y, img.At(x, y))
			}
		}
	}
	return func(_ context.Context, got *image.NRGBA, pointer *image.Point) (control.MatchResult, error) {
		if got.Rect != want.Rect {
			return control.MatchResult{}, fmt.Errorf("the surface is %v, %s is %v", got.Rect.Size(), c.Tag, want.Rect.Size())
		}
		masks := slices.Clone(c.Masks)
		if pointer != nil && slices.Contains(c.Ignore, "pointer") {
			masks = append(masks, control.Rect{X: pointer.X, Y: pointer.Y, Width: 1, Height: 1})
		}
		differ := 0
		for y := range got.Rect.Dy() {
			for x := range got.Rect.Dx() {
				masked := slices.ContainsFunc(masks, func(m control.Rect) bool {
					return image.Pt(x, y).In(m.Rectangle())
				})
				if !masked && got.NRGBAAt(x, y) != want.NRGBAAt(x, y) {
					differ++
				}
			}
		}
		size := want.Rect.Size()
		r := control.MatchResult{Needle: c.Tag, Candidates: 1, Matched: differ == 0, Saw: fmt.Sprintf("%s, %d pixels differ", c.Tag, differ)}
		area := control.MatchedArea{Rect: control.Rect{Width: size.X, Height: size.Y}, OK: differ == 0, Similarity: 100, Need: 100, Differ: differ}
		if differ > 0 {
			area.Similarity = 99
		} else {
			r.Click = &control.Point{X: size.X / 2, Y: size.Y / 2}
		}
		r.Areas = []control.MatchedArea{area}
		return r, nil
	}, nil
}

// Text implements [server.Finder].
func (Finder) Text(c control.TextCondition) (server.Look, error) {
	if c.Literal != "" {
		c.Pattern = regexp.QuoteMeta(c.Literal)
	}
	re, err := regexp.Compile(c.Pattern)
	if err != nil {
		return nil, err
	}
	return func(_ context.Context, got *image.NRGBA, _ *image.Point) (control.MatchResult, error) {
		var text strings.Builder
		for x := range got.Rect.Dx() {
			c := got.NRGBAAt(x, 0)
			if c.R == 0 || c != (color.NRGBA{c.R, c.R, c.R, 255}) {
				break
			}
			text.WriteByte(c.R)
		}
		r := control.MatchResult{Saw: fmt.Sprintf("%q", text.String())}
		if at := re.FindStringIndex(text.String()); at != nil {
			r.Matched, r.Found = true, text.String()[at[0]:at[1]]
			r.Rect = &control.Rect{X: at[0], Width: at[1] - at[0], Height: 1}
			r.Click = &control.Point{X: (at[0] + at[1]) / 2}
		}
		return r, nil
	}, nil
}

// Write writes a text of ASCII onto the primary surface, as a [Finder] reads it: each pixel of the
// first row has the grey of a character's number.
func Write(c *Console, text string) {
	c.Draw(0, 0, image.Rect(0, 0, len(text)+1, 1), func(pix []byte, _ int) {
		for i, b := range append([]byte(text), 0) {
			copy(pix[4*i:], []byte{b, b, b})
		}
	})
}
