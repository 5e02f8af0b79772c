package replay_test

import (
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

// times are what a page takes in a browser.
type times struct {
	First float64 `json:"first"` // from opening to the first picture, in milliseconds
	// The shortest of five times each: what else the host does makes none shorter.
	Key   float64   `json:"key"`   // to decode one key frame
	Seeks []float64 `json:"seeks"` // to moments all over the lane, sorted
}

// measure times the page that is open.
func (b *browser) measure() times {
	b.t.Helper()
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

func (s times) log(t *testing.T) {
	t.Helper()
	n := len(s.Seeks)
	t.Logf("first picture %.0f ms after opening; a key frame takes %.1f ms, a seek %.1f ms (p50), %.1f ms (p95), %.1f ms (slowest)",
		s.First, s.Key, s.Seeks[n/2], s.Seeks[n*95/100], s.Seeks[n-1])
}

// seekLimit is how many times as long as decoding a key frame the slowest seek takes: a group of
// frames is as much work as three key frames, and all else that a seek does takes time, too.
const seekLimit = 10

// EnvMeasure names what is measured only where a person wants to know: "page".
const EnvMeasure = "SPICELANE_MEASURE"

// A lane that lives for a minute and goes through the full scenario has a page that is small, made
// at once, and quick.
func TestThePageOfAMinuteOfTheFullScenario(t *testing.T) {
	if os.Getenv(EnvMeasure) != "page" {
		t.Skip("it takes more than a minute: make bench-page")
	}
	const lived = time.Minute
	dir := t.ArtifactDir()
	b := openBrowser(t)
	t.Run("lane", func(t *testing.T) {
		began := time.Now()
		lane := harness.Up(t, harness.Config{Dir: dir, Film: harness.FilmAlways, Warm: harness.WarmOff})
		// The guest shows its first scene while nothing happens, and then its story, of 25 seconds.
		idle := time.NewTimer(max(0, lived-25*time.Second-time.Since(began)))
		select {
		case <-idle.C:
		case <-lane.Done():
		}
		scenario.Full(t, lane)
	})
	var took []time.Duration
	for range 5 {
		began := time.Now()
		require.NoError(t, replay.Write(dir, replay.Options{}))
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	page, err := os.Stat(filepath.Join(dir, replay.File))
	require.NoError(t, err)
	f, err := film.ReadFile(filepath.Join(dir, film.File))
	require.NoError(t, err)
	require.NotNil(t, f.Stats)
	t.Logf("lane.html has %d bytes, written in %v; the film has %d frames, %d bytes, and took %v of a processor",
		page.Size(), took[2], f.Stats.Frames, f.Stats.Bytes, f.Stats.CPU)
	require.Less(t, page.Size(), int64(3<<20))
	b.open(filepath.Join(dir, replay.File), "")
	times := b.measure()
	times.log(t)
	require.Less(t, times.Seeks[len(times.Seeks)-1], seekLimit*times.Key)
	b.save("full.png")
}
