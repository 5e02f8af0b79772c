package harness_test

import (
	"bytes"
	"context"
	"encoding/json"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/fixtures/digest"
	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/host"
	"github.com/spicelane/spicelane/harness/internal/lanetest"
	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/verdict"
)

// These tests use their own cache, which the environment names, so they are not parallel. Most use
// a guest that boots in no time: a sector that prints READY on COM1 and echoes.

// ownCache gives the test a cache that is empty except for the result of the KVM trial. The trial
// is not tested here.
func ownCache(t *testing.T) (dir string) {
	t.Helper()
	harness.RequireHost(t)
	dir = t.TempDir()
	answers, err := filepath.Glob(filepath.Join(host.CacheDir(), "kvm-*.json"))
	require.NoError(t, err)
	for _, a := range answers {
		b, err := os.ReadFile(a)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, filepath.Base(a)), b, 0o600))
	}
	t.Setenv(host.EnvCacheDir, dir)
	return dir
}

// echoLane returns a lane of the sector, with nothing in front of it.
func echoLane(t *testing.T) harness.Config {
	t.Helper()
	dir := t.TempDir()
	sector, err := os.ReadFile("qemu/testdata/echo.bin")
	require.NoError(t, err)
	disk := make([]byte, 1<<20)
	copy(disk, sector)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "echo.img"), disk, 0o600))
	entry := filepath.Join(dir, "echo.yaml")
	require.NoError(t, os.WriteFile(entry, []byte("name: echo\nimage: echo.img\nfirmware: bios\nmemory_mib: 64\nbanner: READY\n"), 0o600))
	// Otherwise KVM would be tried again for each of these images.
	return harness.Config{Fixture: entry, Accel: "tcg", Proxy: harness.None, Client: harness.None}
}

// start brings up a lane that ends with the test.
func start(t *testing.T, cfg harness.Config) *harness.Lane {
	t.Helper()
	lane, err := tryStart(t, cfg)
	require.NoError(t, err)
	return lane
}

func tryStart(t *testing.T, cfg harness.Config) (*harness.Lane, error) {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	lane, err := harness.Start(ctx, cfg)
	if err == nil {
		t.Cleanup(func() { require.NoError(t, lane.Close()) })
	}
	return lane, err
}

// entry returns the only entry of a cache.
func entry(t *testing.T, cache string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(cache, "warm", strings.Repeat("[0-9a-f]", 64)))
	require.NoError(t, err)
	require.Len(t, found, 1)
	return found[0]
}

func stepOf(t *testing.T, lane *harness.Lane, name string) registry.Step {
	t.Helper()
	for _, s := range lane.State().Steps {
		if s.Name == name {
			return s
		}
	}
	require.Failf(t, "no such step", "%s in %+v", name, lane.State().Steps)
	return registry.Step{}
}

