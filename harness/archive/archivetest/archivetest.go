// Package archivetest has the tests that every store of archives must pass, and a store that fails
// on purpose.
package archivetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/archive"
	"github.com/spicelane/spicelane/harness/plan/result"
)

// TestStore runs all tests, each with a new store from empty.
func TestStore(t *testing.T, empty func(t *testing.T) archive.Store) {
	for name, test := range map[string]func(*testing.T, archive.Store){
		"objects are stored, replaced, listed and deleted":          objects,
		"an object has another version after it was replaced":       objectVersions,
		"a list of many runs reads an index and what that lacks":    indexed,
		"of many who create the same object one succeeds":           creators,
		"names that lead elsewhere are refused":                     badNames,
		"a cancelled call stores nothing":                           cancelled,
		"a run can be added, listed, read and verified":             wholeRun,
		"two archives become one without loss or duplicate":         merged,
		"writers and the one who deletes do not disturb each other": together,
		"a store that fails every third call loses nothing":         everyThird,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, empty(t))
		})
	}
}

func put(t *testing.T, s archive.Store, name, text string) {
	t.Helper()
	require.NoError(t, s.Put(t.Context(), name, strings.NewReader(text), int64(len(text)), false))
}

func get(t *testing.T, s archive.Store, name string) string {
	t.Helper()
	rc, err := s.Get(t.Context(), name)
	require.NoError(t, err)
	b, err := io.ReadAll(rc)
	require.NoError(t, err)
	require.NoError(t, rc.Close())
	return string(b)
}

func list(t *testing.T, s archive.Store, prefix string) []string {
	t.Helper()
	all := []string{}
	for o, err := range s.List(t.Context(), prefix) {
		require.NoError(t, err)
		all = append(all, fmt.Sprintf("%s %d", o.Name, o.Bytes))
	}
	slices.Sort(all)
	return all
}

func objects(t *testing.T, s archive.Store) {
	require.Empty(t, list(t, s, ""))
	require.Empty(t, list(t, s, "runs/"))
	_, err := s.Get(t.Context(), "runs/a")
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = s.Stat(t.Context(), "runs/a")
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, s.Delete(t.Context(), "runs/a"), "to delete what is not there is no error")

	put(t, s, "runs/a", "first")
	put(t, s, "runs/b", "b")
	put(t, s, "blobs/ab/c.zst", strings.Repeat("long ", 100_000))
	require.Equal(t, "first", get(t, s, "runs/a"))
	put(t, s, "runs/a", "second, longer")
	require.Equal(t, "second, longer", get(t, s, "runs/a"))
	require.Equal(t, strings.Repeat("long ", 100_000), get(t, s, "blobs/ab/c.zst"))
	require.Equal(t, []string{"blobs/ab/c.zst 500000", "runs/a 14", "runs/b 1"}, list(t, s, ""))
	require.Equal(t, []string{"runs/a 14", "runs/b 1"}, list(t, s, "runs/"))
	o, err := s.Stat(t.Context(), "runs/a")
	require.NoError(t, err)
	require.Equal(t, archive.Object{Name: "runs/a", Bytes: 14}, o)
	_, err = s.Stat(t.Context(), "runs")
	require.ErrorIs(t, err, fs.ErrNotExist, "the beginning of a name is no object")

	err = s.Put(t.Context(), "runs/short", strings.NewReader("abc"), 5, false)
	require.Error(t, err, "a body that is too short")
	_, err = s.Stat(t.Context(), "runs/short")
	require.ErrorIs(t, err, fs.ErrNotExist)

	require.NoError(t, s.Delete(t.Context(), "runs/a"))
	_, err = s.Get(t.Context(), "runs/a")
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, s.Sweep(t.Context()))
	require.NotEmpty(t, s.Location())
}

// versions returns the versions of all objects by name.
func versions(t *testing.T, s archive.Store) map[string]string {
	t.Helper()
	all := map[string]string{}
	for o, err := range s.List(t.Context(), "") {
		require.NoError(t, err)
		all[o.Name] = o.Version
	}
	return all
}

func objectVersions(t *testing.T, s archive.Store) {
	put(t, s, "runs/a", "first")
	put(t, s, "runs/b", "other")
	before := versions(t, s)
	require.NotEmpty(t, before["runs/a"])
	require.Equal(t, before, versions(t, s))
	put(t, s, "runs/a", "again")
	after := versions(t, s)
	require.NotEqual(t, before["runs/a"], after["runs/a"])
	require.Equal(t, before["runs/b"], after["runs/b"])
}

