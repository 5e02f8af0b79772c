package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/kballard/go-shellquote"

	"github.com/spicelane/spicelane/harness/plan"
	"github.com/spicelane/spicelane/harness/verdict"
)

// WorkerCommand is the subcommand of spicelane that runs a worker.
const WorkerCommand = "run-cell"

// LockFD is the file descriptor of the run's lock in a worker on this host.
const LockFD = 3

// An Executor starts workers. Its methods may be called from any goroutine.
type Executor interface {
	// Start waits for a free place and starts a worker for the task there. It may change the task's
	// paths to those of another host. Its errors have a verdict.
	Start(ctx context.Context, t *plan.Task) (*Worker, error)
	// Capacity is how many workers can run at once.
	Capacity() int
	// Close releases what the executor holds.
	Close() error
}

// A Worker is a started worker.
type Worker struct {
	// In is the worker's input, for the task and the commands. Closing it ends the worker. Out is the
	// worker's output, with the events.
	In  io.WriteCloser
	Out io.Reader
	// Host is the address of the worker's host; empty for this one.
	Host string
	// Wait waits until the worker has ended and returns its error. Call it after the end of Out. Kill
	// ends the worker at once.
	Wait func() error
	Kill func()
	// Fetch copies the attempt's files into its directory on this host. It is nil if they are there
	// already.
	Fetch func(ctx context.Context) error
	// Release releases what the executor holds for the worker; nil if that is nothing. The runner
	// calls it when the attempt is over.
	Release func()
}

// A local runs workers on this host.
type local struct {
	executable string
	capacity   int
	lock       *os.File
	// command is the template of the worker's command line; nil for a plain command line.
	command []string
}

func (l *local) Capacity() int { return l.capacity }
func (l *local) Close() error  { return nil }

// argv returns the worker's command line.
func (l *local) argv(t *plan.Task) []string {
	if l.command == nil {
		return []string{l.executable, WorkerCommand}
	}
	argv := make([]string, len(l.command))
	replace := strings.NewReplacer("{spicelane}", l.executable, "{dir}", t.Dir, "{out}", t.Out, "{cell}", t.Cell)
	for i, w := range l.command {
		argv[i] = replace.Replace(w)
	}
	return argv
}

// commandWords splits the command of an executor.
func commandWords(e plan.Executor) ([]string, error) {
	words, err := shellquote.Split(e.Command)
	if err != nil {
		return nil, &verdict.Error{Verdict: verdict.Harness, Op: "executor", Err: err}
	}
	return words, nil
}

func (l *local) Start(_ context.Context, t *plan.Task) (*Worker, error) {
	argv := l.argv(t)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = t.Dir
	// NB: no death signal. If the runner dies, the worker reads the end of its input. It then ends its
	// lanes and everything that its steps have started. A killed worker could not do that.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.ExtraFiles = []*os.File{l.lock}
	said := &tail{}
	cmd.Stderr = said
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, verdict.Classify("start a worker", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, verdict.Classify("start a worker", err)
	}
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return nil, &verdict.Error{Verdict: verdict.Host, Op: "start a worker", Err: err}
	}
	return &Worker{
		In: in, Out: out,
		Wait: func() error { return said.explain(cmd.Wait()) },
		Kill: func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) },
	}, nil
}

// A tail keeps the end of what is written to it.
type tail struct{ b []byte }

const tailBytes = 2000

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if n := len(t.b); n > tailBytes {
		t.b = append(t.b[:0], t.b[n-tailBytes:]...)
	}
	return len(p), nil
}

// explain adds the last line of a process's output to the error of its end, and gives the error a
// verdict. SIGKILL is the host's fault, because it mostly means that memory ran out.
func (t *tail) explain(err error) error {
	if err == nil {
		return nil
	}
	said := strings.TrimSpace(string(t.b))
	if i := strings.LastIndexByte(said, '\n'); i >= 0 {
		said = said[i+1:]
	}
	if said != "" {
		err = fmt.Errorf("%w: %s", err, said)
	}
	kind := verdict.Harness
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() && ws.Signal() == syscall.SIGKILL || exit.ExitCode() == verdict.Host.ExitCode() ||
			exit.ExitCode() == 126 || exit.ExitCode() == 127 {
			kind = verdict.Host
		}
	}
	return &verdict.Error{Verdict: kind, Err: err}
}
