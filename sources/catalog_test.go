package sources_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/spicelane/spicelane/sources"
	"github.com/spicelane/spicelane/spice/console"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const uuid1 = "6f4e2c1a-0000-0000-0000-000000000001"

// watched opens a catalog on path. Each reload's error arrives on the channel.
func watched(t *testing.T, path string) (*sources.Catalog, <-chan error) {
	t.Helper()
	reloads := make(chan error, 100)
	c, err := sources.Open(path, sources.Config{OnReload: func(err error) { reloads <- err }})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, c.Close()) })
	return c, reloads
}

func next(t *testing.T, reloads <-chan error) error {
	t.Helper()
	select {
	case err := <-reloads:
		return err
	case <-time.After(10 * time.Second):
		t.Fatal("the catalog did not reload")
		return nil
	}
}

func ticket(t *testing.T, c *sources.Catalog) string {
	t.Helper()
	console, err := c.Console(t.Context(), "ci-direct-qemu", uuid1)
	require.NoError(t, err)
	return console.Ticket
}

func write(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
}

func TestAGoodEditTakesEffectAndABadOneDoesNot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sources.yaml")
	write(t, path, contract)
	c, reloads := watched(t, path)
	assert.Equal(t, "s3cret", ticket(t, c))

	write(t, path, strings.Replace(contract, "s3cret", "second", 1))
	require.NoError(t, next(t, reloads))
	assert.Equal(t, "second", ticket(t, c))

	write(t, path, strings.Replace(contract, "insecure_port: 5910", "insecure_port: 70000", 1))
	err := next(t, reloads)
	assert.ErrorContains(t, err, path+":8: consoles[0].insecure_port: 70000 is out of range")
	assert.Equal(t, err, c.Err())
	assert.Equal(t, "second", ticket(t, c), "the last good state stays")

	require.NoError(t, os.Remove(path))
	assert.ErrorIs(t, next(t, reloads), os.ErrNotExist)
	assert.Equal(t, "second", ticket(t, c))

	write(t, path, contract)
	require.NoError(t, next(t, reloads))
	assert.NoError(t, c.Err())
	assert.Equal(t, "s3cret", ticket(t, c))
}

func TestAFileRenamedIntoPlaceIsRead(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sources.yaml")
	write(t, path, contract)
	c, reloads := watched(t, path)
	for _, want := range []string{"second", "third"} {
		write(t, path+".new", strings.Replace(contract, "s3cret", want, 1))
		require.NoError(t, os.Rename(path+".new", path))
		require.NoError(t, next(t, reloads))
		assert.Equal(t, want, ticket(t, c))
	}
}

func TestALinkedFileIsWatchedWhereItLeads(t *testing.T) {
	dir, real := t.TempDir(), t.TempDir()
	write(t, filepath.Join(real, "a.yaml"), contract)
	path := filepath.Join(dir, "sources.yaml")
	require.NoError(t, os.Symlink(filepath.Join(real, "a.yaml"), path))
	c, reloads := watched(t, path)
	write(t, filepath.Join(real, "a.yaml"), strings.Replace(contract, "s3cret", "second", 1))
	require.NoError(t, next(t, reloads))
	assert.Equal(t, "second", ticket(t, c))

	// The link is led elsewhere, and then the file there is edited.
	other := t.TempDir()
	write(t, filepath.Join(other, "b.yaml"), strings.Replace(contract, "s3cret", "third", 1))
	require.NoError(t, os.Symlink(filepath.Join(other, "b.yaml"), path+".new"))
	require.NoError(t, os.Rename(path+".new", path))
	require.NoError(t, next(t, reloads))
	assert.Equal(t, "third", ticket(t, c))
	write(t, filepath.Join(other, "b.yaml"), contract)
	require.NoError(t, next(t, reloads))
	assert.Equal(t, "s3cret", ticket(t, c))
}

func TestABadFileIsNotOpened(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sources.yaml")
	_, err := sources.Open(path, sources.Config{})
	assert.ErrorIs(t, err, os.ErrNotExist)
	_, err = sources.Open(filepath.Join(path, "nowhere", "s.yaml"), sources.Config{})
	assert.ErrorIs(t, err, os.ErrNotExist)
	write(t, path, "- source: a\n")
	_, err = sources.Open(path, sources.Config{})
	assert.ErrorContains(t, err, "type: is missing")
}

// failing is a source that cannot list its consoles.
type failing struct{ sources.Source }

func (failing) Name() string { return "failing" }

func (failing) Consoles(context.Context) ([]sources.Console, error) {
	return nil, errors.New("libvirtd is down")
}

