package runner

import (
	"context"
	"errors"
	"io"
	"io/fs"
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

// A program between the runner and its worker, such as one that queues, may not read its input yet.
func TestAWorkerThatReadsNothingEndsWithTheRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		_, in := io.Pipe()
		out, write := io.Pipe()
		w := &Worker{In: in, Out: out, Wait: func() error { return errors.New("killed") }, Kill: func() { _ = write.Close() }}
		ended := make(chan error, 1)
		go func() {
			r := &talk{run: &run{}}
			_, err := r.converse(ctx, w, &plan.Task{Heartbeat: time.Second}, nil)
			ended <- err
		}()
		synctest.Wait()
		stop()
		// The grace is pure time: nothing happens when it is over, so there is nothing to await. In
		// the bubble, it passes at once.
		time.Sleep(cancelGrace + time.Second)
		select {
		case err := <-ended:
			require.ErrorContains(t, err, "killed")
		default:
			require.NoError(t, write.Close())
			require.NoError(t, in.Close())
			<-ended
			t.Fatal("the worker was not killed")
		}
	})
}

// fakeExecutor starts a worker that prints one line and leaves files.
type fakeExecutor struct {
	says  string
	leave func(out string) error
}

func (e fakeExecutor) Capacity() int { return 1 }
func (e fakeExecutor) Close() error  { return nil }
func (e fakeExecutor) Start(_ context.Context, t *plan.Task) (*Worker, error) {
	out := t.Out
	return &Worker{
		In: nopCloser{io.Discard}, Out: strings.NewReader(e.says + "\n"), Wait: func() error { return nil }, Kill: func() {},
		Fetch: func(context.Context) error { return e.leave(out) },
	}, nil
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// A host that vanishes has masked nothing. Here one name with a secret cannot be masked, because a
// directory already has the masked name.
func TestEvidenceThatCannotBeMaskedIsRemovedHoweverTheAttemptEnded(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, os.WriteFile("plan.yaml", []byte("secrets: {S: {env: S}}\njobs: {a: {steps: [{run: x}]}}\n"), 0o600))
	l, err := plan.Load(t.Context(), "plan.yaml", plan.Options{LookupEnv: func(string) (string, bool) { return "topsecret", true }})
	require.NoError(t, err)
	for _, outcome := range []string{`"failure","verdict":"product","reason":"it failed"`, `"success"`} {
		dir := t.TempDir()
		r := &run{Config: Config{Plan: l, Dir: dir, Observer: Observers(nil)}, hard: t.Context()}
		c := &cell{Cell: l.Cells[0]}
		task, err := l.Task(l.Cells[0])
		require.NoError(t, err)
		task.Out = r.attemptDir(c, 1)
		a, _ := r.attempt(c, fakeExecutor{`{"end":{"n":1,"outcome":` + outcome + `}}`, func(out string) error {
			return errors.Join(os.MkdirAll(filepath.Join(out, "topsecret"), 0o700), os.MkdirAll(filepath.Join(out, "***", "x"), 0o700),
				os.WriteFile(filepath.Join(out, "topsecret", "x"), []byte("x"), 0o600))
		}}, task, nil)
		require.Equal(t, result.Failure, a.Outcome)
		if strings.Contains(outcome, "product") {
			require.Equal(t, verdict.Product, a.Verdict)
		}
		require.NoError(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			require.NotContains(t, path, "topsecret")
			return err
		}))
		require.Empty(t, a.Evidence)
	}
}

func TestTheEndOfAJobHasTheHopAndReasonOfItsVerdict(t *testing.T) {
	t.Parallel()
	job := &plan.Job{ID: "j"}
	r := &run{byJob: map[string][]*cell{"j": {
		{Cell: &plan.Cell{Job: job}, final: &result.Cell{Outcome: result.Success}},
		{Cell: &plan.Cell{Job: job}, final: &result.Cell{Outcome: result.Failure, Verdict: verdict.Host, Reason: "the disk is full"}},
		{Cell: &plan.Cell{Job: job}, final: &result.Cell{Outcome: result.Failure, Verdict: verdict.Product, Hop: verdict.HopProxy, Reason: "a wrong picture"}},
		{Cell: &plan.Cell{Job: job}, final: &result.Cell{Outcome: result.Failure, Verdict: verdict.Product, Hop: verdict.HopGuest, Reason: "no banner"}},
	}}}
	e := r.jobEnd("j")
	require.Equal(t, plan.End{Result: result.Failure, Outcome: result.Failure, Verdict: verdict.Product, Hop: verdict.HopProxy, Reason: "a wrong picture"}, e)
}
