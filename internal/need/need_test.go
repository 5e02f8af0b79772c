package need_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/internal/need"
)

// A recorder notes how a test ends.
type recorder struct{ skipped, failed string }

func (r *recorder) Helper()          {}
func (r *recorder) Skip(args ...any) { r.skipped = fmt.Sprint(args...); runtime.Goexit() }
func (r *recorder) Fatalf(f string, args ...any) {
	r.failed = fmt.Sprintf(f, args...)
	runtime.Goexit()
}

func ends(f func(need.TB)) (r recorder) {
	done := make(chan bool)
	go func() { defer close(done); f(&r) }()
	<-done
	return r
}

func TestWhatIsMissingSkipsATestAndFailsItWhereLanesAreRequired(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv(need.EnvTests, "all")
	program := func(tb need.TB) { need.Program(tb, "no-such-program") }
	const said = "no-such-program was not found; install it with: scripts/setup.sh"
	for _, policy := range []string{"", string(qemu.LanesAuto), string(qemu.LanesOff)} {
		t.Setenv(qemu.EnvLanes, policy)
		require.Equal(t, recorder{skipped: said}, ends(program), policy)
	}
	for _, policy := range []string{string(qemu.LanesRequire), "no policy"} {
		t.Setenv(qemu.EnvLanes, policy)
		require.Equal(t, recorder{failed: "host fault: " + said}, ends(program), policy)
		require.Equal(t, recorder{failed: "host fault: there is no Chromium; install it with: scripts/setup.sh"}, ends(func(tb need.TB) { need.Browser(tb) }))
	}
}

func TestWhatIsThereIsFound(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	t.Setenv(need.EnvTests, "all")
	for _, name := range []string{"program", "chromium-browser"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"), 0o700))
	}
	require.Equal(t, filepath.Join(dir, "program"), need.Program(t, "program"))
	require.Equal(t, filepath.Join(dir, "chromium-browser"), need.Browser(t))
}

func TestALongTestRunsIfAllTestsAreWantedOrLanesAreRequired(t *testing.T) {
	for _, c := range []struct {
		tests, lanes string
		skipped      bool
	}{
		{"", "", true},
		{"", string(qemu.LanesOff), true},
		{"", string(qemu.LanesAuto), true},
		{"", string(qemu.LanesRequire), false},
		{"all", "", false},
		{"all", string(qemu.LanesOff), false},
	} {
		t.Setenv(need.EnvTests, c.tests)
		t.Setenv(qemu.EnvLanes, c.lanes)
		r := ends(need.Long)
		require.Equal(t, c.skipped, r.skipped != "", "%+v", c)
		require.Empty(t, r.failed)
		if c.skipped {
			require.Equal(t, "it takes long; SPICELANE_TESTS=all runs it, and so does make test", r.skipped)
		}
	}
}
