package sources_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
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
	c, err = sources.NewCatalog(a, failing{})
	require.NoError(t, err)
	_, err = c.Consoles(t.Context())
	assert.ErrorContains(t, err, "sources: failing: libvirtd is down")
}

func TestStaticSourcesRefuseWhatCannotBeAddressed(t *testing.T) {
	_, err := sources.NewStatic("")
	assert.ErrorContains(t, err, "no name")
	_, err = sources.NewStatic("a", sources.Console{Name: "x"})
	assert.ErrorContains(t, err, `console "x" has no uuid`)
	_, err = sources.NewStatic("a", sources.Console{UUID: "1"}, sources.Console{UUID: "1"})
	assert.ErrorContains(t, err, "uuid 1 is used twice")
}
