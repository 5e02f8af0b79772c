package serial

import (
	"errors"

	"github.com/fsnotify/fsnotify"

	"github.com/spicelane/spicelane/harness/filewatch"
)

// WithoutWatches calls f while the system cannot watch more files. No other test may run at the
// same time.
func WithoutWatches(f func()) {
	filewatch.NewWatcher = func() (*fsnotify.Watcher, error) { return nil, errors.New("too many open files") }
	defer func() { filewatch.NewWatcher = fsnotify.NewWatcher }()
	f()
}
