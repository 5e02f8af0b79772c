package harness_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/fixtures"
	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/verdict"
)

// ownTemp gives the test its own TMPDIR, short enough for sockets. At the end of the test, it looks
// for what lanes have left there.
func ownTemp(t *testing.T) {
	t.Helper()
	tmp, err := os.MkdirTemp("", "own")
	require.NoError(t, err)
	t.Setenv("TMPDIR", tmp)
	t.Cleanup(func() {
		require.Empty(t, filesIn(tmp))
		require.NoError(t, os.RemoveAll(tmp))
	})
}

// mountTmpfs mounts a small disk at dir until the test ends.
func mountTmpfs(t *testing.T, dir, options string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir, 0o700))
	options += fmt.Sprintf(",mode=700,uid=%d,gid=%d", os.Getuid(), os.Getgid())
	if out, err := asRoot("mount", "-t", "tmpfs", "-o", options, "tmpfs", dir); err != nil {
		harness.SkipOrFail(t, fmt.Sprintf("a small disk cannot be mounted: %v: %s; run as root, or let sudo ask for no password", err, out))
	}
	t.Cleanup(func() {
		out, err := asRoot("umount", dir)
		require.NoError(t, err, string(out))
	})
}

// asRoot runs a command as root, through sudo if need be.
func asRoot(command ...string) ([]byte, error) {
	if os.Geteuid() != 0 {
		command = append([]string{"sudo", "-n"}, command...)
	}
	return exec.Command(command[0], command[1:]...).CombinedOutput()
}

func TestADirectoryThatCannotBeIsSaidInOneSentence(t *testing.T) {
	ownCache(t)
	ownTemp(t)
	cfg := echoLane(t)
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, []byte("mine"), 0o600))
	for _, c := range []struct {
		name, dir, want string
		verdict         verdict.Kind
	}{
		{"below a file", filepath.Join(file, "lane"), "lane directory: mkdir " + file + ": not a directory; choose another directory", verdict.Harness},
		{"a file", file, "lane directory: mkdir " + file + ": not a directory; choose another directory", verdict.Harness},
		{"where the kernel makes the files", "/proc/lane", "lane directory: mkdir /proc/lane: no such file or directory; choose another directory", verdict.Harness},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := cfg
			cfg.Dir = c.dir
			_, err := harness.Start(t.Context(), cfg)
			require.EqualError(t, err, c.want)
			require.Equal(t, c.verdict, verdict.Of(err))
		})
	}
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "mine", string(b))
}

func TestADirectoryOnADiskThatCannotBeWrittenIsTheHostsFault(t *testing.T) {
	ownCache(t)
	ownTemp(t)
	cfg := echoLane(t)
	disk := filepath.Join(t.TempDir(), "disk")
	mountTmpfs(t, disk, "size=1m")
	there := filepath.Join(disk, "there")
	require.NoError(t, os.Mkdir(there, 0o700))
	out, err := asRoot("mount", "-o", "remount,ro", disk)
	require.NoError(t, err, string(out))
	for dir, want := range map[string]string{
		there:                      "lane directory: remove " + there + "/serial.log: read-only file system; choose a directory that can be written",
		filepath.Join(disk, "new"): "lane directory: mkdir " + disk + "/new: read-only file system; choose a directory that can be written",
	} {
		cfg.Dir = dir
		_, err := harness.Start(t.Context(), cfg)
		require.EqualError(t, err, want)
		require.Equal(t, verdict.Host, verdict.Of(err))
	}
}

func TestADirectoryOnAFullDiskIsTheHostsFault(t *testing.T) {
	ownCache(t)
	ownTemp(t)
	cfg := echoLane(t)
	disk := filepath.Join(t.TempDir(), "disk")
	mountTmpfs(t, disk, "size=64k")
	ballast, err := os.Create(filepath.Join(disk, "ballast"))
	require.NoError(t, err)
	for b := make([]byte, 4096); err == nil; {
		_, err = ballast.Write(b)
	}
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.NoError(t, ballast.Close())
	cfg.Dir = filepath.Join(disk, "lane")
	_, err = harness.Start(t.Context(), cfg)
	require.Error(t, err)
	require.Equal(t, verdict.Host, verdict.Of(err), "%v", err)
	require.EqualError(t, err, "lane directory: the disk is full: 0 MiB are free for "+cfg.Dir+
		", a lane needs 16; free some space or choose another directory")
	require.NoFileExists(t, filepath.Join(cfg.Dir, qemu.ArgvFile), "it was booted")
}

// A lane that goes on without its timeline would keep no evidence of later failures.
func TestADiskThatFillsUpUnderALaneIsTheHostsFault(t *testing.T) {
	ownCache(t)
	ownTemp(t)
	cfg := echoLane(t)
	disk := filepath.Join(t.TempDir(), "disk")
	mountTmpfs(t, disk, "size=20m")
	cfg.Dir = filepath.Join(disk, "lane")
	lane, err := harness.Start(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.ErrorIs(t, lane.Close(), syscall.ENOSPC, "Close says it, too") })
	ballast, err := os.Create(filepath.Join(disk, "ballast"))
	require.NoError(t, err)
	for b := make([]byte, 4096); err == nil; {
		_, err = ballast.Write(b)
	}
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.NoError(t, ballast.Close())
	for range 4096 { // what is left of the timeline's last page
		require.NoError(t, lane.Beat(t.Context(), "filler", func(context.Context) error { return nil }))
	}
	err = ended(t, lane)
	require.Equal(t, verdict.Host, verdict.Of(err), "%v", err)
	require.ErrorContains(t, err, "timeline: write ")
	require.ErrorContains(t, err, "the disk is full: free some space or choose another directory")
}

// The run directory belongs to the lane, too.
func TestATemporaryDirectoryThatCannotBeIsTheHostsFault(t *testing.T) {
	ownCache(t)
	cfg := echoLane(t)
	tmp, err := os.MkdirTemp("", "own")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(tmp)) })
	file := filepath.Join(tmp, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	cfg.Dir = t.TempDir()
	t.Setenv("TMPDIR", file)
	_, err = harness.Start(t.Context(), cfg)
	require.Equal(t, verdict.Host, verdict.Of(err), "%v", err)
	require.ErrorContains(t, err, "run directory: mkdir "+file+": not a directory")
	left, err := os.ReadDir(tmp)
	require.NoError(t, err)
	require.Len(t, left, 1)
}

func TestAFixtureWhoseImageIsNotWhatItClaimsIsNotBooted(t *testing.T) {
	ownCache(t)
	ownTemp(t)
	cfg := echoLane(t)
	entry, err := os.ReadFile(cfg.Fixture)
	require.NoError(t, err)
	wrong := strings.Repeat("0f", 32)
	require.NoError(t, os.WriteFile(cfg.Fixture, append(entry, "sha256: "+wrong+"\n"...), 0o600))
	cfg.Dir = t.TempDir()
	_, err = harness.Start(t.Context(), cfg)
	var sum *fixtures.SumError
	require.ErrorAs(t, err, &sum)
	require.Equal(t, wrong, sum.Want)
	require.Equal(t, verdict.Harness, verdict.Of(err))
	require.ErrorContains(t, err, "echo.yaml says")
	require.NoFileExists(t, filepath.Join(cfg.Dir, qemu.ArgvFile), "it was booted")
}
