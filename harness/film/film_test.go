package film_test

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/png"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/spicelane/spicelane/harness/film"
	"github.com/spicelane/spicelane/internal/need"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A screen is one display that a test draws on.
type screen struct {
	mu      sync.Mutex
	size    image.Point
	pix     []byte
	session int
	rec     *film.Recorder
}

func newScreen(w, h int) *screen {
	return &screen{size: image.Pt(w, h), pix: make([]byte, 4*w*h), session: 1}
}

func (s *screen) Displays() []film.Display {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pix == nil {
		return nil
	}
	return []film.Display{{Number: 0, Size: s.size, Session: s.session}}
}

func (s *screen) Copy(_ uint8, r image.Rectangle, dst *film.Pixels) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pix == nil || !r.In(image.Rectangle{Max: s.size}) {
		return false
	}
	dst.Rect, dst.Stride, dst.Pix = r, 4*r.Dx(), dst.Pix[:0]
	for y := r.Min.Y; y < r.Max.Y; y++ {
		dst.Pix = append(dst.Pix, s.pix[4*(y*s.size.X+r.Min.X):4*(y*s.size.X+r.Max.X)]...)
	}
	return true
}

// fill draws a rectangle. colour returns the colour of each pixel.
func (s *screen) fill(r image.Rectangle, colour func() uint32) {
	s.mu.Lock()
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := r.Min.X; x < r.Max.X; x++ {
			c, p := colour(), s.pix[4*(y*s.size.X+x):]
			p[0], p[1], p[2], p[3] = byte(c), byte(c>>8), byte(c>>16), byte(c>>24)
		}
	}
	at := time.Now()
	s.mu.Unlock()
	s.rec.Drawn(0, r, at)
}

func (s *screen) change(size image.Point, pix []byte) {
	s.mu.Lock()
	s.size, s.pix = size, pix
	s.session++
	s.mu.Unlock()
	s.rec.Changed()
}

// take takes a picture, and returns it with its time.
func (s *screen) take(t *testing.T, clock time.Time) (time.Duration, *image.NRGBA) {
	t.Helper()
	var img *image.NRGBA
	at, err := s.rec.Take(0, func() (*film.Pixels, error) {
		var p film.Pixels
		if !s.Copy(0, image.Rectangle{Max: s.size}, &p) {
			return nil, errors.New("no picture")
		}
		img = picture(&p)
		return &p, nil
	})
	require.NoError(t, err)
	return at.Sub(clock), img
}

func picture(p *film.Pixels) *image.NRGBA {
	img := image.NewNRGBA(p.Rect)
	for i := 0; i < len(p.Pix); i += 4 {
		copy(img.Pix[i:], []byte{p.Pix[i+2], p.Pix[i+1], p.Pix[i], 0xff})
	}
	return img
}

func start(t *testing.T, s *screen, change func(*film.Config)) (clock time.Time, path string) {
	t.Helper()
	path, clock = filepath.Join(t.TempDir(), film.File), time.Now()
	cfg := film.Config{Path: path, Clock: clock, Screen: s, Settle: time.Millisecond, Share: 1}
	if change != nil {
		change(&cfg)
	}
	rec, err := film.Start(cfg)
	require.NoError(t, err)
	s.rec = rec
	t.Cleanup(func() { _ = rec.Close() })
	return clock, path
}

func randomRect(rnd *rand.Rand, size image.Point) image.Rectangle {
	x, y := rnd.IntN(size.X), rnd.IntN(size.Y)
	return image.Rect(x, y, x+1+rnd.IntN(size.X-x), y+1+rnd.IntN(size.Y-y))
}

// shown is a picture that was taken.
type shown struct {
	at  time.Duration
	img *image.NRGBA
}

func requireShown(t *testing.T, f *film.Film, all []shown) {
	t.Helper()
	for _, s := range all {
		got, err := f.At(0, s.at)
		require.NoError(t, err)
		require.NotNil(t, got, "the film shows nothing at %v", s.at)
		require.Equal(t, s.img.Rect, got.Rect)
		require.True(t, bytes.Equal(s.img.Pix, got.Pix), "the film shows other pixels at %v", s.at)
	}
}

