package harness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spicelane/spicelane/harness/headless"
	"github.com/spicelane/spicelane/harness/proc"
	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice/control"
)

// A part is a lane's proxy or client: inside this process, a child from our own
// binary, or somebody else's program.
type part struct {
	// pid is 0 for a part inside this process.
	pid  int
	done <-chan struct{}
	// err says why the part ended, once it has.
	err  func() error
	stop func() error
}

// Done is closed when the part has ended. It is nil, which never is, for no part.
func (p *part) Done() <-chan struct{} {
	if p == nil {
		return nil
	}
	return p.done
}
func (p *part) Err() error   { return p.err() }
func (p *part) Close() error { return p.stop() }

// stopGrace is how long a child may take to end after SIGTERM.
const stopGrace = 3 * time.Second

// A child is a command to start as a part.
type child struct {
	name  string   // "proxy" or "client"; its output goes to <name>.log
	argv  []string // program first
	env   []string // added to this process's
	stdin []byte   // what it reads on its standard input
	// ready is given to the child as descriptor 3; nil for none.
	ready *os.File
}

// start starts c with its output in the lane's directory.
func (l *Lane) startChild(c child) (*part, error) {
	path := filepath.Join(l.dir, c.name+".log")
	log, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, verdict.Classify(c.name, err)
	}
	defer log.Close()
	cmd := exec.Command(c.argv[0], c.argv[1:]...)
	cmd.Env = append(os.Environ(), c.env...)
	cmd.Dir = l.dir
	cmd.Stdout, cmd.Stderr = log, log
	if c.stdin != nil {
		// A pipe, not a Go reader: what is written fits its buffer, and secrets
		// leave no file.
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
				return fmt.Errorf("%s (%s)%s", filepath.Base(c.argv[0]), s, lastLine(path))
			}
			return errors.New("it is still running")
		},
		stop: func() error { return p.Stop(stopGrace) },
	}, nil
}

// lastLine is the last line of a log, made to stand behind an error.
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

// pipeBuffer is what a Linux pipe holds without a reader (pipe(7)).
const pipeBuffer = 64 << 10

// filledPipe is the reading end of a pipe that holds b and then ends.
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

// awaitReady reads the one JSON object that a child writes to its descriptor 3
// when it is ready.
func awaitReady(ctx context.Context, p *part, r *os.File, into any) error {
	read := make(chan error, 1)
	go func() { read <- json.NewDecoder(r).Decode(into) }()
	select {
	case err := <-read:
		if err == nil {
			return nil
		}
		// It closed its end: it is ending.
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

// Ready is what our own daemons say on descriptor 3. It is also the format
// of their --ready-fd.
type Ready struct {
	Addr    string `json:"addr,omitempty"`
	TLSAddr string `json:"tls_addr,omitempty"`
	API     string `json:"api,omitempty"`
	Socket  string `json:"socket,omitempty"`
}

// startClient connects the client to what leads to the console.
func (l *Lane) startClient(ctx context.Context, detail *string) error {
	if l.cfg.client() == None {
		*detail = "none wanted"
		return nil
	}
	socket := l.run.File("control.sock")
	var err error
	switch {
	case l.cfg.client() != Builtin:
		err = l.foreignClient(ctx, socket)
	case l.cfg.Executable != "" || l.cfg.Processes:
		err = l.childClient(ctx, socket)
	default:
		err = l.innerClient(ctx, socket)
	}
	if err != nil {
		return err
	}
	d, err := l.dialControl(ctx, socket)
	if err != nil {
		return err
	}
	l.Client = d
	l.setState(func(s *registry.State) {
		s.PIDs.Client = l.client.pid
		s.ControlSocket = socket
	})
	*detail = fmt.Sprintf("%s, protocol %s", d.Server().ServerName, d.Server().ProtocolVersion)
	return nil
}

// dialControl connects to the client's control socket as soon as it is there.
func (l *Lane) dialControl(ctx context.Context, socket string) (*control.Driver, error) {
	ctx, stop := l.whileUp(ctx)
	defer stop()
	d, err := control.DriverConfig{}.DialWait(ctx, socket)
	if err == nil {
		return d, nil
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return nil, &verdict.Error{Verdict: verdict.Product, Op: "control socket", Err: err}
}

// innerClient runs the client inside this process.
func (l *Lane) innerClient(ctx context.Context, socket string) error {
	log, closeLog, err := l.partLog("client")
	if err != nil {
		return err
	}
	c, err := headless.StartClient(ctx, headless.ClientConfig{VV: l.consoleVV, Socket: socket, Timeline: l.log.Path(), TimelineStart: l.log.Start(), Logger: log})
	if err != nil {
		return errors.Join(err, closeLog())
	}
	l.client = &part{done: c.Done(), err: c.Wait, stop: sync.OnceValue(func() error {
		return errors.Join(c.Close(), closeLog())
	})}
	return nil
}

// childClient runs the client as a process of its own.
func (l *Lane) childClient(ctx context.Context, socket string) error {
	through := ""
	if l.cfg.Link != nil {
		if _, err := l.consoleVV(ctx); err != nil {
			return err
		}
		through = l.relay.Addr()
	}
	// The file that is kept fresh, so that it can connect again later.
	file := l.State().VV
	var err error
	if l.cfg.Executable != "" {
		argv := []string{l.cfg.Executable, "client", "--vv", file, "--socket", socket, "--ready-fd", "3",
			"--timeline", l.log.Path(), "--timeline-start", strconv.FormatInt(l.log.Start().UnixMicro(), 10)}
		if through != "" {
			argv = append(argv, "--through", through)
		}
		l.client, _, err = l.readyChild(ctx, child{name: "client", argv: argv})
	} else {
		l.client, _, err = l.playedPart(ctx, PartClient, partScript{VV: file, Socket: socket, Through: through,
			Timeline: l.log.Path(), TimelineStart: l.log.Start()})
	}
	var known *verdict.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	return &verdict.Error{Verdict: verdict.Product, Op: "client", Err: err}
}