// counting counts the objects that are read.
type counting struct {
	archive.Store
	gets atomic.Int32
}

func (c *counting) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	c.gets.Add(1)
	return c.Store.Get(ctx, name)
}

// indexed imports a hundred runs at once, so that there is an index. Then it adds a run, deletes
// one, and replaces the record of one with that of a different run with the same ID.
func indexed(t *testing.T, s archive.Store) {
	const many = 100
	from := Open(t, archive.Dir{Path: t.TempDir(), NoSync: true})
	bare := func(n int, outcome result.Outcome) archive.Source {
		src := Run(n)
		src.Run.Cells = nil
		src.Run.Outcome = outcome
		return src
	}
	for n := range many {
		_, err := from.Add(t.Context(), bare(n, result.Success))
		require.NoError(t, err)
	}
	var epoch bytes.Buffer
	_, err := from.Export(t.Context(), &epoch, func(*archive.Record) bool { return true })
	require.NoError(t, err)
	c := &counting{Store: s}
	a := Open(t, c)
	_, err = a.Import(t.Context(), &epoch)
	require.NoError(t, err)
	listed := func(gets int) []*archive.Record {
		t.Helper()
		c.gets.Store(0)
		all, err := a.List(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, gets, c.gets.Load(), "objects that are read")
		return all
	}
	want, err := from.List(t.Context())
	require.NoError(t, err)
	require.Equal(t, want, listed(1), "the index has them all")

	_, err = a.Add(t.Context(), bare(many, result.Success))
	require.NoError(t, err)
	require.Len(t, listed(2), many+1)
	require.NoError(t, s.Delete(t.Context(), "runs/run-0003.zst"))
	require.Len(t, listed(2), many)

	other := archive.Dir{Path: t.TempDir(), NoSync: true}
	_, err = Open(t, other).Add(t.Context(), bare(7, result.Failure))
	require.NoError(t, err)
	put(t, s, "runs/run-0007.zst", get(t, other, "runs/run-0007.zst"))
	for _, r := range listed(3) {
		require.Equal(t, r.ID == "run-0007", r.Outcome == result.Failure, r.ID)
	}

	// A damaged index only costs time, and Verify reports it.
	index := get(t, s, "index.zst")
	put(t, s, "index.zst", index[:len(index)-1])
	require.Len(t, listed(1+many), many)
	v, err := a.Verify(t.Context())
	require.NoError(t, err)
	var names []string
	for _, f := range v.Faults {
		names = append(names, f.Name)
	}
	require.Contains(t, names, "index.zst")
	gone, err := a.Discard(t.Context())
	require.NoError(t, err)
	require.Contains(t, gone, "index.zst")
	_, err = a.Prune(t.Context(), archive.Retention{})
	require.NoError(t, err)
	require.Len(t, listed(1), many)
	// So many runs are gone that the index is written again.
	_, err = a.Prune(t.Context(), archive.Retention{Runs: 10})
	require.NoError(t, err)
	require.Less(t, len(get(t, s, "index.zst")), len(index))
	require.Len(t, listed(1), 10)
}

func creators(t *testing.T, s archive.Store) {
	var won atomic.Int32
	var winner atomic.Value
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			text := fmt.Sprintf("writer %d", i)
			err := s.Put(t.Context(), "runs/same", strings.NewReader(text), int64(len(text)), true)
			if err == nil {
				won.Add(1)
				winner.Store(text)
			} else if !errors.Is(err, fs.ErrExist) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 1, won.Load())
	require.Equal(t, winner.Load(), get(t, s, "runs/same"))
}

func badNames(t *testing.T, s archive.Store) {
	for _, name := range []string{"", "/etc/x", "../x", "a/../../x", "a//b", "./a"} {
		require.Error(t, s.Put(t.Context(), name, strings.NewReader("x"), 1, false), "%q", name)
	}
	require.Empty(t, list(t, s, ""))
}

func cancelled(t *testing.T, s archive.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, s.Put(ctx, "runs/a", strings.NewReader("x"), 1, false), context.Canceled)
	_, err := s.Get(ctx, "runs/a")
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, list(t, s, ""))
}

