package playback_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/playback"
	"github.com/spicelane/spicelane/harness/replay"
	"github.com/spicelane/spicelane/internal/need"
)

// A made is a film that a test has made, and the pictures that it shows.
type made struct {
	out   bytes.Buffer
	img   *image.NRGBA
	rnd   *rand.Rand
	shown []shown
}

// shown is the picture that is visible from a moment on; nil for no picture.
type shown struct {
	at  time.Duration
	img *image.NRGBA
}

func newMade(w, h int) *made {
	return &made{img: image.NewNRGBA(image.Rect(0, 0, w, h)), rnd: rand.New(rand.NewPCG(1, uint64(w*h)))}
}

// draw fills a rectangle with random colours, from a moment on.
func (m *made) draw(at time.Duration, r image.Rectangle, key bool) {
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := r.Min.X; x < r.Max.X; x++ {
			v := m.rnd.Uint32()
			m.img.SetNRGBA(x, y, color.NRGBA{byte(v), byte(v >> 8), byte(v >> 16), 255})
		}
	}
	if key {
		r = m.img.Rect
	}
	var b bytes.Buffer
	if err := png.Encode(&b, m.img.SubImage(r)); err != nil {
		panic(err)
	}
	fmt.Fprintf(&m.out, `{"t_us":%d,"size":[%d,%d],"rect":[%d,%d,%d,%d],"key":%v,"png":%d}`+"\n%s\n",
		at.Microseconds(), m.img.Rect.Dx(), m.img.Rect.Dy(), r.Min.X, r.Min.Y, r.Dx(), r.Dy(), key, b.Len(), b.Bytes())
	m.note(at, m.img)
}

func (m *made) note(at time.Duration, img *image.NRGBA) {
	if img != nil {
		copied := *img
		copied.Pix = bytes.Clone(img.Pix)
		img = &copied
	}
	m.shown = append(m.shown, shown{at, img})
}

func (m *made) gone(at time.Duration) {
	fmt.Fprintf(&m.out, `{"t_us":%d,"gone":true,"png":0}`+"\n", at.Microseconds())
	m.note(at, nil)
}

// lane writes the film and a timeline as a lane leaves them.
func (m *made) lane(t *testing.T, timeline string) *replay.Recording {
	t.Helper()
	return lane(t, map[string]string{"screen.film": m.out.String(), "timeline.ndjson": timeline})
}

const begin = `{"t_us":0,"kind":"begin","name":"a","wall":"2026-11-27T04:40:17Z"}` + "\n"

func lane(t *testing.T, files map[string]string) *replay.Recording {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	r, err := replay.Read(dir)
	require.NoError(t, err)
	return r
}

// some is a film of a display that changes its size, and has no picture for a while.
func some() *made {
	m := newMade(61, 47)
	m.draw(500*time.Millisecond, m.img.Rect, true)
	for i := range 6 {
		// Two corners at once: the area between them does not change.
		m.draw(time.Duration(600+100*i)*time.Millisecond, image.Rect(i, i, i+3, i+2), false)
	}
	m.draw(1300*time.Millisecond, image.Rect(60, 46, 61, 47), false)
	m.gone(1400 * time.Millisecond)
	m.img = image.NewNRGBA(image.Rect(0, 0, 70, 30))
	m.draw(1900*time.Millisecond, m.img.Rect, true)
	m.draw(2*time.Second, image.Rect(0, 0, 70, 30), false)
	return m
}

func open(t *testing.T, r *replay.Recording, o playback.Options) *playback.Playback {
	t.Helper()
	p, err := playback.Open(r, o)
	require.NoError(t, err)
	return p
}

// on returns a picture as it is shown on a canvas.
func on(size image.Point, img *image.NRGBA) *image.NRGBA {
	out := image.NewNRGBA(image.Rectangle{Max: size})
	draw.Draw(out, out.Rect, image.Black, image.Point{}, draw.Src)
	if img != nil {
		draw.Draw(out, img.Rect, img, image.Point{}, draw.Src)
	}
	return out
}

// A frame is a frame of an animation that was read, with the time for which it is shown.
type frame struct {
	lasts time.Duration
	img   *image.NRGBA
}

