package needle_test

import (
	"image"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/screen/needle"
	"github.com/spicelane/spicelane/harness/screen/pixmap"
)

// A place is ruled out only if even the least error that its sums allow is too large. The bound
// must never be above the error. On pictures that differ evenly, it must be close to it.
func TestTheLeastErrorOfAPlaceIsNeverMoreThanItsError(t *testing.T) {
	ruled, close := 0, 0
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 3))
		w, h := 1+r.IntN(40), 1+r.IntN(40)
		reference, screen := image.NewNRGBA(image.Rect(0, 0, w, h)), image.NewNRGBA(image.Rect(0, 0, w, h))
		base, step := r.IntN(200), []int{14, 15, 16, 17, 29, 30, 31, 55, 200}[r.IntN(9)]
		rare := r.IntN(4)
		for i := range reference.Pix {
			reference.Pix[i] = uint8(min(255, base+r.IntN(1+r.IntN(20))))
			d := step
			switch rare {
			case 0: // all pixels by the same
			case 1: // most pixels by just too little to count
				if r.IntN(8) > 0 {
					d = 15
				}
			case 2: // most pixels by nothing
				if r.IntN(8) > 0 {
					d = 0
				}
			case 3:
				d = r.IntN(2*step+1) - step
			}
			screen.Pix[i] = uint8(max(0, min(255, int(reference.Pix[i])+d)))
			if i%4 == 3 {
				reference.Pix[i], screen.Pix[i] = 0xff, 0xff
			}
		}
		b := randomRect(r, w, h)
		areas := []needle.Area{{X: b.Min.X, Y: b.Min.Y, Width: b.Dx(), Height: b.Dy(), Type: needle.TypeMatch, Match: 96}}
		if e := randomRect(r, w, h); r.IntN(2) == 0 && !b.In(e) {
			areas = append(areas, needle.Area{X: e.Min.X, Y: e.Min.Y, Width: e.Dx(), Height: e.Dy(), Type: needle.TypeExclude})
		}
		n, err := needle.New("n", areas, nil, pixmap.Of(reference))
		require.NoError(t, err)
		bound, is := needle.LeastError(n, pixmap.Of(screen), b.Min)
		require.LessOrEqual(t, bound, is, "case %d: %d×%d pixels that differ by %d", seed, b.Dx(), b.Dy(), step)
		if is > 0 && bound > is/10 {
			ruled++
			if 10*bound > 9*is {
				close++
			}
		}
	}
	t.Logf("of 3000 cases the bound was above a tenth of the error in %d, above nine tenths in %d", ruled, close)
	require.Greater(t, ruled, 200)
	require.Greater(t, close, 5)
}
