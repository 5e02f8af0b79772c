package host

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/verdict"
)

// Two test processes of one user share the processors whatever their TMPDIR is: CI
// gives each job one, and go test's artifact directories have long names.
func TestProcessesWithDifferentTemporaryDirectoriesShareTheirTurns(t *testing.T) {
	kind := "test-" + filepath.Base(t.TempDir()) // nobody else's turns
	long := filepath.Join(t.TempDir(), strings.Repeat("long", 20))
	require.NoError(t, os.MkdirAll(long, 0o700))
	held, err := takeSlot(t.Context(), kind, 1, 1)
	require.NoError(t, err)
	defer held.Release()
	past, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	cancel(enough)
	for _, tmp := range []string{t.TempDir(), long, "/tmp"} {
		t.Setenv("TMPDIR", tmp)
		second, err := takeSlot(past, kind, 1, 1)
		second.Release()
		require.ErrorIs(t, err, enough, "TMPDIR=%s has turns of its own", tmp)
		require.Equal(t, verdict.Host, verdict.Of(err))
	}
	held.Release()
	again, err := takeSlot(past, kind, 1, 1)
	require.NoError(t, err, "a turn that was given back is free")
	again.Release()
}

// Otherwise, another user could hold every turn, or put a link there.
func TestTurnsAreNotTakenWhereOthersCanWrite(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o777))
	_, err := ownDir(dir, "boot slot")
	require.Equal(t, verdict.Host, verdict.Of(err))
	require.ErrorContains(t, err, dir+" is not this user's own, or open to others")
	require.NoError(t, os.Chmod(dir, 0o700))
	got, err := ownDir(dir, "boot slot")
	require.NoError(t, err)
	require.Equal(t, dir, got)
}
