package warm_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/warm"
	"github.com/spicelane/spicelane/internal/need"
)

func TestWhatWasSavedIsFoundAndFillsInAMachine(t *testing.T) {
	t.Parallel()
	cache, dir, machine := newCache(t)
	id := identify(t, cache, machine)

	_, err := cache.Open(id)
	var cold *warm.ColdError
	require.ErrorAs(t, err, &cold)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.Equal(t, "no state of this machine is saved yet", cold.Why)
	require.False(t, cold.Host)
	require.NoDirExists(t, cache.Dir, "who only looks makes nothing")

	files := parts(t)
	save(t, cache, id, map[string][]byte{warm.StatePart: []byte("an older one"), warm.DiskPart: nil})
	save(t, cache, id, files)
	e := open(t, cache, id)
	require.NoError(t, e.Verify(t.Context()))
	require.NoError(t, e.Unchanged())
	require.Equal(t, int64(1700000000), e.SavedAt().Unix())
	require.Equal(t, int64(len(files[warm.StatePart])+len(files[warm.DiskPart])+len(files[warm.VarsPart])+len(files[warm.SaidPart])), e.Size())

	disk, vars := filepath.Join(dir, "own.qcow2"), filepath.Join(dir, "own-vars.fd")
	got := machine
	require.NoError(t, e.Apply(&got, disk, vars))
	want := machine
	want.LoadState = filepath.Join(cache.Dir, string(id.Key()), warm.StatePart)
	want.Said, want.Disk, want.Firmware.Vars = files[warm.SaidPart], disk, vars
	require.Equal(t, want, got)
	b, err := os.ReadFile(vars)
	require.NoError(t, err)
	require.Equal(t, files[warm.VarsPart], b)
	chain, err := qemu.ImageFiles(disk)
	require.NoError(t, err)
	require.Equal(t, []string{disk, filepath.Join(cache.Dir, string(id.Key()), warm.DiskPart)}, chain, "the disk shares what it does not change")
}

func TestAMachineWithoutDiskAndFirmwareHasNoSuchParts(t *testing.T) {
	t.Parallel()
	cache, dir, machine := newCache(t)
	machine.Image, machine.Firmware = "", qemu.Firmware{}
	id := identify(t, cache, machine)
	save(t, cache, id, map[string][]byte{warm.StatePart: []byte("s")})
	e := open(t, cache, id)
	require.NoError(t, e.Verify(t.Context()))
	got := machine
	require.NoError(t, e.Apply(&got, filepath.Join(dir, "own.qcow2"), filepath.Join(dir, "own.fd")))
	want := machine
	want.LoadState = e.Path(warm.StatePart)
	require.Equal(t, want, got)
	require.Empty(t, e.Path(warm.DiskPart))
	require.NoFileExists(t, filepath.Join(dir, "own.qcow2"))
}

func TestDamageIsFoundAndThrownAway(t *testing.T) {
	need.Long(t)
	t.Parallel()
	flip := func(at int) func(string) error {
		return func(path string) error {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			b[(at+len(b))%len(b)] ^= 0x10
			return rewrite(path, b)
		}
	}
	cut := func(keep func(n int) int) func(string) error {
		return func(path string) error {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return rewrite(path, b[:keep(len(b))])
		}
	}
	grow := func(path string) error {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return rewrite(path, append(b, 0))
	}
	for _, name := range []string{warm.StatePart, warm.DiskPart, warm.VarsPart, warm.SaidPart} {
		for _, d := range []struct {
			what string
			do   func(path string) error
		}{
			{"its first bit flipped", flip(0)},
			{"its last bit flipped", flip(-1)},
			{"a byte short", cut(func(n int) int { return n - 1 })},
			{"empty", cut(func(int) int { return 0 })},
			{"a byte long", grow},
			{"gone", os.Remove},
			{"a directory", func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) }},
			{"a pipe", func(path string) error { return errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600)) }},
		} {
			if d.what == "a pipe" && name == warm.SaidPart {
				continue // the same again
			}
			t.Run(name+" "+d.what, func(t *testing.T) {
				t.Parallel()
				cache, _, machine := newCache(t)
				id := identify(t, cache, machine)
				save(t, cache, id, parts(t))
				e := open(t, cache, id)
				require.NoError(t, d.do(e.Path(name)))

				err := e.Verify(t.Context())
				require.ErrorContains(t, err, "the saved state is damaged: ")
				require.ErrorContains(t, err, e.Path(name))
				if strings.HasPrefix(d.what, "a byte") || d.what == "empty" {
					require.ErrorContains(t, err, " bytes instead of ")
				}
				require.Error(t, e.Unchanged(), "what was not verified is not unchanged")
				require.NoError(t, e.Discard())
				require.NoError(t, e.Discard())
				_, err = cache.Open(id)
				require.ErrorIs(t, err, fs.ErrNotExist)
				keys, leftovers := entries(t, cache)
				require.Empty(t, keys)
				require.Empty(t, leftovers)

				save(t, cache, id, map[string][]byte{warm.StatePart: nil})
				require.NoError(t, e.Discard())
				open(t, cache, id) // the text after it does not count
			})
		}
	}
}

