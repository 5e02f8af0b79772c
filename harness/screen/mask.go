package screen

import (
	"context"
	"image"

	"github.com/spicelane/spicelane/harness/screen/needle"
	"github.com/spicelane/spicelane/harness/screen/pixmap"
	"github.com/spicelane/spicelane/harness/screen/text"
)

// A NeedleQuery is a query for reference images that can also mask cursors on the screen.
type NeedleQuery struct {
	needle.Query
	// IgnoreCursor masks the text cursor: one that underlines a cell of a console, or a blinking area
	// no larger than a character. It takes effect only if nothing matches without it.
	IgnoreCursor bool
	// IgnorePointer masks the pixels around the place to which the mouse pointer was moved last. It is
	// for guests that draw the pointer into their picture. A pointer that the client draws is not in
	// it.
	IgnorePointer bool
}

// A Matcher looks for reference images on the pictures of one screen, one after another.
type Matcher struct {
	Dir   *needle.Dir
	Query NeedleQuery
	// Reader reads the screen to find a text cursor.
	Reader text.Reader

	blink blinker
}

// Match looks for the query's reference images on a picture. pointer is the place to which the
// mouse pointer was moved last; nil if that is not known.
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

// cursors returns the rectangles of text cursors on a picture.
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

// pointerReach is how far a pointer reaches from its hot spot, in pixels. The usual shapes have
// 32×32 pixels, and the hot spot may be any of them.
const pointerReach = 32

// PointerMask returns the rectangle that a pointer with its hot spot at a place may cover.
func PointerMask(at image.Point) image.Rectangle {
	return image.Rectangle{Min: at, Max: at.Add(image.Pt(1, 1))}.Inset(-pointerReach)
}

// The largest cell that a blinking cursor fills, in pixels.
const (
	blinkWidth  = 32
	blinkHeight = 64
)

// A blinker finds a blinking cursor: an area no larger than a character that alternates between two
// pictures.
type blinker struct {
	region image.Rectangle // the pixels that count; empty is all of them
	at     image.Rectangle // where a cursor blinks; empty if none has blinked since another change

	now, before *pixmap.Picture
}

// see takes the next picture. It returns the rectangle that has changed since the last one, and
// whether only a cursor has blinked.
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