// Timeline: a lane boots and is saved; one is restored, and then must equal a booted one in
// everything: its output, its picture, its digest, its clock, its keyboard, its pointer's agent.
func TestARestoredLaneIsABootedOneThatWasFaster(t *testing.T) {
	cache := ownCache(t)
	cold := start(t, harness.Config{Dir: t.ArtifactDir()})
	st := cold.State()
	require.False(t, st.Warm)
	require.Equal(t, "no state of this machine is saved yet", st.ColdReason)
	require.Contains(t, stepOf(t, cold, "save").Detail, " MiB, the guest was paused for ")
	said := cold.Serial().Lines()
	ctx := t.Context()
	// The lane that was saved continues as if nothing had happened.
	requireAlive(ctx, t, cold)
	require.NoError(t, cold.Close())

	// The guest of the first restored lane is alive, by QEMU's own screen. That nobody sees it is
	// not the state's fault.
	_, err := tryStart(t, harness.Config{Client: harness.Command("false")})
	require.Equal(t, verdict.Product, verdict.Of(err), "%v", err)
	require.NotContains(t, err.Error(), "thrown away")
	require.NoFileExists(t, filepath.Join(entry(t, cache), "restored"))

	lane := start(t, harness.Config{Warm: harness.WarmRequire})
	st = lane.State()
	require.True(t, st.Warm)
	require.Empty(t, st.ColdReason)
	require.Contains(t, stepOf(t, lane, "qemu").Detail, "restored from a state of ")
	t.Logf("ready after %v cold, %v warm", cold.ReadyAfter(), lane.ReadyAfter())
	require.Less(t, lane.ReadyAfter(), cold.ReadyAfter()/3, "a tenth is the aim; hosts are busy")
	require.FileExists(t, filepath.Join(entry(t, cache), "restored"))

	for i, l := range lane.Serial().Lines() {
		require.Equal(t, said[i].Text, l.Text)
	}
	log, err := os.ReadFile(st.SerialLog)
	require.NoError(t, err)
	require.Contains(t, string(log), "\r\nHello from Beacon\r\n")
	requireSamePicture(ctx, t, lane)
	requireAlive(ctx, t, lane)

	var tm map[string]int // C's struct tm
	require.NoError(t, lane.Machine().QMP().Do(ctx, "qom-get", map[string]any{"path": "/machine", "property": "rtc-time"}, &tm))
	rtc := time.Date(1900+tm["tm_year"], time.Month(1+tm["tm_mon"]), tm["tm_mday"], tm["tm_hour"], tm["tm_min"], tm["tm_sec"], 0, time.UTC)
	// QEMU drops fractions of a second twice.
	require.WithinDuration(t, time.Now(), rtc, 3500*time.Millisecond, "the real-time clock")
}

// requireAlive requires that the guest's clock runs, that keys reach it once, and that its agent
// and the client have found each other.
func requireAlive(ctx context.Context, t *testing.T, lane *harness.Lane) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	first, err := lane.AwaitDigest(ctx, "any digest", func(harness.Digest) bool { return true })
	require.NoError(t, err)
	require.Zero(t, first.ChannelHashes.Keypress, "nobody has pressed a key")

	began := time.Now()
	_, err = lane.AwaitDigest(ctx, "the cursor's blinking", func(d harness.Digest) bool { return d.FrameCounter >= first.FrameCounter+4 })
	require.NoError(t, err)
	require.Less(t, time.Since(began), 20*time.Second, "the cursor blinks twice a second")

	_, err = lane.AwaitDigest(ctx, "the agent's capabilities", func(d harness.Digest) bool {
		for _, e := range d.Events {
			if a, ok := e.(digest.Agent); ok && a.Capabilities != 0 {
				return true
			}
		}
		return false
	})
	require.NoError(t, err)
	status, err := lanetest.Control(t, lane).Status(ctx)
	require.NoError(t, err)
	require.True(t, status.AgentConnected)

	require.NoError(t, lane.Press(ctx, "x"))
	after, err := lane.AwaitDigest(ctx, "the key x", func(d harness.Digest) bool { return keypress(d, 'x') != nil })
	require.NoError(t, err)
	var want digest.ChannelHashes
	require.NoError(t, want.Add(*keypress(after, 'x')))
	require.Equal(t, want.Keypress, after.ChannelHashes.Keypress)
}

func TestLanesStartedTogetherBootOnce(t *testing.T) {
	ownCache(t)
	cfg := echoLane(t)
	const lanes = 8
	up := make([]*harness.Lane, lanes)
	errs := make([]error, lanes)
	var all sync.WaitGroup
	for i := range lanes {
		cfg := cfg
		cfg.Dir = t.TempDir()
		all.Add(1)
		go func() {
			defer all.Done()
			up[i], errs[i] = harness.Start(t.Context(), cfg)
		}()
	}
	all.Wait()
	var cold int
	for i, lane := range up {
		require.NoError(t, errs[i])
		if !lane.State().Warm {
			cold++
		}
	}
	require.Equal(t, 1, cold, "the others were restored from the one that booted")
	// All at once, each with its own memory and disk.
	for i, lane := range up {
		_, err := lane.Machine().WriteSerial(t.Context(), []byte{'A' + byte(i)})
		require.NoError(t, err)
		_, err = lane.AwaitSerial(t.Context(), string(rune('A'+i)))
		require.NoError(t, err)
	}
	for _, lane := range up {
		require.NoError(t, lane.Close())
	}
}

