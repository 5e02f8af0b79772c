package screen

import (
	"context"
	"image"

	"github.com/spicelane/spicelane/harness/screen/needle"
	"github.com/spicelane/spicelane/harness/screen/pixmap"
	"github.com/spicelane/spicelane/harness/screen/text"
)

// A NeedleQuery is a query for reference images, and what is masked on the screen by itself.
type NeedleQuery struct {
	needle.Query
	// IgnoreCursor masks the text cursor: one that underlines a cell of a console, or an area no
	// larger than a character that blinks. It takes effect only if nothing matches without it.
	IgnoreCursor bool
	// IgnorePointer masks the mouse pointer where a guest draws it into its picture: around the
	// place to which it was moved last. A pointer that the client draws is not on the picture.
	IgnorePointer bool
}

// A Matcher looks for reference images on the pictures of one screen, one after another.
type Matcher struct {
	Dir   *needle.Dir
	Query NeedleQuery
	// Reader reads the screen where a text cursor is to be found.
	Reader text.Reader

	blink blinker
}

// Match looks at a picture. Pointer is the place to which the mouse pointer was moved last; nil if
// that is not known.
func (m *Matcher) Match(ctx context.Context, p *pixmap.Picture, pointer *image.Point) (*needle.Result, error) {
	q := m.Query.Query
	if m.Query.IgnorePointer && pointer != nil {
		q.Masks = append(q.Masks[:len(q.Masks):len(q.Masks)], PointerMask(*pointer))
	}
	m.blink.see(p)
	r, err := m.Dir.Match(ctx, q, p)
	if err != nil || r.Matched() || !m.Query.IgnoreCursor {
		return r, err
	}
	cursors := m.cursors(p)
	if len(cursors) == 0 {
		return r, nil
	}
	q.Masks = append(q.Masks[:len(q.Masks):len(q.Masks)], cursors...)
	return m.Dir.Match(ctx, q, p)
}

// cursors returns where text cursors are.
func (m *Matcher) cursors(p *pixmap.Picture) (found []image.Rectangle) {
	if !m.blink.at.Empty() {
		found = append(found, m.blink.at)
	}
	if g, err := m.Reader.Read(p); err == nil {
		if col, row, ok := g.Cursor(); ok {
			found = append(found, g.Rect(col, row))
		}
	}
	return found
}

// pointerReach is how far from its hot spot a pointer is drawn, in pixels: the usual shapes have
// 32×32, and the hot spot may be anywhere in them.
const pointerReach = 32

// PointerMask returns the pixels that a pointer at a place may cover.
func PointerMask(at image.Point) image.Rectangle {
	return image.Rectangle{Min: at, Max: at.Add(image.Pt(1, 1))}.Inset(-pointerReach)
}

// The largest cell that a blinking cursor fills, in pixels.
const (
	blinkWidth  = 32
	blinkHeight = 64
)

// A blinker finds a cursor that blinks: an area no larger than a character that goes to and fro
// between two pictures.
type blinker struct {
	region image.Rectangle // the pixels that count; empty is all of them
	at     image.Rectangle // where it blinks; empty if nothing has blinked since another change

	now, before *pixmap.Picture
}

// see takes the next picture. It returns what has changed since the last one, and whether only a
// cursor has blinked.
func (b *blinker) see(p *pixmap.Picture) (change image.Rectangle, blinked bool) {
	change = Difference(b.now, p, b.region)
	if change.Empty() {
		return change, false
	}
	small := b.now != nil && change.Dx() <= blinkWidth && change.Dy() <= blinkHeight
	blinked = small && Difference(b.before, p, b.region).Empty()
	switch {
	case blinked:
		b.at = change
	case !small || !change.In(b.at):
		b.at = image.Rectangle{}
	}
	b.before, b.now = b.now, p
	return change, blinked
}
