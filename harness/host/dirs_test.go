package host_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/host"
)

func TestDirectoriesAreWhereTheUserSays(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	for _, name := range []string{host.EnvCacheDir, "XDG_CACHE_HOME", "XDG_STATE_HOME"} {
		t.Setenv(name, "")
	}
	require.Equal(t, filepath.Join(home, ".cache", "spicelane"), host.CacheDir())
	require.Equal(t, filepath.Join(home, ".local", "state", "spicelane"), host.StateDir())

	t.Setenv("XDG_CACHE_HOME", "/of/caches")
	t.Setenv("XDG_STATE_HOME", "/of/states")
	require.Equal(t, "/of/caches/spicelane", host.CacheDir())
	require.Equal(t, "/of/states/spicelane", host.StateDir())

	t.Setenv(host.EnvCacheDir, "near")
	here, err := os.Getwd()
	require.NoError(t, err)
	require.Equal(t, filepath.Join(here, "near"), host.CacheDir(), "QEMU runs in another directory")

	t.Setenv(host.EnvCacheDir, "")
	t.Setenv("XDG_CACHE_HOME", "")
	t.Setenv("XDG_STATE_HOME", "relative is not valid")
	t.Setenv("HOME", "")
	t.Setenv("TMPDIR", "/of/the/moment")
	own := filepath.Join("/of/the/moment", filepath.Base(filepath.Dir(host.CacheDir())))
	require.Regexp(t, `^/of/the/moment/spicelane-\d+$`, own)
	require.Equal(t, filepath.Join(own, "cache"), host.CacheDir())
	require.Equal(t, own, host.StateDir())
}

func TestALockHasOneHolderAndGoesWithIt(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	lock, err := host.TryLock(path)
	require.NoError(t, err)
	_, err = host.TryLock(path)
	require.ErrorIs(t, err, host.ErrLocked)

	// A copy of the descriptor in another process keeps the lock held.
	cmd := exec.Command("cat")
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	cmd.ExtraFiles = []*os.File{lock}
	require.NoError(t, cmd.Start())
	require.NoError(t, lock.Close())
	_, err = host.TryLock(path)
	require.ErrorIs(t, err, host.ErrLocked)
	require.NoError(t, stdin.Close())
	require.NoError(t, cmd.Wait())
	again, err := host.TryLock(path)
	require.NoError(t, err)
	require.NoError(t, again.Close())

	_, err = host.TryLock(filepath.Join(path, "below a file"))
	require.ErrorContains(t, err, "not a directory")
	require.NotErrorIs(t, err, host.ErrLocked)
}
