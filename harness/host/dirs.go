package host

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/spicelane/spicelane/harness/verdict"
)

// The directories that this program uses. Of the functions here, only ownDir creates one.

// EnvCacheDir overrides the cache directory.
const EnvCacheDir = "SPICELANE_CACHE_DIR"

// CacheDir returns the directory for data that lanes can make again: fixtures, saved states,
// whether KVM works. It is $SPICELANE_CACHE_DIR, else spicelane below the user's cache directory,
// else below the temporary directory. The path is always absolute.
func CacheDir() string {
	if d := os.Getenv(EnvCacheDir); d != "" {
		if abs, err := filepath.Abs(d); err == nil {
			return abs
		}
		return d
	}
	if d, err := os.UserCacheDir(); err == nil {
		return filepath.Join(d, "spicelane")
	}
	return filepath.Join(tempDir(), userDir(), "cache")
}

// StateDir returns the directory with the states of lanes that outlive the command that made them.
// It is $XDG_STATE_HOME/spicelane, else ~/.local/state/spicelane, else a directory below the
// temporary directory.
func StateDir() string {
	if d := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(d) {
		return filepath.Join(d, "spicelane")
	}
	if h, err := os.UserHomeDir(); err == nil && filepath.IsAbs(h) {
		return filepath.Join(h, ".local", "state", "spicelane")
	}
	return filepath.Join(tempDir(), userDir())
}

// tempDir returns the directory for temporary files as an absolute path, because QEMU and a lane's
// parts run in other directories.
func tempDir() string {
	dir := os.TempDir()
	if abs, err := filepath.Abs(dir); err == nil {
		return abs
	}
	return dir
}

// runDirBase returns the parent of run directories.
func runDirBase() string {
	base := tempDir()
	// With a long TMPDIR (go test's artifacts, CI workspaces), a socket's path would be too long.
	if len(base) > 40 {
		base = "/tmp"
	}
	return filepath.Join(base, userDir())
}

// sharedBase returns the directory that all processes of this user share, whatever their TMPDIR is.
func sharedBase() string { return filepath.Join("/tmp", userDir()) }

func userDir() string { return "spicelane-" + strconv.Itoa(os.Getuid()) }

// ownDir creates a private directory of this user and returns it. It refuses a directory that
// others own or can write to: they could put a link or a lock there.
func ownDir(dir, op string) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", &verdict.Error{Verdict: verdict.Host, Op: op, Err: err}
	}
	if st, err := os.Stat(dir); err != nil || !ownPrivate(st) {
		return "", &verdict.Error{Verdict: verdict.Host, Op: op,
			Err: fmt.Errorf("%s is not this user's own, or open to others", dir), Hint: "remove it"}
	}
	return dir, nil
}

func ownPrivate(st os.FileInfo) bool {
	sys, ok := st.Sys().(*syscall.Stat_t)
	return ok && int(sys.Uid) == os.Getuid() && st.Mode().Perm()&0o077 == 0
}

// accessible returns why this user cannot write into a directory.
func accessible(dir string) error {
	const writeAndSearch = 2 | 1
	return syscall.Access(dir, writeAndSearch)
}
