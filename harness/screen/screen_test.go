package screen_test

import (
	"context"
	"errors"
	"fmt"
	"image"
	"regexp"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/screen"
	"github.com/spicelane/spicelane/harness/screen/needle"
	"github.com/spicelane/spicelane/harness/screen/pixmap"
	"github.com/spicelane/spicelane/harness/screen/text"
)

// A film is a screen that shows one picture after another, each for a time.
type film struct {
	start  time.Time
	frames []frame
	looks  int
	drawn  int // the frame that was on the last picture
}

type frame struct {
	at      time.Duration
	picture *pixmap.Picture // nil: the screen shows nothing
}

func newFilm(frames ...frame) *film { return &film{start: time.Now(), frames: frames} }

func (f *film) now() int {
	n := 0
	for i, fr := range f.frames {
		if time.Since(f.start) >= fr.at {
			n = i
		}
	}
	return n
}

func (f *film) Picture(ctx context.Context) (*pixmap.Picture, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	f.looks++
	f.drawn = f.now()
	if f.frames[f.drawn].picture == nil {
		return nil, screen.ErrNoPicture
	}
	return f.frames[f.drawn].picture, nil
}

func (f *film) Changed(ctx context.Context) error {
	var next <-chan time.Time
	if f.drawn+1 < len(f.frames) {
		next = time.After(f.frames[f.drawn+1].at - time.Since(f.start))
	}
	select {
	case <-next:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// page draws lines in the firmware's font.
func page(lines ...string) *pixmap.Picture {
	var f *text.Font
	for _, each := range text.Fonts() {
		if each.Name == "ovmf" {
			f = each
		}
	}
	img := image.NewNRGBA(image.Rect(0, 0, 320, 190))
	for i := 3; i < len(img.Pix); i += 4 {
		img.Pix[i] = 0xff
	}
	for row, line := range lines {
		for col, r := range []rune(line) {
			for i := range 8 * 19 {
				if f.Drawn(r, false, i%8, i/8) || r == '█' && i/8 >= 16 {
					img.Set(8*col+i%8, 19*row+i/8, pixmap.RGB{R: 255, G: 255, B: 255})
				}
			}
		}
	}
	return pixmap.Of(img)
}

func dot(p *pixmap.Picture, x, y int) *pixmap.Picture {
	q := p.Crop(p.Bounds())
	q.Pix[y*q.Stride+4*x] ^= 0xff
	return q
}

const second = time.Second

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestTextIsAwaitedAndTheErrorHasAllThatWasThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFilm(frame{0, nil}, frame{second, page("Booting")}, frame{2 * second, page("Booting", "debian login: █")}, frame{9 * second, page("bye")})
		q := screen.TextQuery{Pattern: regexp.MustCompile(`login:`)}
		hit, err := screen.AwaitText(within(t, 5*second), src, text.Reader{}, q)
		require.NoError(t, err)
		require.Equal(t, text.Hit{Text: "login:", Col: 7, Row: 1, Rect: image.Rect(56, 19, 104, 38)}, hit)
		require.Equal(t, 2*second, time.Since(src.start))
		require.Equal(t, 3, src.looks, "it looks only when something has been drawn")

		q.Pattern = regexp.MustCompile(`login: `)
		q.Cursor = true
		_, err = screen.AwaitText(within(t, 5*second), src, text.Reader{}, q)
		require.NoError(t, err)
		q.Pattern = regexp.MustCompile(`login:`)
		_, err = screen.AwaitText(within(t, 5*second), src, text.Reader{}, q)
		require.EqualError(t, err, `awaited text "login:" with the cursor behind it, saw last 40×10 cells with "Booting\ndebian login:": context deadline exceeded`,
			"the cursor is behind the space")
		_, err = screen.AwaitText(within(t, 5*second), src, text.Reader{}, q)
		require.ErrorContains(t, err, `saw last 40×10 cells with "bye": context deadline exceeded`)
	})
	synctest.Test(t, func(t *testing.T) {
		src := newFilm(frame{0, page("login:█")})
		_, err := screen.AwaitText(within(t, second), src, text.Reader{}, screen.TextQuery{Pattern: regexp.MustCompile(`login:`), Cursor: true})
		require.NoError(t, err)
		_, err = screen.AwaitText(within(t, second), src, text.Reader{}, screen.TextQuery{Pattern: regexp.MustCompile(`login:`), Region: image.Rect(0, 19, 320, 190)})
		require.ErrorContains(t, err, `awaited text "login:" within (0,19)-(320,190), saw last`)
		src = newFilm(frame{0, nil})
		_, err = screen.AwaitText(within(t, second), src, text.Reader{}, screen.TextQuery{Pattern: regexp.MustCompile(`x`)})
		require.EqualError(t, err, `awaited text "x", saw last the screen shows nothing: context deadline exceeded`)
	})
}