// rewrite overwrites a file in place, however it is protected.
func rewrite(path string, b []byte) error {
	if err := os.Chmod(path, 0o600); err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o600)
}

func TestADamagedManifestIsThrownAway(t *testing.T) {
	t.Parallel()
	cache, _, machine := newCache(t)
	id := identify(t, cache, machine)
	files := map[string][]byte{warm.StatePart: []byte("state"), warm.SaidPart: []byte("said")}
	manifest := filepath.Join(cache.Dir, string(id.Key()), "manifest.json")
	save(t, cache, id, files)
	whole, err := os.ReadFile(manifest)
	require.NoError(t, err)

	other := machine
	other.MemoryMiB = 64
	foreign := identify(t, cache, other)
	save(t, cache, foreign, files)
	foreignManifest, err := os.ReadFile(filepath.Join(cache.Dir, string(foreign.Key()), "manifest.json"))
	require.NoError(t, err)

	replace := func(old, new string) []byte {
		require.Contains(t, string(whole), old)
		return []byte(strings.Replace(string(whole), old, new, 1))
	}
	for _, c := range []struct {
		what string
		is   []byte
		says string
	}{
		{"empty", nil, "EOF"},
		{"half", whole[:len(whole)/2], "unexpected EOF"},
		{"a byte short", whole[:len(whole)-1], "unexpected EOF"},
		{"followed by something", append(append([]byte(nil), whole...), '{'), "something follows its end"},
		{"too long", append(append([]byte(nil), whole...), make([]byte, 1<<20)...), "has more than 1048576 bytes"},
		{"no JSON", []byte("\x00\x01"), "invalid character"},
		{"of another machine", foreignManifest, "it is of another machine"},
		{"of another format", replace(`"format": 1`, `"format": 2`), "format 2 is not 1"},
		{"with a part elsewhere", replace(`"name": "serial.log"`, `"name": "../../vars"`), `a part "../../vars"`},
		{"with a part twice", replace(`"name": "serial.log"`, `"name": "state"`), `a part "state"`},
		{"with a negative size", replace(`"size": 5`, `"size": -5`), "of -5 bytes"},
		{"without a state", replace(`"name": "state"`, `"name": "vars.fd"`), "there is no state"},
		{"with an unknown key", replace(`"saved": {`, `"sawed": {`), "unknown field"},
	} {
		t.Run(c.what, func(t *testing.T) {
			if _, err := os.Stat(filepath.Dir(manifest)); err != nil {
				save(t, cache, id, files)
			}
			require.NoError(t, os.WriteFile(manifest, c.is, 0o600))
			_, err := cache.Open(id)
			var cold *warm.ColdError
			require.ErrorAs(t, err, &cold)
			require.Contains(t, cold.Why, "the saved state is damaged and was thrown away: ")
			require.Contains(t, cold.Why, c.says)
			require.NoDirExists(t, filepath.Dir(manifest))
		})
	}
	t.Run("missing", func(t *testing.T) {
		save(t, cache, id, files)
		require.NoError(t, os.Remove(manifest))
		_, err := cache.Open(id)
		require.ErrorContains(t, err, "the saved state is damaged and was thrown away: ")
		require.NoDirExists(t, filepath.Dir(manifest))
	})
}

func TestWhatIsWrittenToWhileItIsRestoredIsNotTrusted(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what string
		do   func(t *testing.T, path string)
	}{
		{"rewritten with the same bytes", func(t *testing.T, path string) {
			b, err := os.ReadFile(path)
			require.NoError(t, err)
			require.NoError(t, rewrite(path, b))
		}},
		{"replaced by a copy", func(t *testing.T, path string) {
			b, err := os.ReadFile(path)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(path+".copy", b, 0o600))
			require.NoError(t, os.Rename(path+".copy", path))
		}},
		{"removed", func(t *testing.T, path string) { require.NoError(t, os.Remove(path)) }},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			cache, _, machine := newCache(t)
			id := identify(t, cache, machine)
			save(t, cache, id, parts(t))
			e := open(t, cache, id)
			require.NoError(t, e.Verify(t.Context()))
			c.do(t, e.Path(warm.StatePart))
			require.ErrorContains(t, e.Unchanged(), "the saved state was changed while it was restored: ")
		})
	}
}

