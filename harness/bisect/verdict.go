package bisect

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spicelane/spicelane/harness/proc"
	"github.com/spicelane/spicelane/harness/report"
	"github.com/spicelane/spicelane/harness/verdict"
)

// grace is how long a command may take to end between SIGTERM and SIGKILL.
const grace = 10 * time.Second

// A Command is a test command.
type Command struct {
	// Argv is the program and its arguments. Dir and Env are as in os/exec.
	Argv []string
	Dir  string
	Env  []string
	// Stdout and Stderr get the command's output.
	Stdout, Stderr *os.File
	// Timeout is the time after which the command is ended; zero means never.
	Timeout time.Duration
}

// An Answer is the verdict of a command.
type Answer struct {
	// Verdict is empty if the command passed.
	Verdict verdict.Kind
	// Reason says what happened; empty if the command passed.
	Reason string
}

// Good reports whether the command passed.
func (a Answer) Good() bool { return a.Verdict == "" }

// Bad reports whether the product failed.
func (a Answer) Bad() bool { return a.Verdict == verdict.Product }

// Run runs the command and returns its verdict. Exit status 0 means passed, 1 means that the
// product failed, and 3 that the host failed. Other statuses, signals and a timeout are failures of
// the harness. The status of go test does not say whose fault a failure is, so for go test Run
// reads the stream of go test -json instead.
//
// Run returns an error if ctx ends or if the command could not be started.
func (c Command) Run(ctx context.Context) (Answer, error) {
	if c.isGoTest() {
		return c.runGoTest(ctx)
	}
	status, err := c.run(ctx, c.Argv, c.Stdout)
	if err != nil {
		return Answer{}, err
	}
	return status.answer(), nil
}

// A status is how a command ended.
type status struct {
	code     int
	signal   syscall.Signal
	timedOut time.Duration
}

func (s status) answer() Answer {
	switch {
	case s.timedOut > 0:
		return Answer{verdict.Harness, fmt.Sprintf("it had not ended after %s", s.timedOut)}
	case s.signal != 0:
		return Answer{verdict.Harness, fmt.Sprintf("it was ended by the signal %q", s.signal)}
	case s.code == 0:
		return Answer{}
	case s.code == verdict.Product.ExitCode():
		return Answer{verdict.Product, "exit status 1"}
	case s.code == verdict.Host.ExitCode():
		return Answer{verdict.Host, "exit status 3"}
	}
	return Answer{verdict.Harness, fmt.Sprintf("exit status %d", s.code)}
}

func (c Command) run(ctx context.Context, argv []string, stdout *os.File) (status, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = c.Dir, c.Env, stdout, c.Stderr
	p, err := proc.Start(cmd)
	if err != nil {
		return status{}, &verdict.Error{Verdict: verdict.Harness, Op: argv[0], Err: err}
	}
	var timeout <-chan time.Time
	if c.Timeout > 0 {
		t := time.NewTimer(c.Timeout)
		defer t.Stop()
		timeout = t.C
	}
	var s status
	select {
	case <-p.Exited():
	case <-ctx.Done():
		_ = p.Stop(grace)
		return s, context.Cause(ctx)
	case <-timeout:
		_ = p.Stop(grace)
		s.timedOut = c.Timeout
	}
	if ws, ok := p.State().Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		s.signal = ws.Signal()
	}
	s.code = p.State().ExitCode()
	return s, nil
}

func (c Command) isGoTest() bool {
	return len(c.Argv) > 1 && filepath.Base(c.Argv[0]) == "go" && c.Argv[1] == "test"
}

func (c Command) runGoTest(ctx context.Context) (Answer, error) {
	argv := slices.Clone(c.Argv)
	asked := slices.Contains(argv, "-json") || slices.Contains(argv, "--json")
	if !asked {
		argv = slices.Insert(argv, 2, "-json")
	}
	r, w, err := os.Pipe()
	if err != nil {
		return Answer{}, err
	}
	var run *report.Run
	var readErr error
	var reading sync.WaitGroup
	reading.Go(func() {
		defer r.Close()
		if asked {
			run, readErr = report.Read(io.TeeReader(r, c.Stdout), report.ReadOptions{})
		} else {
			run, readErr = report.Read(r, report.ReadOptions{Console: c.Stdout})
		}
	})
	s, err := c.run(ctx, argv, w)
	w.Close()
	reading.Wait()
	switch {
	case err != nil:
		return Answer{}, err
	case readErr != nil:
		return Answer{}, readErr
	case s.timedOut > 0 || s.signal != 0:
		return s.answer(), nil
	}
	a := Answer{Verdict: run.Verdict()}
	if a.Good() && s.code != 0 {
		return Answer{verdict.Harness, fmt.Sprintf("go test: exit status %d", s.code)}, nil
	}
	if !a.Good() {
		a.Reason = run.Headline()
		for _, f := range run.Failures() {
			if f.Verdict == a.Verdict {
				a.Reason = f.Name() + ": " + f.Reason
				break
			}
		}
	}
	return a, nil
}

// GitStatus returns the exit status that git bisect run expects: 0 for good, 1 for bad, 125 for "this
// commit cannot be tested".
func (a Answer) GitStatus() int {
	switch {
	case a.Good():
		return 0
	case a.Bad():
		return 1
	}
	return 125
}

// String returns the answer in one line.
func (a Answer) String() string {
	if a.Good() {
		return "passed"
	}
	return string(a.Verdict) + " fault: " + oneLine(a.Reason)
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