// colours returns a function that returns one of n colours.
func colours(rnd *rand.Rand, n int) func() uint32 {
	return func() uint32 { return uint32(rnd.IntN(n))*0x10307 | rnd.Uint32()&0xff000000 }
}

func TestEveryPictureThatIsTakenIsInTheFilmToThePixel(t *testing.T) {
	t.Parallel()
	for _, n := range []int{2, 256, 1 << 16} {
		t.Run(fmt.Sprint(n, " colours"), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(1, uint64(n)))
			s := newScreen(97, 61)
			clock, path := start(t, s, nil)
			var all []shown
			for range 300 {
				for range rnd.IntN(4) {
					s.fill(randomRect(rnd, s.size), colours(rnd, n))
				}
				if rnd.IntN(2) == 0 {
					at, img := s.take(t, clock)
					all = append(all, shown{at, img})
				}
			}
			s.fill(image.Rect(1, 1, 3, 3), colours(rnd, n))
			var last film.Pixels
			require.True(t, s.Copy(0, image.Rectangle{Max: s.size}, &last))
			all = append(all, shown{time.Hour, picture(&last)})
			require.NoError(t, s.rec.Close())
			f, err := film.ReadFile(path)
			require.NoError(t, err)
			require.False(t, f.Torn)
			requireShown(t, f, all)
			require.NotNil(t, f.Stats)
			require.Equal(t, len(f.Frames), f.Stats.Frames)
			keys := 0
			for _, fr := range f.Frames {
				if fr.Key {
					keys++
				}
			}
			require.Greater(t, keys, 1, "a film of one group cannot be seeked in")
			require.Less(t, keys, len(f.Frames))
		})
	}
}

// The recorder rests after work, so that filming costs little. What is drawn meanwhile is filmed
// late.
//
// The sleeps only move the bubble's clock, so that each drawing has another time. The recorder does
// nothing meanwhile, so there is nothing to await.
func TestALateFrameSaysSinceWhenWhatItShowsWasDrawn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScreen(8, 8)
		clock, path := start(t, s, func(c *film.Config) { c.Settle = time.Hour }) // it looks at nothing by itself
		draw := func() {
			s.fill(image.Rect(0, 0, 1, 1), func() uint32 { return uint32(time.Since(clock) / time.Millisecond) })
		}
		s.take(t, clock)
		for range 2 {
			time.Sleep(time.Second)
			draw()
		}
		time.Sleep(time.Second)
		s.take(t, clock) // 3 s; of 1 s
		time.Sleep(time.Second)
		draw()
		s.take(t, clock) // 4 s, at once
		for range 2 {
			time.Sleep(time.Second)
			draw()
		}
		require.NoError(t, s.rec.Close()) // 6 s, when it was drawn; of 5 s
		f, err := film.ReadFile(path)
		require.NoError(t, err)
		var at, since []time.Duration
		for _, fr := range f.Frames {
			at, since = append(at, fr.At.Round(time.Second)), append(since, fr.Since)
		}
		require.Equal(t, []time.Duration{0, 3 * time.Second, 4 * time.Second, 6 * time.Second}, at)
		require.Equal(t, []time.Duration{0, time.Second, 0, 5 * time.Second}, since)
	})
}

func TestOnlyWhatChangedIsInAFrame(t *testing.T) {
	t.Parallel()
	s := newScreen(200, 100)
	clock, path := start(t, s, nil)
	s.take(t, clock)
	white := func() uint32 { return 0xffffff }
	s.fill(image.Rect(10, 10, 12, 12), white)
	s.fill(image.Rect(100, 90, 101, 91), white)
	s.take(t, clock)
	s.fill(image.Rect(0, 0, 200, 100), func() uint32 { return 0xffffff })
	s.take(t, clock)
	// Drawing the same pixels again is no change, and neither is a change of the meaningless byte.
	s.fill(image.Rect(0, 0, 200, 100), func() uint32 { return 0x77ffffff })
	s.take(t, clock)
	require.NoError(t, s.rec.Close())
	f, err := film.ReadFile(path)
	require.NoError(t, err)
	require.Len(t, f.Frames, 3)
	require.True(t, f.Frames[0].Key)
	require.Equal(t, []image.Rectangle{image.Rect(10, 10, 12, 12), image.Rect(100, 90, 101, 91)},
		[]image.Rectangle{f.Frames[1].Patches[0].Rect, f.Frames[1].Patches[1].Rect})
	require.Equal(t, image.Rect(0, 0, 200, 100), f.Frames[2].Patches[0].Rect)
}