// readAPNG reads an animated PNG, by the specification, with image/png for each frame.
func readAPNG(t *testing.T, b []byte) (frames []frame, plays uint32) {
	t.Helper()
	require.True(t, bytes.HasPrefix(b, []byte("\x89PNG\r\n\x1a\n")))
	var (
		head, control, data []byte
		canvas              *image.NRGBA
		number, promised    uint32
		ended               bool
	)
	chunk := func(name string, body []byte) []byte {
		out := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
		out = append(append(out, name...), body...)
		return binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(out[4:]))
	}
	finish := func() {
		if control == nil {
			return
		}
		num := func(at int) int { return int(binary.BigEndian.Uint32(control[at:])) }
		r := image.Rect(num(12), num(16), num(12)+num(4), num(16)+num(8))
		one := []byte("\x89PNG\r\n\x1a\n")
		one = append(one, chunk("IHDR", append(bytes.Clone(control[4:12]), head[8:]...))...)
		one = append(one, chunk("IDAT", data)...)
		one = append(one, chunk("IEND", nil)...)
		img, err := png.Decode(bytes.NewReader(one))
		require.NoError(t, err)
		require.True(t, r.In(canvas.Rect), "a frame is within the picture")
		require.Equal(t, byte(0), control[24], "a frame stays")
		op := draw.Src
		if control[25] == 1 {
			op = draw.Over
		}
		draw.Draw(canvas, r, img, image.Point{}, op)
		lasts := time.Duration(binary.BigEndian.Uint16(control[20:])) * time.Second / time.Duration(binary.BigEndian.Uint16(control[22:]))
		frames = append(frames, frame{lasts, on(canvas.Rect.Max, canvas)})
		control, data = nil, nil
	}
	next := func(body []byte) {
		require.Equal(t, number, binary.BigEndian.Uint32(body), "chunks are numbered")
		number++
	}
	for b = b[8:]; len(b) > 0; {
		require.False(t, ended)
		n := binary.BigEndian.Uint32(b)
		name, body := string(b[4:8]), b[8:8+n]
		require.Equal(t, crc32.ChecksumIEEE(b[4:8+n]), binary.BigEndian.Uint32(b[8+n:]), "the checksum of %s", name)
		switch b = b[12+n:]; name {
		case "IHDR":
			head = body
			canvas = image.NewNRGBA(image.Rect(0, 0, int(binary.BigEndian.Uint32(body)), int(binary.BigEndian.Uint32(body[4:]))))
		case "acTL":
			promised, plays = binary.BigEndian.Uint32(body), binary.BigEndian.Uint32(body[4:])
		case "fcTL":
			finish()
			next(body)
			control = body
		case "IDAT":
			require.Empty(t, frames)
			data = append(data, body...)
		case "fdAT":
			next(body)
			data = append(data, body[4:]...)
		case "IEND":
			finish()
			ended = true
		default:
			require.Fail(t, "a chunk of no use", name)
		}
	}
	require.True(t, ended)
	require.Equal(t, int(promised), len(frames))
	return frames, plays
}

// requireSame compares pictures to the pixel.
func requireSame(t *testing.T, want, got *image.NRGBA, what string, args ...any) {
	t.Helper()
	require.Equal(t, want.Rect, got.Rect)
	require.True(t, bytes.Equal(want.Pix, got.Pix), append([]any{what}, args...)...)
}

func TestAnAnimatedPNGShowsEachPictureOfTheFilmToThePixelAtItsTime(t *testing.T) {
	t.Parallel()
	m := some()
	p := open(t, m.lane(t, begin+`{"t_us":3000000,"kind":"verdict","verdict":"product"}`+"\n"), playback.Options{})
	require.Equal(t, image.Pt(70, 47), p.Size(), "as large as the largest picture in each direction")
	var b bytes.Buffer
	require.NoError(t, p.WriteAPNG(&b))
	frames, plays := readAPNG(t, b.Bytes())
	require.Equal(t, uint32(1), plays)
	require.Len(t, frames, len(m.shown))
	at := m.shown[0].at
	for i, s := range m.shown {
		require.Equal(t, s.at, at, "frame %d", i)
		requireSame(t, on(p.Size(), s.img), frames[i].img, "frame %d", i)
		at += frames[i].lasts
	}
	require.Equal(t, 3*time.Second, at, "it lasts until the lane ended")
	require.Equal(t, 2500*time.Millisecond, p.Length())
	// A viewer without animation, such as image/png, shows the first frame.
	first, err := png.Decode(&b)
	require.NoError(t, err)
	require.Equal(t, image.Rect(0, 0, 70, 47), first.Bounds())
}

