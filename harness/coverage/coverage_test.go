package coverage_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/coverage"
	"github.com/spicelane/spicelane/harness/timeline"
	"github.com/spicelane/spicelane/spice"
)

// count returns the count of the row with this kind and name, or 0 if there is none.
func count(rows spice.Coverage, kind, name string) uint64 {
	for _, r := range rows {
		if r.Kind == kind && r.Name == name {
			return r.Count
		}
	}
	return 0
}

// printed returns a table with one space between words.
func printed(t *testing.T, f coverage.Found) string {
	t.Helper()
	var b strings.Builder
	require.NoError(t, f.Print(&b))
	return strings.Join(strings.Fields(b.String()), " ")
}

func write(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
}

// lane writes a lane's directory whose timeline has two sessions.
func lane(t *testing.T, dir string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir, 0o700))
	w, err := timeline.Open(filepath.Join(dir, timeline.File), time.Now())
	require.NoError(t, err)
	w.Add("serial", map[string]any{"text": `a guest that says "coverage"`})
	for _, n := range []uint64{2, 3} {
		w.Add(coverage.Kind, coverage.Entry(spice.Stats{
			Ops:      map[string]spice.OpStats{"draw_fill": {Count: n, Time: time.Hour}},
			Features: map[string]uint64{"clip rects": 1},
			Channels: []spice.ChannelStats{{Channel: "inputs:0", Out: map[string]uint64{"inputs.key_down": n}}},
		}))
	}
	require.NoError(t, w.Close())
}

func TestCoverageOfRunsAndLanesAddsUp(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "one", coverage.File), `[{"kind":"image","name":"quic","count":2},{"kind":"operation","name":"draw_fill","count":1}]`)
	write(t, filepath.Join(dir, "two", "deeper", coverage.File), `[{"kind":"image","name":"quic","count":3}]`)
	write(t, filepath.Join(dir, "two", "other.json"), `no coverage`)
	found, err := coverage.Find(dir)
	require.NoError(t, err)
	require.Equal(t, 2, found.Runs)
	require.Zero(t, found.Lanes)
	require.EqualValues(t, 5, count(found.Rows, "image", "quic"))
	table := printed(t, found)
	require.Contains(t, table, " 5 image quic ")
	require.Contains(t, table, " never image lz_rgb ")
	require.Contains(t, table, " impossible message client inputs.key_down the truth server has no keyboard and no mouse ")

	lane(t, filepath.Join(dir, "lane"))
	write(t, filepath.Join(dir, "foreign", timeline.File), `{"t_us":1,"kind":"serial","text":"x"}`+"\n")
	found, err = coverage.Find(dir)
	require.NoError(t, err)
	require.Equal(t, 2, found.Runs)
	require.Equal(t, 1, found.Lanes, "a lane whose client counts nothing is none")
	require.EqualValues(t, 6, count(found.Rows, "operation", "draw_fill"))
	require.EqualValues(t, 2, count(found.Rows, "feature", "clip rects"))
	require.Contains(t, printed(t, found), " 5 message client inputs.key_down ", "what one source cannot carry the other has")

	_, err = coverage.Find(filepath.Join(dir, "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
	one := filepath.Join(dir, "a.json")
	write(t, one, `[{"kind":"image","name":"quic","count":9}]`)
	found, err = coverage.Find(one)
	require.NoError(t, err)
	require.EqualValues(t, 9, count(found.Rows, "image", "quic"))
	write(t, one, `[`)
	_, err = coverage.Find(one)
	require.ErrorContains(t, err, one)
}

func TestOnlyWhatCameSinceCounts(t *testing.T) {
	before := spice.Coverage{{Kind: "image", Name: "quic", Count: 5}}
	after := spice.Coverage{{Kind: "image", Name: "quic", Count: 7}, {Kind: "image", Name: "lz_rgb", Count: 1}}
	since := coverage.Since(before, after)
	require.EqualValues(t, 2, count(since, "image", "quic"))
	require.EqualValues(t, 1, count(since, "image", "lz_rgb"))
	require.EqualValues(t, 7, after[0].Count)
}

func TestDemandsThatAreNotMetAreNamed(t *testing.T) {
	c := spice.Coverage{{Kind: "image", Name: "quic", Count: 5}, {Kind: "operation", Name: "draw_rop3"}}
	if err := coverage.Check(c, coverage.Demand{Kind: "image", Name: "quic"}, coverage.Demand{Kind: "image", Name: "quic", Count: 5}); err != nil {
		t.Error(err)
	}
	err := coverage.Check(c, coverage.Demand{Kind: "image", Name: "quic", Count: 6}, coverage.Demand{Kind: "operation", Name: "draw_rop3"}, coverage.Demand{Kind: "image", Name: "lz4"})
	if want := "coverage: missing image quic (5 of 6), operation draw_rop3 (0 of 1), image lz4 (0 of 1)"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestWhatIsNeverSeenWithoutAReasonIsFound(t *testing.T) {
	found := coverage.Found{Runs: 1, Rows: spice.Coverage{
		{Kind: "image", Name: "quic"},
		{Kind: "message", Name: "server display.inval_all_pixmaps"},
		{Kind: "message", Name: "client inputs.key_down"},
		{Kind: "operation", Name: "draw_fill", Count: 1},
	}}
	require.Equal(t, spice.Coverage{{Kind: "image", Name: "quic"}}, found.WithoutReason())
	// A lane has a keyboard: that none of its keys was pressed takes a reason.
	found.Lanes = 1
	require.Equal(t, []string{"quic", "client inputs.key_down"}, []string{found.WithoutReason()[0].Name, found.WithoutReason()[len(found.WithoutReason())-1].Name})
}
