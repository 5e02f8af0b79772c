package atomicfile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/internal/atomicfile"
)

func TestAFileIsReplacedWithItsMode(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	require.NoError(t, atomicfile.Write(path, []byte("first"), 0o644))
	held, err := os.Open(path)
	require.NoError(t, err)
	defer held.Close()
	require.NoError(t, atomicfile.Write(path, []byte("second and longer"), 0o600))
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "second and longer", string(b))
	st, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), st.Mode().Perm())
	was := make([]byte, 20)
	n, err := held.Read(was)
	require.NoError(t, err)
	require.Equal(t, "first", string(was[:n]), "who has the old file open reads the old file")
}

func TestAFileThatCannotBeReplacedStaysAndNothingIsLeftBesideIt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "taken")
	require.NoError(t, os.MkdirAll(filepath.Join(path, "by a directory"), 0o755))
	require.Error(t, atomicfile.Write(path, []byte("text"), 0o644))
	es, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, es, 1, "the temporary file is gone")

	err = atomicfile.Write(filepath.Join(dir, "none", "file"), nil, 0o644)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestAFileStaysAsItWasIfWhatFillsItFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(path, []byte("whole"), 0o600))
	broken := errors.New("it breaks in the middle")
	err := atomicfile.Fill(path, 0o644, func(f *os.File) error {
		_, err := f.WriteString("ha")
		require.NoError(t, err)
		return broken
	})
	require.ErrorIs(t, err, broken)
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "whole", string(b))
	es, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, es, 1)
}