// Each colour of a pixel counts on its own.
func TestAPixelThatDiffersInOneColourIsShown(t *testing.T) {
	t.Parallel()
	m := newMade(5, 1)
	m.draw(0, m.img.Rect, true)
	for i := range 15 {
		m.img.Pix[i/3*4+i%3] ^= 0x10
		m.draw(time.Duration(i+1)*100*time.Millisecond, image.Rectangle{}, true)
	}
	var b bytes.Buffer
	require.NoError(t, open(t, m.lane(t, begin), playback.Options{}).WriteAPNG(&b))
	frames, _ := readAPNG(t, b.Bytes())
	require.Len(t, frames, len(m.shown))
	for i, s := range m.shown {
		requireSame(t, s.img, frames[i].img, "frame %d", i)
	}
}

func TestTheLastPictureIsShownUntilTheLaneEndedThoughTheDisplayHadGone(t *testing.T) {
	t.Parallel()
	m := newMade(5, 4)
	m.draw(0, m.img.Rect, true)
	for at := range 3 {
		m.gone(time.Duration(at+1) * time.Second)
	}
	p := open(t, m.lane(t, begin+`{"t_us":9000000,"kind":"lane"}`+"\n"), playback.Options{})
	require.Equal(t, 9*time.Second, p.Length())
	requireSame(t, m.img, pictures(t, p, 8*time.Second)[0], "the last")
}

func TestALongStillIsShownAsLongAsItWas(t *testing.T) {
	t.Parallel()
	m := newMade(4, 3)
	m.draw(0, m.img.Rect, true)
	m.draw(150*time.Second+1500*time.Microsecond, image.Rect(1, 1, 2, 2), false)
	p := open(t, m.lane(t, begin+`{"t_us":151000000,"kind":"lane"}`+"\n"), playback.Options{})
	var b bytes.Buffer
	require.NoError(t, p.WriteAPNG(&b))
	frames, _ := readAPNG(t, b.Bytes())
	require.Len(t, frames, 4)
	require.Equal(t, 150002*time.Millisecond, frames[0].lasts+frames[1].lasts+frames[2].lasts)
	requireSame(t, m.shown[0].img, frames[2].img, "nothing changes meanwhile")
	requireSame(t, m.shown[1].img, frames[3].img, "the last")
	require.Equal(t, 998*time.Millisecond, frames[3].lasts)
}

// Changes that follow too closely are shown in one frame, and the last of them is not lost.
func TestNoFrameIsShorterThanViewersShow(t *testing.T) {
	t.Parallel()
	m := newMade(8, 8)
	m.draw(0, m.img.Rect, true)
	for i := range 100 {
		m.draw(time.Duration(100+3*i)*time.Millisecond, image.Rect(i%8, i/16, i%8+1, i/16+1), false)
	}
	p := open(t, m.lane(t, begin), playback.Options{})
	var b bytes.Buffer
	require.NoError(t, p.WriteAPNG(&b))
	frames, _ := readAPNG(t, b.Bytes())
	at := time.Duration(0)
	for i, f := range frames {
		require.GreaterOrEqual(t, f.lasts, 20*time.Millisecond, "frame %d", i)
		var want *image.NRGBA
		for _, s := range m.shown {
			if s.at <= at {
				want = s.img
			}
		}
		requireSame(t, want, f.img, "frame %d", i)
		at += f.lasts
	}
	requireSame(t, m.img, frames[len(frames)-1].img, "the last")
	require.Less(t, at, m.shown[len(m.shown)-1].at+41*time.Millisecond)
}