// Each colour of each pixel of a row counts, alone, and the fourth byte does not.
func TestAPixelThatDiffersInOneColourIsSeen(t *testing.T) {
	t.Parallel()
	s := newScreen(9, 1)
	clock, path := start(t, s, nil)
	at, img := s.take(t, clock)
	all := []shown{{at, img}}
	for x := range 9 {
		for byteOf := range 3 {
			s.fill(image.Rect(x, 0, x+1, 1), func() uint32 { return 0x010101 & (1<<(8*byteOf+8) - 1) })
			at, img := s.take(t, clock)
			all = append(all, shown{at, img})
		}
	}
	require.NoError(t, s.rec.Close())
	f, err := film.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, len(all), len(f.Frames), "pictures that are taken within a microsecond are frames, too")
	requireShown(t, f, all)
}

func TestADisplayThatGoesComesBackAndChangesItsSizeIsFilmed(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(3, 3))
	s := newScreen(40, 30)
	clock, path := start(t, s, nil)
	var all []shown
	add := func() {
		at, img := s.take(t, clock)
		all = append(all, shown{at, img})
	}
	s.fill(image.Rect(0, 0, 40, 30), colours(rnd, 9))
	add()
	s.change(image.Point{}, nil)
	_, err := s.rec.Take(0, func() (*film.Pixels, error) { return nil, errors.New("no picture") })
	require.EqualError(t, err, "no picture")
	s.change(image.Pt(64, 10), make([]byte, 4*640))
	s.fill(image.Rect(0, 0, 64, 9), colours(rnd, 9))
	add()
	// The same size, but another session: the earlier content of the screen is gone.
	s.change(image.Pt(64, 10), make([]byte, 4*640))
	add()
	require.NoError(t, s.rec.Close())
	f, err := film.ReadFile(path)
	require.NoError(t, err)
	requireShown(t, f, all)
	img, err := f.At(0, all[0].at)
	require.NoError(t, err)
	require.NotNil(t, img)
	none := 0
	for _, fr := range f.Frames {
		if fr.Gone {
			none++
			img, err := f.At(0, fr.At)
			require.NoError(t, err)
			require.Nil(t, img)
		}
	}
	require.Equal(t, 1, none)
	img, err = f.At(0, -time.Hour)
	require.NoError(t, err)
	require.Nil(t, img, "nothing is shown before the beginning")
	img, err = f.At(7, time.Hour)
	require.NoError(t, err)
	require.Nil(t, img, "there is no such display")
}

func TestAFilmStaysWithinItsLimitAndSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	const limit = 600 << 10
	rnd := rand.New(rand.NewPCG(5, 5))
	s := newScreen(64, 64)
	clock, path := start(t, s, func(c *film.Config) { c.MaxBytes = limit })
	var all []shown
	for range 2000 {
		s.fill(randomRect(rnd, s.size), colours(rnd, 1<<16))
		at, img := s.take(t, clock)
		all = append(all, shown{at, img})
	}
	require.NoError(t, s.rec.Close())
	st, err := os.Stat(path)
	require.NoError(t, err)
	require.LessOrEqual(t, st.Size(), int64(limit+32<<10))
	require.NoFileExists(t, path+".new")
	f, err := film.ReadFile(path)
	require.NoError(t, err)
	require.Greater(t, f.Stats.Bytes, int64(2*limit), "this film is thinned several times")
	require.Greater(t, f.Left.Frames, 0)
	require.Greater(t, f.Left.Before, all[0].at)
	require.Less(t, f.Left.Before, all[len(all)-1].at, "the end is not thinned")
	exact := 0
	for _, s := range all {
		if s.at >= f.Left.Before {
			requireShown(t, f, []shown{s})
			exact++
		}
	}
	require.Greater(t, exact, 20)
	// The remaining frames of the earlier time are right, too.
	taken := map[time.Duration]*image.NRGBA{}
	for _, s := range all {
		taken[s.at.Truncate(time.Microsecond)] = s.img
	}
	old := 0
	for _, fr := range f.Frames {
		if img := taken[fr.At]; img != nil && fr.At < f.Left.Before {
			requireShown(t, f, []shown{{fr.At, img}})
			old++
		}
	}
	require.Greater(t, old, 1, "the beginning is thinned, not lost")
	require.Equal(t, f.Stats.Frames, len(f.Frames)+f.Left.Frames)
}

