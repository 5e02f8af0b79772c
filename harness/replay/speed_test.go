package replay_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/film"
	"github.com/spicelane/spicelane/harness/replay"
	"github.com/spicelane/spicelane/harness/scenario"
)

// times are what a page takes in a browser.
type times struct {
	First float64 `json:"first"` // from opening to the first picture, in milliseconds
	// The shortest of five times each: what else the host does makes none shorter.
	Key   float64   `json:"key"`   // to decode one key frame
	Seeks []float64 `json:"seeks"` // to moments all over the lane, sorted
}

// measure times the page that is open.
func (b *browser) measure() times {
	b.tb.Helper()
	eval[bool](b, "measure", `window.times = null; (async () => {
		const timed = async f => { const all = []; for (let i = 0; i < 5; i++) { await f(i); const s = performance.now(); await f(-1); all.push(performance.now() - s); } return Math.min(...all); };
		const key = await timed(() => lane.decodeKey());
		const seeks = [], n = 40;
		// Each from another place, so that nothing of the moment is there yet.
		for (let i = 0; i < n; i++) { const t = (i + .5) / n * lane.end, far = (t + lane.end / 2) % lane.end; seeks.push(await timed(j => lane.seek(j < 0 ? t : far))); }
		window.times = {first: lane.first, key, seeks: seeks.sort((a, b) => a - b)};
	})(), true`)
	b.await("the times", `window.times !== null`)
	return eval[times](b, "the times", `window.times`)
}

// worst is what the slowest seek took.
func (s times) worst() float64 { return s.Seeks[len(s.Seeks)-1] }

// seekLimit is how many times as long as decoding a key frame the slowest seek takes: a group of
// frames is as much work as three key frames, and all else that a seek does takes time, too.
const seekLimit = 10

// maxPage is how large the page of a minute may be.
const maxPage = 3 << 20

// BenchmarkThePageOfAMinute makes the page of a lane that lives for about a minute and goes through the
// full scenario, and opens it.
func BenchmarkThePageOfAMinute(b *testing.B) {
	const lived, story = time.Minute, 18 * time.Second
	harness.RequireHost(b)
	dir := b.ArtifactDir()
	page := openBrowser(b)
	began := time.Now()
	lane, err := harness.Start(b.Context(), harness.Config{Dir: dir, Film: harness.FilmAlways, Warm: harness.WarmOff})
	require.NoError(b, err)
	defer lane.Close()
	// The guest shows its first scene while nothing happens, and then its story.
	idle := time.NewTimer(max(0, lived-story-time.Since(began)))
	select {
	case <-idle.C:
	case <-lane.Done():
	}
	scenario.Full(b, lane)
	require.NoError(b, lane.Close())

	for b.Loop() {
		require.NoError(b, replay.Write(dir, replay.Options{}))
	}
	file, err := os.Stat(filepath.Join(dir, replay.File))
	require.NoError(b, err)
	f, err := film.ReadFile(filepath.Join(dir, film.File))
	require.NoError(b, err)
	require.NotNil(b, f.Stats)
	page.open(filepath.Join(dir, replay.File), "")
	took := page.measure()
	page.save("full.png")
	seeks := len(took.Seeks)
	for unit, v := range map[string]float64{
		"page-bytes": float64(file.Size()), "film-frames": float64(f.Stats.Frames), "film-cpu-ms": f.Stats.CPU.Seconds() * 1000,
		"first-ms": took.First, "key-frame-ms": took.Key, "seek-p50-ms": took.Seeks[seeks/2], "seek-p95-ms": took.Seeks[seeks*95/100],
		"seek-max-ms": took.worst(),
	} {
		b.ReportMetric(v, unit)
	}
	require.Less(b, file.Size(), int64(maxPage))
	require.Less(b, took.worst(), seekLimit*took.Key)
}
