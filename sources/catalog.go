package sources

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/spicelane/spicelane/spice/console"
)

// settle is how long a watched file must be unchanged before it is read. Editors and copy programs
// truncate, write in pieces and rename; without the wait, half a file would be read and reported.
const settle = 50 * time.Millisecond

// Config configures a watched catalog. The zero value is useful.
type Config struct {
	// Logger gets one line for each reload; nil means none.
	Logger *slog.Logger

	// Kinds are the types of sources that the file may have, besides static.
	Kinds map[string]Kind

	// OnReload, if not nil, is called after each reload with its error, nil for a good one. It runs
	// on the watcher's goroutine and must not call Close.
	OnReload func(error)
}

// Catalog is a set of sources. It is safe for concurrent use, and gives a proxy its consoles.
type Catalog struct {
	path string // empty if there is no file
	cfg  Config

	mu      sync.Mutex
	sources []*source
	byName  map[string]*source
	err     error

	watcher *fsnotify.Watcher
	done    chan struct{} // closed when the watcher's goroutine has ended
	close   sync.Once
}

// source is a source in use.
type source struct {
	Source
	declaration
	opened bool // by the catalog, which closes it

	errors atomic.Uint64
	mu     sync.Mutex
	last   string // the error that was logged last; empty if the source works
}

// Name returns the source's name, even while the source is being opened.
func (s *source) Name() string { return s.name }

// NewCatalog makes a catalog of the given sources, which it does not close. Two sources with the
// same name are an error.
func NewCatalog(sources ...Source) (*Catalog, error) {
	c := &Catalog{cfg: Config{Logger: slog.New(slog.DiscardHandler)}}
	list := make([]*source, len(sources))
	for i, s := range sources {
		list[i] = &source{Source: s, declaration: declaration{name: s.Name()}}
	}
	return c, c.set(list)
}

