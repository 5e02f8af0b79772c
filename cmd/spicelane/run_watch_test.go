package main

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/internal/need"
)

// copyProgram makes this test binary the program spicelane in a new directory, and returns its path. It
// is the program if its file has that name.
// NB: a symbolic link does not do, because the program starts itself again by the path of its file.
func copyProgram(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	program, err := os.ReadFile(self)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "spicelane")
	require.NoError(t, os.WriteFile(path, program, 0o700))
	return path
}

// A watcher is a running command that prints lines.
type watcher struct {
	t     *testing.T
	lines chan string
	seen  []string
}

// until reads lines until one has the text, and returns the lines of that part.
func (w *watcher) until(text string) string {
	w.t.Helper()
	end := time.After(2 * time.Minute)
	from := len(w.seen)
	for {
		select {
		case line, ok := <-w.lines:
			require.True(w.t, ok, "%q has not come:\n%s", text, strings.Join(w.seen, "\n"))
			w.seen = append(w.seen, line)
			if strings.Contains(line, text) {
				return strings.Join(w.seen[from:], "\n")
			}
		case <-end:
			w.t.Fatalf("%q has not come:\n%s", text, strings.Join(w.seen, "\n"))
		}
	}
}

// Timeline: a run passes; the file that the plan names changes; a file that it does not name changes;
// the plan is wrong; the plan is right and fails; it is interrupted.
func TestAWatchedPlanRunsAgainOnEachChangeOfAFileThatItNames(t *testing.T) {
	need.Long(t)
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		// Editors replace a file, and so does this.
		require.NoError(t, os.WriteFile(filepath.Join(dir, name+".new"), []byte(text), 0o600))
		require.NoError(t, os.Rename(filepath.Join(dir, name+".new"), filepath.Join(dir, name)))
	}
	const right = "jobs: {a: {files: [data.txt], steps: [{run: cat data.txt; grep -q o data.txt}]}}\n"
	write("plan.yaml", right)
	write("data.txt", "one\n")
	write("other.txt", "x\n")
	cmd := exec.Command(copyProgram(t), "run", "plan.yaml", "--watch", "--log", "text")
	cmd.Dir = dir
	r, pipe, err := os.Pipe()
	require.NoError(t, err)
	cmd.Stdout, cmd.Stderr = pipe, pipe
	require.NoError(t, cmd.Start())
	require.NoError(t, pipe.Close())
	w := &watcher{t: t, lines: make(chan string)}
	go func() {
		defer close(w.lines)
		for lines := bufio.NewScanner(r); lines.Scan(); {
			w.lines <- lines.Text()
		}
		_, _ = io.Copy(io.Discard, r)
	}()
	defer func() {
		_ = cmd.Process.Kill()
		for range w.lines { // until all that it had started has ended
		}
		_ = cmd.Wait()
		_ = r.Close()
	}()
	const waits = "waiting for a change of 2 files; Ctrl-C ends"
	part := w.until(waits)
	require.Contains(t, part, "a: one")
	require.Contains(t, part, "PASS      a")

	write("data.txt", "two\n")
	require.Contains(t, w.until(waits), "a: two")

	write("other.txt", "y\n")
	write("data.txt", "eins\n")
	part = w.until(waits)
	require.Contains(t, part, "a: eins")
	require.Contains(t, part, "product fault: ")

	write("plan.yaml", "jobs: {a: {stps: []}}\n")
	require.Contains(t, w.until(waits), `unknown key "stps"`)

	write("plan.yaml", strings.Replace(right, "{a:", "{b:", 1))
	require.Contains(t, w.until(waits), "b: eins")

	runs, err := os.ReadDir(filepath.Join(dir, "artifacts", "runs"))
	require.NoError(t, err)
	require.Len(t, runs, 4, "another file, or a notification without a change, starts no run")
	require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
	require.Error(t, cmd.Wait())
	require.Equal(t, 1, cmd.ProcessState.ExitCode(), "the last run has failed by the product's fault")
}
