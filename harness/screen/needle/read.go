package needle

import (
	"context"
	"fmt"
	"image"
	"strings"

	"github.com/spicelane/spicelane/harness/screen/ocr"
	"github.com/spicelane/spicelane/harness/screen/pixmap"
)

// read runs tesseract for the areas of type ocr, at their place on the scene, and fills c.readings.
func (c *candidate) read(ctx context.Context) error {
	for _, t := range c.texts {
		a, err := t.read(ctx, c.scene)
		if err != nil {
			return fmt.Errorf("needle %s: area %d is of type ocr: %w", c.needle.Name, t.number, err)
		}
		a.At = c.scale(t.area.Rect())
		c.readings = append(c.readings, a)
	}
	return nil
}

func (t *template) read(ctx context.Context, s *scene) (FoundArea, error) {
	at := t.area.Rect().Min
	a := FoundArea{Area: t.area, Number: t.number, Need: t.area.Need(), Pixels: t.visible(s, at), template: t, at: at}
	if a.Pixels == 0 {
		a.Reason = hidden
		return a, nil
	}
	var err error
	if a.Wanted = words(t.area.Text); a.Wanted == "" {
		if a.Wanted, err = t.readOf(ctx, s, t.picture()); err != nil {
			return a, err
		}
		if a.Wanted == "" {
			a.Reason = "tesseract reads nothing in the needle's picture: say with refstr what it should read"
			return a, nil
		}
	}
	if a.Read, err = t.readOf(ctx, s, s.Crop(t.area.Rect())); err != nil {
		return a, err
	}
	a.Similarity = textSimilarity(a.Read, a.Wanted)
	a.OK = a.Similarity >= a.Need
	return a, nil
}

// readOf returns what tesseract reads in p, a picture of the area. It replaces excluded and masked
// pixels with the background, also in the needle's picture, because a cursor may be on either.
func (t *template) readOf(ctx context.Context, s *scene, p *pixmap.Picture) (string, error) {
	compared := make([]bool, t.w*t.h)
	count := make(map[pixmap.RGB]int)
	var ground pixmap.RGB
	t.eachSpan(s, t.area.Rect().Min, func(y int, sp span) bool {
		for x := sp.x0; x < sp.x1; x++ {
			compared[y*t.w+x] = true
			c := p.At(x, y)
			if count[c]++; count[c] > count[ground] {
				ground = c
			}
		}
		return true
	})
	shown := p.Crop(p.Bounds())
	for i, is := range compared {
		if !is {
			copy(shown.Pix[i/t.w*shown.Stride+4*(i%t.w):], []byte{ground.R, ground.G, ground.B, 0xff})
		}
	}
	text, err := ocr.Read(ctx, shown, image.Rectangle{})
	return words(text), err
}

// words returns a text with one space between its words, because line ends depend on the font.
func words(s string) string { return strings.Join(strings.Fields(s), " ") }

// textSimilarity returns the similarity of two texts in percent: 100 if they are equal, and less
// for each character that must change.
func textSimilarity(a, b string) float64 {
	if a == b {
		return Exact
	}
	x, y := []rune(a), []rune(b)
	return 100 * (1 - float64(distance(x, y))/float64(max(len(x), len(y))))
}

// readings returns a message about what tesseract read in an area.
func (a FoundArea) readings() string {
	switch {
	case a.OK && a.Similarity == Exact:
		return fmt.Sprintf("reads %q", a.Read)
	case a.OK:
		return fmt.Sprintf("reads %q for %q, which has %.2f %% of the %v %% that it needs", a.Read, a.Wanted, a.Similarity, a.Need)
	case a.Need == Exact:
		return fmt.Sprintf("reads %q and should read %q", a.Read, a.Wanted)
	}
	return fmt.Sprintf("reads %q and should read %q: that has only %.2f %% of the %v %% that it needs", a.Read, a.Wanted, a.Similarity, a.Need)
}
