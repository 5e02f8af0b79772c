package needle

import (
	"image"

	"github.com/spicelane/spicelane/harness/screen/pixmap"
)

// LeastError returns the lower bound of the error of a needle's first area at a place, and the
// error.
func LeastError(n *Needle, screen *pixmap.Picture, at image.Point) (bound, is int64) {
	c, err := n.compile()
	if err != nil {
		panic(err)
	}
	t, s := c.templates[0], &scene{Picture: screen}
	f, _ := t.errorAt(s, at, 1<<62)
	return t.looking(s, t.places(s, t.area.Rect().Min)).leastError(at, 1<<62), f.sum
}