func TestANeedleIsAwaitedAndTheLastResultIsThereForItsEvidence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		wanted := page("Setup")
		n, err := needle.New("setup", []needle.Area{{Width: 40, Height: 19, Type: needle.TypeMatch, Margin: new(int)}}, []string{"menu"}, wanted)
		require.NoError(t, err)
		require.NoError(t, n.Save(dir))
		d, err := needle.Open(dir)
		require.NoError(t, err)
		awaited := func(tag string) *screen.Matcher {
			return &screen.Matcher{Dir: d, Query: screen.NeedleQuery{Query: needle.Query{Tag: tag}}}
		}
		src := newFilm(frame{0, page("Boot")}, frame{second, page("Setup")}, frame{4 * second, page("Set")})
		r, err := screen.AwaitNeedle(within(t, 9*second), src, awaited("menu"))
		require.NoError(t, err)
		require.True(t, r.Matched())
		require.Equal(t, second, time.Since(src.start))
		time.Sleep(4 * second) // the bubble's clock
		r, err = screen.AwaitNeedle(within(t, 9*second), src, awaited("menu"))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, `awaited "menu" on the screen, saw last "menu" is not on the screen: needle setup, area 1 at (0,0) has only`)
		files, err := r.WriteEvidence(t.TempDir())
		require.NoError(t, err)
		require.Len(t, files, 3)
		_, err = screen.AwaitNeedle(within(t, 9*second), src, awaited("menus"))
		require.ErrorContains(t, err, `has the tag or the name "menus" (did you mean "menu"?)`)
	})
}

func TestAScreenIsStillWhenNothingHasChangedForLongEnough(t *testing.T) {
	a, b := page("one"), page("two")
	for name, tc := range map[string]struct {
		frames []frame
		still  screen.Still
		want   time.Duration // 0: it never is
	}{
		"nothing is drawn":           {[]frame{{0, a}}, screen.Still{For: 2 * second}, 2 * second},
		"drawn, and nothing changed": {[]frame{{0, a}, {second, a}, {3 * second, a}}, screen.Still{For: 2 * second}, 2 * second},
		"it changes twice":           {[]frame{{0, a}, {second, b}, {2 * second, a}}, screen.Still{For: 2 * second}, 4 * second},
		"a mode change":              {[]frame{{0, a}, {second, nil}, {4 * second, a}}, screen.Still{For: 2 * second}, 6 * second},
		"changes elsewhere": {[]frame{{0, a}, {second, dot(a, 300, 180)}, {2 * second, a}, {3 * second, b}}, screen.Still{For: 2 * second, Region: image.Rect(0, 0, 200, 100)},
			2 * second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := newFilm(tc.frames...)
				require.NoError(t, tc.still.Await(within(t, 20*second), src))
				require.Equal(t, tc.want, time.Since(src.start))
			})
		})
	}
}

// restless is a screen that draws all the time, each time something else. So a caller need not wait
// for the next picture.
type restless struct {
	looks int
	page  func(look int) *pixmap.Picture
}

func (s *restless) Picture(ctx context.Context) (*pixmap.Picture, error) {
	s.looks++
	return s.page(s.looks), ctx.Err()
}

func (s *restless) Changed(ctx context.Context) error {
	<-time.After(time.Millisecond)
	return ctx.Err()
}

func TestAScreenThatNeverStopsChangingIsNeverStillAndIsReadAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		frames := []*pixmap.Picture{page("loading /"), page("loading -"), page("loading |")}
		src := &restless{page: func(look int) *pixmap.Picture {
			if look == 500 {
				return page("login: /")
			}
			return frames[look%3]
		}}
		for _, blink := range []bool{false, true} {
			err := screen.Still{For: 100 * time.Millisecond, IgnoreBlink: blink}.Await(within(t, 200*time.Millisecond), src)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.ErrorContains(t, err, "saw last a change of")
		}
		require.NoError(t, screen.Still{For: 100 * time.Millisecond, Region: image.Rect(0, 0, 64, 19)}.Await(within(t, second), src), "only its last column changes")
		src.looks = 0
		q := screen.TextQuery{Pattern: regexp.MustCompile("login:")}
		_, err := screen.AwaitText(within(t, second), src, text.Reader{}, q)
		require.NoError(t, err)
		require.Equal(t, 500, src.looks)
		_, err = screen.AwaitText(within(t, 100*time.Millisecond), src, text.Reader{}, q)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, `"loading `)
		_, err = screen.AwaitChange(within(t, second), src, frames[0], image.Rect(0, 0, 64, 19))
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

