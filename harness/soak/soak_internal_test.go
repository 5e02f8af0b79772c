package soak

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/verdict"
)

func TestALaneWhoseDirectoryCannotBeRemovedHasFailed(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "0001")
	require.NoError(t, os.Mkdir(dir, 0o700))
	l := Lane{N: 1}
	l.settle("soak-1", dir+"/.", false) // no path that ends in a dot can be removed
	require.False(t, l.OK)
	require.Equal(t, Down, l.Stage)
	require.Equal(t, verdict.Host, l.Verdict)
	require.NotEmpty(t, l.Dir)
	l = Lane{N: 1}
	l.settle("soak-1", dir, false)
	require.True(t, l.OK)
	require.NoDirExists(t, dir)
}
