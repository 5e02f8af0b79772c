package archive_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/spicelane/spicelane/harness/archive"
	"github.com/spicelane/spicelane/harness/archive/archivetest"
	"github.com/spicelane/spicelane/harness/plan/result"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/internal/need"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("ARCHIVE_TEST_HOLD"); dir != "" {
		holdForever(dir)
	}
	goleak.VerifyTestMain(m)
}

func newDir(t *testing.T) archive.Dir { return archive.Dir{Path: t.TempDir(), NoSync: true} }

func TestADirectoryIsAStore(t *testing.T) {
	t.Parallel()
	archivetest.TestStore(t, func(t *testing.T) archive.Store {
		return archive.Dir{Path: filepath.Join(t.TempDir(), "made with the first object")}
	})
}

// Some bits of a zstd frame have no meaning; only the seal sees those. One bit of each byte is
// flipped, and every bit with SPICELANE_SOAK=full.
func TestVerifyFindsEveryFlippedBit(t *testing.T) {
	need.Long(t)
	t.Parallel()
	d := newDir(t)
	a := archivetest.Open(t, d)
	src := archivetest.Run(1)
	src.Run.Cells = src.Run.Cells[:1]
	_, err := a.Add(t.Context(), src)
	require.NoError(t, err)
	require.NoError(t, a.Pin(t.Context(), "run-0001"))
	flips := 0
	err = filepath.WalkDir(d.Path, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, _ := filepath.Rel(d.Path, path)
		good, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for bit := range 8 * len(good) {
			if os.Getenv("SPICELANE_SOAK") != "full" && bit%8 != bit/8%8 {
				continue
			}
			bad := bytes.Clone(good)
			bad[bit/8] ^= 1 << (bit % 8)
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				return err
			}
			v, err := a.Verify(t.Context())
			if err != nil {
				return fmt.Errorf("bit %d of %s: %w", bit, name, err)
			}
			if len(v.Faults) != 1 || v.Faults[0].Name != name {
				return fmt.Errorf("bit %d of %s: the faults are %+v", bit, name, v.Faults)
			}
			flips++
		}
		return os.WriteFile(path, good, 0o600)
	})
	require.NoError(t, err)
	archivetest.Intact(t, a, "run-0001")
	t.Logf("%d flipped bits were found", flips)
}

// filled returns an archive with n runs, and its store.
func filled(t *testing.T, n int) (*archive.Archive, archive.Dir) {
	t.Helper()
	d := newDir(t)
	a := archivetest.Open(t, d)
	for n := range n {
		_, err := a.Add(t.Context(), archivetest.Run(n))
		require.NoError(t, err)
	}
	return a, d
}

func TestVerifyFindsWhatIsMissingCutOffRenamedOrForeign(t *testing.T) {
	t.Parallel()
	a, d := filled(t, 2)
	files, err := a.Files(t.Context(), "run-0001")
	require.NoError(t, err)
	blob := func(i int) string { return "blobs/" + files[i].SHA256[:2] + "/" + files[i].SHA256 + ".zst" }
	path := func(name string) string { return filepath.Join(d.Path, name) }
	require.Equal(t, "cell-0/lane.txt", files[0].Path)
	require.NoError(t, os.Remove(path(blob(0))))
	require.NoError(t, os.Truncate(path(blob(2)), 20))
	require.NoError(t, os.WriteFile(path("notes.txt"), []byte("mine"), 0o600))
	record, err := os.ReadFile(path("runs/run-0000.zst"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path("runs/run-0007.zst"), record, 0o600))
	v, err := a.Verify(t.Context())
	require.NoError(t, err)
	got := map[string]string{}
	for _, f := range v.Faults {
		got[f.Name] = f.Why + " " + strings.Join(f.Runs, " ")
	}
	require.Equal(t, map[string]string{
		blob(0):             "it is missing run-0001",
		blob(2):             got[blob(2)],
		"notes.txt":         "it does not belong to an archive ",
		"runs/run-0007.zst": "it is the record of run run-0000 ",
	}, got)
	require.Contains(t, got[blob(2)], "run-0001")

	// Damaged objects are discarded. Adding the run again restores them.
	gone, err := a.Discard(t.Context())
	require.NoError(t, err)
	require.ElementsMatch(t, []string{blob(2), "notes.txt", "runs/run-0007.zst"}, gone)
	_, err = a.Add(t.Context(), archivetest.Run(1))
	require.NoError(t, err)
	archivetest.Intact(t, a, "run-0000", "run-0001")
}

