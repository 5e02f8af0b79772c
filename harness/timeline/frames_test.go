package timeline_test

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/timeline"
)

// open returns a writer and functions that read its file.
func open(t *testing.T) (w *timeline.Writer, entries func() []timeline.Entry, lack func() timeline.LeftOut) {
	t.Helper()
	path := filepath.Join(t.TempDir(), timeline.File)
	w, err := timeline.Open(path, time.Now())
	require.NoError(t, err)
	read := func() (all []timeline.Entry, left timeline.LeftOut) {
		f, err := os.Open(path)
		require.NoError(t, err)
		defer f.Close()
		left, err = timeline.Read(f, func(e timeline.Entry) error { all = append(all, e); return nil })
		require.NoError(t, err)
		return all, left
	}
	return w, func() []timeline.Entry { e, _ := read(); return e }, func() timeline.LeftOut { _, l := read(); return l }
}

func draw(w *timeline.Writer, x int, op string) {
	w.AddFrame(timeline.Frame{At: time.Now(), Channel: 0, Surface: 0, Op: op, Rect: image.Rect(x, 0, x+10, 20)})
}

func raw(entries []timeline.Entry) []string {
	var out []string
	for _, e := range entries {
		out = append(out, string(bytes.TrimSpace(e.Raw)))
	}
	return out
}

// A busy desktop wrote hundreds of megabytes of frames in minutes.
func TestFramesOfOneIntervalAreOneEntry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, entries, _ := open(t)
		draw(w, 0, "draw_copy") // at once: the screen was quiet
		require.Len(t, entries(), 1)
		for i := range 3 {
			time.Sleep(10 * time.Millisecond) // the bubble's clock
			draw(w, 10*i, "draw_copy")
		}
		require.Len(t, entries(), 1)
		time.Sleep(time.Second)
		require.Equal(t, []string{
			`{"channel":0,"kind":"frame","op":"draw_copy","rect":[0,0,10,20],"surface":0,"t_us":0}`,
			`{"channel":0,"count":3,"kind":"frame","op":"draw_copy","rect":[0,0,30,20],"rects":[[0,0,10,20],[10,0,10,20],[20,0,10,20]],"surface":0,"t_us":10000,"until_us":30000}`,
		}, raw(entries()))

		draw(w, 5, "draw_fill") // quiet again
		require.Len(t, entries(), 3)
		draw(w, 6, "draw_fill")
		w.AddFrame(timeline.Frame{At: time.Now(), Channel: 0, Surface: 7, Op: "draw_copy", Rect: image.Rect(0, 0, 1, 1)})
		w.AddFrame(timeline.Frame{At: time.Now(), Channel: 1, Surface: 0, Op: "draw_copy", Rect: image.Rect(0, 0, 1, 1)})
		require.Len(t, entries(), 4, "another channel was quiet")
		require.NoError(t, w.Close())
		require.Equal(t, `{"channel":0,"count":2,"kind":"frame","ops":{"draw_copy":1,"draw_fill":1},"rect":[0,0,16,20],"rects":[[6,0,10,20],[0,0,1,1]],"t_us":1030000,"until_us":1030000}`,
			raw(entries())[4], "what is pending is written at the end")
		draw(w, 0, "late")
		require.Len(t, entries(), 5)
	})
}

// To measure latencies from the timeline, readers need the time of the first frame after a key.
func TestTheFirstFrameAfterAKeyIsAnEntryOfItsOwn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, entries, _ := open(t)
		draw(w, 0, "draw_copy")
		time.Sleep(10 * time.Millisecond)
		draw(w, 1, "draw_copy")
		time.Sleep(10 * time.Millisecond)
		w.Add("serial", map[string]any{"n": 1}) // not a person's hand
		w.Add("key", map[string]any{"code": 28, "down": true})
		time.Sleep(10 * time.Millisecond)
		draw(w, 2, "draw_copy")
		require.Equal(t, []string{
			`{"channel":0,"kind":"frame","op":"draw_copy","rect":[0,0,10,20],"surface":0,"t_us":0}`,
			`{"kind":"serial","n":1,"t_us":20000}`,
			`{"channel":0,"count":1,"kind":"frame","op":"draw_copy","rect":[1,0,10,20],"surface":0,"t_us":10000,"until_us":10000}`,
			`{"code":28,"down":true,"kind":"key","t_us":20000}`,
			`{"channel":0,"kind":"frame","op":"draw_copy","rect":[2,0,10,20],"surface":0,"t_us":30000}`,
		}, raw(entries()))
		require.NoError(t, w.Close())
	})
}

