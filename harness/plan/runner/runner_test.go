package runner_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/spicelane/spicelane/harness/headless"
	"github.com/spicelane/spicelane/harness/host"
	"github.com/spicelane/spicelane/harness/plan"
	"github.com/spicelane/spicelane/harness/plan/result"
	"github.com/spicelane/spicelane/harness/plan/runner"
	"github.com/spicelane/spicelane/harness/plan/worker"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/internal/need"
	"golang.org/x/sys/unix"
)

// source is the directory of this package.
var source, _ = os.Getwd()

// The test binary plays two more parts: a worker, which the runner starts, and a runner that is
// killed.
func TestMain(m *testing.M) {
	headless.Main()
	if len(os.Args) > 1 && os.Args[1] == runner.WorkerCommand {
		unix.CloseOnExec(runner.LockFD)
		if len(os.Args) == 4 && os.Args[2] == "--slots" {
			n, err := strconv.Atoi(os.Args[3])
			if err == nil {
				_, err = runner.TakeSlot(context.Background(), n, os.Stdout)
			}
			if err != nil {
				panic(err)
			}
		}
		if err := worker.Run(context.Background(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(verdict.Of(err).ExitCode())
		}
		os.Exit(0)
	}
	if len(os.Args) > 1 && os.Args[1] == runner.HoldCommand {
		if err := runner.Hold(context.Background(), os.Stdin, os.Stdout); err != nil {
			panic(err)
		}
		os.Exit(0)
	}
	if len(os.Args) > 1 && os.Args[1] == "doctor" {
		fmt.Println("QEMU is missing")
		os.Exit(3)
	}
	if dir := os.Getenv("RUNNER_TEST_DIR"); dir != "" {
		l, err := plan.Load(context.Background(), "plan.yaml", plan.Options{})
		if err == nil {
			_, err = runner.Run(context.Background(), runner.Config{Plan: l, Dir: dir, Jobs: 3})
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// a recorder keeps what a run reports.
type recorder struct {
	mu      sync.Mutex
	lines   []string
	running map[string]int // by job
	most    map[string]int
	line    func(c *plan.Cell, line string)
	load    func(l worker.Load)
}

func (r *recorder) RunBegins(string, []*plan.Cell) {}
func (r *recorder) AttemptBegins(c *plan.Cell, _ int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running == nil {
		r.running, r.most = map[string]int{}, map[string]int{}
	}
	r.running[c.Job.ID]++
	r.most[c.Job.ID] = max(r.most[c.Job.ID], r.running[c.Job.ID])
}
func (r *recorder) StepBegins(*plan.Cell, string, string) {}
func (r *recorder) Line(c *plan.Cell, _, line string) {
	r.mu.Lock()
	r.lines = append(r.lines, c.ID+": "+line)
	r.mu.Unlock()
	if r.line != nil {
		r.line(c, line)
	}
}
func (r *recorder) Load(_ *plan.Cell, l worker.Load) {
	if r.load != nil {
		r.load(l)
	}
}
func (r *recorder) StepEnds(*plan.Cell, result.Step) {}
func (r *recorder) AttemptEnds(c *plan.Cell, _ result.Attempt, _ time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running[c.Job.ID]--
}
func (r *recorder) CellEnds(result.Cell) {}
func (r *recorder) RunEnds(*result.Run)  {}

// loadPlan writes a plan into a new directory, which becomes the working directory.
func loadPlan(t *testing.T, text string) *plan.Loaded {
	t.Helper()
	t.Chdir(t.TempDir())
	require.NoError(t, os.WriteFile("plan.yaml", []byte(text), 0o600))
	l, err := plan.Load(t.Context(), "plan.yaml", plan.Options{})
	require.NoError(t, err)
	return l
}

func runPlan(t *testing.T, text string, change func(*runner.Config)) (*result.Run, *recorder) {
	t.Helper()
	l := loadPlan(t, text)
	rec := &recorder{}
	cfg := runner.Config{Plan: l, Dir: "run", Jobs: 4, Observer: rec}
	if change != nil {
		change(&cfg)
	}
	r, err := runner.Run(t.Context(), cfg)
	require.NoError(t, err)
	read, err := result.Read("run")
	require.NoError(t, err)
	require.Equal(t, r.ID, read.ID)
	return r, rec
}

// outcomes returns the outcome of each cell, such as "success".
func outcomes(r *result.Run) map[string]result.Outcome {
	all := map[string]result.Outcome{}
	for _, c := range r.Cells {
		all[c.ID] = c.Outcome
	}
	return all
}

func TestJobsRunInTheOrderAndUnderTheConditionsOfGitHub(t *testing.T) {
	r, rec := runPlan(t, `
jobs:
  bad: {steps: [{run: exit 1}]}
  good: {steps: [{run: echo good}]}
  allowed: {continue-on-error: true, steps: [{run: exit 1}]}
  after-bad: {needs: bad, steps: [{run: echo x}]}
  after-skip: {needs: after-bad, steps: [{run: echo x}]}
  after-good: {needs: good, steps: [{run: echo x}]}
  after-allowed: {needs: allowed, if: "needs.allowed.outcome == 'failure' && needs.allowed.result == 'success'", steps: [{run: echo x}]}
  cleanup: {needs: [after-skip, good], if: always(), steps: [{run: echo x}]}
  # On GitHub, a job is also skipped if a job far before it failed, although the one before it did not.
  after-cleanup: {needs: cleanup, steps: [{run: echo x}]}
  on-failure: {needs: after-skip, if: failure(), steps: [{run: echo x}, {run: echo deep, if: failure()}]}
  on-product: {needs: bad, if: "failure() && needs.bad.verdict == 'product'", steps: [{run: echo x}]}
  on-host: {needs: bad, if: "failure() && needs.bad.verdict == 'host'", steps: [{run: echo x}]}
  not-cancelled: {needs: bad, if: "!cancelled()", steps: [{run: echo x}]}
`, nil)
	require.Equal(t, map[string]result.Outcome{
		"bad": result.Failure, "good": result.Success, "allowed": result.Failure, "after-bad": result.Skipped, "after-skip": result.Skipped,
		"after-good": result.Success, "after-allowed": result.Success, "cleanup": result.Success, "after-cleanup": result.Skipped,
		"on-failure": result.Success, "on-product": result.Success, "on-host": result.Skipped, "not-cancelled": result.Success,
	}, outcomes(r))
	require.Equal(t, result.Failure, r.Outcome)
	require.Equal(t, verdict.Product, r.Verdict)
	require.Contains(t, rec.lines, "on-failure: deep", "failure() of a step is also true after a job that failed")
}

func TestStepsRunUnderTheConditionsOfGitHub(t *testing.T) {
	r, rec := runPlan(t, `
jobs:
  a:
    steps:
      - {run: exit 1, id: soft, continue-on-error: true}
      - {run: echo one, if: steps.soft.outcome == 'failure' && steps.soft.result == 'success'}
      - {run: exit 3, id: hard}
      - {run: echo two}
      - {run: echo three, if: failure() && steps.hard.verdict == 'host'}
      - {run: echo four, if: always()}
      - {run: echo five, if: cancelled()}
`, nil)
	require.Equal(t, []string{"a: one", "a: three", "a: four"}, rec.lines)
	a := r.Cells[0].Attempts[0]
	var got []string
	for _, s := range a.Steps {
		got = append(got, s.ID+" "+string(s.Outcome))
	}
	require.Equal(t, []string{"soft failure", "2 success", "hard failure", "4 skipped", "5 success", "6 success", "7 skipped"}, got)
	require.Equal(t, verdict.Host, r.Verdict)
	require.Equal(t, "run exit 3: exit status 3", r.Cells[0].Reason)
}

func TestOnlyFaultsOfTheHostAndTheHarnessAreTriedAgain(t *testing.T) {
	r, _ := runPlan(t, `
jobs:
  host: {retry: {attempts: 3, delay: 1ms}, steps: [{run: "test $SPICELANE_ATTEMPT = 3 || exit 3"}]}
  harness: {retry: {attempts: 2, delay: 1ms}, steps: [{run: "test $SPICELANE_ATTEMPT = 2 || exit 2"}]}
  product: {retry: {attempts: 3, delay: 1ms}, steps: [{run: exit 1}]}
  asked: {retry: {attempts: 3, delay: 1ms, on: product}, steps: [{run: exit 1}]}
  missing: {retry: {attempts: 2, delay: 1ms, backoff: constant}, steps: [{run: nosuchcommand}]}
`, nil)
	attempts := map[string]int{}
	for _, c := range r.Cells {
		attempts[c.ID] = len(c.Attempts)
	}
	require.Equal(t, map[string]int{"host": 3, "harness": 2, "product": 1, "asked": 3, "missing": 2}, attempts)
	require.Equal(t, map[string]result.Outcome{"host": result.Success, "harness": result.Success, "product": result.Failure, "asked": result.Failure, "missing": result.Failure}, outcomes(r))
	require.True(t, r.Cells[0].Flaky())
	require.Contains(t, runner.Describe(r.Cells[0]), "passed on attempt 3")
	require.Equal(t, verdict.Host, r.Cells[0].Attempts[1].Verdict, "each attempt is kept")
	for _, a := range r.Cells[0].Attempts {
		require.FileExists(t, filepath.Join("run", "cells", "host", fmt.Sprint(a.N), runner.LogFile))
	}
	require.Equal(t, verdict.Host, r.Cells[4].Verdict, "a command that is not there")
}

func TestACellThatFailsCancelsTheOthersUnlessFailFastIsOff(t *testing.T) {
	text := `
jobs:
  a:
    strategy: {matrix: {n: [1, 2, 3]}%s}
    steps:
      - run: test ${{ matrix.n }} = 2 || exec sleep 600
        if: matrix.n != 3 || %v
      - run: exit 1
      - {run: echo cleaned, if: cancelled()}
`
	r, rec := runPlan(t, fmt.Sprintf(text, "", true), func(c *runner.Config) { c.Jobs = 2 })
	require.Equal(t, map[string]result.Outcome{"a (n=1)": result.Cancelled, "a (n=2)": result.Failure, "a (n=3)": result.Cancelled}, outcomes(r))
	require.Equal(t, "the cell a (n=2) failed (fail-fast)", r.Cells[0].Reason)
	require.Contains(t, rec.lines, "a (n=1): cleaned")
	require.Empty(t, r.Cells[2].Attempts, "it had not begun")

	r, _ = runPlan(t, strings.ReplaceAll(fmt.Sprintf(text, ", fail-fast: false", false), "exec sleep 600", "true"), nil)
	require.Equal(t, map[string]result.Outcome{"a (n=1)": result.Failure, "a (n=2)": result.Failure, "a (n=3)": result.Failure}, outcomes(r))
}

func TestNoMoreCellsRunAtOnceThanAllowed(t *testing.T) {
	r, rec := runPlan(t, `
jobs:
  one: {strategy: {max-parallel: 1, matrix: {n: [1, 2, 3, 4]}}, steps: [{run: "true"}]}
  two: {strategy: {matrix: {n: [1, 2, 3, 4, 5, 6]}}, steps: [{run: "true"}]}
`, func(c *runner.Config) { c.Jobs = 3 })
	require.Equal(t, result.Success, r.Outcome)
	require.Equal(t, 1, rec.most["one"])
	require.LessOrEqual(t, rec.most["two"], 3)
}

func TestAnInterruptEndsWhatRunsAndRunsWhatAsksForIt(t *testing.T) {
	l := loadPlan(t, `
jobs:
  long: {steps: [{run: echo ready; exec sleep 600}, {run: echo no}, {run: echo cleaned, if: always()}]}
  later: {needs: long, steps: [{run: echo no}]}
  cleanup: {needs: long, if: cancelled(), steps: [{run: echo cleanup}]}
`)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	rec := &recorder{line: func(_ *plan.Cell, line string) {
		if line == "ready" {
			cancel()
		}
	}}
	r, err := runner.Run(ctx, runner.Config{Plan: l, Dir: "run", Observer: rec})
	require.NoError(t, err)
	require.Equal(t, map[string]result.Outcome{"long": result.Cancelled, "later": result.Cancelled, "cleanup": result.Success}, outcomes(r))
	require.Equal(t, result.Cancelled, r.Outcome)
	require.Equal(t, []string{"long: ready", "long: cleaned", "cleanup: cleanup"}, rec.lines)
}

func TestTheSecondInterruptEndsEverythingAndTheRunGoesOnLater(t *testing.T) {
	l := loadPlan(t, `
jobs:
  long: {steps: [{run: "test -z \"$(ls $SPICELANE_WORK)\"; touch $SPICELANE_WORK/x; test -e go || { echo $$ > pid; echo ready; exec sleep 600; }"}]}
  after: {needs: long, steps: [{run: echo after}]}
`)
	stop := make(chan struct{})
	rec := &recorder{line: func(_ *plan.Cell, line string) {
		if line == "ready" {
			close(stop)
		}
	}}
	_, err := runner.Run(t.Context(), runner.Config{Plan: l, Dir: "run", Observer: rec, Stop: stop})
	require.ErrorContains(t, err, "spicelane run --resume")
	require.NoFileExists(t, filepath.Join("run", result.File))
	pid, err := os.ReadFile("pid")
	require.NoError(t, err)
	require.NoDirExists(t, filepath.Join("/proc", strings.TrimSpace(string(pid))), "nothing is left running")
	// A power loss leaves what the attempt had written.
	require.NoError(t, os.MkdirAll(filepath.Join("run", "cells", "long", "1", "work", "left"), 0o700))
	require.NoError(t, os.WriteFile("go", nil, 0o600))
	r, err := runner.Resume(t.Context(), runner.Config{Plan: l, Dir: "run"})
	require.NoError(t, err)
	require.Equal(t, map[string]result.Outcome{"long": result.Success, "after": result.Success}, outcomes(r))
	require.Equal(t, 1, r.Resumed)
}

// killPlan has cells that pass, fail, are retried and depend on each other.
const killPlan = `
jobs:
  first: {strategy: {fail-fast: false, matrix: {n: [1, 2, 3, 4]}}, artifacts: [{name: n, path: n.txt}], steps: [{run: "echo ${{ matrix.n }} > $SPICELANE_WORK/n.txt; echo said; test ${{ matrix.n }} != 3"}]}
  flaky: {retry: {attempts: 3, delay: 20ms}, steps: [{run: "test $SPICELANE_ATTEMPT = 3 || exit 3"}]}
  second: {needs: [first, flaky], if: always(), restore: [{from: first, name: n, path: in}], steps: [{run: "cat $SPICELANE_WORK/in/*/n.txt"}, {run: echo failed, if: failure()}]}
  third: {needs: second, strategy: {matrix: {n: [1, 2]}}, if: always(), steps: [{run: "true"}]}
  skipped: {needs: first, steps: [{run: "true"}]}
`

// summary returns what must be the same in a disturbed and an undisturbed run.
func summary(t *testing.T, r *result.Run) string {
	t.Helper()
	var b strings.Builder
	fmt.Fprintln(&b, r.Outcome, r.Verdict)
	for _, c := range r.Cells {
		fmt.Fprintln(&b, c.ID, c.Outcome, c.Verdict, c.Reason, len(c.Attempts))
		for _, a := range c.Attempts {
			fmt.Fprintln(&b, " ", a.N, a.Outcome, a.Verdict, a.Reason)
			for _, s := range a.Steps {
				fmt.Fprintln(&b, "   ", s.ID, s.Outcome, s.Verdict, s.Reason)
			}
			for _, e := range a.Evidence {
				text, err := os.ReadFile(filepath.Join("run", e.Path))
				require.NoError(t, err)
				fmt.Fprintf(&b, "    %s %s %d %q\n", e.Path, e.Kind, e.Bytes, text)
			}
		}
	}
	return b.String()
}

func TestARunThatIsKilledAtTenRandomMomentsEndsAsOneThatIsNot(t *testing.T) {
	need.Long(t)
	l := loadPlan(t, killPlan)
	r, err := runner.Run(t.Context(), runner.Config{Plan: l, Dir: "run", Jobs: 3})
	require.NoError(t, err)
	want := summary(t, r)
	took := time.Duration(r.TookMS) * time.Millisecond
	t.Log(want)
	killed := 0
	for i := 0; killed < 10; i++ {
		require.Less(t, i, 100, "the run always ends before it is killed")
		require.NoError(t, os.RemoveAll("run"))
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "RUNNER_TEST_DIR=run")
		require.NoError(t, cmd.Start())
		moment := time.Duration(rand.Int64N(int64(took)))
		time.AfterFunc(moment, func() { _ = syscall.Kill(cmd.Process.Pid, syscall.SIGKILL) })
		if cmd.Wait() == nil {
			continue
		}
		if _, err := runner.Examine("run"); err != nil {
			continue // it was killed before it had begun
		}
		killed++
		r, err := runner.Resume(t.Context(), runner.Config{Plan: l, Dir: "run", Jobs: 3})
		require.NoError(t, err)
		require.Equal(t, want, summary(t, r), "killed after %v", moment)
		require.Equal(t, 1, r.Resumed)
	}
}

func TestAnExecutorThatCannotBeMadeFailsItsCellsAndTheRunGoesOn(t *testing.T) {
	r, rec := runPlan(t, `
executors:
  lab: {type: ssh, user: root, known-hosts: nosuchfile, hosts: [127.0.0.1]}
jobs:
  a: {executor: lab, strategy: {fail-fast: false, matrix: {n: [1, 2]}}, steps: [{run: echo x}]}
  b: {needs: a, steps: [{run: echo x}]}
  c: {needs: b, if: failure(), steps: [{run: echo after}]}
`, nil)
	require.Equal(t, map[string]result.Outcome{"a (n=1)": result.Failure, "a (n=2)": result.Failure, "b": result.Skipped, "c": result.Success}, outcomes(r))
	require.Equal(t, verdict.Harness, r.Verdict)
	require.Contains(t, r.Cells[0].Reason, "known-hosts")
	require.Equal(t, []string{"c: after"}, rec.lines)
}

// stopAt returns an observer and a channel. The observer closes the channel, which ends a run at
// once, when a step prints a line.
func stopAt(line string) (*recorder, <-chan struct{}) {
	stop := make(chan struct{})
	return &recorder{line: func(_ *plan.Cell, said string) {
		if said == line {
			close(stop)
		}
	}}, stop
}

func TestARunAgainThatIsKilledKeepsWhatItHadTakenOver(t *testing.T) {
	l := loadPlan(t, `
jobs:
  build: {artifacts: [{name: out, path: out.txt}], steps: [{run: echo built > $SPICELANE_WORK/out.txt}]}
  use: {needs: build, restore: [{from: build, name: out, path: in}], steps: [{run: "test -e go || { echo ready; exit 1; }; cat $SPICELANE_WORK/in/out.txt"}]}
`)
	first, err := runner.Run(t.Context(), runner.Config{Plan: l, Dir: "first"})
	require.NoError(t, err)
	require.Equal(t, map[string]result.Outcome{"build": result.Success, "use": result.Failure}, outcomes(first))
	rec, stop := stopAt("ready")
	_, err = runner.Run(t.Context(), runner.Config{Plan: l, Dir: "second", Again: "first", Observer: rec, Stop: stop})
	require.ErrorContains(t, err, "stopped at once")
	require.NoError(t, os.WriteFile("go", nil, 0o600))
	rec = &recorder{}
	r, err := runner.Resume(t.Context(), runner.Config{Plan: l, Dir: "second", Observer: rec})
	require.NoError(t, err)
	require.Equal(t, map[string]result.Outcome{"build": result.Success, "use": result.Success}, outcomes(r))
	require.Equal(t, []string{"use: built"}, rec.lines)
	require.Equal(t, first.ID, r.Cells[0].ReusedFrom)
	for _, e := range r.Cells[0].Attempts[0].Evidence {
		require.FileExists(t, filepath.Join("second", e.Path))
	}
}

func TestAResumedRunCancelsWhatAFailureBeforeTheKillHasCancelled(t *testing.T) {
	l := loadPlan(t, `
jobs:
  a: {strategy: {matrix: {n: [1, 2]}}, steps: [{run: exit 1}]}
`)
	_, err := runner.Run(t.Context(), runner.Config{Plan: l, Dir: "run", Jobs: 1})
	require.NoError(t, err)
	journal := filepath.Join("run", runner.JournalFile)
	whole, err := os.ReadFile(journal)
	require.NoError(t, err)
	lines := bytes.SplitAfter(whole, []byte("\n"))
	for cut := range lines {
		// Killed after the end of the failed attempt, or of its cell, was noted.
		if text := bytes.Join(lines[:cut], nil); bytes.Contains(text, []byte(`"attempt":`)) && cut < len(lines)-1 {
			require.NoError(t, os.WriteFile(journal, text, 0o600))
			require.NoError(t, os.Remove(filepath.Join("run", result.File)))
			r, err := runner.Resume(t.Context(), runner.Config{Plan: l, Dir: "run", Jobs: 1})
			require.NoError(t, err)
			require.Equal(t, map[string]result.Outcome{"a (n=1)": result.Failure, "a (n=2)": result.Cancelled}, outcomes(r), "%s", text)
			require.Equal(t, "the cell a (n=1) failed (fail-fast)", r.Cells[1].Reason)
		}
	}
}

func TestHalfALineOfTheJournalIsForgottenAndAWrongOneIsReported(t *testing.T) {
	need.Long(t)
	l := loadPlan(t, "jobs: {a: {steps: [{run: echo x}]}, b: {needs: a, steps: [{run: echo x}]}}\n")
	_, err := runner.Run(t.Context(), runner.Config{Plan: l, Dir: "run"})
	require.NoError(t, err)
	journal := filepath.Join("run", runner.JournalFile)
	whole, err := os.ReadFile(journal)
	require.NoError(t, err)
	lines := bytes.SplitAfter(whole, []byte("\n"))
	// A power loss at each byte after the first line.
	for cut := len(lines[0]); cut < len(whole); cut += 37 {
		require.NoError(t, os.WriteFile(journal, whole[:cut], 0o600))
		require.NoError(t, os.Remove(filepath.Join("run", result.File)))
		r, err := runner.Resume(t.Context(), runner.Config{Plan: l, Dir: "run"})
		require.NoError(t, err)
		require.Equal(t, map[string]result.Outcome{"a": result.Success, "b": result.Success}, outcomes(r))
		require.Len(t, r.Cells[0].Attempts, 1)
	}
	bad := append(append([]byte{}, lines[0]...), "{not json}\n{\"at_ms\":1}\n"...)
	require.NoError(t, os.WriteFile(journal, bad, 0o600))
	_, err = runner.Resume(t.Context(), runner.Config{Plan: l, Dir: "run"})
	require.ErrorContains(t, err, "journal.ndjson:2")
}

func TestAPlanThatIsEditedWhileItRunsDoesNotChangeTheRun(t *testing.T) {
	l := loadPlan(t, "jobs: {a: {steps: [{run: \"echo 'jobs: {b: {steps: [{run: exit 1}]}}' > plan.yaml\"}]}, b: {needs: a, steps: [{run: echo as it was}]}}\n")
	rec := &recorder{}
	r, err := runner.Run(t.Context(), runner.Config{Plan: l, Dir: "run", Observer: rec})
	require.NoError(t, err)
	require.Equal(t, result.Success, r.Outcome)
	require.Contains(t, rec.lines, "b: as it was")
	k, err := runner.Examine("run")
	require.NoError(t, err)
	require.True(t, k.Changed)
	require.Equal(t, l.Text, k.Text)
}

func TestNoByteThatARunLeavesHasASecret(t *testing.T) {
	const canary = `c4n4ry/+ "q" Zürich`
	t.Setenv("CANARY", canary)
	var logs [3]bytes.Buffer
	observers := make([]runner.Observer, 0, 3)
	for i, format := range []string{runner.FormatText, runner.FormatJSON, runner.FormatGitHub} {
		o, err := runner.NewLog(format, &logs[i])
		require.NoError(t, err)
		observers = append(observers, o)
	}
	text := `
secrets: {T: {env: CANARY}}
jobs:
  "a":
    retry: {attempts: 2, delay: 1ms}
    env: {TOKEN: "${{ secrets.T }}"}
    artifacts: [{name: out, path: "*"}]
    steps:
      - run: |
          echo "plain $TOKEN"; printf '%s' "$TOKEN" | base64; printf 'user:%s' "$TOKEN" | base64
          printf '%s' "$TOKEN" | od -An -tx1 | tr -d ' \n'; echo
          printf '%.7s' "$TOKEN"; sleep 0.1; printf '%s\n' "${TOKEN#???????}"
          printf '%s' "$TOKEN" | fold -w 5
          printf '%s' "$TOKEN" | gzip > $SPICELANE_WORK/z.gz
          printf '%s' "$TOKEN" > "$SPICELANE_WORK/plain.txt"
          printf '%s' "$TOKEN" >&2
          mkdir -p "$SPICELANE_WORK/d"; echo "$TOKEN 1" >> $SPICELANE_MEASUREMENTS
          exit 3
`
	for i, o := range observers {
		l := loadPlan(t, text)
		r, err := runner.Run(t.Context(), runner.Config{Plan: l, Dir: "run", Observer: o})
		require.NoError(t, err)
		require.Equal(t, result.Failure, r.Outcome)
		require.Len(t, r.Cells[0].Attempts, 2)
		require.Contains(t, logs[i].String(), "plain ***")
		files := 0
		search := func(where string, b []byte) {
			flat := strings.NewReplacer("\n", "", "\r", "").Replace(string(b))
			for _, form := range []string{canary, base64.StdEncoding.EncodeToString([]byte(canary)), url.QueryEscape(canary), fmt.Sprintf("%x", canary)} {
				require.NotContains(t, flat, form, where)
			}
		}
		require.NoError(t, filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			files++
			b, err := os.ReadFile(path)
			search(path, b)
			require.NotContains(t, path, "c4n4ry")
			return err
		}))
		require.Greater(t, files, 6)
		search("the log", logs[i].Bytes())
	}
}

func TestACommandExecutorRunsCellsThroughAnyProgram(t *testing.T) {
	r, rec := runPlan(t, `
executors:
  box: {type: command, command: "env -i PATH=/usr/bin:/bin BOX={cell} {spicelane} run-cell"}
  gone: {type: command, command: "/nonexistent {spicelane}"}
  mute: {type: command, command: "false {spicelane}"}
jobs:
  a: {executor: box, env: {X: "1"}, steps: [{run: "echo $BOX $X; env | grep -c HOME || true"}]}
  b: {executor: gone, steps: [{run: "true"}]}
  c: {executor: mute, steps: [{run: "true"}]}
`, nil)
	require.Contains(t, rec.lines, "a: a 1")
	require.Equal(t, map[string]result.Outcome{"a": result.Success, "b": result.Failure, "c": result.Failure}, outcomes(r))
	require.Equal(t, "box", r.Cells[0].Executor)
	require.Equal(t, verdict.Host, r.Cells[1].Verdict)
	require.Contains(t, r.Cells[2].Reason, "the worker ended without a result: exit status 1")
}

func TestATimeoutEndsAStepAndWhatItStarted(t *testing.T) {
	r, _ := runPlan(t, `
jobs:
  step: {steps: [{run: "sleep 600 & echo $! > pid; wait", timeout: 200ms}, {run: echo always, if: always()}]}
  job: {timeout: 200ms, steps: [{run: sleep 600}, {run: echo clean, if: always()}]}
`, nil)
	pid, err := os.ReadFile("pid")
	require.NoError(t, err)
	require.Equal(t, "run sleep 600 & echo $! > pid; wait: the step's timeout of 200ms is over", r.Cells[0].Reason)
	require.Equal(t, "run sleep 600: the job's timeout of 200ms is over", r.Cells[1].Reason)
	require.Equal(t, verdict.Harness, r.Cells[0].Verdict)
	for _, c := range r.Cells {
		require.Equal(t, result.Success, c.Attempts[0].Steps[1].Outcome, "always() still runs")
	}
	r, _ = runPlan(t, `
jobs:
  soft: {timeout: 200ms, steps: [{run: sleep 600, continue-on-error: true}, {run: echo no}]}
  last: {timeout: 200ms, steps: [{run: sleep 600, continue-on-error: true}]}
`, nil)
	for _, c := range r.Cells {
		require.Equal(t, result.Failure, c.Outcome, "the job's timeout is no failure of a step")
		require.Equal(t, "run sleep 600: the job's timeout of 200ms is over", c.Reason)
	}
	require.Equal(t, result.Skipped, r.Cells[0].Attempts[0].Steps[1].Outcome)
	stat, err := os.ReadFile(filepath.Join("/proc", strings.TrimSpace(string(pid)), "stat"))
	if err == nil { // an unreaped zombie is not running
		require.Contains(t, string(stat), ") Z ")
	}
}

func TestTwoRunsDoNotShareADirectory(t *testing.T) {
	l := loadPlan(t, "jobs: {a: {steps: [{run: echo ready; exec sleep 600}]}}\n")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	rec := &recorder{line: func(*plan.Cell, string) {
		_, err := runner.Run(t.Context(), runner.Config{Plan: l, Dir: "run"})
		if err == nil || !strings.Contains(err.Error(), "not empty") {
			t.Errorf("a second run in the same directory: %v", err)
		}
		cancel()
	}}
	_, err := runner.Run(ctx, runner.Config{Plan: l, Dir: "run", Observer: rec})
	require.NoError(t, err)
}

func TestMeasurementsOfCommandsAreKept(t *testing.T) {
	r, _ := runPlan(t, `
jobs:
  a: {steps: [{run: "printf 'boot 3.5 ms lower\\nboot 4\\nframes 7\\n' > $SPICELANE_MEASUREMENTS"}]}
  b: {steps: [{run: "echo boot fast > $SPICELANE_MEASUREMENTS"}]}
`, nil)
	require.Equal(t, []result.Measurement{{Name: "boot", Unit: "ms", Better: "lower", Values: []float64{3.5, 4}}, {Name: "frames", Values: []float64{7}}}, r.Cells[0].Measurements)
	require.Contains(t, r.Cells[1].Reason, `line 1, "boot fast"`)
	require.Equal(t, verdict.Harness, r.Cells[1].Verdict)
}

func TestALogShowsWhatAGuestSaysAndDoesNotCarryItOut(t *testing.T) {
	const hostile = "\x1b]0;title\a\u202erow\n::error::x"
	for format, want := range map[string]string{
		runner.FormatText:   `a: ^[]0;title^G<U+202E>row\n::error::x` + "\n",
		runner.FormatGitHub: `^[]0;title^G<U+202E>row\n::error::x` + "\n",
	} {
		var b bytes.Buffer
		o, err := runner.NewLog(format, &b)
		require.NoError(t, err)
		c := &plan.Cell{ID: "a", Job: &plan.Job{ID: "a"}}
		o.Line(c, "1", hostile)
		o.AttemptEnds(c, result.Attempt{N: 1, Outcome: result.Success}, 0)
		require.Contains(t, b.String(), want)
	}
	require.Equal(t, `PASS      a: ^[[2J<U+202E>\n`, runner.Describe(result.Cell{ID: "a", Outcome: result.Success, Reason: "\x1b[2J\u202e\n"}))
}

func TestWaitingForTheLastWorkersOfAKilledRunCanBeInterrupted(t *testing.T) {
	l := loadPlan(t, "jobs: {a: {steps: [{run: echo x}]}}\n")
	_, err := runner.Run(t.Context(), runner.Config{Plan: l, Dir: "run"})
	require.NoError(t, err)
	lock, err := host.TryLock(filepath.Join("run", "lock"))
	require.NoError(t, err)
	defer lock.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = runner.Resume(ctx, runner.Config{Plan: l, Dir: "run"})
	require.ErrorIs(t, err, context.Canceled)
}

// The clock of the first attempt's worker is ten years behind, as before a jump or on another host.
func TestACellTakesAsLongAsItTookWhateverTheClocksOfItsAttemptsSay(t *testing.T) {
	l := loadPlan(t, `
executors: {jumpy: {type: command, command: "sh jumpy.sh {spicelane}"}}
jobs: {a: {executor: jumpy, retry: {attempts: 3, delay: 1ms}, steps: [{run: "true"}]}}
`)
	require.NoError(t, os.WriteFile("jumpy.sh", []byte(`read task
years="2016 2036 2026"; n=$(ls | grep -c began); touch began$n
set -- $years; shift $n
end=failure; test $n != 2 || end=success
echo '{"end":{"n":'$((n+1))',"began":"'$1'-01-01T00:00:00Z","took_ms":7,"outcome":"'$end'","verdict":"host"}}'
`), 0o600))
	began := time.Now()
	r, err := runner.Run(t.Context(), runner.Config{Plan: l, Dir: "run"})
	most := time.Since(began).Milliseconds() + 1
	require.NoError(t, err)
	require.Len(t, r.Cells[0].Attempts, 3)
	require.LessOrEqual(t, r.Cells[0].TookMS, most)
	require.LessOrEqual(t, r.TookMS, most)

	// The same is true for a run that is continued: the time in which nothing ran does not count.
	journal := filepath.Join("run", runner.JournalFile)
	whole, err := os.ReadFile(journal)
	require.NoError(t, err)
	lines := bytes.SplitAfter(whole, []byte("\n"))
	require.NoError(t, os.WriteFile(journal, bytes.Join(lines[:3], nil), 0o600), "killed after the first attempt")
	require.NoError(t, os.Remove(filepath.Join("run", result.File)))
	require.NoError(t, os.Remove("began1"))
	require.NoError(t, os.Remove("began2"))
	began = time.Now()
	r, err = runner.Resume(t.Context(), runner.Config{Plan: l, Dir: "run"})
	require.NoError(t, err)
	require.Len(t, r.Cells[0].Attempts, 3)
	require.LessOrEqual(t, r.Cells[0].TookMS, most+time.Since(began).Milliseconds()+1)
	require.GreaterOrEqual(t, r.Cells[0].TookMS, int64(1), "the pause before an attempt counts")
}

// A worker ends everything when its input ends, or when it hears nothing from another host.
func TestACellThatNobodyCancelledFailsIfItsWorkerEndsIt(t *testing.T) {
	r, _ := runPlan(t, `
executors:
  deaf: {type: command, command: "sh -c 'head -n 1 | {spicelane} run-cell'"}
jobs:
  a: {executor: deaf, retry: {attempts: 2, delay: 1ms}, steps: [{run: exec sleep 600}]}
`, nil)
	require.Equal(t, result.Failure, r.Cells[0].Outcome)
	require.Equal(t, verdict.Host, r.Cells[0].Verdict)
	require.Contains(t, r.Cells[0].Reason, "no longer heard from its runner")
	require.Len(t, r.Cells[0].Attempts, 2)
	require.Equal(t, result.Failure, r.Outcome)
}

func TestARunThatWasInterruptedAndKilledHasNotPassedWhenItIsResumed(t *testing.T) {
	l := loadPlan(t, `
jobs:
  long: {steps: [{run: echo ready; exec sleep 600}]}
  cleanup: {needs: long, if: always(), steps: [{run: echo cleanup}]}
`)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	rec := &recorder{line: func(*plan.Cell, string) { cancel() }}
	r, err := runner.Run(ctx, runner.Config{Plan: l, Dir: "run", Observer: rec})
	require.NoError(t, err)
	require.Equal(t, result.Cancelled, r.Outcome)
	// Killed while cleanup ran.
	journal := filepath.Join("run", runner.JournalFile)
	whole, err := os.ReadFile(journal)
	require.NoError(t, err)
	before, _, found := bytes.Cut(whole, []byte(`,"begin":{"cell":"cleanup"`))
	require.True(t, found)
	require.NoError(t, os.WriteFile(journal, before[:bytes.LastIndexByte(before, '\n')+1], 0o600))
	require.NoError(t, os.Remove(filepath.Join("run", result.File)))
	r, err = runner.Resume(t.Context(), runner.Config{Plan: l, Dir: "run"})
	require.NoError(t, err)
	require.Equal(t, map[string]result.Outcome{"long": result.Cancelled, "cleanup": result.Success}, outcomes(r))
	require.Equal(t, result.Cancelled, r.Outcome)
}

func TestACellIsSelectedByItsIDWhateverCharactersThatHas(t *testing.T) {
	l := loadPlan(t, "jobs: {a: {strategy: {matrix: {re: [\"[0-9\", x]}}, steps: [{run: echo x}]}}\n")
	cells, err := runner.Selected(l, []string{"a (re=[0-9)"})
	require.NoError(t, err)
	require.Len(t, cells, 1)
	_, err = runner.Selected(l, []string{"a (re=["})
	require.ErrorContains(t, err, "syntax error in pattern")
}