// A record of a later format is not damage: a later program can read it.
func TestDiscardKeepsARecordOfALaterFormat(t *testing.T) {
	t.Parallel()
	a := archivetest.Open(t, newDir(t))
	_, err := a.Add(t.Context(), archivetest.Run(1))
	require.NoError(t, err)
	require.NoError(t, a.CopyAs(t.Context(), "run-0001", "later", archive.Format+1))
	gone, err := a.Discard(t.Context())
	require.NoError(t, err)
	require.Empty(t, gone)
	v, err := a.Verify(t.Context())
	require.NoError(t, err)
	require.Equal(t, []archive.Fault{{Name: "runs/later.zst", Why: "runs/later.zst: its format is 2, and this program knows format 1"}}, v.Faults)
}

// If a publish fails at any of its calls, the run is not seen in the archive, and nothing else has
// changed. The next attempt succeeds.
func TestAPublishThatFailsAtAnyMomentIsNotSeen(t *testing.T) {
	need.Long(t)
	t.Parallel()
	whole := &archivetest.Failing{Store: newDir(t)}
	_, err := archivetest.Open(t, whole).Add(t.Context(), archivetest.Run(1))
	require.NoError(t, err)
	for n := 2; n < whole.Calls(); n++ {
		d := newDir(t)
		_, err := archivetest.Open(t, d).Add(t.Context(), archivetest.Run(0))
		require.NoError(t, err)
		f := &archivetest.Failing{Store: d, Until: n + 1}
		a, err := archive.Open(t.Context(), f, archive.Options{})
		if err == nil {
			_, err = a.Add(t.Context(), archivetest.Run(1))
		}
		clean := archivetest.Open(t, d)
		if err == nil { // only the lock could not be removed
			archivetest.Intact(t, clean, "run-0000", "run-0001")
			continue
		}
		require.Equal(t, verdict.Host, verdict.Of(err), "call %d: %v", n, err)
		require.ErrorContains(t, err, "no space left on device; the disk is full: free some space")
		archivetest.Intact(t, clean, "run-0000")
	}
}

// slow is a store that never finishes its blobs.
type slow struct {
	archive.Dir
	reached chan struct{}
}

func (s slow) Stat(ctx context.Context, name string) (archive.Object, error) {
	if strings.HasPrefix(name, "blobs/") {
		close(s.reached)
		<-ctx.Done()
		return archive.Object{}, ctx.Err()
	}
	return s.Dir.Stat(ctx, name)
}

// holdForever is a process that stops in the middle of adding a run.
func holdForever(dir string) {
	s := slow{archive.Dir{Path: dir}, make(chan struct{})}
	a, err := archive.Open(context.Background(), s, archive.Options{})
	if err != nil {
		panic(err)
	}
	go func() {
		<-s.reached
		fmt.Println("held")
	}()
	src := archivetest.Run(1)
	src.Run.Cells = nil // so that run.json is its only content
	_, err = a.Add(context.Background(), src)
	panic(err)
}

func TestTheLockOfAProcessThatWasKilledEndsAtOnce(t *testing.T) {
	t.Parallel()
	d := newDir(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "ARCHIVE_TEST_HOLD="+d.Path)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	said := make([]byte, 5)
	_, err = out.Read(said)
	require.NoError(t, err)
	require.Equal(t, "held\n", string(said))

	a := archivetest.Open(t, d)
	ctx, cancel := context.WithTimeoutCause(t.Context(), 300*time.Millisecond, errors.New("it still writes"))
	defer cancel()
	_, err = a.Prune(ctx, archive.Retention{})
	var locked *archive.LockError
	require.ErrorAs(t, err, &locked)
	require.Contains(t, locked.Process, fmt.Sprintf("process %d on ", cmd.Process.Pid))
	require.ErrorContains(t, err, "it still writes")

	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	_, err = a.Prune(t.Context(), archive.Retention{}) // DefaultLease is a minute
	require.NoError(t, err)
}

// ending is a store that ends its caller's context when the caller lists the writers for the second
// time.
type ending struct {
	archive.Dir
	looks *int
	end   context.CancelCauseFunc
}