func TestABlinkingCursorIsNoChangeIfThatIsAskedForAndAMovingOneIs(t *testing.T) {
	blink := func(x func(i int) int) []frame {
		var frames []frame
		for i := range 60 {
			p := page("login:")
			if i%2 == 1 {
				p = dot(p, x(i), 10)
			}
			frames = append(frames, frame{time.Duration(i) * second / 2, p})
		}
		return frames
	}
	synctest.Test(t, func(t *testing.T) {
		src := newFilm(blink(func(int) int { return 60 })...)
		require.NoError(t, screen.Still{For: 3 * second, IgnoreBlink: true}.Await(within(t, 20*second), src))
		require.Equal(t, 3500*time.Millisecond, time.Since(src.start), "the first change may be more than a cursor")
		err := screen.Still{For: 3 * second}.Await(within(t, 10*second), src)
		require.EqualError(t, err, "awaited a screen that is still for 3s, saw last a change of 1×1 pixels at (60,10): context deadline exceeded")
	})
	synctest.Test(t, func(t *testing.T) {
		src := newFilm(blink(func(i int) int { return i })...)
		err := screen.Still{For: 3 * second, IgnoreBlink: true}.Await(within(t, 10*second), src)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

func TestAChangeIsAwaitedWithinItsRegion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := page("one")
		src := newFilm(frame{0, a}, frame{second, dot(a, 7, 9)}, frame{2 * second, dot(dot(a, 7, 9), 100, 50)})
		where, err := screen.AwaitChange(within(t, 9*second), src, a, image.Rectangle{})
		require.NoError(t, err)
		require.Equal(t, image.Rect(7, 9, 8, 10), where)
		where, err = screen.AwaitChange(within(t, 9*second), src, a, image.Rect(90, 40, 200, 100))
		require.NoError(t, err)
		require.Equal(t, image.Rect(100, 50, 101, 51), where)
		require.Equal(t, 2*second, time.Since(src.start))
		_, err = screen.AwaitChange(within(t, 9*second), src, a, image.Rect(200, 100, 210, 110))
		require.EqualError(t, err, "awaited a change of the screen, saw last no change: context deadline exceeded")
	})
}

func TestTheDifferenceIsTheSmallestRectangleWithAllOfIt(t *testing.T) {
	a := page("x")
	require.True(t, screen.Difference(a, a, image.Rectangle{}).Empty())
	require.Equal(t, image.Rect(3, 2, 61, 31), screen.Difference(a, dot(dot(a, 60, 2), 3, 30), image.Rectangle{}))
	require.Equal(t, image.Rect(60, 2, 61, 3), screen.Difference(a, dot(dot(a, 60, 2), 3, 30), image.Rect(50, 0, 320, 190)))
	require.Equal(t, a.Bounds(), screen.Difference(nil, a, image.Rectangle{}))
	require.Equal(t, image.Rect(0, 0, 10, 10), screen.Difference(a, a.Crop(image.Rect(0, 0, 10, 10)), image.Rectangle{}))
}

func TestTheEndOfASourceEndsTheWait(t *testing.T) {
	gone := errors.New("the session is over")
	for _, src := range []broken{{picture: gone}, {changed: gone}} {
		_, err := screen.AwaitText(t.Context(), src, text.Reader{}, screen.TextQuery{Pattern: regexp.MustCompile("x")})
		require.ErrorIs(t, err, gone, fmt.Sprint(src))
		require.ErrorIs(t, screen.Still{For: time.Hour}.Await(t.Context(), src), gone)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(gone)
	require.ErrorIs(t, screen.Still{For: time.Hour}.Await(ctx, newFilm(frame{0, page("x")})), gone)
	_, err := screen.AwaitChange(ctx, newFilm(frame{0, page("x")}), page("x"), image.Rectangle{})
	require.ErrorIs(t, err, gone)
}

type broken struct{ picture, changed error }

func (b broken) Picture(context.Context) (*pixmap.Picture, error) {
	if b.picture != nil {
		return nil, b.picture
	}
	return page("y"), nil
}

func (b broken) Changed(context.Context) error { return b.changed }
