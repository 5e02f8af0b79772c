// Package need is for tests that need something of the host, such as a program. Where it is missing
// they are skipped; where lanes are required, as in CI, they fail.
package need

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
)

// TB is the part of testing.TB that is used.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
	Skip(args ...any)
}

// OrSkip skips the test with the reason, or fails it if SPICELANE_LANES is require.
func OrSkip(tb TB, reason string) {
	tb.Helper()
	switch os.Getenv("SPICELANE_LANES") { // as harness/qemu.ParsePolicy has it
	case "", "auto", "off":
		tb.Skip(reason)
	default:
		tb.Fatalf("host fault: %s", reason)
	}
}

// EnvTests says which tests of this repository run: "all" also runs those that call [Long].
const EnvTests = "SPICELANE_TESTS"

// Long skips the test unless SPICELANE_TESTS=all, or SPICELANE_LANES=require, as in make test. It is for
// tests that take seconds: without them, go test ./... is fast enough to be run after each change.
func Long(tb TB) {
	tb.Helper()
	if !RunsLong() {
		tb.Skip("it takes long; " + EnvTests + "=all runs it, and so does make test")
	}
}

// RunsLong reports whether the tests that take long are to be run; see [Long].
func RunsLong() bool {
	return os.Getenv(EnvTests) == "all" || os.Getenv("SPICELANE_LANES") == "require"
}

// Find returns the path of a program. It also looks where distributions put programs for
// administrators.
func Find(name string) (string, error) {
	path, err := exec.LookPath(name)
	if errors.Is(err, exec.ErrNotFound) {
		path, err = exec.LookPath(filepath.Join("/usr/sbin", name))
	}
	return path, err
}

// Program returns the path of a program that scripts/setup.sh installs.
func Program(tb TB, name string) string {
	tb.Helper()
	path, err := Find(name)
	if err != nil {
		OrSkip(tb, name+" was not found; install it with: scripts/setup.sh")
	}
	return path
}

// Browser returns the path of a Chromium. A test with a browser is a long one; see [Long].
func Browser(tb TB) string {
	tb.Helper()
	Long(tb)
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	OrSkip(tb, "there is no Chromium; install it with: scripts/setup.sh")
	return ""
}
