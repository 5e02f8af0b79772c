// Package filewatch tells when a file, or a directory's files, may have changed: the system
// notifies, and where it can watch no more files a clock does.
package filewatch

import (
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// pollEvery is how often a file may have changed where the system can watch no more
// (Linux: fs.inotify.max_user_instances).
const pollEvery = 20 * time.Millisecond

// NewWatcher is replaced by tests that play a system out of watches.
var NewWatcher = fsnotify.NewWatcher

// Watch returns a channel that holds a token after the file at path, or a file in the directory
// path, may have changed. Look once after Watch: what changed before is not told. Stop must be
// called, once.
func Watch(path string) (changed <-chan struct{}, stop func()) {
	out := make(chan struct{}, 1)
	quit, gone := make(chan struct{}), make(chan struct{})
	tell := func() {
		select {
		case out <- struct{}{}:
		default:
		}
	}
	w, err := NewWatcher()
	if err == nil {
		if err = w.Add(filepath.Clean(path)); err != nil {
			w.Close()
		}
	}
	if err == nil {
		go watchEvents(w, tell, quit, gone)
	} else {
		go watchClock(tell, quit, gone)
	}
	return out, func() { close(quit); <-gone }
}

func watchEvents(w *fsnotify.Watcher, tell func(), quit, gone chan struct{}) {
	defer close(gone)
	defer w.Close()
	for {
		select {
		case <-w.Events:
			tell()
		case <-w.Errors: // an overflow: something happened
			tell()
		case <-quit:
			return
		}
	}
}

func watchClock(tell func(), quit, gone chan struct{}) {
	defer close(gone)
	t := time.NewTicker(pollEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			tell()
		case <-quit:
			return
		}
	}
}