func TestAFilmThatIsCutOffIsReadAsFarAsItGoes(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(7, 7))
	s := newScreen(16, 48)
	clock, path := start(t, s, nil)
	for range 4 {
		s.fill(image.Rect(0, 0, 3, 3), colours(rnd, 3))
		s.fill(image.Rect(0, 40, 3, 43), colours(rnd, 3))
		s.take(t, clock)
	}
	require.NoError(t, s.rec.Close())
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	whole, err := film.Read(bytes.NewReader(b))
	require.NoError(t, err)
	torn := 0
	for n := range b {
		f, err := film.Read(bytes.NewReader(b[:n]))
		require.NoError(t, err, "cut off after %d bytes", n)
		require.Nil(t, f.Stats)
		require.LessOrEqual(t, len(f.Frames), len(whole.Frames))
		for i, fr := range f.Frames {
			if i < len(f.Frames)-1 {
				require.Equal(t, whole.Frames[i], fr)
			}
		}
		if f.Torn {
			torn++
			if len(f.Frames) > 0 {
				require.Equal(t, whole.Frames[:len(f.Frames)], f.Frames, "no frame is there in part, cut off after %d bytes", n)
			}
		}
	}
	require.Greater(t, torn, len(b)/2)
}

func TestWhatIsNoFilmIsRefused(t *testing.T) {
	t.Parallel()
	for text, says := range map[string]string{
		"<html>\n":                    "film: record 0: it does not begin with a header",
		`{"png":-1}` + "\n":           "film: record 0: a PNG of -1 bytes",
		`{"png":999999999999}` + "\n": "film: record 0: a PNG of 999999999999 bytes",
		`{"size":[0,5],"rect":[0,0,1,1],"png":1}` + "\nx\n":                   "film: record 0: a screen of 0×5 pixels",
		`{"size":[40000,5],"rect":[0,0,1,1],"png":1}` + "\nx\n":               "film: record 0: a screen of 40000×5 pixels",
		`{"size":[16384,8192],"rect":[0,0,1,1],"png":1}` + "\nx\n":            "film: record 0: a screen of 16384×8192 pixels",
		`{"size":[5,5],"rect":[1,0,5,1],"png":1}` + "\nx\n":                   "film: record 0: a rectangle of 5×1 at 1,0 on a screen of 5×5",
		`{"size":[5,5],"rect":[-1,0,5,1],"png":1}` + "\nx\n":                  "film: record 0: a rectangle of 5×1 at -1,0 on a screen of 5×5",
		`{"size":[5,5],"rect":[0,9223372036854775807,1,9],"png":1}` + "\nx\n": "film: record 0: a rectangle of 1×9 at 0,9223372036854775807 on a screen of 5×5",
		`{"size":[5,5],"rect":[0,0,1,1],"png":1}` + "\nxy\n":                  "film: record 0: a PNG does not end where its header says",
		string(bytes.Repeat([]byte("x"), 70<<10)):                             "film: record 0: it does not begin with a header",
	} {
		_, err := film.Read(bytes.NewReader([]byte(text)))
		require.ErrorContains(t, err, says, "%.60q", text)
	}
	f, err := film.Read(bytes.NewReader(nil))
	require.NoError(t, err)
	require.Empty(t, f.Frames)
	// A PNG that is invalid, or has another size, is an error only at the times that show it.
	f, err = film.Read(bytes.NewReader([]byte(`{"size":[5,5],"rect":[0,0,5,5],"key":true,"png":1}` + "\nx\n")))
	require.NoError(t, err)
	_, err = f.At(0, 0)
	require.ErrorContains(t, err, "film: frame at 0s:")
}