func TestTheEntriesUsedLastStay(t *testing.T) {
	t.Parallel()
	cache, _, machine := newCache(t)
	const each = 100_000
	cache.MaxBytes = 3*each + each/2 // three and their manifests
	var ids []warm.Identity
	add := func() {
		machine.MemoryMiB += 64
		id := identify(t, cache, machine)
		save(t, cache, id, map[string][]byte{warm.StatePart: make([]byte, each)})
		ids = append(ids, id)
		// An order that does not depend on the file system's clock.
		used := time.Unix(1_700_000_000+int64(len(ids)), 0)
		require.NoError(t, os.Chtimes(filepath.Join(cache.Dir, string(id.Key()), "manifest.json"), used, used))
	}
	there := func() (have []int) {
		for i, id := range ids {
			if _, err := os.Stat(filepath.Join(cache.Dir, string(id.Key()))); err == nil {
				have = append(have, i)
			}
		}
		return have
	}
	add()
	add()
	add()
	require.Equal(t, []int{0, 1, 2}, there())
	e, err := cache.Open(ids[0]) // used now: the oldest is 1
	require.NoError(t, err)
	require.NoError(t, e.Close())
	add()
	require.Equal(t, []int{0, 2, 3}, there())

	pinned := open(t, cache, ids[2]) // used, and in use
	used := time.Unix(1_600_000_000, 0)
	require.NoError(t, os.Chtimes(filepath.Join(cache.Dir, string(ids[2].Key()), "manifest.json"), used, used))
	add()
	require.Equal(t, []int{0, 2, 4}, there(), "2 is the oldest, but in use")
	require.NoError(t, pinned.Verify(t.Context()))

	err = trySave(cache, identify(t, cache, func() qemu.Config { m := machine; m.CPUs = 2; return m }()), map[string][]byte{warm.StatePart: make([]byte, 4*each)})
	require.ErrorContains(t, err, "the state was not kept: it has 0 MiB and the cache may have 0 (SPICELANE_WARM_SIZE)")
	require.Equal(t, []int{0, 2, 4}, there(), "nothing goes for what does not fit anyway")

	// A directory of that form is useless without a manifest.
	odd := filepath.Join(cache.Dir, strings.Repeat("ab", 32))
	require.NoError(t, os.Mkdir(odd, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(odd, "state"), make([]byte, each), 0o600))
	mine := filepath.Join(cache.Dir, "notes")
	require.NoError(t, os.WriteFile(mine, make([]byte, 10*each), 0o600))
	notes := filepath.Join(cache.Dir, "my notes")
	require.NoError(t, os.Mkdir(notes, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(notes, "n"), make([]byte, 10*each), 0o600))
	require.NoError(t, cache.MakeRoom())
	require.NoDirExists(t, odd)
	require.DirExists(t, notes)
	require.FileExists(t, mine, "what is not the cache's is left alone")
	require.Equal(t, []int{0, 2, 4}, there())
}

func TestOnlyOneMakesAnEntry(t *testing.T) {
	t.Parallel()
	cache, dir, machine := newCache(t)
	id := identify(t, cache, machine)
	claim, err := cache.Claim(id)
	require.NoError(t, err)
	_, err = cache.Claim(id)
	require.ErrorIs(t, err, warm.ErrBusy, "inside one process")
	require.NoError(t, claim.Close())
	require.NoError(t, claim.Close())

	end := another(t, "claim", dir)
	_, err = cache.Claim(id)
	require.ErrorIs(t, err, warm.ErrBusy, "between two processes")
	other := machine
	other.MemoryMiB = 64
	free, err := cache.Claim(identify(t, cache, other))
	require.NoError(t, err, "another entry is another matter")
	require.NoError(t, free.Close())
	end()
	claim, err = cache.Claim(id)
	require.NoError(t, err, "the killed process has it no more")
	require.NoError(t, claim.Close())
}

func TestAnEntryInUseElsewhereStays(t *testing.T) {
	t.Parallel()
	cache, dir, machine := newCache(t)
	id := identify(t, cache, machine)
	save(t, cache, id, parts(t))
	end := another(t, "open", dir)
	small := &warm.Cache{Dir: cache.Dir, MaxBytes: 1}
	require.NoError(t, small.MakeRoom())
	keys, _ := entries(t, cache)
	require.Len(t, keys, 1)
	end()
	require.NoError(t, small.MakeRoom())
	keys, leftovers := entries(t, cache)
	require.Empty(t, keys)
	require.Empty(t, leftovers)
}

