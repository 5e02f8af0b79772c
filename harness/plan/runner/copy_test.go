package runner

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAnArtifactThatIsCopiedStaysExecutable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	require.NoError(t, os.WriteFile(from, []byte("#!/bin/sh\n"), 0o700))
	require.NoError(t, copyFile(from, to))
	st, err := os.Stat(to)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), st.Mode())
	b, err := os.ReadFile(to)
	require.NoError(t, err)
	require.Equal(t, "#!/bin/sh\n", string(b))
}
