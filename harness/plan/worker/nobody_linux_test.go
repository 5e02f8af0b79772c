package worker

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/spicelane/spicelane/harness/plan"
	"github.com/spicelane/spicelane/harness/plan/result"
)

// asNobody calls f as a user who is not root, because root may do everything. The user owns the
// worker's directories and the files in them.
func asNobody(t *testing.T, w *worker, f func() error) error {
	t.Helper()
	if os.Getuid() != 0 {
		return f()
	}
	const nobody = 65534
	require.NoError(t, os.Chmod(filepath.Dir(w.task.Out), 0o755))
	require.NoError(t, filepath.WalkDir(w.task.Out, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Chown(path, nobody, -1))
	}))
	ended := make(chan error)
	go func() {
		runtime.LockOSThread() // NB: never unlocked, so that the thread ends with this function
		err := unix.Setfsuid(nobody)
		if err == nil {
			err = f()
		}
		ended <- err
	}()
	return <-ended
}

func TestAFileThatNobodyMayWriteToIsAnArtifactAlsoIfTwoPatternsMatchIt(t *testing.T) {
	t.Parallel()
	w := newWorker(t, &plan.Task{Artifacts: []plan.Artifact{{Name: "out", Path: plan.Words{"out", "out/*"}}}})
	require.NoError(t, os.Mkdir(filepath.Join(w.work, "out"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(w.work, "out", "x"), []byte("x"), 0o400))
	require.NoError(t, asNobody(t, w, w.collect))
}

func TestAWorkDirectoryWithReadOnlyDirectoriesIsRemoved(t *testing.T) {
	t.Parallel()
	w := newWorker(t, &plan.Task{})
	module := filepath.Join(w.work, "mod", "example.com")
	require.NoError(t, os.MkdirAll(module, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(module, "x.go"), nil, 0o400))
	require.NoError(t, os.Chmod(module, 0o500))
	require.NoError(t, os.Chmod(filepath.Dir(module), 0o500))
	require.NoError(t, asNobody(t, w, func() error {
		w.finish()
		return nil
	}))
	require.Equal(t, result.Success, w.end.Outcome, w.end.Reason)
	require.NoDirExists(t, w.work)
}