func TestADraftOfAKilledProcessIsNeverAnEntryAndGoes(t *testing.T) {
	t.Parallel()
	cache, dir, machine := newCache(t)
	id := identify(t, cache, machine)
	end := another(t, "draft", dir)
	cache.Sweep()
	_, leftovers := entries(t, cache)
	require.Len(t, leftovers, 1, "whose maker lives is not swept")
	_, err := cache.Open(id)
	require.ErrorIs(t, err, fs.ErrNotExist)
	end()
	_, err = cache.Open(id)
	require.ErrorIs(t, err, fs.ErrNotExist)
	claim, err := cache.Claim(id)
	require.NoError(t, err)
	require.NoError(t, claim.Close())
	cache.Sweep()
	_, leftovers = entries(t, cache)
	require.Empty(t, leftovers)
}

func TestAnAbandonedDraftLeavesNothing(t *testing.T) {
	t.Parallel()
	cache, _, machine := newCache(t)
	id := identify(t, cache, machine)
	claim, err := cache.Claim(id)
	require.NoError(t, err)
	defer claim.Close()
	draft, err := claim.Draft()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(draft.Path(warm.StatePart), []byte("half"), 0o600))
	require.NoError(t, draft.Abandon())
	draft, err = claim.Draft()
	require.NoError(t, err)
	_, err = draft.Publish(t.Context(), warm.Saved{})
	require.ErrorContains(t, err, "there is no state")
	keys, leftovers := entries(t, cache)
	require.Empty(t, keys)
	require.Empty(t, leftovers)
}

// Topology: another process publishes and discards the same entry as fast as it can and is killed
// at a random time; this one reads. Whatever it opens is whole.
func TestAnOpenedEntryIsWholeAlthoughItsWriterIsKilled(t *testing.T) {
	need.Long(t)
	t.Parallel()
	cache, dir, machine := newCache(t)
	id := identify(t, cache, machine)
	for range 8 {
		end := another(t, "publish-for-ever", dir)
		for whole := 0; whole < 20; {
			e, err := cache.Open(id)
			if err != nil {
				require.ErrorIs(t, err, fs.ErrNotExist)
				continue
			}
			// It may be discarded while we read, but must never be half of one.
			if err := e.Verify(t.Context()); err != nil {
				require.ErrorIs(t, err, fs.ErrNotExist)
			} else {
				whole++
			}
			require.NoError(t, e.Close())
		}
		end()
	}
	if e, err := cache.Open(id); err == nil {
		require.NoError(t, e.Verify(t.Context()))
		require.NoError(t, e.Close())
	}
	cache.Sweep()
	_, leftovers := entries(t, cache)
	require.Empty(t, leftovers)
}

func TestAQuarantinedMachineIsLeftAloneForAWhile(t *testing.T) {
	t.Parallel()
	cache, _, machine := newCache(t)
	id := identify(t, cache, machine)
	save(t, cache, id, parts(t))
	e := open(t, cache, id)
	require.False(t, e.Restored())
	e.MarkRestored()
	require.True(t, e.Restored())
	require.NoError(t, cache.Quarantine(id, "it does\nnothing"))
	require.NoError(t, e.Discard())
	_, err := cache.Open(id)
	require.ErrorIs(t, err, warm.ErrQuarantined)
	var cold *warm.ColdError
	require.ErrorAs(t, err, &cold)
	require.Equal(t, "it does nothing", cold.Why)

	note := filepath.Join(cache.Dir, "quarantine", string(id.Key()))
	old := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(note, old, old))
	_, err = cache.Open(id)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NotErrorIs(t, err, warm.ErrQuarantined)
	require.NoFileExists(t, note)
}

func TestADirectoryThatOthersMayWriteToIsNotUsed(t *testing.T) {
	t.Parallel()
	cache, _, machine := newCache(t)
	id := identify(t, cache, machine)
	save(t, cache, id, parts(t))
	for _, mode := range []os.FileMode{0o720, 0o702} {
		require.NoError(t, os.Chmod(cache.Dir, mode))
		_, err := cache.Open(id)
		require.ErrorContains(t, err, "others may write to it")
		_, err = cache.Claim(id)
		require.ErrorContains(t, err, "others may write to it")
	}
	require.NoError(t, os.Chmod(cache.Dir, 0o755))
	open(t, cache, id)
}

