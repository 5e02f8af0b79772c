package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/host"
	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/verdict"
)

func newUp() *cobra.Command {
	var (
		flags  laneFlags
		asJSON bool
		name   string
		dir    string
	)
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Bring a lane up and leave it running",
		Long: `Bring a lane up: boot the guest in QEMU, put the proxy in front of it, connect the
headless client, and wait for the guest's banner on the serial line and its picture
at the client. Then print the lane's state and leave it running under a separate
supervisor process.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := flags.config(cmd)
			if err != nil {
				return err
			}
			reg := registry.Registry{}
			claim, err := claimLane(reg, name)
			if err != nil {
				return err
			}
			defer claim.Close()
			cfg.Name = claim.name
			if dir == "" {
				cfg.Dir = reg.Entry(claim.name)
			} else if cfg.Dir, err = filepath.Abs(dir); err != nil {
				return usage("--dir: %w", err)
			}
			progress := newProgress(cmd.ErrOrStderr())
			s, err := startSupervisor(cmd.Context(), cfg, claim, progress)
			progress.done()
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), s)
			}
			printState(cmd.OutOrStdout(), s)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&name, "name", "", "the lane's `NAME`; default: the first free name of lane-1, lane-2, …")
	flags.add(cmd)
	f.StringVar(&dir, "dir", "", "the lane's `DIR`ectory, for logs, timeline, screenshots; default: under the user's state directory")
	f.BoolVar(&asJSON, "json", false, "print the lane's state as JSON")
	return cmd
}

// A claim is the right to use a lane's name: a lock that the supervisor inherits and holds while it
// lives.
type claim struct {
	name string
	lock *os.File
}

func (c *claim) Close() { c.lock.Close() }

// claimLane claims name, or the first free lane-N if name is empty.
func claimLane(reg registry.Registry, name string) (*claim, error) {
	if name != "" {
		if err := registry.CheckName(name); err != nil {
			return nil, err
		}
		c, err := tryClaim(reg, name)
		if errors.Is(err, host.ErrLocked) {
			return nil, usage("lane %s is already up; end it first (spicelane down %s) or choose another --name", name, name)
		}
		return c, err
	}
	for i := 1; ; i++ {
		c, err := tryClaim(reg, fmt.Sprintf("lane-%d", i))
		if errors.Is(err, host.ErrLocked) {
			continue
		}
		return c, err
	}
}

func tryClaim(reg registry.Registry, name string) (*claim, error) {
	dir := reg.Entry(name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, &verdict.Error{Verdict: verdict.Host, Op: "lane " + name, Err: err, Hint: "set XDG_STATE_HOME to a directory that can be written"}
	}
	f, err := host.TryLock(filepath.Join(dir, ".lock"))
	if err != nil {
		return nil, &verdict.Error{Verdict: verdict.Host, Op: "lane " + name, Err: err}
	}
	return &claim{name: name, lock: f}, nil
}

// A note is one line from the supervisor to the `up` that waits for it.
type note struct {
	Begin string          `json:"begin,omitempty"`
	Step  *registry.Step  `json:"step,omitempty"`
	Ready *registry.State `json:"ready,omitempty"`
	Fail  *failNote       `json:"fail,omitempty"`
}

// A failNote carries an error across the process boundary.
type failNote struct {
	Verdict verdict.Kind `json:"verdict"`
	Message string       `json:"message"`
	Detail  string       `json:"detail,omitempty"`
}

func (f *failNote) Error() string   { return f.Message }
func (f *failNote) Details() string { return f.Detail }

// File descriptors that a supervisor inherits, besides the standard three.
const (
	superviseNotes = 3
	superviseLock  = 4
)

// startSupervisor runs `spicelane supervise` in a new session and waits until its lane is ready or
// has failed. Cancelling ctx ends the lane.
func startSupervisor(ctx context.Context, cfg harness.Config, c *claim, p *progress) (registry.State, error) {
	none := registry.State{}
	if err := host.EnoughDescriptors(); err != nil {
		return none, err
	}
	exe, err := os.Executable()
	if err != nil {
		return none, usage("%w", err)
	}
	if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
		return none, &verdict.Error{Verdict: verdict.Host, Op: "lane directory", Err: err, Hint: "choose another --dir"}
	}
	logf, err := os.OpenFile(filepath.Join(cfg.Dir, "supervisor.log"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return none, &verdict.Error{Verdict: verdict.Host, Op: "lane directory", Err: err, Hint: "choose another --dir"}
	}
	defer logf.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return none, &verdict.Error{Verdict: verdict.Host, Err: err}
	}
	defer r.Close()
	in, err := json.Marshal(cfg)
	if err != nil {
		w.Close()
		return none, usage("%w", err)
	}
	sup := exec.Command(exe, "supervise")
	sup.Stdin = strings.NewReader(string(in))
	sup.Stdout, sup.Stderr = logf, logf
	sup.ExtraFiles = []*os.File{w, c.lock} // superviseNotes, superviseLock
	sup.Dir = "/"
	// In a new session the supervisor outlives this command, and Ctrl-C in the terminal does not
	// reach it.
	sup.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = sup.Start()
	w.Close()
	if err != nil {
		return none, &verdict.Error{Verdict: verdict.Host, Op: "supervisor", Err: err}
	}
	exited := make(chan error, 1)
	go func() { exited <- sup.Wait() }()

	notes := make(chan note)
	go func() {
		defer close(notes)
		dec := json.NewDecoder(r)
		for {
			var n note
			if dec.Decode(&n) != nil {
				return
			}
			notes <- n
		}
	}()
	end := func() { _ = sup.Process.Signal(syscall.SIGTERM) }
	return awaitReady(ctx, notes, exited, end, logf.Name(), p)
}

// awaitReady follows a supervisor until its lane is ready or has failed. If ctx ends before, it calls
// end, which ends the supervisor. log is the supervisor's log.
func awaitReady(ctx context.Context, notes <-chan note, exited <-chan error, end func(), log string, p *progress) (registry.State, error) {
	none := registry.State{}
	interrupted := ctx.Done()
	for {
		select {
		case <-interrupted:
			interrupted = nil
			p.say("interrupted, ending the lane")
			end()
		case n, ok := <-notes:
			switch {
			case !ok:
				err := <-exited
				return none, &verdict.Error{Verdict: verdict.Harness, Op: "supervisor",
					Err:  fmt.Errorf("ended without a message (%s)", describeExit(err)),
					Hint: "see " + log}
			case n.Begin != "":
				p.begin(n.Begin)
			case n.Step != nil:
				p.end(*n.Step)
			case n.Ready != nil && interrupted == nil:
				// It became ready at the last moment, and is ending nevertheless.
				<-exited
				return none, usage("interrupted: the lane was ended")
			case n.Ready != nil:
				return *n.Ready, nil
			case n.Fail != nil:
				<-exited
				return none, &verdict.Error{Verdict: n.Fail.Verdict, Err: n.Fail}
			}
		}
	}
}

func describeExit(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

// progress shows what the command waits for and how long each step took. On a terminal it rewrites
// the current line; elsewhere it prints only results.
type progress struct {
	w        io.Writer
	terminal bool
	waiting  bool
}

func newProgress(w io.Writer) *progress {
	return &progress{w: w, terminal: isTerminalWriter(w)}
}

func (p *progress) clear() {
	if p.terminal && p.waiting {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.waiting = false
	}
}

func (p *progress) begin(name string) {
	if p.terminal {
		p.clear()
		fmt.Fprintf(p.w, "  waiting for %s …", name)
		p.waiting = true
	}
}

func (p *progress) end(s registry.Step) {
	p.clear()
	fmt.Fprintf(p.w, "  %-10s %6.2f s  %s\n", s.Name, (time.Duration(s.MS) * time.Millisecond).Seconds(), s.Detail)
}

func (p *progress) say(text string) {
	p.clear()
	fmt.Fprintf(p.w, "  %s\n", text)
}

func (p *progress) done() { p.clear() }