func TestAStateThatIsOfNoUseIsThrownAwayAndTheLaneBoots(t *testing.T) {
	cache := ownCache(t)
	cfg := echoLane(t)
	require.NoError(t, start(t, cfg).Close())
	dir := entry(t, cache)

	// forge replaces the state with b, with valid checksums.
	forge := func(b []byte) {
		file := filepath.Join(dir, "manifest.json")
		raw, err := os.ReadFile(file)
		require.NoError(t, err)
		var m map[string]any
		require.NoError(t, json.Unmarshal(raw, &m))
		for _, p := range m["parts"].([]any) {
			if p := p.(map[string]any); p["name"] == "state" {
				p["size"], p["crc32c"] = len(b), crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
			}
		}
		raw, err = json.Marshal(m)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(file, raw, 0o600))
		state := filepath.Join(dir, "state")
		require.NoError(t, os.Remove(state))
		require.NoError(t, os.WriteFile(state, b, 0o600))
	}
	state, err := os.ReadFile(filepath.Join(dir, "state"))
	require.NoError(t, err)

	for _, c := range []struct {
		what   string
		damage func()
		says   string
	}{
		{"a bit flipped", func() {
			b := bytes.Clone(state)
			b[len(b)/2] ^= 1
			require.NoError(t, os.Remove(filepath.Join(dir, "state")))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "state"), b, 0o600))
		}, "its saved state was thrown away: the saved state is damaged: "},
		{"cut short", func() { require.NoError(t, os.Truncate(filepath.Join(dir, "state"), int64(len(state)/2))) }, "its saved state was thrown away: the saved state is damaged: "},
		{"noise, forged", func() {
			b := make([]byte, 1<<20)
			rng := rand.NewChaCha8([32]byte{})
			_, _ = rng.Read(b)
			forge(b)
		}, "its saved state was thrown away: restore the state in "},
		{"no manifest", func() { require.NoError(t, os.Remove(filepath.Join(dir, "manifest.json"))) }, "the saved state is damaged and was thrown away: "},
		{"its disk damaged", func() {
			require.NoError(t, os.Remove(filepath.Join(dir, "disk.qcow2")))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "disk.qcow2"), []byte("hello"), 0o600))
		}, "its saved state was thrown away: "},
	} {
		t.Run(c.what, func(t *testing.T) {
			c.damage()
			lane := start(t, cfg)
			require.False(t, lane.State().Warm)
			require.Contains(t, lane.State().ColdReason, c.says)
			require.Contains(t, stepOf(t, lane, "qemu").Detail, "cold: "+c.says)
			require.NotContains(t, lane.State().ColdReason, "\n")
			log, err := os.ReadFile(lane.State().SerialLog)
			require.NoError(t, err)
			require.Equal(t, 1, strings.Count(string(log), "READY"), "what the restored guest had said is not in the log")
			require.NoError(t, lane.Close())

			lane = start(t, cfg)
			require.True(t, lane.State().Warm, "the one that booted was saved: %s", lane.State().ColdReason)
			require.NoError(t, lane.Close())
		})
	}

	t.Run("required", func(t *testing.T) {
		forge([]byte("noise"))
		cfg := cfg
		cfg.Warm = harness.WarmRequire
		_, err := tryStart(t, cfg)
		require.ErrorContains(t, err, "warm=require: its saved state was thrown away: ")
		require.Equal(t, verdict.Harness, verdict.Of(err))
		_, err = tryStart(t, cfg)
		require.ErrorContains(t, err, "warm=require: no state of this machine is saved yet; bring such a lane up once with warm=auto")
		require.Equal(t, verdict.Harness, verdict.Of(err))
	})
}

