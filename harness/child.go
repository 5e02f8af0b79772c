package harness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spicelane/spicelane/harness/headless"
	"github.com/spicelane/spicelane/harness/proc"
	"github.com/spicelane/spicelane/harness/verdict"
)

// stopGrace is how long a child may take to end after SIGTERM.
const stopGrace = 3 * time.Second

// A child is a command to start as a part.
type child struct {
	name  string   // "proxy" or "client"; its output goes to <name>.log
	argv  []string // program first
	env   []string // added to this process's
	stdin []byte   // what the child reads on its standard input
	// ready becomes the child's descriptor 3; nil for none.
	ready *os.File
}

// startChild starts c with its output in dir.
func startChild(dir string, c child) (*part, error) {
	path := filepath.Join(dir, c.name+".log")
	log, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, verdict.Classify(c.name, err)
	}
	defer log.Close()
	cmd := exec.Command(c.argv[0], c.argv[1:]...)
	cmd.Env = append(os.Environ(), c.env...)
	cmd.Dir = dir
	cmd.Stdout, cmd.Stderr = log, log
	if c.stdin != nil {
		// A pipe, not a Go reader: the data fits its buffer, and secrets leave no file.
		r, err := filledPipe(c.stdin)
		if err != nil {
			return nil, verdict.Classify(c.name, err)
		}
		defer r.Close()
		cmd.Stdin = r
	}
	if c.ready != nil {
		cmd.ExtraFiles = []*os.File{c.ready}
	}
	p, err := proc.Start(cmd)
	if err != nil {
		return nil, &verdict.Error{Verdict: verdict.Harness, Op: c.name, Err: err, Hint: "is the command right?"}
	}
	return &part{
		pid:  p.PID(),
		done: p.Exited(),
		err: func() error {
			if s := p.State(); s != nil {
				return &endedError{fmt.Sprintf("%s (%s)%s", filepath.Base(c.argv[0]), s, lastLine(path)), s.ExitCode()}
			}
			return errors.New("it is still running")
		},
		stop: func() error { return p.Stop(stopGrace) },
	}, nil
}

// An endedError says how a child ended.
type endedError struct {
	how    string
	status int // -1 after a signal
}

func (e *endedError) Error() string { return e.how }

// blameHost blames the host if a child of this program has ended and its exit status says so: a full
// disk, no file descriptors. The other statuses say less, because a child that crashes has one of them.
func blameHost(name string, err error) error {
	var ended *endedError
	if errors.As(err, &ended) && ended.status == verdict.Host.ExitCode() {
		return &verdict.Error{Verdict: verdict.Host, Op: name, Err: err}
	}
	return err
}

// lastLine returns the last line of a log, in the form of a suffix for an error.
func lastLine(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	if last := strings.TrimSpace(lines[len(lines)-1]); last != "" {
		return fmt.Sprintf("; it said last: %q", last)
	}
	return ""
}

// pipeBuffer is how many bytes a Linux pipe holds without a reader (pipe(7)).
const pipeBuffer = 64 << 10

// filledPipe returns the reading end of a pipe that contains b and then ends.
func filledPipe(b []byte) (*os.File, error) {
	if len(b) > pipeBuffer {
		return nil, fmt.Errorf("%d bytes for a child's input; a pipe holds %d", len(b), pipeBuffer)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	_, err = w.Write(b)
	if err = errors.Join(err, w.Close()); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// awaitReady reads the one JSON object that a child writes to its descriptor 3 when it is ready.
func awaitReady(ctx context.Context, p *part, r *os.File, into any) error {
	read := make(chan error, 1)
	go func() { read <- json.NewDecoder(r).Decode(into) }()
	select {
	case err := <-read:
		if err == nil {
			return nil
		}
		// The child has closed its end, so it is ending.
		select {
		case <-p.done:
			return p.Err()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// playPart starts this program again in a role, with its output in dir, and waits until it is
// ready. The part is nil only if nothing was started.
func playPart(ctx context.Context, dir, name string, role headless.Role) (*part, headless.Ready, error) {
	c, err := role.Command()
	if err != nil {
		return nil, headless.Ready{}, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, headless.Ready{}, verdict.Classify(name, err)
	}
	defer r.Close()
	p, err := startChild(dir, child{name: name, argv: c.Argv, env: c.Env, stdin: c.Stdin, ready: w})
	w.Close()
	if err != nil {
		return nil, headless.Ready{}, err
	}
	var ready headless.Ready
	err = blameHost(name, awaitReady(ctx, p, r, &ready))
	return p, ready, err
}