// Run returns a run with cells and evidence that depend on n. Runs of consecutive n share most of
// their files.
func Run(n int) archive.Source {
	files := fstest.MapFS{}
	r := &result.Run{Schema: result.Schema, ID: fmt.Sprintf("run-%04d", n), Plan: result.Plan{Name: "matrix", File: "matrix.yaml"},
		Began: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(n) * 24 * time.Hour), TookMS: 1000, Outcome: result.Success}
	for i, display := range []string{"qxl", "virtio", "std"} {
		id := map[string]string{"lane/qemu": "7.2.22", "lane/proxy": fmt.Sprintf("builtin %d", n/2), "lane/config": "display " + display}
		at := result.Attempt{N: 1, Began: r.Began, TookMS: 10, Outcome: result.Success, Identity: id}
		for path, text := range map[string]string{
			"serial.log": "Hello from Beacon\n" + strings.Repeat("the same in every run\n", 100),
			"lane.txt":   fmt.Sprintf("run %d, %s", n, display),
		} {
			path = fmt.Sprintf("cell-%d/%s", i, path)
			files[path] = &fstest.MapFile{Data: []byte(text)}
			at.Evidence = append(at.Evidence, result.Evidence{Path: path, Kind: result.KindLane, Bytes: int64(len(text))})
		}
		slices.SortFunc(at.Evidence, func(x, y result.Evidence) int { return strings.Compare(x.Path, y.Path) })
		r.Cells = append(r.Cells, result.Cell{ID: "boot (display=" + display + ")", Job: "boot", Outcome: result.Success, TookMS: 10,
			Identity: id, Attempts: []result.Attempt{at}})
	}
	return archive.Source{Run: r, Files: files}
}

// Many fills an empty store with the given number of runs without cells, and an index of them. It
// adds the runs to a directory first, which is faster, and copies them.
func Many(tb testing.TB, s archive.Store, runs int) {
	tb.Helper()
	ctx := tb.Context()
	add := func(d archive.Dir, n int) *archive.Archive {
		a, err := archive.Open(ctx, d, archive.Options{})
		require.NoError(tb, err)
		src := Run(n)
		src.Run.Cells = nil
		_, err = a.Add(ctx, src)
		require.NoError(tb, err)
		return a
	}
	from := archive.Dir{Path: tb.TempDir(), NoSync: true}
	for n := range runs - 1 {
		add(from, n)
	}
	for o, err := range from.List(ctx, "") {
		require.NoError(tb, err)
		if o.Name == "index.zst" {
			continue // it has the versions of other objects
		}
		rc, err := from.Get(ctx, o.Name)
		require.NoError(tb, err)
		b, err := io.ReadAll(rc)
		require.NoError(tb, err)
		require.NoError(tb, rc.Close())
		require.NoError(tb, s.Put(ctx, o.Name, bytes.NewReader(b), int64(len(b)), false))
	}
	// Importing the last run renews the index.
	var last bytes.Buffer
	one := add(archive.Dir{Path: tb.TempDir(), NoSync: true}, runs-1)
	_, err := one.Export(ctx, &last, func(*archive.Record) bool { return true })
	require.NoError(tb, err)
	a, err := archive.Open(ctx, s, archive.Options{})
	require.NoError(tb, err)
	_, err = a.Import(ctx, &last)
	require.NoError(tb, err)
}

// Open opens the archive in a store.
func Open(t *testing.T, s archive.Store) *archive.Archive {
	t.Helper()
	a, err := archive.Open(t.Context(), s, archive.Options{})
	require.NoError(t, err)
	return a
}

// Intact fails the test if the archive has a fault, or other runs than these.
func Intact(t *testing.T, a *archive.Archive, ids ...string) {
	t.Helper()
	v, err := a.Verify(t.Context())
	require.NoError(t, err)
	require.Empty(t, v.Faults)
	all, err := a.List(t.Context())
	require.NoError(t, err)
	got := []string{}
	for _, r := range all {
		got = append(got, r.ID)
	}
	require.ElementsMatch(t, ids, got)
}

