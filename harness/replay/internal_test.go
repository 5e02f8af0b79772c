package replay

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/film"
)

// The product of the sides would overflow.
func TestAPictureOfAnySizeIsMeasuredWithoutOverflow(t *testing.T) {
	for size, want := range map[[2]int]bool{
		{1, 1}: true, {1 << 13, 1 << 12}: true, {1<<13 + 1, 1 << 12}: false, {1 << 25, 1}: true, {1, 1 << 25}: true,
		{0, 1}: false, {1, 0}: false, {-1, -1}: false, {math.MaxInt, 1}: false, {1 << 32, 1 << 32}: false, {1 << 62, 4}: false,
	} {
		require.Equal(t, want, fits(size[0], size[1]), "%v", size)
	}
}

func TestTheLastPictureOfADisplayStaysAlsoIfItIsTheFirstFrameOfTheFilm(t *testing.T) {
	at := func(ms int, key, gone bool) film.Frame {
		return film.Frame{At: time.Duration(ms) * time.Millisecond, Key: key, Gone: gone}
	}
	first, gone := at(1, true, false), at(2, false, true)
	require.Equal(t, []film.Frame{first, gone}, lastGroups([]film.Frame{first, gone}))
	require.Equal(t, []film.Frame{gone}, lastGroups([]film.Frame{gone}), "a display that never had a picture")
	again := at(3, true, false)
	require.Equal(t, []film.Frame{again}, lastGroups([]film.Frame{first, gone, again}))
}

// The note that a display is gone takes no space. Without it, the page would show the display for
// ever.
func TestAPageThatIsTooLargeStillSaysThatADisplayHasGone(t *testing.T) {
	key := func(ms int) film.Frame {
		at := time.Duration(ms) * time.Millisecond
		return film.Frame{At: at, Key: true, Patches: []film.Patch{{PNG: make([]byte, 100)}}}
	}
	gone := film.Frame{At: 900 * time.Millisecond, Gone: true}
	l := &lane{last: 50 * time.Millisecond, head: Head{Outcome: "passed"}} // what is shown first
	kept := l.thinFilm([]film.Frame{key(10), key(50), key(100), key(200), gone}, 250)
	require.Equal(t, []film.Frame{key(10), key(50), gone}, kept)
}
