package needle

import (
	"encoding/binary"
	"fmt"
	"image"

	"github.com/spicelane/spicelane/harness/screen/pixmap"
)

// compiled is a needle that is ready for matching. It keeps only the pixels of its areas, because a
// directory of needles has many pictures, and most pixels are never compared.
type compiled struct {
	size      image.Point // of the picture
	templates []*template // the match areas
	texts     []*template // the areas of type ocr
}

// A template has the pixels of an area of type match or ocr.
type template struct {
	area   *Area
	number int    // of the area in its needle, from 1
	pix    []byte // 4*w bytes per row
	w, h   int
	rows   [][]span // the pixels that are compared in each row
	pixels int      // the number of pixels that are compared

	// The anchor is a pair of neighbouring pixels that is rare in the template. It is compared first.
	anchor    image.Point
	anchored  bool
	anchorPix uint64

	// looks are compared before the pixels. If they differ too much, the pixels need not be compared.
	looks []look
}

// picture returns the template as a picture, including the pixels that are not compared.
func (t *template) picture() *pixmap.Picture {
	return &pixmap.Picture{Pix: t.pix, Stride: 4 * t.w, Width: t.w, Height: t.h}
}

// A span is the pixels of a row from x0 up to, not including, x1.
type span struct{ x0, x1 int }

// compile reads the picture and copies the areas' pixels. It does so once.
func (n *Needle) compile() (*compiled, error) {
	n.once.Do(func() {
		var p *pixmap.Picture
		if p, n.err = n.picture(); n.err == nil {
			n.ready, n.err = n.compileWith(p)
		}
	})
	return n.ready, n.err
}

func (n *Needle) compileWith(p *pixmap.Picture) (*compiled, error) {
	c := &compiled{size: image.Pt(p.Width, p.Height)}
	var excluded []image.Rectangle
	for i := range n.Areas {
		a := &n.Areas[i]
		if !a.Rect().In(p.Bounds()) {
			return nil, fmt.Errorf("needle %s: area %d, %d×%d pixels at (%d,%d), is not within the picture, which has %d×%d",
				n.Name, i+1, a.Width, a.Height, a.X, a.Y, p.Width, p.Height)
		}
		if a.Type == TypeExclude {
			excluded = append(excluded, a.Rect())
		}
	}
	for i := range n.Areas {
		a := &n.Areas[i]
		if a.Type == TypeExclude {
			continue
		}
		t := newTemplate(a, p, excluded)
		t.number = i + 1
		if t.pixels == 0 {
			return nil, fmt.Errorf("needle %s: area %d is excluded completely: it would match every screen", n.Name, i+1)
		}
		if a.Type == TypeOCR {
			c.texts = append(c.texts, t)
			continue
		}
		t.chooseAnchor()
		t.chooseLooks()
		c.templates = append(c.templates, t)
	}
	return c, nil
}

func newTemplate(a *Area, p *pixmap.Picture, excluded []image.Rectangle) *template {
	t := &template{area: a, pix: p.Crop(a.Rect()).Pix, w: a.Width, h: a.Height, rows: make([][]span, a.Height)}
	for y := range t.h {
		t.rows[y] = []span{{0, t.w}}
		for _, r := range excluded {
			if y+a.Y >= r.Min.Y && y+a.Y < r.Max.Y {
				t.rows[y] = without(t.rows[y], r.Min.X-a.X, r.Max.X-a.X)
			}
		}
		for _, s := range t.rows[y] {
			t.pixels += s.x1 - s.x0
		}
	}
	return t
}

// without removes the pixels from x0 up to x1 from a row.
func without(spans []span, x0, x1 int) []span {
	var left []span
	for _, s := range spans {
		if s.x0 < min(s.x1, x0) {
			left = append(left, span{s.x0, min(s.x1, x0)})
		}
		if max(s.x0, x1) < s.x1 {
			left = append(left, span{max(s.x0, x1), s.x1})
		}
	}
	return left
}

// chooseAnchor picks the pair of pixels that is rarest within the template.
func (t *template) chooseAnchor() {
	count := make(map[uint64]int)
	each := func(f func(x, y int, pair uint64)) {
		for y, spans := range t.rows {
			for _, s := range spans {
				for x := s.x0; x+1 < s.x1; x++ {
					f(x, y, binary.LittleEndian.Uint64(t.pix[4*(y*t.w+x):]))
				}
			}
		}
	}
	each(func(_, _ int, pair uint64) { count[pair]++ })
	each(func(x, y int, pair uint64) {
		if !t.anchored || count[pair] < count[t.anchorPix] {
			t.anchored, t.anchor, t.anchorPix = true, image.Pt(x, y), pair
		}
	})
}