func TestAPartIsShownAtTheSpeedThatIsAskedForAndWithoutIdleTimes(t *testing.T) {
	t.Parallel()
	m := newMade(8, 8)
	m.draw(time.Second, m.img.Rect, true)
	m.draw(2*time.Second, m.img.Rect, false)
	m.draw(10*time.Second, m.img.Rect, false)
	m.draw(10500*time.Millisecond, m.img.Rect, false)
	r := m.lane(t, begin+`{"t_us":20000000,"kind":"lane"}`+"\n")
	s := time.Second
	for name, c := range map[string]struct {
		o     playback.Options
		shows []int
		lasts []time.Duration
	}{
		"all":               {playback.Options{}, []int{0, 1, 2, 3}, []time.Duration{s, 8 * s, s / 2, 95 * s / 10}},
		"a part":            {playback.Options{From: 1500 * time.Millisecond, To: 10200 * time.Millisecond}, []int{0, 1, 2}, []time.Duration{s / 2, 8 * s, s / 5}},
		"before a picture":  {playback.Options{From: s / 2, To: 2 * s}, []int{-1, 0, 1}, []time.Duration{s / 2, s, 20 * time.Millisecond}},
		"beyond the end":    {playback.Options{From: 11 * s, To: time.Hour}, []int{3}, []time.Duration{9 * s}},
		"twice as fast":     {playback.Options{Speed: 2}, []int{0, 1, 2, 3}, []time.Duration{s / 2, 4 * s, s / 4, 475 * s / 100}},
		"half as fast":      {playback.Options{Speed: .5, To: 2 * s}, []int{0, 1}, []time.Duration{2 * s, 20 * time.Millisecond}},
		"idle":              {playback.Options{SkipIdle: s}, []int{0, 1, 2, 3}, []time.Duration{s, s, s / 2, s}},
		"idle, and fast":    {playback.Options{SkipIdle: s, Speed: 4}, []int{0, 1, 2, 3}, []time.Duration{s / 4, s / 4, s / 8, s / 4}},
		"idle, from a part": {playback.Options{SkipIdle: s, From: 4 * s, To: 10400 * time.Millisecond}, []int{1, 2}, []time.Duration{s, 4 * s / 10}},
		"none is that idle": {playback.Options{SkipIdle: time.Minute}, []int{0, 1, 2, 3}, []time.Duration{s, 8 * s, s / 2, 95 * s / 10}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := open(t, r, c.o)
			var b bytes.Buffer
			require.NoError(t, p.WriteAPNG(&b))
			frames, _ := readAPNG(t, b.Bytes())
			var lasts []time.Duration
			var total time.Duration
			for _, f := range frames {
				lasts = append(lasts, f.lasts)
				total += f.lasts
			}
			require.Equal(t, c.lasts, lasts)
			require.Equal(t, total, p.Length())
			require.Equal(t, len(frames), p.Frames())
			for i, n := range c.shows {
				var want *image.NRGBA
				if n >= 0 {
					want = m.shown[n].img
				}
				requireSame(t, on(p.Size(), want), frames[i].img, "frame %d", i)
			}
		})
	}
}

// needFFmpeg skips a test where ffmpeg is not installed, unless everything is required.
func needFFmpeg(t *testing.T) {
	t.Helper()
	for _, name := range []string{"ffmpeg", "ffprobe"} {
		need.Program(t, name)
	}
}

func output(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, args...)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	require.NoError(t, err, "%s %q: %s", name, args, said.String())
	return out
}

// probe returns what ffprobe reports of a video: its size, its length, and when each frame is
// shown.
func probe(t *testing.T, path string) (size image.Point, length time.Duration, times []time.Duration) {
	t.Helper()
	seconds := func(s string) time.Duration {
		f, err := strconv.ParseFloat(s, 64)
		require.NoError(t, err)
		return time.Duration(f * float64(time.Second)).Round(time.Microsecond)
	}
	out := output(t, "ffprobe", "-v", "error", "-show_entries", "frame=pts_time:stream=width,height:format=duration", "-of", "default=nw=1", path)
	for line := range strings.Lines(string(out)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch name {
		case "width":
			size.X, _ = strconv.Atoi(value)
		case "height":
			size.Y, _ = strconv.Atoi(value)
		case "duration":
			length = seconds(value)
		case "pts_time":
			times = append(times, seconds(value))
		}
	}
	return size, length, times
}

func TestAWebMVideoShowsEachPictureOfTheFilmToThePixelAtItsTime(t *testing.T) {
	need.Long(t)
	t.Parallel()
	needFFmpeg(t)
	m := some()
	p := open(t, m.lane(t, begin+`{"t_us":3000000,"kind":"verdict","verdict":"product"}`+"\n"), playback.Options{})
	path := filepath.Join(t.TempDir(), "a.webm")
	require.NoError(t, p.WriteVideo(context.Background(), path))
	size, length, times := probe(t, path)
	require.Equal(t, p.Size(), size)
	require.InDelta(t, p.Length().Seconds(), length.Seconds(), 0.05)
	require.Len(t, times, len(m.shown)+1, "the last frame comes twice, so that it is shown until the end")
	raw := output(t, "ffmpeg", "-v", "error", "-i", path, "-fps_mode", "passthrough", "-pix_fmt", "rgba", "-f", "rawvideo", "-")
	n := 4 * size.X * size.Y
	require.Len(t, raw, n*len(times))
	for i, s := range m.shown {
		require.InDelta(t, (s.at - m.shown[0].at).Seconds(), times[i].Seconds(), 0.0015, "frame %d", i)
		got := &image.NRGBA{Pix: raw[i*n:][:n], Stride: 4 * size.X, Rect: image.Rectangle{Max: size}}
		requireSame(t, on(size, s.img), got, "frame %d", i)
	}
	require.InDelta(t, (p.Length() - 20*time.Millisecond).Seconds(), times[len(times)-1].Seconds(), 0.0015)
}

