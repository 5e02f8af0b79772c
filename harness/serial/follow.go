package serial

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// pollEvery is how often Follow checks the file if the system can watch no more files (Linux:
// fs.inotify.max_user_instances).
const pollEvery = 20 * time.Millisecond

// Follow copies the file at path to w, from its beginning, and then whatever another process
// appends, until ctx ends. Then it copies the rest and returns nil. A read or write error also ends
// it, and is returned. The file must exist.
func Follow(ctx context.Context, path string, w io.Writer) error {
	return FollowFrom(ctx, path, 0, w)
}

// FollowFrom is Follow from the byte at offset on.
func FollowFrom(ctx context.Context, path string, offset int64, w io.Writer) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("follow the console: %w", err)
	}
	defer f.Close()
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return fmt.Errorf("follow the console: %w", err)
	}

	grown, stop := watch(path)
	defer stop()
	for {
		if _, err := io.Copy(w, f); err != nil {
			if errors.Is(err, io.ErrClosedPipe) {
				return nil // the log was ended: nobody wants more
			}
			return fmt.Errorf("follow the console %s: %w", path, err)
		}
		select {
		case <-grown:
		case <-ctx.Done():
			_, err := io.Copy(w, f)
			if err != nil && !errors.Is(err, io.ErrClosedPipe) {
				return fmt.Errorf("follow the console %s: %w", path, err)
			}
			return nil
		}
	}
}

// newWatcher is replaced by a test that simulates a system without free watches.
var newWatcher = fsnotify.NewWatcher

// watch returns a channel that gets a token when the file may have grown.
func watch(path string) (grown <-chan struct{}, stop func()) {
	out := make(chan struct{}, 1)
	quit, gone := make(chan struct{}), make(chan struct{})
	tell := func() {
		select {
		case out <- struct{}{}:
		default:
		}
	}
	w, err := newWatcher()
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