func (s ending) List(ctx context.Context, prefix string) iter.Seq2[archive.Object, error] {
	if prefix == "locks/writers/" {
		if *s.looks++; *s.looks == 2 {
			s.end(errors.New("the job is over"))
		}
	}
	return s.Dir.List(ctx, prefix)
}

func TestWhoHoldsTheLockIsSaidWhereverTheTimeOfAWaiterEnds(t *testing.T) {
	t.Parallel()
	d := newDir(t)
	foreign := `{"holder":"x","process":"process 7 on elsewhere","kernel":"other","pid":7,"start":1,"beat":1}`
	require.NoError(t, d.Put(t.Context(), "locks/writers/x", strings.NewReader(foreign), int64(len(foreign)), true))
	ctx, cancel := context.WithCancelCause(t.Context())
	looks := 0
	a, err := archive.Open(t.Context(), ending{d, &looks, cancel}, archive.Options{})
	require.NoError(t, err)
	_, err = a.Prune(ctx, archive.Retention{})
	var locked *archive.LockError
	require.ErrorAs(t, err, &locked)
	require.ErrorContains(t, err, "it is in use by process 7 on elsewhere: the job is over")
}

// The lock of a holder on another computer ends if it shows no sign of life for a lease, whatever
// the time of day is here.
func TestTheLockOfAVanishedHostEndsAfterItsLease(t *testing.T) {
	t.Parallel()
	d := newDir(t)
	foreign := `{"holder":"x","process":"process 7 on elsewhere","kernel":"other","pid":7,"start":1,"beat":1}`
	require.NoError(t, d.Put(t.Context(), "locks/exclusive", strings.NewReader(foreign), int64(len(foreign)), true))
	clock := time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)
	a, err := archive.Open(t.Context(), d, archive.Options{Lease: 200 * time.Millisecond, Now: func() time.Time { return clock }})
	require.NoError(t, err)
	began := time.Now()
	_, err = a.Add(t.Context(), archivetest.Run(1))
	require.NoError(t, err)
	require.GreaterOrEqual(t, time.Since(began), 200*time.Millisecond)
	archivetest.Intact(t, a, "run-0001")
}

func ids(records []*archive.Record) []string {
	all := []string{}
	for _, r := range records {
		all = append(all, r.ID)
	}
	return all
}

func TestRetentionKeepsTheNewestRunsWithinItsLimits(t *testing.T) {
	need.Long(t)
	t.Parallel()
	day := 24 * time.Hour
	for name, c := range map[string]struct {
		keep archive.Retention
		pin  string
		want []string
	}{
		"no limit":                        {archive.Retention{}, "", []string{"run-0003", "run-0002", "run-0001", "run-0000"}},
		"by count":                        {archive.Retention{Runs: 2}, "", []string{"run-0003", "run-0002"}},
		"by age":                          {archive.Retention{Age: day}, "", []string{"run-0003", "run-0002"}},
		"by bytes":                        {archive.Retention{Bytes: 1}, "", []string{}},
		"some stay whatever":              {archive.Retention{Bytes: 1, AtLeast: 1}, "", []string{"run-0003"}},
		"a pinned run stays":              {archive.Retention{Age: day}, "run-0000", []string{"run-0003", "run-0002", "run-0000"}},
		"a pinned run counts":             {archive.Retention{Runs: 2}, "run-0000", []string{"run-0003", "run-0000"}},
		"a dry run says what it would do": {archive.Retention{Runs: 1, DryRun: true}, "", []string{"run-0003", "run-0002", "run-0001", "run-0000"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, _ := filled(t, 4)
			if c.pin != "" {
				require.NoError(t, a.Pin(t.Context(), c.pin))
			}
			p, err := a.Prune(t.Context(), c.keep)
			require.NoError(t, err)
			all, err := a.List(t.Context())
			require.NoError(t, err)
			require.Equal(t, c.want, ids(all))
			archivetest.Intact(t, a, c.want...)
			v, err := a.Verify(t.Context())
			require.NoError(t, err)
			require.Zero(t, v.Unused)
			if c.keep.DryRun {
				require.Equal(t, []string{"run-0002", "run-0001", "run-0000"}, p.Runs)
				return
			}
			require.Len(t, p.Runs, 4-len(c.want))
			require.Equal(t, len(c.want), p.Kept)
		})
	}
}