// If the clock is set back, each frame must still build on the same frame as before.
func TestAClockThatIsSetBackDoesNotMixUpTheFrames(t *testing.T) {
	t.Parallel()
	s := newScreen(8, 8)
	clock, path := start(t, s, nil)
	s.take(t, clock)
	for i := range 3 {
		s.fill(image.Rect(i, 0, i+1, 1), func() uint32 { return 0xff })
		s.take(t, clock)
	}
	require.NoError(t, s.rec.Close())
	f, err := film.ReadFile(path)
	require.NoError(t, err)
	want, err := f.At(0, time.Hour)
	require.NoError(t, err)
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	// The third frame's time is set an hour back.
	old := fmt.Appendf(nil, `{"t_us":%d,`, f.Frames[2].At.Microseconds())
	require.Equal(t, 1, bytes.Count(b, old))
	back, err := film.Read(bytes.NewReader(bytes.Replace(b, old, []byte(`{"t_us":-3600000000,`), 1)))
	require.NoError(t, err)
	require.Len(t, back.Frames, len(f.Frames))
	got, err := back.At(0, time.Hour)
	require.NoError(t, err)
	require.Equal(t, want.Pix, got.Pix)
	require.Equal(t, back.Frames[1].At+time.Microsecond, back.Frames[2].At)
}

func TestAFilmThatCannotBeWrittenSaysSo(t *testing.T) {
	t.Parallel()
	_, err := film.Start(film.Config{Path: filepath.Join(t.TempDir(), "none", "film"), Screen: newScreen(1, 1)})
	require.ErrorContains(t, err, "film: ")
	s := newScreen(300, 300)
	rec, err := film.Start(film.Config{Path: "/dev/full", Screen: s})
	require.NoError(t, err)
	s.rec = rec
	require.ErrorContains(t, rec.Close(), "no space left on device")
	require.ErrorContains(t, rec.Close(), "no space left on device")
}

