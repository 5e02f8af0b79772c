package screen_test

import (
	"context"
	"image"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/screen"
	"github.com/spicelane/spicelane/harness/screen/needle"
	"github.com/spicelane/spicelane/harness/screen/pixmap"
)

// matcher returns a matcher for a needle of a whole page, exactly.
func matcher(t *testing.T, p *pixmap.Picture, q screen.NeedleQuery) *screen.Matcher {
	t.Helper()
	dir := t.TempDir()
	n, err := needle.New("page", []needle.Area{{Width: p.Width, Height: p.Height, Type: needle.TypeMatch, Margin: new(int)}}, nil, p)
	require.NoError(t, err)
	require.NoError(t, n.Save(dir))
	d, err := needle.Open(dir)
	require.NoError(t, err)
	q.Tag = "page"
	return &screen.Matcher{Dir: d, Query: q}
}

// with returns a page with a block over a cell.
func with(p *pixmap.Picture, col, row int) *pixmap.Picture {
	q := p.Crop(p.Bounds())
	for y := 19 * row; y < 19*row+19; y++ {
		for x := 8 * col; x < 8*col+8; x++ {
			copy(q.Pix[y*q.Stride+4*x:], []byte{0xff, 0xff, 0xff})
		}
	}
	return q
}

func matched(t *testing.T, m *screen.Matcher, p *pixmap.Picture) bool {
	t.Helper()
	r, err := m.Match(t.Context(), p, nil)
	require.NoError(t, err)
	return r.Matched()
}

func TestATextCursorThatUnderlinesACellIsMaskedIfThatIsAskedFor(t *testing.T) {
	ref, cursor := page("Shell> halt"), page("Shell> ha█t")
	// A letter l under a cursor that underlines it.
	for y := range 16 {
		copy(cursor.Row(y, 72, 80), ref.Row(y, 72, 80))
	}
	require.False(t, matched(t, matcher(t, ref, screen.NeedleQuery{}), cursor))
	require.True(t, matched(t, matcher(t, ref, screen.NeedleQuery{IgnoreCursor: true}), cursor))
	// Other differences are still found.
	require.False(t, matched(t, matcher(t, ref, screen.NeedleQuery{IgnoreCursor: true}), dot(cursor, 71, 3)))
	require.False(t, matched(t, matcher(t, ref, screen.NeedleQuery{IgnoreCursor: true}), page("Shell> hart")))
}

func TestATextCursorThatBlinksIsMaskedFromTheSecondTimeOn(t *testing.T) {
	ref := page("login: ")
	on, off := with(ref, 10, 2), dot(ref, 82, 40) // neither is the reference
	m := matcher(t, ref, screen.NeedleQuery{IgnoreCursor: true})
	require.False(t, matched(t, m, on))
	require.False(t, matched(t, m, off), "it may have changed for good")
	require.True(t, matched(t, m, on))
	require.True(t, matched(t, m, off))
	// Another change elsewhere is not the cursor's.
	require.False(t, matched(t, m, dot(off, 3, 3)))
	require.False(t, matched(t, m, on), "whether it still blinks is not known")
	// Unless asked for, nothing is masked.
	m = matcher(t, ref, screen.NeedleQuery{})
	for range 3 {
		require.False(t, matched(t, m, on))
		require.False(t, matched(t, m, off))
	}
	// Something that blinks and is larger than a character is not a cursor.
	m = matcher(t, ref, screen.NeedleQuery{IgnoreCursor: true})
	wide := ref
	for col := range 5 {
		wide = with(wide, 10+col, 2)
	}
	for range 3 {
		require.False(t, matched(t, m, wide))
		require.False(t, matched(t, m, off))
	}
}

// A pointed film also knows where the pointer is.
type pointed struct {
	*film
	at *image.Point
}

func (p pointed) Pointer(context.Context) *image.Point { return p.at }

func TestAPointerThatTheGuestDrawsIsMaskedWhereItWasMovedIfThatIsAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ref := page("login: ")
		drawn := with(ref, 10, 2)
		for _, tc := range []struct {
			ignore  bool
			at      *image.Point
			matches bool
		}{
			{true, &image.Point{X: 84, Y: 40}, true},
			{true, &image.Point{X: 200, Y: 40}, false},
			{true, nil, false},
			{false, &image.Point{X: 84, Y: 40}, false},
		} {
			src := pointed{newFilm(frame{0, drawn}), tc.at}
			m := matcher(t, ref, screen.NeedleQuery{IgnorePointer: tc.ignore})
			_, err := screen.AwaitNeedle(within(t, second), src, m)
			require.Equal(t, tc.matches, err == nil, "%+v: %v", tc, err)
		}
	})
}
