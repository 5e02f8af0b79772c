// Package filewatch reports when a file, or the files of a directory, may have changed. It uses the
// system's notifications. If the system cannot watch more files, it reports a change at every tick
// of a clock.
package filewatch

import (
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// pollEvery is the interval of the clock if the system cannot watch more files (Linux:
// fs.inotify.max_user_instances).
const pollEvery = 20 * time.Millisecond

// NewWatcher makes a watcher. Tests replace it to simulate a system without free watches.
var NewWatcher = fsnotify.NewWatcher

// Watch returns a channel that has a value after the file at path, or a file in the directory path,
// may have changed. Read the file once after calling Watch, because Watch does not report earlier
// changes. The caller must call stop exactly once.
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
		case <-w.Errors: // an overflow means that something has changed
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