func wholeRun(t *testing.T, s archive.Store) {
	a := Open(t, s)
	src := Run(1)
	added, err := a.Add(t.Context(), src)
	require.NoError(t, err)
	require.False(t, added.Known)
	// run.json, the list of files, one serial.log for all cells, and lane.txt of each.
	require.Equal(t, 6, added.Stored)
	require.Equal(t, 2, added.Shared)
	again, err := Open(t, s).Add(t.Context(), src)
	require.NoError(t, err)
	require.True(t, again.Known)
	require.Zero(t, again.Stored)
	Intact(t, a, "run-0001")

	r, err := a.Run(t.Context(), "run-0001")
	require.NoError(t, err)
	require.Equal(t, src.Run, r)
	files, err := a.Files(t.Context(), "run-0001")
	require.NoError(t, err)
	require.Len(t, files, 6)
	for _, f := range files {
		rc, err := a.OpenFile(t.Context(), f)
		require.NoError(t, err)
		b, err := io.ReadAll(rc)
		require.NoError(t, err)
		require.NoError(t, rc.Close())
		want, err := fs.ReadFile(src.Files, f.Path)
		require.NoError(t, err)
		require.Equal(t, string(want), string(b), f.Path)
	}
	_, err = a.Run(t.Context(), "run-0002")
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func merged(t *testing.T, s archive.Store) {
	a, b := Open(t, s), Open(t, archive.Dir{Path: t.TempDir(), NoSync: true})
	for n := range 4 {
		_, err := a.Add(t.Context(), Run(n))
		require.NoError(t, err)
		_, err = b.Add(t.Context(), Run(n+2))
		require.NoError(t, err)
	}
	// Both have a different run with the same ID.
	clash := Run(9)
	_, err := a.Add(t.Context(), clash)
	require.NoError(t, err)
	clash = Run(9)
	clash.Run.Cells[0].Outcome = result.Failure
	_, err = b.Add(t.Context(), clash)
	require.NoError(t, err)

	var epoch, twice bytes.Buffer
	n, err := b.Export(t.Context(), &epoch, func(*archive.Record) bool { return true })
	require.NoError(t, err)
	require.Equal(t, 5, n)
	_, err = b.Export(t.Context(), &twice, func(*archive.Record) bool { return true })
	require.NoError(t, err)
	require.True(t, bytes.Equal(epoch.Bytes(), twice.Bytes()), "the same runs give the same file")
	done, err := a.Import(t.Context(), bytes.NewReader(epoch.Bytes()))
	require.NoError(t, err)
	require.Len(t, done.Runs, 3, "%+v", done)
	require.ElementsMatch(t, []string{"run-0002", "run-0003"}, done.Known)
	other := done.Renamed["run-0009"]
	require.Regexp(t, `^run-0009~[0-9a-f]{16}$`, other)
	all := []string{"run-0000", "run-0001", "run-0002", "run-0003", "run-0004", "run-0005", "run-0009", other}
	Intact(t, a, all...)
	done, err = a.Import(t.Context(), bytes.NewReader(epoch.Bytes()))
	require.NoError(t, err)
	require.Empty(t, done.Runs, "the same file again adds nothing")
	require.Zero(t, done.Blobs)
	Intact(t, a, all...)
	r, err := a.Run(t.Context(), other)
	require.NoError(t, err)
	require.Equal(t, result.Failure, r.Cells[0].Outcome)
}

func together(t *testing.T, s archive.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var deleting sync.WaitGroup
	deleting.Go(func() {
		a := Open(t, s)
		for ctx.Err() == nil {
			if _, err := a.Prune(ctx, archive.Retention{}); err != nil && ctx.Err() == nil {
				t.Error(err)
				return
			}
		}
	})
	var writing sync.WaitGroup
	var ids []string
	for w := range 3 {
		for i := range 3 {
			ids = append(ids, fmt.Sprintf("run-%04d", 10*w+i))
		}
		writing.Go(func() {
			a := Open(t, s)
			for i := range 3 {
				if _, err := a.Add(t.Context(), Run(10*w+i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writing.Wait()
	cancel()
	deleting.Wait()
	a := Open(t, s)
	Intact(t, a, ids...)
	require.Empty(t, list(t, s, "locks/"), "all locks have been released")
}

func everyThird(t *testing.T, s archive.Store) {
	f := &Failing{Store: s, Every: 3}
	a := Open(t, f)
	for n := range 3 {
		_, err := a.Add(t.Context(), Run(n))
		require.NoError(t, err)
	}
	p, err := a.Prune(t.Context(), archive.Retention{Runs: 2})
	require.NoError(t, err)
	require.Equal(t, []string{"run-0000"}, p.Runs)
	Intact(t, a, "run-0001", "run-0002")
	require.Greater(t, f.Failed(), 20)
	Intact(t, Open(t, s), "run-0001", "run-0002")
}

// Failing is a store whose calls fail.
type Failing struct {
	archive.Store
	// Every makes each Every-th call fail with a temporary error; 0 means none. Half of these calls
	// fail before they do anything, and the other half after they have done it.
	Every int
	// Until is the number of the first call, from 1, that fails with a permanent error. All later
	// calls fail, too. 0 means never.
	Until int
	// Err is the permanent error; nil means syscall.ENOSPC.
	Err error

	mu     sync.Mutex
	calls  int
	failed int
}

type hiccup struct{ call int }

func (h hiccup) Error() string { return fmt.Sprintf("call %d failed on purpose", h.call) }
func (hiccup) Temporary() bool { return true }

// Calls returns the number of calls so far.
func (f *Failing) Calls() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

// Failed returns the number of calls that have failed.
func (f *Failing) Failed() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failed
}

// next counts a call and returns the error that it fails with: before it does anything, or after
// it.
func (f *Failing) next() (before, after error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	switch {
	case f.Until > 0 && f.calls >= f.Until:
		f.failed++
		if f.Err != nil {
			return f.Err, nil
		}
		return &fs.PathError{Op: "write", Path: "object", Err: syscall.ENOSPC}, nil
	case f.Every > 0 && f.calls%f.Every == 0:
		f.failed++
		if f.failed%2 == 0 {
			return nil, hiccup{f.calls}
		}
		return hiccup{f.calls}, nil
	}
	return nil, nil
}

func (f *Failing) Put(ctx context.Context, name string, body io.ReaderAt, size int64, create bool) error {
	before, after := f.next()
	if before != nil {
		return before
	}
	return cmpErr(f.Store.Put(ctx, name, body, size, create), after)
}

func cmpErr(err, after error) error {
	if after != nil {
		return after
	}
	return err
}

func (f *Failing) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	before, after := f.next()
	if before != nil {
		return nil, before
	}
	rc, err := f.Store.Get(ctx, name)
	if err == nil && after != nil {
		return &breaking{rc, after}, nil
	}
	return rc, err
}

// breaking is a connection that breaks after one byte.
type breaking struct {
	io.ReadCloser
	err error
}

func (b *breaking) Read(p []byte) (int, error) {
	n, _ := b.ReadCloser.Read(p[:min(len(p), 1)])
	return n, b.err
}

func (f *Failing) Stat(ctx context.Context, name string) (archive.Object, error) {
	before, after := f.next()
	if before != nil || after != nil {
		return archive.Object{}, cmpErr(before, after)
	}
	return f.Store.Stat(ctx, name)
}

func (f *Failing) List(ctx context.Context, prefix string) iter.Seq2[archive.Object, error] {
	before, after := f.next()
	return func(yield func(archive.Object, error) bool) {
		if before != nil {
			yield(archive.Object{}, before)
			return
		}
		for o, err := range f.Store.List(ctx, prefix) {
			if !yield(o, err) {
				return
			}
			if after != nil {
				yield(archive.Object{}, after)
				return
			}
		}
	}
}

func (f *Failing) Delete(ctx context.Context, name string) error {
	before, after := f.next()
	if before != nil {
		return before
	}
	return cmpErr(f.Store.Delete(ctx, name), after)
}

// BenchmarkList fills an empty store with runs and measures the listing, with an index and without.
// requests is the store's counter of requests; it stays 0 for a store that sends none.
func BenchmarkList(b *testing.B, s archive.Store, runs int, requests *atomic.Int64) {
	Many(b, s, runs)
	for _, name := range []string{"with an index", "without an index"} {
		if name == "without an index" {
			require.NoError(b, s.Delete(b.Context(), "index.zst"))
		}
		b.Run(name, func(b *testing.B) {
			a, err := archive.Open(b.Context(), s, archive.Options{})
			require.NoError(b, err)
			before, began := requests.Load(), CPUTime()
			defer func() {
				if n := requests.Load() - before; n > 0 {
					b.ReportMetric(float64(n)/float64(b.N), "requests/op")
				}
				b.ReportMetric(float64((CPUTime()-began).Milliseconds())/float64(b.N), "cpu-ms/op")
			}()
			for b.Loop() {
				all, err := a.List(b.Context())
				require.NoError(b, err)
				require.Len(b, all, runs)
			}
		})
	}
}

// CPUTime returns the processor time of this process so far. Unlike elapsed time, it does not
// depend on other work on the computer.
func CPUTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