func TestACatalogAnswersForAllItsSources(t *testing.T) {
	a, err := sources.NewStatic("a", sources.Console{UUID: "1", Name: "one"}, sources.Console{UUID: "2"})
	require.NoError(t, err)
	b, err := sources.NewStatic("b", sources.Console{UUID: "1", Name: "other"})
	require.NoError(t, err)
	c, err := sources.NewCatalog(a, b)
	require.NoError(t, err)
	defer c.Close()

	all, err := c.Consoles(t.Context())
	require.NoError(t, err)
	require.Len(t, all, 3)
	assert.Equal(t, "b", all[2].Source)
	one, err := c.Console(t.Context(), "b", "1")
	require.NoError(t, err)
	assert.Equal(t, "other", one.Name)

	var unknown *console.UnknownError
	for _, of := range [][2]string{{"a", "3"}, {"b", "2"}, {"c", "1"}} {
		_, err = c.Console(t.Context(), of[0], of[1])
		require.ErrorAs(t, err, &unknown)
		assert.Equal(t, of, [2]string{unknown.Source, unknown.UUID})
	}
	assert.NoError(t, c.Reload())

	_, err = sources.NewCatalog(a, a)
	assert.ErrorContains(t, err, `"a" is used twice`)
	c, err = sources.NewCatalog(failing{})
	require.NoError(t, err)
	_, err = c.Consoles(t.Context())
	assert.EqualError(t, err, "sources: failing: libvirtd is down")
	var partial *console.PartialError
	assert.False(t, errors.As(err, &partial), "nobody answered")
}

func TestASourceThatFailsDoesNotTakeTheOthersConsolesAway(t *testing.T) {
	a, err := sources.NewStatic("a", sources.Console{UUID: "1", Name: "one"})
	require.NoError(t, err)
	c, err := sources.NewCatalog(failing{}, a)
	require.NoError(t, err)
	all, err := c.Consoles(t.Context())
	var partial *console.PartialError
	require.ErrorAs(t, err, &partial)
	assert.EqualError(t, err, "failing: libvirtd is down")
	require.Len(t, all, 1)
	assert.Equal(t, "one", all[0].Name)
}

// hanging answers only when its context ends.
type hanging struct{ failing }

func (hanging) Name() string { return "hanging" }

func (hanging) Consoles(ctx context.Context) ([]sources.Console, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestASourceThatHangsDoesNotTakeTheOthersConsolesAway(t *testing.T) {
	a, err := sources.NewStatic("a", sources.Console{UUID: "1", Name: "one"})
	require.NoError(t, err)
	c, err := sources.NewCatalog(hanging{}, a, alive{a})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	all, err := c.Consoles(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Len(t, all, 2, "those before it and behind it")
	assert.Equal(t, map[string]uint64{"hanging": 1, "a": 0, "b": 0}, c.SourceErrors())
	// The caller has gone: that is no error of the source.
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	_, err = c.Consoles(ctx)
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, map[string]uint64{"hanging": 1, "a": 0, "b": 0}, c.SourceErrors())
}

// alive is a source that answers only while its context lives.
type alive struct{ sources.Source }

func (alive) Name() string { return "b" }

func (a alive) Consoles(ctx context.Context) ([]sources.Console, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return a.Source.Consoles(ctx)
}

// made is a source that a kind has opened.
type made struct {
	sources.Source
	declared sources.Declared
	closed   atomic.Bool
	err      atomic.Pointer[error]
}

func (m *made) Name() string { return m.declared.Name }

func (m *made) Close() error { m.closed.Store(true); return nil }

func (m *made) Console(context.Context, string) (sources.Console, error) {
	if err := m.err.Load(); err != nil {
		return sources.Console{}, *err
	}
	return sources.Console{Name: m.declared.Values["key"]}, nil
}

func (m *made) Consoles(ctx context.Context) ([]sources.Console, error) {
	c, err := m.Console(ctx, "")
	return []sources.Console{c}, err
}

// making returns a kind, and the sources that it has made.
func making() (sources.Kind, *[]*made) {
	var all []*made
	return sources.Kind{Keys: []string{"key"}, Optional: []string{"more", "ca_cert"}, Open: func(d sources.Declared) (sources.Source, error) {
		if d.Values["key"] == "bad" {
			return nil, errors.New("key: nobody can open that")
		}
		all = append(all, &made{declared: d})
		return all[len(all)-1], nil
	}}, &all
}

// Timeline: two sources; one of them is changed; a third is bad; all but one are gone;
// the catalog is closed.
func TestAnEditLeavesTheSourcesAloneThatItDoesNotChange(t *testing.T) {
	kind, all := making()
	path := filepath.Join(t.TempDir(), "sources.yaml")
	const a, b, static = "- {source: a, type: made, key: one}\n", "- {source: b, type: made, key: two}\n", "- {source: s, type: static, consoles: []}\n"
	write(t, path, a+b)
	reloads := make(chan error, 100)
	c, err := sources.Open(path, sources.Config{Kinds: map[string]sources.Kind{"made": kind}, OnReload: func(err error) { reloads <- err }})
	require.NoError(t, err)
	require.Len(t, *all, 2)
	closed := func() (names []string) {
		for _, m := range *all {
			if m.closed.Load() {
				names = append(names, m.declared.Name+"="+m.declared.Values["key"])
			}
		}
		return names
	}

	write(t, path, static+strings.Replace(b, "two", "three", 1)+a)
	require.NoError(t, next(t, reloads))
	require.Len(t, *all, 3, "a was not made again")
	assert.Equal(t, []string{"b=two"}, closed())
	got, err := c.Console(t.Context(), "b", "1")
	require.NoError(t, err)
	assert.Equal(t, "three", got.Name)

	// A bad edit changes nothing, and leaves nothing open.
	write(t, path, a+"- {source: d, type: made, key: four}\n- {source: e, type: made, key: bad}\n")
	assert.EqualError(t, next(t, reloads), path+":3: key: nobody can open that")
	assert.Equal(t, []string{"b=two", "d=four"}, closed())
	_, err = c.Console(t.Context(), "b", "1")
	assert.NoError(t, err)

	write(t, path, a)
	require.NoError(t, next(t, reloads))
	assert.Equal(t, []string{"b=two", "b=three", "d=four"}, closed())
	require.NoError(t, c.Close())
	assert.Equal(t, []string{"a=one", "b=two", "b=three", "d=four"}, closed())
}

func TestOptionalKeysOfASourceMayBeMissingAndUnknownOnesMayNotBeThere(t *testing.T) {
	kind, all := making()
	cfg := sources.Config{Kinds: map[string]sources.Kind{"made": kind}}
	c, err := sources.OpenText("s.yaml", []byte("- {source: a, type: made, key: one}\n- {source: b, type: made, key: two, more: x}\n"), cfg)
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"key": "one"}, (*all)[0].declared.Values)
	assert.Equal(t, map[string]string{"key": "two", "more": "x"}, (*all)[1].declared.Values)
	require.NoError(t, c.Close())
	assert.True(t, (*all)[1].closed.Load())
	for text, want := range map[string]string{
		"- {source: a, type: made}\n":                               "s.yaml:1: key: is missing",
		"- {source: a, type: made, key: one, url: x}\n":             "s.yaml:1: url: is not a known key: source, type, key, more, ca_cert",
		"- {source: a/b, type: made, key: one}\n":                   `s.yaml:1: source: "a/b" has a slash`,
		"- {source: a, type: made, key: one, more: 7}\n":            "s.yaml:1: more: is no text",
		"- {source: a, type: made, key: one, ca_cert: nowhere}\n":   "s.yaml:1: ca_cert: open nowhere: no such file",
		"- {source: a, type: makes, key: one}\n":                    "s.yaml:1: type: \"makes\" is not a known kind of source: use static, made",
		"- {source: a, type: made, key: o}\n- {type: made, key: o}": "s.yaml:2: source: is missing",
	} {
		_, err := sources.OpenText("s.yaml", []byte(text), cfg)
		assert.ErrorContains(t, err, want)
	}
	assert.Len(t, *all, 2, "nothing is opened of a file that is bad")
}

