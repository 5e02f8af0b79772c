package replay_test

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/film"
	"github.com/spicelane/spicelane/harness/replay"
	"github.com/spicelane/spicelane/harness/scenario"
)

// times are the times that a page takes in a browser, in milliseconds.
type times struct {
	First float64 // from opening to the first picture
	// Each is the shortest of several measurements: nothing else on the host makes one shorter.
	Key   float64   // to decode one key frame
	Seeks []float64 // to moments all over the lane, sorted
	// Ratio is how many times longer the slowest seek takes than decoding a key frame.
	Ratio float64
}

// A host that does other work makes a seek many times slower from one second to the next. So each
// seek is compared with key frames that are decoded in turns with it, both by their medians. Seeks
// that seem too slow are measured again.
const (
	seekTries  = 5
	seekRounds = 6
)

// measure measures the open page, with seeks to n times.
func (b *browser) measure(moments int) times {
	b.tb.Helper()
	type tries struct{ Key, Seek []float64 }
	out := times{Key: math.Inf(1), Seeks: make([]float64, moments)}
	for i := range moments {
		ratio := math.Inf(1)
		out.Seeks[i] = math.Inf(1)
		for round := 0; round < seekRounds && ratio >= seekLimit; round++ {
			// Seek from another place each time, so that nothing of the target is decoded yet.
			eval[bool](b, "measure", fmt.Sprintf(`window.tries = null; (async () => {
				const t = (%d + .5) / %d * lane.end, far = (t + lane.end / 2) %% lane.end, tries = {key: [], seek: []};
				const time = async (list, f) => { const began = performance.now(); await f(); list.push(performance.now() - began); };
				for (let n = 0; n < %d; n++) {
					await time(tries.key, lane.decodeKey);
					await lane.seek(far);
					await time(tries.seek, () => lane.seek(t));
				}
				window.tries = tries;
			})(), true`, i, moments, seekTries))
			b.await("the times", `window.tries !== null`)
			took := eval[tries](b, "the times", `window.tries`)
			slices.Sort(took.Key)
			slices.Sort(took.Seek)
			ratio = min(ratio, took.Seek[seekTries/2]/took.Key[seekTries/2])
			out.Key, out.Seeks[i] = min(out.Key, took.Key[0]), min(out.Seeks[i], took.Seek[0])
		}
		out.Ratio = max(out.Ratio, ratio)
	}
	out.First = eval[float64](b, "the first", `lane.first`)
	slices.Sort(out.Seeks)
	return out
}

// seekLimit is how many times longer the slowest seek may take than decoding a key frame. A group
// of frames is as much work as three key frames, and the rest of a seek takes time, too.
const seekLimit = 8

// maxPage is the largest permitted size of the page of a minute.
const maxPage = 3 << 20

// BenchmarkThePageOfAMinute makes and opens the page of a lane that lives for about a minute and
// goes through the full scenario.
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
	took := page.measure(40)
	page.save("full.png")
	seeks := len(took.Seeks)
	for unit, v := range map[string]float64{
		"page-bytes": float64(file.Size()), "film-frames": float64(f.Stats.Frames), "film-cpu-ms": f.Stats.CPU.Seconds() * 1000,
		"first-ms": took.First, "key-frame-ms": took.Key, "seek-p50-ms": took.Seeks[seeks/2], "seek-p95-ms": took.Seeks[seeks*95/100],
		"seek-max-ms": took.Seeks[seeks-1], "seek-ratio": took.Ratio,
	} {
		b.ReportMetric(v, unit)
	}
	require.Less(b, file.Size(), int64(maxPage))
	require.Less(b, took.Ratio, float64(seekLimit))
}