func TestRetentionByBytesCountsSharedContentOnce(t *testing.T) {
	t.Parallel()
	a, _ := filled(t, 4)
	p, err := a.Prune(t.Context(), archive.Retention{Runs: 2, DryRun: true})
	require.NoError(t, err)
	limit := p.KeptBytes
	p, err = a.Prune(t.Context(), archive.Retention{Bytes: limit, DryRun: true})
	require.NoError(t, err)
	require.Equal(t, 2, p.Kept)
	p, err = a.Prune(t.Context(), archive.Retention{Bytes: limit - 1, DryRun: true})
	require.NoError(t, err)
	require.Equal(t, 1, p.Kept)
}

// deleting is a store that calls before when a run's record is about to be deleted.
type deleting struct {
	archive.Store
	before func()
}

func (d deleting) Delete(ctx context.Context, name string) error {
	if strings.HasPrefix(name, "runs/") {
		d.before()
	}
	return d.Store.Delete(ctx, name)
}

func TestARunIsPinnedOnlyIfItStays(t *testing.T) {
	t.Parallel()
	a, d := filled(t, 2)
	records, err := a.List(t.Context())
	require.NoError(t, err)
	id := records[1].ID
	var pinned error
	pruning := archivetest.Open(t, deleting{d, func() {
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(10*time.Millisecond, func() { cancel(errors.New("enough")) })
		pinned = a.Pin(ctx, id)
	}})
	p, err := pruning.Prune(t.Context(), archive.Retention{Runs: 1})
	require.NoError(t, err)
	require.Equal(t, []string{id}, p.Runs)
	require.Error(t, pinned, "it says that the run stays")
	pins, err := a.Pins(t.Context())
	require.NoError(t, err)
	require.Empty(t, pins)
}

func TestAClockThatJumpsMakesNoRunLookOld(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		now  time.Time
		odd  time.Time // when one more run began
		want []string
	}{
		"the clock here is ahead":             {now: time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC), want: []string{"run-0003", "run-0002"}},
		"a host's clock was ahead":            {now: time.Date(2026, 1, 4, 0, 0, 0, 0, time.UTC), odd: time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC), want: []string{"odd", "run-0003", "run-0002"}},
		"the clock here is behind all runs":   {now: time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC), want: []string{"run-0003", "run-0002", "run-0001", "run-0000"}},
		"a host's clock was at its beginning": {now: time.Date(2026, 1, 4, 0, 0, 0, 0, time.UTC), odd: time.Unix(0, 0).UTC(), want: []string{"run-0003", "run-0002"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, err := archive.Open(t.Context(), newDir(t), archive.Options{Now: func() time.Time { return c.now }})
			require.NoError(t, err)
			for n := range 4 {
				_, err := a.Add(t.Context(), archivetest.Run(n))
				require.NoError(t, err)
			}
			if !c.odd.IsZero() {
				src := archivetest.Run(4)
				src.Run.ID, src.Run.Began = "odd", c.odd
				_, err := a.Add(t.Context(), src)
				require.NoError(t, err)
			}
			_, err = a.Prune(t.Context(), archive.Retention{Age: 24 * time.Hour})
			require.NoError(t, err)
			all, err := a.List(t.Context())
			require.NoError(t, err)
			require.Equal(t, c.want, ids(all))
		})
	}
}