func TestTenMinutesOfABusyDesktopAreASmallFile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, entries, lack := open(t)
		const frames = 10 * 60 * 500
		for i := range frames {
			time.Sleep(2 * time.Millisecond)
			draw(w, i%1000, "draw_copy")
		}
		require.NoError(t, w.Close())
		st, err := os.Stat(w.Path())
		require.NoError(t, err)
		require.Less(t, st.Size(), int64(2<<20))
		total := 0
		for _, e := range entries() {
			var f struct{ Count int }
			require.NoError(t, e.Decode(&f))
			total += max(f.Count, 1)
		}
		require.Equal(t, frames, total, "every frame is counted")
		require.Empty(t, lack().String())
	})
}

// A guest that prints for ever cannot fill the disk with its lane's timeline. Entries that a test
// depends on are never left out.
func TestAFullTimelineKeepsWhatMatters(t *testing.T) {
	t.Parallel()
	w, entries, lack := open(t)
	w.Limit(200 << 10)
	for i := range 10000 {
		w.Add("serial", map[string]any{"n": i, "text": "the same line again"})
		if i%1000 == 0 {
			w.Add("key", map[string]any{"code": i})
			w.AddFrame(timeline.Frame{At: time.Now(), Op: "draw_copy"})
		}
	}
	w.Add("verdict", map[string]any{"verdict": "product"})
	require.NoError(t, w.Close())
	st, err := os.Stat(w.Path())
	require.NoError(t, err)
	require.Less(t, st.Size(), int64(300<<10))

	count := map[string]int{}
	for _, e := range entries() {
		count[e.Kind]++
	}
	require.Equal(t, 10, count["key"])
	require.Equal(t, 1, count["verdict"])
	require.Equal(t, 1, count[timeline.KindFull])
	require.Equal(t, 1, count[timeline.KindLeftOut])
	left := lack()
	require.Equal(t, 10000, count["serial"]+left.Entries["serial"])
	require.Contains(t, left.String(), fmt.Sprintf("%d of kind serial", left.Entries["serial"]))
	require.Contains(t, left.String(), "of kind frame")

	// Even a writer that was killed has at least recorded that the file was full.
	f, err := os.ReadFile(w.Path())
	require.NoError(t, err)
	killed, err := timeline.Read(bytes.NewReader(f[:bytes.LastIndex(f, []byte(`"left_out"`))]), func(timeline.Entry) error { return nil })
	require.NoError(t, err)
	require.Equal(t, 1, killed.Torn)
	require.Equal(t, "the timeline has its limit of 0 MiB; left out are frames, serial lines and pointer moves that came later", killed.String())
}

func TestReadingStopsWithWhatGoesWrong(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	one := `{"t_us":1500,"kind":"step"}` + "\n"
	_, err := timeline.Read(bytes.NewReader([]byte(one+one)), func(e timeline.Entry) error {
		require.Equal(t, 1500*time.Microsecond, e.At)
		return broken
	})
	require.ErrorIs(t, err, broken)
	_, err = timeline.Read(io.MultiReader(bytes.NewReader([]byte(one)), iotest.ErrReader(broken)), func(timeline.Entry) error { return nil })
	require.ErrorIs(t, err, broken)
	left, err := timeline.Read(bytes.NewReader([]byte("not JSON\n{}\n"+one)), func(timeline.Entry) error { return nil })
	require.NoError(t, err)
	require.Equal(t, 2, left.Torn)
}
