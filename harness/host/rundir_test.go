package host

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// Not parallel: it sets an environment variable.
func TestTheDirectoryOfRunDirectoriesIsNoPattern(t *testing.T) {
	tmp, err := os.MkdirTemp("/tmp", "s[1]*-") // NB: a longer path would not be used
	require.NoError(t, err)
	defer os.RemoveAll(tmp)
	t.Setenv("TMPDIR", tmp)
	dir := filepath.Join(runDirBase(), runDirPrefix+"1")
	require.NoError(t, os.MkdirAll(dir, 0o700))
	require.Equal(t, []string{dir}, RunDirs())
}
