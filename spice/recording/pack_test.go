package recording_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/internal/need"
	"github.com/spicelane/spicelane/spice/recording"
	"github.com/spicelane/spicelane/spice/wire"
)

// recorded makes a recording of two channels.
func recorded(t *testing.T) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "session.partial")
	rec, err := recording.NewRecorder(recording.Config{Dir: dir})
	require.NoError(t, err)
	for _, id := range []wire.ChannelID{displayChannel, mainChannel} {
		tap := rec.Tap(id)
		tap.Linked(wire.LinkInfo{Channel: id, ConnectionID: 7})
		tap.Message(wire.FromServer, wire.Header{Type: 104, Size: 100_000}, make([]byte, 100_000))
	}
	require.NoError(t, rec.Close())
	return dir
}

func TestAPackedRecordingIsOneFileAndLoadsAsTheDirectoryDid(t *testing.T) {
	need.Long(t)
	dir := recorded(t)
	want, err := recording.Load(dir)
	require.NoError(t, err)
	file := filepath.Join(filepath.Dir(dir), "session.zip")
	require.NoError(t, recording.Pack(t.Context(), dir, file))
	assert.NoDirExists(t, dir)
	left, err := os.ReadDir(filepath.Dir(dir))
	require.NoError(t, err)
	require.Len(t, left, 1)
	info, err := left[0].Info()
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode(), "what was typed is nobody else's business")
	got, err := recording.Load(file)
	require.NoError(t, err)
	require.Len(t, got, 2)
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("(-directory +file):\n%s", diff)
	}
}

func TestADirectoryThatCannotBePackedStays(t *testing.T) {
	dir := recorded(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := recording.Pack(ctx, dir, filepath.Join(filepath.Dir(dir), "session.zip"))
	assert.ErrorIs(t, err, context.Canceled)
	err = recording.Pack(t.Context(), dir, filepath.Join(dir, "nowhere", "session.zip"))
	assert.ErrorIs(t, err, os.ErrNotExist)
	left, err := os.ReadDir(filepath.Dir(dir))
	require.NoError(t, err)
	assert.Len(t, left, 1, "no half file is left")
	_, err = recording.Load(dir)
	assert.NoError(t, err)
	err = recording.Pack(t.Context(), t.TempDir(), filepath.Join(filepath.Dir(dir), "session.zip"))
	assert.ErrorContains(t, err, "no recording there")
	_, err = recording.Load(filepath.Join(dir, "main-0.txt"))
	assert.ErrorContains(t, err, "main-0.txt: zip: not a valid zip file")
}