func TestAnEpochThatIsCutOffOrDamagedAddsNoRun(t *testing.T) {
	need.Long(t)
	t.Parallel()
	from := archivetest.Open(t, newDir(t))
	for n := range 2 {
		_, err := from.Add(t.Context(), archivetest.Run(n))
		require.NoError(t, err)
	}
	require.NoError(t, from.Pin(t.Context(), "run-0001"))
	var epoch bytes.Buffer
	_, err := from.Export(t.Context(), &epoch, func(*archive.Record) bool { return true })
	require.NoError(t, err)
	whole := epoch.Bytes()
	to := archivetest.Open(t, newDir(t))
	for cut := 0; cut < len(whole)-1024; cut += 511 { // a tar file ends with two empty blocks
		_, err := to.Import(t.Context(), bytes.NewReader(whole[:cut]))
		if err == nil { // only the padding of the last member is missing
			require.Greater(t, cut, len(whole)-1536)
			archivetest.Intact(t, to, "run-0000", "run-0001")
			to = archivetest.Open(t, newDir(t))
			continue
		}
		archivetest.Intact(t, to)
	}
	for at := 600; at < len(whole)-1024; at += 97 {
		bad := bytes.Clone(whole)
		bad[at] ^= 0x40
		done, err := to.Import(t.Context(), bytes.NewReader(bad))
		if err == nil { // the bit was in a header's field that nobody reads, or in the padding
			require.NotNil(t, done)
			archivetest.Intact(t, to, "run-0000", "run-0001")
			to = archivetest.Open(t, newDir(t))
			continue
		}
		archivetest.Intact(t, to)
	}
	done, err := to.Import(t.Context(), bytes.NewReader(whole))
	require.NoError(t, err)
	require.Equal(t, []string{"run-0000", "run-0001"}, done.Runs)
	pinned, err := to.Pins(t.Context())
	require.NoError(t, err)
	require.Equal(t, map[string]bool{"run-0001": true}, pinned)

	// Unpacked by tar, it is an archive.
	dir := t.TempDir()
	file := filepath.Join(t.TempDir(), "epoch.tar")
	n, err := from.ExportFile(t.Context(), file, func(r *archive.Record) bool { return r.InEpoch("2026-01") })
	require.NoError(t, err)
	require.Equal(t, 2, n)
	out, err := exec.Command("tar", "xf", file, "-C", dir).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NoError(t, os.Remove(filepath.Join(dir, "epoch.json")))
	archivetest.Intact(t, archivetest.Open(t, archive.Dir{Path: dir}), "run-0000", "run-0001")
}

// A member with the content of a good object, but with a name that no export uses.
func TestAnEpochWithANameOfNoObjectIsRefused(t *testing.T) {
	t.Parallel()
	d := newDir(t)
	from := archivetest.Open(t, d)
	_, err := from.Add(t.Context(), archivetest.Run(1))
	require.NoError(t, err)
	record, err := os.ReadFile(filepath.Join(d.Path, "runs/run-0001.zst"))
	require.NoError(t, err)
	for name, says := range map[string]string{
		"blobs/.zst":         "blobs/.zst is damaged: this is no name of a blob",
		"blobs/ab/cdef.zst":  "blobs/ab/cdef.zst is damaged: this is no name of a blob",
		"runs/run-0002.zst":  "runs/run-0002.zst is damaged: it is the record of run run-0001",
		"runs/../record.zst": `the epoch has "runs/../record.zst" where its list has "runs/../record.zst"`,
	} {
		sum := sha256.Sum256(record)
		list := fmt.Sprintf(`{"format":1,"members":[{"name":%q,"bytes":%d,"sha256":"%x"}]}`, name, len(record), sum)
		var epoch bytes.Buffer
		w := tar.NewWriter(&epoch)
		for _, m := range [][2]string{{"epoch.json", list}, {name, string(record)}} {
			require.NoError(t, w.WriteHeader(&tar.Header{Name: m[0], Size: int64(len(m[1])), Mode: 0o644}))
			_, err := w.Write([]byte(m[1]))
			require.NoError(t, err)
		}
		require.NoError(t, w.Close())
		to := archivetest.Open(t, newDir(t))
		_, err := to.Import(t.Context(), &epoch)
		require.ErrorContains(t, err, says)
		archivetest.Intact(t, to)
	}
}

func TestAnEpochIsAYearAMonthOrADay(t *testing.T) {
	t.Parallel()
	r := &archive.Record{Began: time.Date(2026, 11, 30, 23, 30, 0, 0, time.FixedZone("west", -3600))}
	for name, want := range map[string]bool{"": true, "2026": true, "2026-12": true, "2026-12-01": true, "2026-11": false, "2026-1": false, "202": false} {
		require.Equal(t, want, r.InEpoch(name), name)
	}
}

func TestADirectoryWithOtherFilesIsNoArchive(t *testing.T) {
	t.Parallel()
	d := newDir(t)
	require.NoError(t, os.WriteFile(filepath.Join(d.Path, "letter.txt"), nil, 0o600))
	_, err := archive.Open(t.Context(), d, archive.Options{})
	require.EqualError(t, err, "archive "+d.Path+": it is no archive: it has letter.txt; choose an empty or a new place")
}

