package archive_test

import (
	"path/filepath"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/archive"
	"github.com/spicelane/spicelane/harness/archive/archivetest"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/internal/need"
)

func TestADiskThatIsFullInTheMiddleOfAPublishLeavesTheArchiveAsItWas(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=512k"); err != nil {
		need.OrSkip(t, "a small disk cannot be made here: "+err.Error())
	}
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(dir, 0)) })
	d := archive.Dir{Path: filepath.Join(dir, "archive")}
	a := archivetest.Open(t, d)
	_, err := a.Add(t.Context(), archivetest.Run(0))
	require.NoError(t, err)
	big := archivetest.Run(1)
	noise := make([]byte, 600<<10)
	for i, x := 0, uint32(1); i < len(noise); i++ {
		x = x*1664525 + 1013904223
		noise[i] = byte(x >> 24)
	}
	big.Files.(fstest.MapFS)["cell-2/lane.txt"].Data = noise
	_, err = a.Add(t.Context(), big)
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.Equal(t, verdict.Host, verdict.Of(err))
	require.ErrorContains(t, err, "free some space or choose another directory")
	archivetest.Intact(t, a, "run-0000")
	_, err = a.Prune(t.Context(), archive.Retention{})
	require.NoError(t, err, "what the failed publish left can be removed though the disk is full")
	v, err := a.Verify(t.Context())
	require.NoError(t, err)
	require.Zero(t, v.Unused)
	_, err = a.Add(t.Context(), archivetest.Run(1))
	require.NoError(t, err)
	archivetest.Intact(t, a, "run-0000", "run-0001")
}
