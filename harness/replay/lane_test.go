package replay_test

import (
	"context"
	"fmt"
	"image"
	"image/draw"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/headless"
	"github.com/spicelane/spicelane/harness/internal/lanetest"
	"github.com/spicelane/spicelane/harness/replay"
	"github.com/spicelane/spicelane/harness/timeline"
	"github.com/spicelane/spicelane/spice/control"
)

func TestMain(m *testing.M) {
	headless.Main()
	os.Exit(lanetest.Count(m).Run())
}

// moments returns the times at which something of a kind happened to a lane.
func moments(t *testing.T, dir, kind string, want func(map[string]any) bool) []time.Duration {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, timeline.File))
	require.NoError(t, err)
	defer f.Close()
	var all []time.Duration
	_, err = timeline.Read(f, func(e timeline.Entry) error {
		var fields map[string]any
		if e.Kind == kind && e.Decode(&fields) == nil && (want == nil || want(fields)) {
			all = append(all, e.At)
		}
		return nil
	})
	require.NoError(t, err)
	return all
}

// A test types three keys and waits for four. The page that its lane leaves is opened from file://.
// It shows each screenshot to the pixel at its time, and can navigate the logs.
func TestThePageOfALaneThatFailedShowsWhatHappened(t *testing.T) {
	harness.RequireHost(t)
	b := openBrowser(t)
	dir := t.TempDir()
	var taken []*image.NRGBA
	var shots []time.Duration
	said := lanetest.Failing(t, func(tb testing.TB) {
		lane := harness.Up(tb, harness.Config{Dir: dir})
		d, err := lane.Control()
		require.NoError(tb, err)
		require.NoError(tb, d.MouseMove(lane.Context(), control.MouseMoveParams{X: 300, Y: 200}))
		for _, key := range []string{"a", "b", "Enter"} {
			require.NoError(tb, lane.Beat(lane.Context(), "press "+key, func(ctx context.Context) error { return lane.Press(ctx, key) }))
			// Wait until the screen has changed: pictures that are all the same prove nothing.
			img, err := lane.Screenshot(lane.Context())
			for err == nil && len(taken) > 0 && slices.Equal(img.Pix, taken[len(taken)-1].Pix) {
				img, err = lane.Screenshot(lane.Context())
			}
			require.NoError(tb, err)
			taken = append(taken, img)
			all := moments(t, dir, headless.KindScreenshot, nil)
			shots = append(shots, all[len(all)-1])
		}
		ctx, cancel := context.WithTimeout(lane.Context(), 2*time.Second)
		defer cancel()
		_, err = lane.AwaitDigest(ctx, "a fourth key", func(harness.Digest) bool { return false })
		require.NoError(tb, err)
	})
	require.Len(t, said, 1)
	page := filepath.Join(dir, replay.File)

	b.open(page, "")
	head := eval[string](b, "the head", `document.querySelector("header").innerText`)
	require.Contains(t, head, "The test failed after it awaited a fourth key")
	require.Contains(t, head, "a fourth key")
	require.Contains(t, head, "digest frame")
	require.Contains(t, head, "go test -count=1 -run ")
	require.Equal(t, "failed: "+t.Name(), eval[string](b, "the title", "document.title"))
	waits := moments(t, dir, "wait", nil)
	require.Len(t, waits, 1)
	require.InDelta(t, waits[0].Seconds(), eval[float64](b, "the moment", "lane.now"), 0.001, "it opens where the wait ended")
	b.saveAs("failed.png", 1200, 800) // docs/lane.png, see scripts/lane-picture.sh
	b.saveAs("low.png", 960, 640)
	b.saveAs("narrow.png", 500, 1100)

	for i, img := range taken {
		b.seek(shots[i])
		got := b.canvas("screen")
		require.Equal(t, img.Rect, got.Rect)
		require.True(t, slices.Equal(img.Pix, got.Pix), "picture %d, taken at %v", i, shots[i])
	}

	// The logs: a click on a serial line moves the time, and the time scrolls the log.
	said1 := moments(t, dir, "serial", func(f map[string]any) bool { return f["text"] == "Hello from Beacon" })
	require.Len(t, said1, 1)
	only := `[...document.querySelectorAll("#chips button")].find(b => b.textContent.startsWith("Serial")).dispatchEvent(new MouseEvent("dblclick"))`
	eval[bool](b, "only the serial console", only)
	eval[bool](b, "search", `(s => { s.value = "Hello from"; s.dispatchEvent(new Event("input")); return true; })(document.getElementById("search"))`)
	b.await("the line", `document.querySelectorAll(".row").length === 1`)
	require.Equal(t, "Hello from", eval[string](b, "what is found", `document.querySelector(".row mark").textContent`))
	eval[bool](b, "click", `document.querySelector(".row").click(), true`)
	require.InDelta(t, said1[0].Seconds(), eval[float64](b, "the moment", "lane.now"), 0.000001)
	require.Contains(t, eval[string](b, "the line", `document.getElementById("detail").textContent`), "Serial\nHello from Beacon")
	eval[bool](b, "all tracks", only)
	eval[bool](b, "no search", `(s => { s.value = ""; s.dispatchEvent(new Event("input")); return true; })(document.getElementById("search"))`)
	b.await("all lines", `document.querySelectorAll(".row").length > 5`)
	visible := `(r => { const a = r.getBoundingClientRect(), b = document.getElementById("rows").getBoundingClientRect(); return a.top >= b.top && a.bottom <= b.bottom; })(document.querySelector(".row[aria-selected=true]"))`
	b.seek(waits[0])
	require.True(t, eval[bool](b, "the time scrolls the log", visible))
	b.seek(0)
	require.True(t, eval[bool](b, "the time scrolls the log", visible))

	// A deep link, and the keyboard.
	b.open(page, "t="+strconv.FormatFloat(shots[0].Seconds(), 'f', 6, 64))
	require.InDelta(t, shots[0].Seconds(), eval[float64](b, "the moment", "lane.now"), 0.000001)
	require.True(t, slices.Equal(taken[0].Pix, b.canvas("screen").Pix), "a deep link shows its moment")
	press := func(key string, shift bool) {
		eval[bool](b, key, fmt.Sprintf(`document.body.dispatchEvent(new KeyboardEvent("keydown", {key: %q, shiftKey: %v, bubbles: true})), true`, key, shift))
	}
	now := func() float64 { return eval[float64](b, "the moment", "lane.now") }
	press("ArrowRight", false)
	require.GreaterOrEqual(t, now(), shots[0].Seconds()-0.000001)
	press("End", false)
	end := now()
	press("ArrowLeft", true)
	require.Less(t, now(), end, "shift and left is the frame before")
	press("f", false)
	require.InDelta(t, waits[0].Seconds(), now(), 0.001)

	// Any time is shown in little more time than it takes to decode a few key frames.
	took := b.measure(16)
	t.Logf("%+v", took)
	require.Less(t, took.Ratio, float64(seekLimit))
	b.seek(waits[0])

	// QEMU's own picture is beside the film, with the differences marked.
	eval[bool](b, "compare", `(p => { p.selectedIndex = 1; p.dispatchEvent(new Event("change")); return true; })(document.getElementById("picture"))`)
	b.await("the difference", `document.getElementById("difference").textContent.includes("pixel")`)
	other := b.canvas("other")
	want := readPNG(t, filepath.Join(dir, "last-qemu.png"))
	require.True(t, slices.Equal(want.Pix, other.Pix), "the other picture is exact, too")
	differ := 0
	client := b.canvas("screen")
	for i := 0; i < len(want.Pix); i += 4 {
		if !slices.Equal(want.Pix[i:i+4], client.Pix[i:i+4]) {
			differ++
		}
	}
	told := eval[string](b, "the difference", `document.getElementById("difference").textContent`)
	if differ == 0 {
		require.Equal(t, "no pixel differs at this moment", told)
	} else {
		require.Contains(t, told, fmt.Sprintf("%d pixel", differ))
	}
	b.save("compared.png")

	// Everything that was recorded has a track, and the pointer is where the test put it.
	chips := eval[string](b, "the tracks", `document.getElementById("chips").textContent`)
	for _, track := range []string{"Keys", "Pointer", "Latency", "Load", "Digests", "Serial", "QMP", "Proxy", "Client", "Control"} {
		require.Contains(t, chips, track)
	}
	type point struct{ X, Y float64 }
	at := eval[point](b, "the pointer", `(() => { const s = document.getElementById("screen").getBoundingClientRect(), p = document.getElementById("pointer").getBoundingClientRect();
		return {X: (p.left - s.left) / s.width * 1024, Y: (p.top - s.top) / s.height * 768}; })()`)
	require.InDelta(t, 300, at.X, 1.5)
	require.InDelta(t, 200, at.Y, 1.5)
	b.seek(0)
	require.True(t, eval[bool](b, "no pointer before there was one", `document.getElementById("pointer").hidden`))

	// For a screen reader: a table.
	eval[bool](b, "table", `document.getElementById("as-table").click(), true`)
	require.Equal(t, eval[int](b, "events", "Math.min(200, lane.events)"), eval[int](b, "rows", `document.querySelectorAll("#table-body tr").length`))
	require.Positive(t, eval[int](b, "cells", `[...document.querySelectorAll("#table-body td")].filter(c => c.textContent === "Hello from Beacon").length`))
	b.quiet(page)
}

func readPNG(t *testing.T, path string) *image.NRGBA {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	img, err := png.Decode(f)
	require.NoError(t, err)
	out := image.NewNRGBA(img.Bounds())
	draw.Draw(out, out.Rect, img, image.Point{}, draw.Src)
	return out
}