func TestAResultIsTrustedOnlyForTheSameBuildAndOnlyIfItIsAboutTheProduct(t *testing.T) {
	t.Parallel()
	a := archivetest.Open(t, newDir(t))
	const does = "5b9c"
	src := archivetest.Run(1)
	src.Run.Cells[0].Does = does
	id, cell := src.Run.Cells[0].Identity, src.Run.Cells[0].ID
	_, err := a.Add(t.Context(), src)
	require.NoError(t, err)
	trusted := func(cell, does string, id map[string]string) string {
		t.Helper()
		all, err := a.Results(t.Context())
		require.NoError(t, err)
		for range 2 { // the second time, run.json is in memory
			found, err := all.Trusted(t.Context(), cell, does, id)
			require.NoError(t, err)
			if found == nil {
				return "none"
			}
			require.Equal(t, cell, found.Cell.ID)
			if id := found.Run.ID; id != "run-0001" {
				return id
			}
		}
		return "run-0001"
	}
	newer := func(n int, change func(*result.Cell)) {
		src := archivetest.Run(n)
		src.Run.Cells[0].Identity, src.Run.Cells[0].Does = id, does
		change(&src.Run.Cells[0])
		_, err := a.Add(t.Context(), src)
		require.NoError(t, err)
	}
	newer(10, func(c *result.Cell) { c.Outcome, c.Verdict = result.Failure, verdict.Host })
	newer(11, func(c *result.Cell) { c.Outcome, c.Verdict = result.Failure, verdict.Harness })
	newer(12, func(c *result.Cell) { c.Outcome = result.Skipped })
	newer(13, func(c *result.Cell) { c.ReusedFrom = "run-0001" })
	newer(14, func(c *result.Cell) {
		failed := c.Attempts[0]
		failed.Outcome = result.Failure
		c.Attempts = append([]result.Attempt{failed}, c.Attempts...)
	})
	newer(15, func(c *result.Cell) { c.Does = "another" })
	newer(16, func(c *result.Cell) { c.Does = "" })
	require.Equal(t, "run-0001", trusted(cell, does, id))
	require.Equal(t, "run-0015", trusted(cell, "another", id))
	newer(17, func(c *result.Cell) { c.Outcome, c.Verdict = result.Failure, verdict.Product })
	require.Equal(t, "run-0017", trusted(cell, does, id))

	require.Equal(t, "none", trusted(cell, does, map[string]string{"lane/qemu": "10"}), "another build")
	require.Equal(t, "none", trusted(cell, does, nil))
	require.Equal(t, "none", trusted(cell, "", id))
	require.Equal(t, "none", trusted("another cell", does, id))
}

func TestEvidenceThatIsNotThereIsAnErrorUnlessItMayBe(t *testing.T) {
	t.Parallel()
	a := archivetest.Open(t, newDir(t))
	src := archivetest.Run(1)
	delete(src.Files.(fstest.MapFS), "cell-1/lane.txt")
	_, err := a.Add(t.Context(), src)
	require.ErrorContains(t, err, "run run-0001: its evidence cell-1/lane.txt is not there")
	require.ErrorContains(t, err, "--allow-missing leaves it out")
	archivetest.Intact(t, a)
	src.AllowMissing = true
	added, err := a.Add(t.Context(), src)
	require.NoError(t, err)
	require.Equal(t, []string{"cell-1/lane.txt"}, added.Missing)
	archivetest.Intact(t, a, "run-0001")
}

func TestVerifyFindsAnIndexThatSaysSomethingElseThanTheRecords(t *testing.T) {
	t.Parallel()
	d := newDir(t)
	archivetest.Many(t, d, 70)
	a := archivetest.Open(t, d)
	v, err := a.Verify(t.Context())
	require.NoError(t, err)
	require.Empty(t, v.Faults)
	require.NoError(t, a.SpoilIndex(t.Context(), func(r *archive.Record) { r.Outcome = result.Failure }))
	v, err = a.Verify(t.Context())
	require.NoError(t, err)
	require.Equal(t, []archive.Fault{{Name: "index.zst", Why: "it does not say what the record of run run-0000 says"}}, v.Faults)
	gone, err := a.Discard(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"index.zst"}, gone)
}

func BenchmarkListTenThousandRuns(b *testing.B) {
	archivetest.BenchmarkList(b, archive.Dir{Path: b.TempDir(), NoSync: true}, 10_000, new(atomic.Int64))
}