// Timeline: from before the lane starts until it is up, somebody writes to the state. Every byte
// stays what it was.
func TestAStateThatIsWrittenToWhileItIsRestoredIsNotTrusted(t *testing.T) {
	cache := ownCache(t)
	cfg := echoLane(t)
	require.NoError(t, start(t, cfg).Close())
	path := filepath.Join(entry(t, cache), "state")
	require.NoError(t, os.Chmod(path, 0o600))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	first := make([]byte, 1)
	_, err = f.ReadAt(first, 0)
	require.NoError(t, err)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				_, _ = f.WriteAt(first, 0)
			}
		}
	}()
	lane := start(t, cfg)
	close(stop)
	<-stopped
	require.NoError(t, f.Close())
	require.False(t, lane.State().Warm)
	require.Contains(t, lane.State().ColdReason, "its saved state was thrown away: the saved state was changed while it was restored: ")
	requireRuns(t, lane)
}

func TestNobodyWaitsForAMachineThatDidNotComeUp(t *testing.T) {
	ownCache(t)
	cfg := echoLane(t)
	cfg.Banner = "never said"
	cfg.Timeout = 200 * time.Millisecond // of KVM
	_, err := tryStart(t, cfg)
	require.Equal(t, verdict.Product, verdict.Of(err), "%v", err)
	cfg.Warm = harness.WarmRequire
	_, err = tryStart(t, cfg)
	require.ErrorContains(t, err, "warm=require: it did not come up: ")
}

func TestNobodyTriesAgainToSaveAMachineThatCrashedWhileItWasSaved(t *testing.T) {
	ownCache(t)
	cfg := echoLane(t)
	var pid atomic.Int32
	crash := cfg
	crash.OnState = func(s registry.State) { pid.Store(int32(s.PIDs.QEMU)) }
	crash.OnBegin = func(step string) {
		if step == "save" {
			syscall.Kill(int(pid.Load()), syscall.SIGABRT)
		}
	}
	_, err := tryStart(t, crash)
	require.Equal(t, verdict.Product, verdict.Of(err), "%v", err)
	lane := start(t, cfg)
	require.Contains(t, lane.State().ColdReason, "it did not come up: ")
	require.Contains(t, lane.State().ColdReason, "QEMU crashed")
}

func TestOffReadsAndWritesNoStates(t *testing.T) {
	cache := ownCache(t)
	cfg := echoLane(t)
	cfg.Warm = harness.WarmOff
	lane := start(t, cfg)
	require.False(t, lane.State().Warm)
	require.Equal(t, "asked for", lane.State().ColdReason)
	require.NoDirExists(t, filepath.Join(cache, "warm"))
	require.NoError(t, lane.Close())

	cfg.Warm = harness.WarmAuto
	require.NoError(t, start(t, cfg).Close())
	cfg.Warm = harness.WarmOff
	require.False(t, start(t, cfg).State().Warm)
}

func TestACacheThatCannotBeIsNoReasonNotToBoot(t *testing.T) {
	ownCache(t)
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	t.Setenv(host.EnvCacheDir, file)
	cfg := echoLane(t)
	lane := start(t, cfg)
	require.False(t, lane.State().Warm)
	require.Contains(t, lane.State().ColdReason, "not a directory")
	require.NoError(t, lane.Close())
	cfg.Warm = harness.WarmRequire
	_, err := tryStart(t, cfg)
	require.ErrorContains(t, err, "not a directory")
	require.Equal(t, verdict.Host, verdict.Of(err), "%v", err)

	// A fixture's image also needs space: Beacon's then belongs to the lane.
	lane = start(t, harness.Config{Accel: "tcg"})
	require.False(t, lane.State().Warm)
}