// OpenText makes a catalog from the text of a sources file, which is not watched. Errors use name.
// Close closes its sources.
func OpenText(name string, data []byte, cfg Config) (*Catalog, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Catalog{cfg: cfg}
	declared, err := parse(name, data, cfg.Kinds)
	if err == nil {
		err = c.open(declared)
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Open loads a sources file and watches it until Close. If the file is bad now, Open returns the
// error. Later errors are reported through cfg and [Catalog.Err].
func Open(path string, cfg Config) (*Catalog, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("sources: %w", err)
	}
	// Symbolic links to the directory are resolved once; whether the file itself is one is checked
	// at each change.
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
	// Start the watch first, so that no edit is missed.
	if err = c.follow(); err == nil {
		err = c.Reload()
	}
	if err != nil {
		return nil, errors.Join(err, watcher.Close())
	}
	go c.watch()
	return c, nil
}

// Reload reads the file again now. If that fails, the last good state stays. Catalogs without a
// file do nothing.
func (c *Catalog) Reload() error {
	if c.path == "" {
		return nil
	}
	declared, err := load(c.path, c.cfg.Kinds)
	if err == nil {
		err = c.open(declared)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
	return err
}

// Err returns the error of the last reload, or nil.
func (c *Catalog) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the watch and closes the sources. The catalog continues to answer with what it has.
func (c *Catalog) Close() error {
	var err error
	c.close.Do(func() {
		if c.watcher != nil {
			err = c.watcher.Close()
			<-c.done
		}
		c.mu.Lock()
		sources := c.sources
		c.mu.Unlock()
		closeSources(sources)
	})
	return err
}

// Consoles returns the consoles of all sources, in the order of the sources. It asks all of them at
// once. If some fail, the error is a [*console.PartialError], and the result has the consoles of
// the others.
func (c *Catalog) Consoles(ctx context.Context) ([]Console, error) {
	c.mu.Lock()
	sources := c.sources
	c.mu.Unlock()
	found, errs := make([][]Console, len(sources)), make([]error, len(sources))
	var wg sync.WaitGroup
	for i, s := range sources {
		wg.Go(func() { found[i], errs[i] = s.Consoles(ctx) })
	}
	wg.Wait()
	var failed []*console.SourceError
	for i, s := range sources {
		if errs[i] != nil {
			failed = append(failed, &console.SourceError{Source: s.Name(), Err: errs[i]})
		}
		c.note(ctx, s, errs[i])
	}
	switch len(failed) {
	case 0:
	case len(sources):
		return nil, fmt.Errorf("sources: %w", errors.Join(errorsOf(failed)...))
	default:
		return slices.Concat(found...), &console.PartialError{Failed: failed}
	}
	return slices.Concat(found...), nil
}

func errorsOf(failed []*console.SourceError) []error {
	errs := make([]error, len(failed))
	for i, e := range failed {
		errs[i] = e
	}
	return errs
}

// Console returns one console with its ticket. The error is a [*console.UnknownError] if there is
// no such source or console, and a [*console.UnusableError] if the console cannot be used at
// present.
func (c *Catalog) Console(ctx context.Context, source, uuid string) (Console, error) {
	c.mu.Lock()
	s := c.byName[source]
	c.mu.Unlock()
	if s == nil {
		return Console{}, &console.UnknownError{Source: source, UUID: uuid}
	}
	found, err := s.Console(ctx, uuid)
	if unknown, unusable := (*console.UnknownError)(nil), (*console.UnusableError)(nil); err != nil && !errors.As(err, &unknown) && !errors.As(err, &unusable) {
		c.note(ctx, s, err)
	}
	return found, err
}

// SourceErrors returns how many errors each source has had: failed queries, and lost connections
// that it reported.
func (c *Catalog) SourceErrors() map[string]uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := make(map[string]uint64, len(c.sources))
	for _, s := range c.sources {
		n[s.Name()] = s.errors.Load()
	}
	return n
}

// note counts an error of a source, and logs it unless it repeats the last one. A nil error means
// that the source works again.
func (c *Catalog) note(ctx context.Context, s *source, err error) {
	text := ""
	if err != nil {
		if errors.Is(context.Cause(ctx), context.Canceled) {
			return // the caller has gone
		}
		s.errors.Add(1)
		text = err.Error()
	}
	s.mu.Lock()
	said := s.last
	s.last = text
	s.mu.Unlock()
	switch {
	case text == said:
	case err != nil:
		c.cfg.Logger.Error("sources: a source is in trouble", "source", s.Name(), "error", err)
	default:
		c.cfg.Logger.Info("sources: the source is well again", "source", s.Name())
	}
}

// open opens the sources of a file and puts them into use. A source with an unchanged declaration
// stays, because it may be connected, or have handed out a ticket.
func (c *Catalog) open(declared []declaration) error {
	c.mu.Lock()
	before := c.sources
	c.mu.Unlock()
	var list, fresh []*source
	for _, d := range declared {
		if i := slices.IndexFunc(before, func(s *source) bool { return s.same(d) }); i >= 0 {
			list = append(list, before[i])
			continue
		}
		s := &source{declaration: d, opened: true}
		var err error
		s.Source, err = d.make(func(err error) { c.note(context.Background(), s, err) })
		if err != nil {
			closeSources(fresh)
			return err
		}
		list, fresh = append(list, s), append(fresh, s)
	}
	return c.set(list)
}

// set puts sources into use, and closes those that are no longer in use.
func (c *Catalog) set(sources []*source) error {
	byName := make(map[string]*source, len(sources))
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
	closeSources(slices.DeleteFunc(slices.Clone(old), func(s *source) bool { return slices.Contains(sources, s) }))
	return nil
}

// closeSources closes the sources that the catalog has opened.
func closeSources(sources []*source) {
	for _, s := range sources {
		if closer, ok := s.Source.(io.Closer); ok && s.opened {
			// A source that fails to close cannot be used any more either.
			_ = closer.Close()
		}
	}
}

// watch reloads the file whenever its directory has been unchanged for a moment after a change. It
// ends when the watcher is closed.
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
			// The kernel's queue has overflowed; the lost event may have been the one that matters.
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

// follow watches the directory of the file and, if a symbolic link leads to another one, that too.
// It watches directories, because an editor that renames a new file into place would leave a watch
// on the old file.
func (c *Catalog) follow() error {
	dirs := []string{filepath.Dir(c.path)}
	// Reload reports a broken link.
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

// concerns reports whether a change of that file can change what Reload reads: the file itself, or
// with symbolic links, anything beside it (Kubernetes swaps a linked directory).
func (c *Catalog) concerns(name string) bool {
	if name == c.path {
		return true
	}
	target, err := filepath.EvalSymlinks(c.path)
	return err != nil || target != c.path
}
