package recording_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice/recording"
	"github.com/spicelane/spicelane/spice/wire"
)

func TestARecorderReportsWhatItCouldNotWrite(t *testing.T) {
	_, err := recording.NewRecorder(recording.Config{Dir: filepath.Join(t.TempDir(), "x"), Comments: []string{"a\nb"}})
	assert.ErrorContains(t, err, "more than one line")
	dir := t.TempDir()
	rec, err := recording.NewRecorder(recording.Config{Dir: dir})
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "main-0.txt"), 0o755))
	rec.Tap(mainChannel).Linked(wire.LinkInfo{Channel: mainChannel})
	second := rec.Tap(mainChannel)
	second.Linked(wire.LinkInfo{Channel: mainChannel})
	assert.FileExists(t, filepath.Join(dir, "main-0.2.txt"))
	assert.ErrorContains(t, rec.Close(), "is a directory")
	second.Message(wire.FromServer, wire.Header{}, nil) // after Close: nothing happens
}

func TestADirectoryThatCannotTakeARecordingIsRefusedAtOnce(t *testing.T) {
	dir := t.TempDir()
	rec, err := recording.NewRecorder(recording.Config{Dir: filepath.Join(dir, "a", "b")})
	require.NoError(t, err)
	rec.Tap(mainChannel).Linked(wire.LinkInfo{Channel: mainChannel})
	require.NoError(t, rec.Close())
	_, err = recording.NewRecorder(recording.Config{Dir: rec.Dir()})
	assert.ErrorContains(t, err, "holds a recording already (main-0.txt)")

	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for _, bad := range []string{file, filepath.Join(file, "below")} {
		_, err = recording.NewRecorder(recording.Config{Dir: bad})
		assert.ErrorContains(t, err, file+": not a directory")
	}
	_, err = recording.NewRecorder(recording.Config{Dir: "/proc/recording"})
	assert.Error(t, err)
}

func TestARecordingInADirectoryWhoseNameLooksLikeAPatternIsNotOverwritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run[1]")
	rec, err := recording.NewRecorder(recording.Config{Dir: dir})
	require.NoError(t, err)
	rec.Tap(mainChannel).Linked(wire.LinkInfo{Channel: mainChannel})
	require.NoError(t, rec.Close())
	_, err = recording.NewRecorder(recording.Config{Dir: dir})
	require.ErrorContains(t, err, "holds a recording already")
	require.NoError(t, recording.Pack(t.Context(), dir, dir+".zip"))
}

// A full disk ends what is written, is reported once, and does no other harm.
func TestAFullDiskIsReportedAtTheEnd(t *testing.T) {
	dir := t.TempDir()
	rec, err := recording.NewRecorder(recording.Config{Dir: dir})
	require.NoError(t, err)
	require.NoError(t, os.Symlink("/dev/full", filepath.Join(dir, "display-0.txt")))
	display, main := rec.Tap(displayChannel), rec.Tap(mainChannel)
	display.Linked(wire.LinkInfo{Channel: displayChannel})
	main.Linked(wire.LinkInfo{Channel: mainChannel})
	for range 3 {
		display.Message(wire.FromServer, wire.Header{Type: 102}, nil)
		main.Message(wire.FromServer, wire.Header{Type: 4, Size: 2}, []byte{1, 2})
	}
	err = rec.Close()
	require.ErrorIs(t, err, syscall.ENOSPC)
	assert.ErrorContains(t, err, "display-0.txt")
	assert.Equal(t, 1, strings.Count(err.Error(), "no space"), err)
	assert.Equal(t, []string{"display-0.txt", "main-0.txt"}, rec.Files())
	info, err := os.Stat(filepath.Join(dir, "main-0.txt"))
	require.NoError(t, err)
	assert.Equal(t, info.Size(), rec.Size())
	assert.Equal(t, os.FileMode(0o600), info.Mode(), "what was typed is nobody else's business")
}

func TestSecretsAreReplacedWhereTheyAreSecrets(t *testing.T) {
	dir := t.TempDir()
	rec, err := recording.NewRecorder(recording.Config{Dir: dir, Secrets: []string{"", "abc"}})
	require.NoError(t, err)
	rec.Hide("hunter2")
	for _, id := range []wire.ChannelID{mainChannel, displayChannel} {
		tap := rec.Tap(id)
		tap.Linked(wire.LinkInfo{Channel: id})
		tap.Message(wire.FromServer, wire.Header{Type: 999}, []byte("abc hunter2 abc hunter2"))
	}
	require.NoError(t, rec.Close())
	channels, err := recording.Load(dir)
	require.NoError(t, err)
	assert.Equal(t, "xxx xxxxxxx xxx xxxxxxx", string(channels[0].Messages[0].Body))
	assert.Equal(t, "abc xxxxxxx abc xxxxxxx", string(channels[1].Messages[0].Body), "pixels have three bytes by chance")
}