func TestASizeThatIsNoneIsSaid(t *testing.T) {
	ownCache(t)
	t.Setenv("SPICELANE_WARM_SIZE", "2 gigabytes")
	_, err := tryStart(t, echoLane(t))
	require.ErrorContains(t, err, `SPICELANE_WARM_SIZE: "2 gigabytes" is not a size`)
	require.Equal(t, verdict.Harness, verdict.Of(err))
	t.Setenv("SPICELANE_WARM_SIZE", "0")
	lane := start(t, echoLane(t))
	require.Contains(t, lane.State().ColdReason, "nothing is kept: SPICELANE_WARM_SIZE is 0")
}

// A disk of a megabyte has no space for a state. Only root may mount one.
func TestAFullDiskIsNoReasonNotToBoot(t *testing.T) {
	ownCache(t)
	dir := filepath.Join(t.TempDir(), "full")
	mountTmpfs(t, dir, "size=40m")
	t.Setenv(host.EnvCacheDir, dir)

	// Enough space to begin, but not to finish.
	cfg := harness.Config{Accel: "tcg", Proxy: harness.None, Client: harness.None}
	lane := start(t, cfg)
	require.False(t, lane.State().Warm)
	detail := stepOf(t, lane, "save").Detail
	require.Contains(t, detail, "not saved: ")
	require.Contains(t, detail, "the disk is full")
	requireRuns(t, lane)
	left, err := os.ReadDir(filepath.Join(dir, "warm"))
	require.NoError(t, err)
	for _, f := range left {
		require.False(t, strings.HasPrefix(f.Name(), ".tmp-"), "%s was left", f.Name())
	}
	require.NoError(t, lane.Close())

	cfg.Warm = harness.WarmRequire
	_, err = tryStart(t, cfg)
	require.ErrorContains(t, err, "it could not be saved: ", "nobody tries again at once")

	// No space at all.
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "warm", "quarantine")))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "ballast"), make([]byte, 20<<20), 0o600))
	_, err = tryStart(t, cfg)
	require.ErrorContains(t, err, "no state can be saved: the disk that holds "+filepath.Join(dir, "warm")+" is full")
	require.Equal(t, verdict.Host, verdict.Of(err))
}

// requireRuns requires that the machine does not stay stopped.
func requireRuns(t *testing.T, lane *harness.Lane) {
	t.Helper()
	st, err := lane.Machine().QMP().QueryStatus(t.Context())
	require.NoError(t, err)
	require.True(t, st.Running, "%s", st.State)
}

// The first use of a state proves it. Here, nothing that is restored is ever seen: the client is a
// program that ends at once.
func TestAStateThatWasNeverSeenToWorkIsNotTriedForEver(t *testing.T) {
	cache := ownCache(t)
	cfg := echoLane(t)
	require.NoError(t, start(t, cfg).Close())
	blind := cfg
	blind.Client = harness.Command("false")
	_, err := tryStart(t, blind)
	require.Equal(t, verdict.Product, verdict.Of(err), "%v", err)
	require.ErrorContains(t, err, "it was restored from a saved state that had not been used before and that is now thrown away: try again, or use warm=off")
	found, err := filepath.Glob(filepath.Join(cache, "warm", strings.Repeat("[0-9a-f]", 64)))
	require.NoError(t, err)
	require.Empty(t, found)
	lane := start(t, cfg)
	require.Contains(t, lane.State().ColdReason, "restored, it did not come up: ")
	found, err = filepath.Glob(filepath.Join(cache, "warm", strings.Repeat("[0-9a-f]", 64)))
	require.NoError(t, err)
	require.Empty(t, found, "nor is it saved again for now")
}

func TestAGuestWithoutABannerIsNotSaved(t *testing.T) {
	ownCache(t)
	cfg := echoLane(t)
	cfg.Image = filepath.Join(filepath.Dir(cfg.Fixture), "echo.img")
	cfg.Fixture = ""
	lane := start(t, cfg)
	require.Equal(t, "its guest has no banner that tells when it is up", lane.State().ColdReason)
}