// Timeline: a source fails twice for one reason, then for another; it works again; it reports
// trouble itself; one of its consoles cannot be used.
func TestTheTroubleOfASourceIsCountedAndSaidOnce(t *testing.T) {
	kind, all := making()
	var log bytes.Buffer
	c, err := sources.OpenText("s.yaml", []byte("- {source: a, type: made, key: one}\n- {source: b, type: made, key: two}\n"),
		sources.Config{Kinds: map[string]sources.Kind{"made": kind}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, err)
	defer c.Close()
	m := (*all)[0]
	fail := func(err error) {
		if m.err.Store(&err); err == nil {
			m.err.Store(nil)
		}
		_, _ = c.Console(t.Context(), "a", "1")
	}
	fail(errors.New("nobody is there"))
	fail(errors.New("nobody is there"))
	fail(errors.New("permission denied"))
	_, _ = c.Consoles(t.Context())
	assert.Equal(t, map[string]uint64{"a": 4, "b": 0}, c.SourceErrors())
	assert.Equal(t, 1, strings.Count(log.String(), `source=a error="nobody is there"`))
	assert.Equal(t, 1, strings.Count(log.String(), `source=a error="permission denied"`))
	fail(nil)
	_, _ = c.Consoles(t.Context())
	assert.Equal(t, 1, strings.Count(log.String(), `"sources: the source is well again" source=a`))
	m.declared.Report(errors.New("the connection was lost"))
	m.declared.Report(nil)
	assert.Equal(t, map[string]uint64{"a": 5, "b": 0}, c.SourceErrors())
	assert.Equal(t, 2, strings.Count(log.String(), "well again"))
	// These are no trouble of the source.
	fail(&console.UnknownError{Source: "a", UUID: "1"})
	fail(&console.UnusableError{Source: "a", UUID: "1", Why: "its password has expired"})
	assert.Equal(t, map[string]uint64{"a": 5, "b": 0}, c.SourceErrors())
}

func TestStaticSourcesRefuseWhatCannotBeAddressed(t *testing.T) {
	_, err := sources.NewStatic("")
	assert.ErrorContains(t, err, "no name")
	_, err = sources.NewStatic("a", sources.Console{Name: "x"})
	assert.ErrorContains(t, err, `console "x" has no uuid`)
	_, err = sources.NewStatic("a", sources.Console{UUID: "1"}, sources.Console{UUID: "1"})
	assert.ErrorContains(t, err, "uuid 1 is used twice")
}