// The colours of MP4 are not exact, so the mean of each frame is compared.
func TestAnMP4VideoHasAnEvenSizeAndEachPictureAtItsTime(t *testing.T) {
	need.Long(t)
	t.Parallel()
	needFFmpeg(t)
	m := newMade(61, 47)
	grey := func(at time.Duration, v uint8, key bool) {
		for i := range m.img.Pix {
			m.img.Pix[i] = v | map[bool]uint8{true: 255}[i%4 == 3]
		}
		m.draw(at, image.Rectangle{}, key)
	}
	// A rectangle without pixels draws nothing: the key frames show the grey.
	grey(0, 40, true)
	grey(400*time.Millisecond, 200, true)
	grey(900*time.Millisecond, 90, true)
	p := open(t, m.lane(t, begin+`{"t_us":4000000,"kind":"lane"}`+"\n"), playback.Options{})
	path := filepath.Join(t.TempDir(), "a.mp4")
	require.NoError(t, p.WriteVideo(context.Background(), path))
	size, length, times := probe(t, path)
	require.Equal(t, image.Pt(62, 48), size)
	require.InDelta(t, 4, length.Seconds(), 0.05)
	raw := output(t, "ffmpeg", "-v", "error", "-i", path, "-fps_mode", "passthrough", "-pix_fmt", "gray", "-f", "rawvideo", "-")
	require.Len(t, times, 4)
	for i, want := range []int{40, 200, 90, 90} {
		require.InDelta(t, []float64{0, .4, .9, 3.98}[i], times[i].Seconds(), 0.0015)
		got := int(raw[i*62*48+20*62+20]) // of limited range, or not
		require.Condition(t, func() bool { return abs(got-want) < 20 }, "frame %d is of grey %d, want %d", i, got, want)
	}
}

func abs(n int) int { return max(n, -n) }

func TestAVideoThatCannotBeMadeLeavesNoFile(t *testing.T) {
	m := some()
	r := m.lane(t, begin)
	p := open(t, r, playback.Options{})
	dir := t.TempDir()
	empty := func() {
		left, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, left)
	}
	require.ErrorContains(t, p.WriteVideo(context.Background(), filepath.Join(dir, "a.gif")), "the kinds of videos are .webm and .mp4")
	t.Run("without ffmpeg", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		require.ErrorIs(t, p.WriteVideo(context.Background(), filepath.Join(dir, "a.webm")), playback.ErrNoFFmpeg)
		empty()
	})
	t.Run("ffmpeg fails", func(t *testing.T) {
		bin := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(bin, "ffmpeg"), []byte("#!/bin/sh\necho first >&2\necho \"Unknown encoder 'libvpx-vp9'\" >&2\nexit 1\n"), 0o755))
		t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
		err := p.WriteVideo(context.Background(), filepath.Join(dir, "a.webm"))
		require.ErrorContains(t, err, "exit status 1: Unknown encoder 'libvpx-vp9'; an animated PNG (.png) needs no ffmpeg")
		empty()
	})
	t.Run("it is told to stop", func(t *testing.T) {
		needFFmpeg(t)
		ctx, cancel := context.WithCancelCause(context.Background())
		cancel(errors.New("enough"))
		require.EqualError(t, p.WriteVideo(ctx, filepath.Join(dir, "a.webm")), "enough")
		empty()
	})
	t.Run("no such directory", func(t *testing.T) {
		needFFmpeg(t)
		require.ErrorIs(t, p.WriteVideo(context.Background(), filepath.Join(dir, "none", "a.webm")), os.ErrNotExist)
	})
	t.Run("a damaged picture", func(t *testing.T) {
		b := bytes.Replace(m.out.Bytes(), []byte("IDAT"), []byte("IDOT"), 1)
		p := open(t, lane(t, map[string]string{"screen.film": string(b), "timeline.ndjson": begin}), playback.Options{})
		require.ErrorContains(t, playback.WriteFile(filepath.Join(dir, "a.png"), p.WriteAPNG), "frame at 500ms")
		empty()
	})
}

