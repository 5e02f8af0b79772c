package sources

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/spicelane/spicelane/spice/console"
)

// settle is how long a watched file must be quiet before it is read. Editors
// and copy programs truncate, write in pieces and rename; without the wait
// half a file is read and reported.
const settle = 50 * time.Millisecond

// Config sets up a watched catalog. The zero value is useful.
type Config struct {
	// Logger gets one line for each reload; nil means none.
	Logger *slog.Logger

	// Kinds are the types of sources that the file may have besides static.
	Kinds map[string]Kind

	// OnReload, if not nil, is called after each reload with its error, nil
	// for a good one. It runs on the watcher's goroutine and must not call
	// Close.
	OnReload func(error)
}

// Catalog is the set of sources in force. It is safe for concurrent use, and
// is what a proxy asks for consoles.
type Catalog struct {
	path string // empty if there is no file
	cfg  Config

	mu      sync.Mutex
	sources []Source
	byName  map[string]Source
	err     error

	watcher *fsnotify.Watcher
	done    chan struct{} // closed when the watcher's goroutine has ended
	close   sync.Once
}

// NewCatalog makes a catalog of the given sources. It is an error if two have
// the same name.
func NewCatalog(sources ...Source) (*Catalog, error) {
	c := &Catalog{}
	return c, c.set(sources)
}

// Open loads a sources file and watches it until Close. If the file is bad now,
// that is the error; what happens to it later is reported through cfg and
// [Catalog.Err].
func Open(path string, cfg Config) (*Catalog, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("sources: %w", err)
	}
	// Links on the way to the directory are resolved once; whether the file
	// itself is one is looked up at each change.
	if dir, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		path = filepath.Join(dir, filepath.Base(path))
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("sources: watch: %w", err)
	}
	c := &Catalog{path: path, cfg: cfg, watcher: watcher, done: make(chan struct{})}
	// The watch comes first, so that no edit falls between.
	if err = c.follow(); err == nil {
		err = c.Reload()
	}
	if err != nil {
		return nil, errors.Join(err, watcher.Close())
	}
	go c.watch()
	return c, nil
}

// Reload reads the file again now. If that fails, the last good state stays.
// Catalogs without a file have nothing to reload.
func (c *Catalog) Reload() error {
	if c.path == "" {
		return nil
	}
	sources, err := load(c.path, c.cfg.Kinds)
	if err == nil {
		err = c.set(sources)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
	return err
}

// Err is the error of the last reload, nil if that was good.
func (c *Catalog) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the watch. The catalog keeps answering from what it has.
func (c *Catalog) Close() error {
	var err error
	c.close.Do(func() {
		if c.watcher != nil {
			err = c.watcher.Close()
			<-c.done
			c.mu.Lock()
			opened := c.sources
			c.mu.Unlock()
			closeSources(opened)
		}
	})
	return err
}

// Consoles returns the consoles of all sources, in the order of the sources.
func (c *Catalog) Consoles(ctx context.Context) ([]Console, error) {
	c.mu.Lock()
	sources := c.sources
	c.mu.Unlock()
	var all []Console
	for _, s := range sources {
		consoles, err := s.Consoles(ctx)
		if err != nil {
			return nil, fmt.Errorf("sources: %s: %w", s.Name(), err)
		}
		all = append(all, consoles...)
	}
	return all, nil
}

// Console returns one console with its ticket. The error is a
// [*console.UnknownError] if there is no such source or console.
func (c *Catalog) Console(ctx context.Context, source, uuid string) (Console, error) {
	c.mu.Lock()
	s := c.byName[source]
	c.mu.Unlock()
	if s == nil {
		return Console{}, &console.UnknownError{Source: source, UUID: uuid}
	}
	return s.Console(ctx, uuid)
}

func (c *Catalog) set(sources []Source) error {
	byName := make(map[string]Source, len(sources))
	for _, s := range sources {
		if byName[s.Name()] != nil {
			return fmt.Errorf("sources: the name %q is used twice", s.Name())
		}
		byName[s.Name()] = s
	}
	c.mu.Lock()
	old := c.sources
	c.sources, c.byName = sources, byName
	c.mu.Unlock()
	closeSources(old)
	return nil
}

// closeSources ends what sources have running.
func closeSources(sources []Source) {
	for _, s := range sources {
		if closer, ok := s.(io.Closer); ok {
			// What a source could not end it cannot use either.
			_ = closer.Close()
		}
	}
}

// watch reloads the file whenever its directory was quiet for a moment after a
// change. It ends when the watcher is closed.
func (c *Catalog) watch() {
	defer close(c.done)
	quiet := time.NewTimer(settle)
	quiet.Stop()
	defer quiet.Stop()
	for {
		select {
		case event, ok := <-c.watcher.Events:
			if !ok {
				return
			}
			if event.Op != fsnotify.Chmod && c.concerns(event.Name) {
				quiet.Reset(settle)
			}
		case err, ok := <-c.watcher.Errors:
			if !ok {
				return
			}
			// An overflow of the kernel's queue: what was lost may have been
			// the one event that matters.
			c.cfg.Logger.Warn("sources: watch", "file", c.path, "error", err)
			quiet.Reset(settle)
		case <-quiet.C:
			if err := c.follow(); err != nil {
				c.cfg.Logger.Warn("sources: watch", "file", c.path, "error", err)
			}
			err := c.Reload()
			if err != nil {
				c.cfg.Logger.Error("sources: reload: the last good state stays", "file", c.path, "error", err)
			} else {
				c.cfg.Logger.Info("sources: reloaded", "file", c.path)
			}
			if c.cfg.OnReload != nil {
				c.cfg.OnReload(err)
			}
		}
	}
}

// follow watches the directory of the file and, if a symbolic link leads from
// there to another one, that too. Directories, not the file: an editor that
// renames a new file into place would leave a watch on the old one.
func (c *Catalog) follow() error {
	dirs := []string{filepath.Dir(c.path)}
	// A link that leads nowhere is for Reload to report.
	if target, err := filepath.EvalSymlinks(c.path); err == nil {
		dirs = append(dirs, filepath.Dir(target))
	}
	for _, dir := range dirs {
		if err := c.watcher.Add(dir); err != nil {
			return fmt.Errorf("sources: watch %s: %w", dir, err)
		}
	}
	return nil
}

// concerns reports whether a change of that file can change what Reload reads:
// the file itself, or, where symbolic links lead to it, anything beside it
// (Kubernetes swaps a linked directory).
func (c *Catalog) concerns(name string) bool {
	if name == c.path {
		return true
	}
	target, err := filepath.EvalSymlinks(c.path)
	return err != nil || target != c.path
}
