package filewatch_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/spicelane/spicelane/harness/filewatch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// changes waits for a token.
func changes(t *testing.T, changed <-chan struct{}) {
	t.Helper()
	select {
	case <-changed:
	case <-time.After(20 * time.Second):
		t.Fatal("no change was reported")
	}
}

func TestAFileThatComesOrGrowsIsTold(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	changed, stop := filewatch.Watch(dir)
	defer stop()
	select {
	case <-changed:
		t.Fatal("a change was reported before there was one")
	default:
	}
	require.NoError(t, os.WriteFile(file, []byte("a"), 0o600))
	changes(t, changed)

	grown, end := filewatch.Watch(file)
	defer end()
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	defer f.Close()
	_, err = f.WriteString("b")
	require.NoError(t, err)
	changes(t, grown)
}

func TestWithoutWatchesAClockTells(t *testing.T) {
	filewatch.NewWatcher = func() (*fsnotify.Watcher, error) { return nil, errors.New("too many open files") }
	defer func() { filewatch.NewWatcher = fsnotify.NewWatcher }()
	changed, stop := filewatch.Watch(t.TempDir())
	defer stop()
	changes(t, changed)
	changes(t, changed)
}