func TestWhatCannotBeShownIsSaid(t *testing.T) {
	t.Parallel()
	m := some()
	r := m.lane(t, begin)
	seven := uint8(7)
	for says, o := range map[string]playback.Options{
		"from 2s to 1s: the end must be after the beginning": {From: 2 * time.Second, To: time.Second},
		"from 1s to 1s: the end must be after the beginning": {From: time.Second, To: time.Second},
		"from 1m0s: what is known of this lane ends at 2s":   {From: time.Minute},
		"to 100ms: the display had no picture before 500ms":  {To: 100 * time.Millisecond},
		"from -1ns to 0s: a lane begins at 0":                {From: -1},
		"a speed of -1: it must be from 0.001 to 1000":       {Speed: -1},
		"a speed of 1e+06: it must be from 0.001 to 1000":    {Speed: 1e6},
		"to skip idle times of more than -1ns":               {SkipIdle: -1},
		"display 7: it had no picture; display 0 had":        {Display: &seven},
		"from 1ns to 10ns: the display had no picture then":  {From: 1, To: 10},
		"from 1.5s to 1.6s: the display had no picture then": {From: 1500 * time.Millisecond, To: 1600 * time.Millisecond},
	} {
		_, err := playback.Open(r, o)
		require.ErrorContains(t, err, says)
		var wrong *playback.RangeError
		require.ErrorAs(t, err, &wrong)
	}
	for says, files := range map[string]map[string]string{
		"only the built-in client makes one":                                 {"timeline.ndjson": begin},
		"this lane was not filmed; leave out --film off":                     {"timeline.ndjson": `{"t_us":0,"kind":"begin","film":"off"}`},
		"this lane passed, and by default only lanes that fail keep":         {"timeline.ndjson": begin, "verdict.json": `{"ok":true,"name":"a"}`},
		"with a picture: the client ended before it showed one":              {"timeline.ndjson": begin, "screen.film": ""},
		"there is no film with a picture: the client ended before it showed": {"timeline.ndjson": begin, "screen.film": m.out.String()[:200]},
	} {
		_, err := playback.Open(lane(t, files), playback.Options{})
		require.ErrorIs(t, err, playback.ErrNoFilm)
		require.ErrorContains(t, err, says)
	}
	// A header can contain anything.
	for says, side := range map[string]int{
		"there is no film: film: record 0: a screen of 32768×32768 pixels": 1 << 15,
		"a picture of 8192×8192 pixels: that is too large":                 1 << 13,
	} {
		huge := fmt.Sprintf(`{"t_us":1,"size":[%d,%[1]d],"rect":[0,0,1,1],"key":true,"png":1}`+"\nx\n", side)
		_, err := playback.Open(lane(t, map[string]string{"screen.film": huge, "timeline.ndjson": begin}),
			playback.Options{})
		require.ErrorContains(t, err, says)
	}
}

func TestAFilmThatIsCutOffIsShownAsFarAsItGoes(t *testing.T) {
	t.Parallel()
	m := some()
	whole := m.out.Bytes()
	at := bytes.Index(whole, []byte(`{"t_us":900000`)) + 100
	r := lane(t, map[string]string{"screen.film": string(whole[:at]), "timeline.ndjson": begin})
	require.True(t, r.Film.Torn)
	p := open(t, r, playback.Options{})
	require.Equal(t, 4, p.Frames())
	var b bytes.Buffer
	require.NoError(t, p.WriteAPNG(&b))
	frames, _ := readAPNG(t, b.Bytes())
	requireSame(t, on(p.Size(), m.shown[3].img), frames[3].img, "the last")
}

func TestOneDisplayOfSeveralIsShown(t *testing.T) {
	t.Parallel()
	m, other := newMade(9, 7), newMade(12, 5)
	other.draw(0, other.img.Rect, true)
	m.draw(time.Second, m.img.Rect, true)
	two := bytes.ReplaceAll(m.out.Bytes(), []byte(`"size"`), []byte(`"display":2,"size"`))
	r := lane(t, map[string]string{"screen.film": string(two) + other.out.String(), "timeline.ndjson": begin})
	require.Equal(t, image.Pt(12, 5), open(t, r, playback.Options{}).Size(), "the lowest")
	number := uint8(2)
	p := open(t, r, playback.Options{Display: &number})
	require.Equal(t, image.Pt(9, 7), p.Size())
	var b bytes.Buffer
	require.NoError(t, p.WriteAPNG(&b))
	frames, _ := readAPNG(t, b.Bytes())
	require.Len(t, frames, 1)
	requireSame(t, m.img, frames[0].img, "the display")
}
