package harness_test

import (
	"context"
	"image"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/film"
	"github.com/spicelane/spicelane/harness/headless"
	"github.com/spicelane/spicelane/harness/internal/lanetest"
	"github.com/spicelane/spicelane/harness/replay"
	"github.com/spicelane/spicelane/harness/timeline"
)

// A test types, and takes a picture at each line. The film shows exactly that picture at the time
// that the timeline gives for it, whether or not the client is its own process.
func TestTheFilmOfALaneHasEveryScreenshotToThePixel(t *testing.T) {
	for name, processes := range map[string]bool{"in this process": false, "in processes": true} {
		t.Run(name, func(t *testing.T) {
			lanetest.AtOnce(t)
			harness.RequireHost(t)
			lane, err := tryStart(t, harness.Config{Film: harness.FilmAlways, Processes: processes})
			require.NoError(t, err)
			var taken []*image.NRGBA
			var shots []time.Duration
			for range 5 {
				require.NoError(t, lane.Press(t.Context(), "a", "Enter"))
				// Wait until the screen has changed: pictures that are all the same prove nothing.
				img, err := lane.Screenshot(t.Context())
				for err == nil && len(taken) > 0 && slices.Equal(img.Pix, taken[len(taken)-1].Pix) {
					img, err = lane.Screenshot(t.Context())
				}
				require.NoError(t, err)
				taken = append(taken, img)
				all := moments(t, lane.Dir())
				shots = append(shots, all[len(all)-1])
			}
			require.NoError(t, lane.Close())
			f, err := film.ReadFile(filepath.Join(lane.Dir(), film.File))
			require.NoError(t, err)
			require.False(t, f.Torn)
			require.Zero(t, f.Left)
			t.Logf("%d frames, %d bytes, %v of processor time", f.Stats.Frames, f.Stats.Bytes, f.Stats.CPU)
			for i, img := range taken {
				got, err := f.At(0, shots[i])
				require.NoError(t, err)
				require.NotNil(t, got)
				require.Equal(t, img.Rect, got.Rect)
				require.True(t, slices.Equal(img.Pix, got.Pix), "picture %d, taken at %v, is not in the film", i, shots[i])
			}
		})
	}
}

func TestALaneThatIsNotToBeFilmedIsNot(t *testing.T) {
	lanetest.AtOnce(t)
	harness.RequireHost(t)
	lane, err := tryStart(t, harness.Config{Film: harness.FilmOff})
	require.NoError(t, err)
	require.NoError(t, lane.Close())
	require.NoFileExists(t, filepath.Join(lane.Dir(), film.File))
}

// The default films every lane and keeps the films of those that fail.
func TestTheFilmOfALaneIsKeptIfItFails(t *testing.T) {
	lanetest.AtOnce(t)
	for name, c := range map[string]struct {
		film harness.Film
		fail bool
		kept bool
	}{
		"it passed":                 {"", false, false},
		"it failed":                 {"", true, true},
		"it passed, all are kept":   {harness.FilmAlways, false, true},
		"it failed, none is filmed": {harness.FilmOff, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			lanetest.Failing(t, func(tb testing.TB) {
				harness.Up(tb, harness.Config{Dir: dir, Film: c.film})
				if c.fail {
					tb.Errorf("a stone")
				}
			})
			path := filepath.Join(dir, film.File)
			if !c.kept {
				require.NoFileExists(t, path)
				return
			}
			f, err := film.ReadFile(path)
			require.NoError(t, err)
			require.NotEmpty(t, f.Frames)
		})
	}
}

// moments returns the times at which pictures of a lane were taken.
func moments(t *testing.T, dir string) []time.Duration {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, timeline.File))
	require.NoError(t, err)
	defer f.Close()
	var all []time.Duration
	_, err = timeline.Read(f, func(e timeline.Entry) error {
		if e.Kind == headless.KindScreenshot {
			all = append(all, e.At)
		}
		return nil
	})
	require.NoError(t, err)
	return all
}

// The timeline has what a test waited for, and when it ended the lane, even if nothing failed.
func TestTheTimelineOfALaneThatPassedHasItsWaitsAndItsEnd(t *testing.T) {
	lanetest.AtOnce(t)
	harness.RequireHost(t)
	lane, err := tryStart(t, harness.Config{})
	require.NoError(t, err)
	_, err = lane.AwaitSerial(t.Context(), "Hello from Beacon") // it is there already, so this is not a wait
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	var pressed sync.WaitGroup
	pressed.Go(func() {
		for ctx.Err() == nil {
			_ = lane.Press(ctx, "a") // so that there are digests to look at
		}
	})
	began := time.Now()
	_, err = lane.AwaitDigest(t.Context(), "a later moment", func(harness.Digest) bool { return time.Since(began) > 50*time.Millisecond })
	stop()
	pressed.Wait()
	require.NoError(t, err)
	require.NoError(t, lane.Close())
	r, err := replay.Read(lane.Dir())
	require.NoError(t, err)
	var said []string
	for _, e := range r.Events {
		switch e.Kind {
		case "awaited":
			said = append(said, e.Text)
			if e.Text == "awaited a later moment" {
				require.GreaterOrEqual(t, e.Took, 50*time.Millisecond)
			}
		case "wait":
			require.Fail(t, "a wait has failed", e.Text)
		case "lane":
			word, _, _ := strings.Cut(e.Text, " ")
			if said = append(said, word); word == "ready" {
				said = said[:0] // if the host is busy, the start has its own waits
			}
		}
	}
	require.Equal(t, []string{"awaited a later moment", "ending"}, said)
}