// A storage that refuses requests for two seconds, for example because of rate limiting, is asked
// again.
func TestAStoreThatFailsForAWhileIsAskedForAboutTwoSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &archivetest.Failing{Store: archive.Dir{Path: t.TempDir()}, Every: 1}
		began := time.Now()
		_, err := archive.Retrying(f).Stat(t.Context(), "x")
		require.ErrorContains(t, err, "failed on purpose")
		require.Equal(t, 8, f.Calls())
		took := time.Since(began)
		require.Greater(t, took, time.Second)
		require.Less(t, took, 4*time.Second)
	})
}

// A power loss must not lose a directory that was made for the object. Not parallel: it counts.
func TestPutSyncsEachDirectoryInWhichItMakesAName(t *testing.T) {
	var synced []string
	archive.OnSyncedDir(func(dir string) { synced = append(synced, dir) })
	defer archive.OnSyncedDir(nil)
	base := t.TempDir()
	d := archive.Dir{Path: filepath.Join(base, "a")}
	put := func(name string) {
		require.NoError(t, d.Put(t.Context(), name, strings.NewReader("x"), 1, true))
	}
	put("blobs/ab/1")
	at := func(name string) string { return filepath.Join(base, "a", name) }
	require.Equal(t, []string{at(""), base, at("blobs"), at(""), at("blobs/ab")}, synced, "the first two are for the directory of unfinished objects")
	synced = nil
	put("blobs/ab/2")
	require.Equal(t, []string{at("blobs/ab")}, synced)
}

func TestTheDirectoryOfAnArchiveIsNoPattern(t *testing.T) {
	t.Parallel()
	d := archive.Dir{Path: filepath.Join(t.TempDir(), "a[1]*"), NoSync: true}
	require.NoError(t, d.Put(t.Context(), "blobs/ab/1", strings.NewReader("x"), 1, true))
	dead := filepath.Join(d.Path, "tmp", "put-of-a-writer-that-died")
	require.NoError(t, os.WriteFile(dead, nil, 0o600))
	require.NoError(t, d.Sweep(t.Context()))
	require.NoFileExists(t, dead)
}

// An epoch lists runs by their IDs in its archive. Another archive may have the same run under
// another ID.
func TestARunThatAnotherArchiveHadToRenameIsStoredOnce(t *testing.T) {
	t.Parallel()
	mine, other := archivetest.Run(1), archivetest.Run(1)
	other.Run.Cells[0].Outcome = result.Failure
	a, b := archivetest.Open(t, newDir(t)), archivetest.Open(t, newDir(t))
	add := func(to *archive.Archive, src archive.Source) string {
		t.Helper()
		added, err := to.Add(t.Context(), src)
		require.NoError(t, err)
		return added.Record.ID
	}
	move := func(from, to *archive.Archive) *archive.Imported {
		t.Helper()
		var epoch bytes.Buffer
		_, err := from.Export(t.Context(), &epoch, func(*archive.Record) bool { return true })
		require.NoError(t, err)
		done, err := to.Import(t.Context(), &epoch)
		require.NoError(t, err)
		return done
	}
	require.Equal(t, "run-0001", add(a, mine))
	require.Equal(t, "run-0001", add(b, other))
	renamed := add(b, mine)
	require.NotEqual(t, "run-0001", renamed)
	require.NoError(t, b.Pin(t.Context(), renamed))
	done := move(b, a)
	require.Equal(t, []string{"run-0001"}, done.Known)
	require.Len(t, done.Runs, 1)
	require.Equal(t, map[string]string{"run-0001": done.Runs[0], renamed: "run-0001"}, done.Renamed)
	archivetest.Intact(t, a, "run-0001", done.Runs[0])
	pins, err := a.Pins(t.Context())
	require.NoError(t, err)
	require.Equal(t, map[string]bool{"run-0001": true}, pins)
	done = move(a, b)
	require.Empty(t, done.Runs)
	archivetest.Intact(t, b, "run-0001", renamed)

	// The first name is now free.
	store := newDir(t)
	c := archivetest.Open(t, store)
	add(c, other)
	require.Equal(t, renamed, add(c, mine))
	require.NoError(t, store.Delete(t.Context(), "runs/run-0001.zst"))
	require.Equal(t, renamed, add(c, mine), "it is there already")
	archivetest.Intact(t, c, renamed)
}
