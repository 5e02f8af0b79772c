package harness_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/host"
	"github.com/spicelane/spicelane/harness/warm"
)

// The storm: test processes with a lane, two at a time. Each is killed with -9 at a random time
// between its start and a while after its lane is ready.
//
//	      0 s              banner     ready        killed at random up to here
//	cold  ├── QEMU boots ─────┼─ saved ──┤ ··········│   every fourth, own cache
//	warm  ├─ restored ─┤ ···│                            the others, one cache
//
// Two seconds later, no process, socket or file of theirs is left outside the artifact directory
// and the cache.
const (
	stormMarker = "SPICELANE_TEST_STORM"
	stormGrace  = 2 * time.Second
)

// stormSize returns how many processes are killed: SPICELANE_SOAK=full is for nights.
func stormSize() int {
	switch {
	case os.Getenv("SPICELANE_SOAK") == "full":
		return 100
	case testing.Short():
		return 2
	}
	return 8
}

func TestProcessesKilledAtAnyMomentLeaveNothingBehind(t *testing.T) {
	t.Parallel()
	harness.RequireHost(t)
	// Short: sockets are made in it, and their paths may have 107 bytes.
	tmp, err := os.MkdirTemp("", "storm")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(tmp)) })
	s := &storm{tmp: tmp, marker: fmt.Sprintf("%s=%d-%s", stormMarker, os.Getpid(), filepath.Base(tmp)), artifacts: t.ArtifactDir()}

	// A process that is left alone shows how long the others take.
	cold, err := s.process(t, "first cold", s.cache("shared"), time.Minute*5)
	require.NoError(t, err)
	restored, err := s.process(t, "first warm", s.cache("shared"), time.Minute*5)
	require.NoError(t, err)
	t.Logf("ready after %v cold, %v warm", cold.Round(time.Millisecond), restored.Round(time.Millisecond))

	numbers := make(chan int)
	var workers sync.WaitGroup
	for range 2 {
		workers.Go(func() {
			for i := range numbers {
				cache, limit := s.cache("shared"), 2*restored
				if i%4 == 0 {
					cache, limit = s.cache(fmt.Sprintf("own%d", i)), cold+restored
				}
				// At least as long as a process takes to start.
				after := time.Duration(rand.Int64N(int64(limit)))
				_, err := s.process(t, strconv.Itoa(i), cache, after)
				assert.NoError(t, err, "process %d, killed after %v", i, after)
			}
		})
	}
	for i := range stormSize() {
		numbers <- i
	}
	close(numbers)
	workers.Wait()
	s.requireCleanCaches(t)
}

type storm struct{ tmp, marker, artifacts string }

func (s *storm) cache(name string) string { return filepath.Join(s.tmp, "cache", name) }

// process runs a test process with a lane in its own TMPDIR. It kills the process after a while, or
// once it is ready if that takes a minute at least. Then it looks for what the process left. It
// returns how long the lane took to be ready, if it ever was.
func (s *storm) process(t *testing.T, name, cache string, after time.Duration) (ready time.Duration, err error) {
	exe, err := os.Executable()
	if err != nil {
		return 0, err
	}
	tmp := filepath.Join(s.tmp, name)
	dir := filepath.Join(s.artifacts, name)
	if err := errors.Join(os.MkdirAll(tmp, 0o700), os.MkdirAll(cache, 0o700), os.MkdirAll(dir, 0o755)); err != nil {
		return 0, err
	}
	if err := knownOfKVM(cache); err != nil {
		return 0, err
	}
	marker := s.marker + "-" + name
	cmd := exec.Command(exe, dir)
	cmd.Env = append(os.Environ(), partEnv+"=hold a lane", marker, "TMPDIR="+tmp, host.EnvCacheDir+"="+cache)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	said := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(out).ReadString('\n')
		said <- line
	}()
	var line string
	moment := time.NewTimer(after)
	defer moment.Stop()
	select {
	case line = <-said:
		ready = time.Since(began)
		switch {
		case !json.Valid([]byte(line)):
			err = fmt.Errorf("it said %q", line)
		case after < time.Minute:
			<-moment.C
		}
	case <-moment.C:
	}
	if kerr := cmd.Process.Kill(); err == nil {
		err = kerr
	}
	if ready == 0 {
		<-said
		if err == nil && after >= time.Minute {
			err = fmt.Errorf("its lane was not ready after %v", after)
		}
	}
	_ = cmd.Wait() // killed
	ctx, cancel := context.WithTimeout(t.Context(), stormGrace)
	defer cancel()
	return ready, errors.Join(err, awaitNothing(ctx, tmp, marker), noSockets(dir))
}

// knownOfKVM puts the result of the KVM trial into a cache, because the trial is not tested here.
func knownOfKVM(cache string) error {
	answers, err := filepath.Glob(filepath.Join(host.CacheDir(), "kvm-*.json"))
	if err != nil {
		return err
	}
	for _, a := range answers {
		b, err := os.ReadFile(a)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(cache, filepath.Base(a)), b, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// awaitNothing waits until no process has the marker in its environment and
// nothing is in tmp.
func awaitNothing(ctx context.Context, tmp, marker string) error {
	// There is no event for the end of other programs' processes and files.
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		left := append(processesWith(marker), filesIn(tmp)...)
		if len(left) == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%v after it was killed there are still:\n\t%s", stormGrace, strings.Join(left, "\n\t"))
		}
	}
}

// processesWith returns the living processes with the marker in their environment. Children inherit
// it.
func processesWith(marker string) []string {
	var found []string
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil || !bytes.Contains(append(b, 0), []byte(marker+"\x00")) {
			continue
		}
		dir := filepath.Dir(f)
		pid, _ := strconv.Atoi(filepath.Base(dir))
		if !host.Alive(pid) {
			continue
		}
		argv, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		found = append(found, fmt.Sprintf("process %d: %.200s", pid, bytes.ReplaceAll(argv, []byte{0}, []byte{' '})))
	}
	return found
}

// lasting are the files that lanes keep below TMPDIR: the user's directory, and in it the slots
// that boots take turns with.
var lasting = regexp.MustCompile(`^spicelane-\d+(/(boot|restore)-\d+)?$`)

func filesIn(tmp string) []string {
	var found []string
	_ = filepath.WalkDir(tmp, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // it has just gone
		}
		if rel, _ := filepath.Rel(tmp, path); rel != "." && !lasting.MatchString(rel) {
			found = append(found, "file "+path)
		}
		return nil
	})
	return found
}

func noSockets(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type()&(fs.ModeSocket|fs.ModeNamedPipe) != 0 {
			err = fmt.Errorf("%s is a socket or a pipe", path)
		}
		return err
	})
}

// requireCleanCaches looks for unfinished entries, after the next process that makes an entry has
// cleaned up.
func (s *storm) requireCleanCaches(t *testing.T) {
	t.Helper()
	caches, err := filepath.Glob(s.cache("*"))
	require.NoError(t, err)
	for _, dir := range caches {
		c := &warm.Cache{Dir: filepath.Join(dir, "warm"), MaxBytes: 1 << 30}
		c.Sweep()
		names, err := os.ReadDir(c.Dir)
		if !errors.Is(err, fs.ErrNotExist) {
			require.NoError(t, err)
		}
		for _, n := range names {
			require.False(t, strings.HasPrefix(n.Name(), "."), "%s is left in %s", n.Name(), c.Dir)
		}
	}
}
