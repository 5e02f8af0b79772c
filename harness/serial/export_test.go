package serial

import (
	"errors"

	"github.com/fsnotify/fsnotify"

	"github.com/spicelane/spicelane/harness/filewatch"
)

// WithoutWatches calls f while the system can watch no more files. Nothing may
// run beside it.
func WithoutWatches(f func()) {
	filewatch.NewWatcher = func() (*fsnotify.Watcher, error) { return nil, errors.New("too many open files") }
	defer func() { filewatch.NewWatcher = fsnotify.NewWatcher }()
	f()
}
