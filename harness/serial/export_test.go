package serial

import (
	"errors"

	"github.com/fsnotify/fsnotify"
)

// WithoutWatches calls f while the system can watch no more files. Nothing may
// run beside it.
func WithoutWatches(f func()) {
	newWatcher = func() (*fsnotify.Watcher, error) { return nil, errors.New("too many open files") }
	defer func() { newWatcher = fsnotify.NewWatcher }()
	f()
}
