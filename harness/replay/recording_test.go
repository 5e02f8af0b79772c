package replay_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/film"
	"github.com/spicelane/spicelane/harness/replay"
)

func TestWhatALaneLeftIsReadForPrograms(t *testing.T) {
	t.Parallel()
	film1, _ := noisyFilm(t, 3)
	dir := lay(t, map[string]string{
		"timeline.ndjson": begin + `{"t_us":3000000,"kind":"wait","ms":2000,"error":"e","awaited":"a key","saw":"none"}` + "\n" +
			`{"t_us":1500000,"kind":"key","code":30,"down":true}` + "\n",
		"proxy.log": "a line\x1b[31m\n", "screen.film": film1,
	})
	r, err := replay.Read(dir)
	require.NoError(t, err)
	require.Equal(t, "a", r.Head.Name)
	require.Equal(t, 3*time.Second, r.End)
	require.Equal(t, []replay.Track{{"lane", "Lane"}, {"wait", "Waits"}, {"input", "Keys"}, {"proxy", "Proxy"}}, r.Tracks)
	var texts []string
	for _, e := range r.Events {
		texts = append(texts, e.Track+": "+e.Text)
	}
	require.Equal(t, []string{"lane: the lane a begins", "proxy: a line", "wait: e", "input: key a down"}, texts)
	wait := r.Events[2]
	require.Equal(t, []any{time.Second, 2 * time.Second, true, "wait"}, []any{wait.At, wait.Took, wait.Bad, wait.Kind})
	require.JSONEq(t, `{"t_us":1500000,"kind":"key","code":30,"down":true}`, string(r.Events[3].Entry))
	require.Empty(t, r.Events[1].Kind, "a line of a log is no entry of the timeline")
	require.NotNil(t, r.Film)
	want, err := film.ReadFile(filepath.Join(dir, film.File))
	require.NoError(t, err)
	require.Equal(t, want.Frames, r.Film.Frames)

	// Only the page was kept.
	require.NoError(t, replay.Write(dir, replay.Options{}))
	require.NoError(t, os.Remove(filepath.Join(dir, film.File)))
	r, err = replay.Read(dir)
	require.NoError(t, err)
	require.Equal(t, want.Frames, r.Film.Frames)
	require.NoError(t, os.Remove(filepath.Join(dir, replay.File)))
	r, err = replay.Read(dir)
	require.NoError(t, err)
	require.Nil(t, r.Film)
	// The page of a lane without a film has none either.
	require.NoError(t, replay.Write(dir, replay.Options{}))
	r, err = replay.Read(dir)
	require.NoError(t, err)
	require.Nil(t, r.Film)
	_, err = replay.Read(t.TempDir())
	require.ErrorContains(t, err, "it is not the directory of a lane")
}
