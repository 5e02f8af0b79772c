package worker

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/plan"
	"github.com/spicelane/spicelane/harness/plan/result"
	"github.com/spicelane/spicelane/harness/verdict"
)

// newWorker returns a worker with a task in a new directory.
func newWorker(t *testing.T, task *plan.Task) *worker {
	t.Helper()
	task.Out = t.TempDir()
	w := &worker{
		task: task, work: filepath.Join(task.Out, WorkDir), hard: t.Context(), began: time.Now(), emit: func(Event) {},
		steps: map[string]any{}, status: plan.Status{Success: true}, end: result.Attempt{Outcome: result.Success},
	}
	require.NoError(t, os.MkdirAll(w.work, 0o700))
	return w
}

// The steps in this test fail at once, because they refer to a lane that does not exist.
func TestAllStepsAfterACancellationHaveFiveMinutesTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorker(t, &plan.Task{Vars: plan.Vars{}})
		step := func(id string) *plan.TaskStep {
			return &plan.TaskStep{ID: id, Name: id, If: "always()", Suite: []string{"boot"}, On: "lane"}
		}
		soft, cancel := context.WithCancelCause(t.Context())
		cancel(errCancelled)
		ctx := w.step(soft, soft, step("1"))
		deadline, ok := ctx.Deadline()
		require.True(t, ok)
		require.Equal(t, lastWords, time.Until(deadline))
		// The limit is pure time, and no step runs that would notice its end, so there is nothing
		// to await. In the bubble, it passes at once.
		time.Sleep(lastWords + time.Second)
		ctx = w.step(ctx, soft, step("2"))
		require.Error(t, ctx.Err(), "the second step got five minutes of its own")
		ctx = w.step(ctx, soft, step("3"))
		require.Error(t, ctx.Err())
		require.Contains(t, w.end.Steps[2].Reason, "5m0s")
		require.Equal(t, verdict.Harness, w.end.Steps[2].Verdict)
	})
}

func TestAnArtifactWithoutAFileIsMissing(t *testing.T) {
	t.Parallel()
	w := newWorker(t, &plan.Task{Artifacts: []plan.Artifact{{Name: "log", Path: plan.Words{"latest.log"}}}})
	err := w.collect()
	require.ErrorContains(t, err, "no step has left a file like latest.log")
	require.NoError(t, os.WriteFile(filepath.Join(w.work, "1.log"), []byte("x"), 0o600))
	require.NoError(t, os.Symlink("1.log", filepath.Join(w.work, "latest.log")))
	err = w.collect() // links are not copied, because they may lead out of the directory
	require.ErrorContains(t, err, "no step has left a file like latest.log")
	require.Equal(t, verdict.Product, verdict.Of(err))
	require.NoError(t, os.Remove(filepath.Join(w.work, "latest.log")))
	require.NoError(t, os.MkdirAll(filepath.Join(w.work, "latest.log", "empty"), 0o700))
	require.ErrorContains(t, w.collect(), "no step has left a file like latest.log")
	require.NoError(t, os.WriteFile(filepath.Join(w.work, "latest.log", "empty", "x"), nil, 0o600))
	require.NoError(t, w.collect())
}

func TestAMeasurementIsANumberInOneUnit(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"boot NaN\n":            `line 1, "boot NaN"`,
		"boot 1 ms\nboot +Inf":  `line 2, "boot +Inf"`,
		"boot 1 ms\nboot 2 s\n": `line 2, "boot 2 s"`,
	} {
		w := newWorker(t, &plan.Task{})
		file := filepath.Join(w.work, "m")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		err := w.readMeasurements(file)
		require.ErrorContains(t, err, want)
		require.Equal(t, verdict.Harness, verdict.Of(err))
	}
}

func TestABeatThatWaitsLongerThanItMayIsTheHarnesssFault(t *testing.T) {
	t.Parallel()
	three := func(d time.Duration) time.Duration { return 3 * d }
	limit, err := beatLimit(&plan.Beat{AwaitStill: 29 * time.Second}, three)
	require.NoError(t, err)
	require.Equal(t, 30*time.Second, limit)
	for _, b := range []plan.Beat{{AwaitStill: 30 * time.Second}, {AwaitStill: 4 * time.Second, Timeout: time.Second}} {
		_, err = beatLimit(&b, three)
		require.ErrorContains(t, err, "takes longer than the beat's timeout")
		require.Equal(t, verdict.Harness, verdict.Of(err))
	}
}

// The runner may read late, for example because its terminal or its connection is slow. Then the
// grace is over before the command's last output has been read.
func TestTheWholeOutputOfACommandIsKeptWhoeverReadsItLate(t *testing.T) {
	t.Parallel()
	r, pipe, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	defer pipe.Close() // another process has it, too
	said := strings.Repeat("x", 60000) + "end\n"
	_, err = io.WriteString(pipe, said)
	require.NoError(t, err)
	require.NoError(t, r.SetReadDeadline(time.Now()))
	var out strings.Builder
	copyOutput(&out, r)
	require.Equal(t, said, out.String())
}

func TestTheDirectoryOfAnAttemptIsNoPattern(t *testing.T) {
	t.Parallel()
	w := newWorker(t, &plan.Task{Artifacts: []plan.Artifact{{Name: "log", Path: plan.Words{"./*.log", "deep/*"}}}})
	w.task.Out = filepath.Join(w.task.Out, "run[1]*")
	w.work = filepath.Join(w.task.Out, WorkDir)
	require.NoError(t, os.MkdirAll(filepath.Join(w.work, "deep", "er"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(w.work, "a.log"), nil, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(w.work, "deep", "er", "b"), nil, 0o600))
	require.NoError(t, w.collect())
	kept, err := ListEvidence(filepath.Join(w.task.Out, ArtifactsDir, "log"))
	require.NoError(t, err)
	require.Len(t, kept, 2)
	require.Equal(t, "a.log", kept[0].Path)
	require.Equal(t, "deep/er/b", kept[1].Path)
}