func TestNoRecorderFilmsNothing(t *testing.T) {
	t.Parallel()
	var rec *film.Recorder
	rec.Drawn(0, image.Rect(0, 0, 1, 1), time.Now())
	rec.Changed()
	_, err := rec.Take(0, func() (*film.Pixels, error) { return nil, errors.New("asked") })
	require.EqualError(t, err, "asked")
	require.NoError(t, rec.Close())
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"t_us":5,"size":[1,1],"rect":[0,0,1,1],"key":true,"png":1}` + "\nx\n" + `{"gone":true,"t_us":1}` + "\n"))
	f.Add([]byte(`{"left_out":{"frames":3,"before_ns":7},"png":0}` + "\n" + `{"stats":{"frames":3}}` + "\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		film, err := film.Read(bytes.NewReader(b))
		if err != nil {
			return
		}
		for i, fr := range film.Frames {
			if i > 0 && fr.At < film.Frames[i-1].At {
				t.Fatalf("frame %d is at %v, the one before it at %v", i, fr.At, film.Frames[i-1].At)
			}
			if fr.Size.X*fr.Size.Y < 1<<16 {
				_, _ = film.At(fr.Display, fr.At)
			}
		}
	})
}

// Each frame is played once, in steps of any length.
func TestAPlayerShowsWhatWasThereAtEachMoment(t *testing.T) {
	t.Parallel()
	for _, step := range []int{1, 7, 60} {
		rnd := rand.New(rand.NewPCG(9, uint64(step)))
		s := newScreen(50, 40)
		clock, path := start(t, s, nil)
		var all []shown
		for range 240 {
			s.fill(randomRect(rnd, s.size), colours(rnd, 300))
			at, img := s.take(t, clock)
			all = append(all, shown{at, img})
		}
		s.change(image.Point{}, nil)
		require.NoError(t, s.rec.Close())
		f, err := film.ReadFile(path)
		require.NoError(t, err)
		p := f.Play(0)
		require.Equal(t, f.Frames, p.Frames())
		img, err := p.Seek(-time.Hour)
		require.NoError(t, err)
		require.Nil(t, img)
		for i := 0; i < len(all); i += 1 + rnd.IntN(step) {
			img, err := p.Seek(all[i].at)
			require.NoError(t, err)
			require.NotNil(t, img)
			require.True(t, bytes.Equal(all[i].img.Pix, img.Pix), "picture %d at %v, with steps of up to %d", i, all[i].at, step)
		}
		img, err = p.Seek(time.Hour)
		require.NoError(t, err)
		require.Nil(t, img, "the display has gone")
		require.Empty(t, f.Play(3).Frames())
	}
}

// A guest draws a text letter by letter. Showing it means decoding it, and one PNG of a line is
// decoded sooner than one for each letter.
// The film of a page is not checked like that of a file. Its PNGs may be larger than the screen.
func TestAPNGThatIsNotWithinItsScreenIsNotDecoded(t *testing.T) {
	var large bytes.Buffer
	require.NoError(t, png.Encode(&large, image.NewGray(image.Rect(0, 0, 3, 3))))
	for _, at := range []image.Point{{}, {X: -1}, {Y: 9}} {
		r := image.Rect(0, 0, 3, 3).Add(at)
		key := film.Frame{Key: true, Size: image.Pt(2, 2)}
		key.Patches = []film.Patch{{Rect: r, PNG: large.Bytes()}}
		_, err := (&film.Film{Frames: []film.Frame{key}}).At(0, 0)
		require.ErrorContains(t, err, "is not within the screen, which has 2×2 pixels", "%v", r)
	}
}

func TestLettersOfALineAreOnePatch(t *testing.T) {
	t.Parallel()
	s := newScreen(1024, 768)
	clock, path := start(t, s, nil)
	s.take(t, clock)
	white := func() uint32 { return 0xffffff }
	for x := range 40 { // letters of a line, with gaps
		s.fill(image.Rect(32+9*x, 100, 32+9*x+7, 112), white)
	}
	s.fill(image.Rect(500, 600, 510, 620), white) // far from it
	s.take(t, clock)
	require.NoError(t, s.rec.Close())
	f, err := film.ReadFile(path)
	require.NoError(t, err)
	patches := 0
	for _, fr := range f.Frames[1:] {
		patches += len(fr.Patches)
	}
	// The recorder may look once or twice while the letters are drawn: each look has a part of the
	// line.
	require.LessOrEqual(t, patches, len(f.Frames[1:])+1)
	require.GreaterOrEqual(t, patches, 2)
}

// Seeking means decoding a group. No group is more than a few times the work of its key frame.
func TestNoGroupIsMuchMoreWorkThanItsKeyFrame(t *testing.T) {
	need.Long(t)
	t.Parallel()
	rnd := rand.New(rand.NewPCG(1, 1))
	s := newScreen(640, 480)
	clock, path := start(t, s, nil)
	for range 150 { // letters
		x, y := rnd.IntN(600), rnd.IntN(400)
		s.fill(image.Rect(x, y, x+8, y+16), colours(rnd, 2))
		s.take(t, clock)
	}
	for range 8 { // not more than may wait to be written
		s.fill(image.Rect(0, 0, 640, 479), colours(rnd, 4))
		s.take(t, clock)
	}
	const whole = 3
	for range whole {
		s.fill(image.Rectangle{Max: s.size}, colours(rnd, 4))
		s.take(t, clock)
	}
	require.NoError(t, s.rec.Close())
	f, err := film.ReadFile(path)
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(f.Frames), 150+8+whole)
	frames, keys := 0, 0
	var seen []image.Rectangle // what must be decoded
	for _, fr := range f.Frames {
		if fr.Key {
			frames, seen = 0, nil
			keys++
		}
		frames++
		for _, p := range fr.Patches {
			seen = slices.DeleteFunc(seen, func(r image.Rectangle) bool { return r.In(p.Rect) })
			seen = append(seen, p.Rect)
		}
		pixels := 0
		for _, r := range seen {
			pixels += r.Dx() * r.Dy()
		}
		require.LessOrEqual(t, frames, film.GroupFrames)
		require.LessOrEqual(t, len(seen), 60)
		require.LessOrEqual(t, pixels, 4*640*480)
		if slices.ContainsFunc(fr.Patches, func(p film.Patch) bool { return p.Rect == image.Rectangle{Max: s.size} }) {
			require.True(t, fr.Key, "a frame of all of the screen is a key frame")
		}
	}
	require.Greater(t, keys, whole)
	require.Less(t, keys, 8+whole, "and most frames are no key frames")
}