func TestADirectoryThatCannotBeIsSaid(t *testing.T) {
	t.Parallel()
	cache, dir, machine := newCache(t)
	id := identify(t, cache, machine)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	for _, path := range []string{filepath.Join(dir, "file"), filepath.Join(dir, "file", "warm")} {
		cache.Dir = path
		_, err := cache.Claim(id)
		var cold *warm.ColdError
		require.ErrorAs(t, err, &cold)
		require.Contains(t, cold.Why, "no state can be saved: ")
		require.Contains(t, cold.Why, filepath.Join(dir, "file"))
		_, err = cache.Open(id)
		require.ErrorAs(t, err, &cold)
	}
	cache.Dir = filepath.Join(dir, "file", "warm")
	_, err := cache.Claim(id)
	var cold *warm.ColdError
	require.ErrorAs(t, err, &cold)
	require.True(t, cold.Host)
}

// For root, the mode makes nothing read-only, so another user runs the check.
func TestADirectoryThatCannotBeWrittenServesWhatIsInIt(t *testing.T) {
	t.Parallel()
	cache, dir, machine := newCache(t)
	id := identify(t, cache, machine)
	save(t, cache, id, parts(t))
	key := filepath.Join(cache.Dir, string(id.Key()))
	act := func(what string) (string, error) {
		cmd := exec.Command(os.Args[0], dir)
		cmd.Env = append(os.Environ(), envAct+"="+what)
		if os.Getuid() == 0 {
			const nobody = 65534
			require.NoError(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
				return errors.Join(err, os.Lchown(path, nobody, nobody))
			}))
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
			cmd.Args[0] = openBinary(t)
			cmd.Path = cmd.Args[0]
			reach(t, dir)
		}
		if what == "verify" { // a lock for reading is enough for that
			require.NoError(t, os.Chmod(filepath.Join(cache.Dir, "locks"), 0o400))
		} else {
			require.NoError(t, os.Chmod(filepath.Join(cache.Dir, "locks"), 0o600))
		}
		require.NoError(t, os.Chmod(cache.Dir, 0o500))
		require.NoError(t, os.Chmod(key, 0o500))
		defer os.Chmod(cache.Dir, 0o700)
		defer os.Chmod(key, 0o700)
		out, err := cmd.CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
	out, err := act("verify")
	require.NoError(t, err, out)
	require.Empty(t, out)

	require.NoError(t, os.Truncate(filepath.Join(key, warm.StatePart), 5))
	out, err = act("verify")
	require.Error(t, err)
	require.Contains(t, out, "the saved state is damaged")

	require.NoError(t, os.WriteFile(filepath.Join(key, "manifest.json"), nil, 0o600))
	out, err = act("verify")
	require.Error(t, err)
	require.Contains(t, out, "the saved state is damaged and cannot be thrown away: ")
	require.DirExists(t, key)

	require.NoError(t, os.RemoveAll(key))
	require.NoError(t, os.Mkdir(key, 0o700)) // for act
	out, err = act("claim")
	require.Error(t, err)
	require.Contains(t, out, "no state can be saved: ")
	require.Contains(t, out, "permission denied")
}

// openBinary returns a copy of the test binary that any user may run.
func openBinary(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(os.Args[0])
	require.NoError(t, err)
	dir, err := os.MkdirTemp("", "warm-test")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	path := filepath.Join(dir, "warm.test")
	require.NoError(t, os.WriteFile(path, b, 0o755))
	return path
}

// reach lets any user reach dir.
func reach(t *testing.T, dir string) {
	t.Helper()
	for at := filepath.Dir(dir); at != os.TempDir() && at != "/"; at = filepath.Dir(at) {
		require.NoError(t, os.Chmod(at, 0o755))
	}
}

func TestNothingIsKeptOfNothing(t *testing.T) {
	t.Parallel()
	cache, _, machine := newCache(t)
	id := identify(t, cache, machine)
	cache.MaxBytes = 0
	_, err := cache.Claim(id)
	require.ErrorContains(t, err, "SPICELANE_WARM_SIZE is 0")
	require.NoDirExists(t, cache.Dir)
}

func TestSizesAreBytesOrPowersOf1024(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]int64{
		"": warm.DefaultMaxBytes, "0": 0, "1": 1, "1000": 1000, "1K": 1 << 10, "3M": 3 << 20, "2G": 2 << 30, "1T": 1 << 40, "8191T": 8191 << 40,
	} {
		got, err := warm.ParseSize(in)
		require.NoError(t, err, in)
		require.Equal(t, want, got, in)
	}
	for _, in := range []string{"G", "-1", "1.5G", "2GB", "2 G", "x", "9223372036854775808", "8388608T", "99999999999G", "g"} {
		_, err := warm.ParseSize(in)
		require.Error(t, err, in)
	}
}
