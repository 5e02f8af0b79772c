package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"image"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/plan"
	"github.com/spicelane/spicelane/harness/plan/result"
	"github.com/spicelane/spicelane/harness/proc"
	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/report"
	"github.com/spicelane/spicelane/harness/scenario"
	"github.com/spicelane/spicelane/harness/verdict"
)

// bringUp starts a lane, which runs until the attempt ends.
func (w *worker) bringUp(ctx context.Context, s *plan.TaskStep, out *output) error {
	cfg := s.Lane.Config
	cfg.ServerTicket = s.Lane.Ticket
	cfg.Dir = filepath.Join(w.task.Out, LaneDir, cfg.Name)
	cfg.OnStep = func(s registry.Step) {
		fmt.Fprintf(out, "%-10s %6.2f s  %s\n", s.Name, (time.Duration(s.MS) * time.Millisecond).Seconds(), s.Detail)
	}
	cfg.OnLoad = w.loads.lane(cfg.Name)
	started, err := harness.Start(ctx, cfg)
	// NB: after Start, so that identify does not build again what the lane has built for its guest.
	id, _ := identify(ctx, s.Lane.Config, w.task.Program) // unknown values are left out
	for k, v := range id {
		w.end.Identity[cfg.Name+"/"+k] = v
	}
	if err != nil {
		var e *verdict.Error
		if errors.As(err, &e) {
			fmt.Fprintln(out, e.Details())
		}
		return err
	}
	l := &lane{Lane: started, name: cfg.Name}
	w.lanes = append(w.lanes, l)
	state := l.State()
	w.end.Surroundings[l.name+"/"+result.KeyAccel] = state.Accel
	w.end.Surroundings[l.name+"/"+result.KeyWarm] = strconv.FormatBool(state.Warm)
	w.measure(result.Measurement{Name: l.name + "/ready", Unit: "ms", Better: "lower",
		Values: []float64{float64(l.ReadyAfter().Microseconds()) / 1000}})
	return nil
}

func (w *worker) measure(m result.Measurement) {
	for i := range w.end.Measurements {
		if known := &w.end.Measurements[i]; known.Name == m.Name {
			known.Values = append(known.Values, m.Values...)
			return
		}
	}
	w.end.Measurements = append(w.end.Measurements, m)
}

// suites runs suites on a lane, one after the other, until one fails.
func (w *worker) suites(ctx context.Context, s *plan.TaskStep, out *output) error {
	l := w.lane(s.On)
	if l == nil {
		return noLane(s.On)
	}
	// Closing the lane ends the suite.
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	for _, name := range s.Suite {
		began := time.Now()
		err := scenario.Check(ctx, l.Lane, scenario.Suites(name)[0], out)
		took := time.Since(began).Seconds()
		switch {
		case errors.Is(err, scenario.ErrSkipped):
			fmt.Fprintf(out, "SKIP %s (%.2f s): %v\n", name, took, err)
		case err != nil:
			fmt.Fprintf(out, "FAIL %s (%.2f s): %v\n", name, took, err)
			return err
		default:
			fmt.Fprintf(out, "PASS %s (%.2f s)\n", name, took)
		}
	}
	return nil
}

func noLane(name string) error {
	return &verdict.Error{Verdict: verdict.Harness, Err: fmt.Errorf("the lane %s is not up: its step did not run or failed", name)}
}

// beatTimeout is the default limit of a beat under KVM.
const beatTimeout = 10 * time.Second

// beatLimit returns how long a beat may take. scaled returns the time on this host for one under
// KVM.
func beatLimit(b *plan.Beat, scaled func(time.Duration) time.Duration) (time.Duration, error) {
	limit := scaled(cmp.Or(b.Timeout, beatTimeout))
	if b.AwaitStill >= limit { // NB: no screen could meet that, and the product would be blamed
		return 0, &verdict.Error{Verdict: verdict.Harness, Op: "await-still",
			Err: fmt.Errorf("%v takes longer than the beat's timeout of %v", b.AwaitStill, limit), Hint: "give the beat a longer timeout"}
	}
	return limit, nil
}

// beats runs the beats of a step on a lane until one fails.
func (w *worker) beats(ctx context.Context, s *plan.TaskStep, out *output) error {
	l := w.lane(s.On)
	if l == nil {
		return noLane(s.On)
	}
	for i := range s.Beats {
		b := &s.Beats[i]
		name := b.Name
		if name == "" {
			name = b.Kind()
		}
		limit, err := beatLimit(b, l.Scaled)
		if err != nil {
			return err
		}
		bctx, stop := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not within %v", limit))
		began := time.Now()
		err = l.Beat(bctx, name, func(ctx context.Context) error { return beat(ctx, l.Lane, b) })
		stop()
		if err != nil {
			return l.Attribute(began, err)
		}
		fmt.Fprintf(out, "PASS %s (%.2f s)\n", name, time.Since(began).Seconds())
	}
	return nil
}

// beat carries out one action.
func beat(ctx context.Context, l *harness.Lane, b *plan.Beat) error {
	var err error
	switch b.Kind() {
	case "press":
		err = l.Press(ctx, b.Press...)
	case "type":
		err = l.Type(ctx, b.Type)
	case "click":
		_, err = l.Click(ctx, b.Click)
	case "await-serial":
		_, err = l.AwaitSerial(ctx, b.AwaitSerial)
	case "await-screen":
		_, err = l.AwaitScreen(ctx, b.AwaitScreen)
	case "await-text":
		_, err = l.AwaitText(ctx, b.AwaitText)
	case "await-still":
		err = l.AwaitStill(ctx, b.AwaitStill, image.Rectangle{})
	case "await-digest":
		cond, cerr := plan.CompileDigest(b.AwaitDigest)
		if cerr != nil {
			return cerr
		}
		var wrong error
		_, err = l.AwaitDigest(ctx, b.AwaitDigest, func(d harness.Digest) bool {
			ok, err := cond.True(&d)
			if err != nil {
				wrong = err
			}
			return ok || err != nil
		})
		if wrong != nil {
			err = &verdict.Error{Verdict: verdict.Harness, Op: "await-digest", Err: wrong}
		}
	case "screenshot":
		img, serr := l.Screenshot(ctx)
		if serr != nil {
			return serr
		}
		path := filepath.Join(l.Dir(), b.Screenshot)
		if err = os.MkdirAll(filepath.Dir(path), 0o755); err == nil {
			err = drive.WritePNG(path, img)
		}
	}
	return err
}

// lastPicture saves what a lane showed when a step failed, as failed.png in the lane's directory.
func (w *worker) lastPicture(l *lane) {
	ctx, stop := context.WithTimeout(context.WithoutCancel(w.hard), 5*time.Second)
	defer stop()
	if img, err := l.Screenshot(ctx); err == nil {
		_ = drive.WritePNG(filepath.Join(l.Dir(), "failed.png"), img) // the failure itself is reported
	}
}

// commandGrace is the time that a command has between SIGTERM and SIGKILL.
const commandGrace = 10 * time.Second

// outputGrace is how long a command's output may go on after its end, because a process that has left
// its process group may have the pipe.
const outputGrace = time.Second

// command runs a program in its step's directory, and copies its output to out while it runs.
func (w *worker) command(ctx context.Context, s *plan.TaskStep, out io.Writer, args ...string) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	cmd := exec.Command(args[0], args[1:]...)
	if cmd.Dir = w.task.Dir; filepath.IsAbs(s.Dir) {
		cmd.Dir = s.Dir
	} else if s.Dir != "" {
		cmd.Dir = filepath.Join(w.task.Dir, s.Dir)
	}
	cmd.Env = w.environment(s)
	r, pipe, err := os.Pipe()
	if err != nil {
		return verdict.Classify("run", err)
	}
	cmd.Stdout, cmd.Stderr = pipe, pipe
	p, err := proc.Start(cmd)
	_ = pipe.Close()
	if err != nil {
		_ = r.Close()
		return &verdict.Error{Verdict: verdict.Host, Op: args[0], Err: err}
	}
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		copyOutput(out, r)
	}()
	select {
	case <-p.Exited():
	case <-ctx.Done():
		_ = p.Stop(commandGrace)
	}
	// The command's background processes are killed with it. Then the pipe ends, too, unless a process
	// has left the process group.
	t := time.AfterFunc(outputGrace, func() { _ = r.SetReadDeadline(time.Now()) })
	<-copied
	t.Stop()
	_ = r.Close()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return exitError(args[0], p)
}

// copyOutput copies a command's output until it ends or r's deadline is over. Then it copies what the
// pipe still has.
func copyOutput(out io.Writer, r *os.File) {
	if _, err := io.Copy(out, r); errors.Is(err, os.ErrDeadlineExceeded) {
		drain(out, r)
	}
}

// drain copies what is in a pipe now. If out takes it slowly, the grace is over before the command's
// last output has been read.
func drain(out io.Writer, r *os.File) {
	raw, err := r.SyscallConn()
	if err != nil {
		return
	}
	buf := make([]byte, 64<<10)
	for range maxPipe / len(buf) { // another process may still write
		n := 0
		err := raw.Control(func(fd uintptr) { n, _ = unix.Read(int(fd), buf) }) // it never waits
		if err != nil || n <= 0 {
			return
		}
		if _, err := out.Write(buf[:n]); err != nil {
			return
		}
	}
}

// maxPipe is how many bytes the largest pipe of a user has.
const maxPipe = 1 << 20

// exitError returns a command's end as an error with a verdict; nil if it succeeded. The exit
// statuses are those of spicelane itself: 1 is the product's fault, 2 the harness's, 3 the host's.
// 126 and 127, with which a shell reports that it could not run a program, are the host's. A signal
// is the harness's. Any other status is the product's.
func exitError(name string, p *proc.Process) error {
	state := p.State()
	if state == nil {
		return &verdict.Error{Verdict: verdict.Host, Op: name, Err: errors.New("its end is not known")}
	}
	if state.Success() {
		return nil
	}
	kind := verdict.Product
	switch state.ExitCode() {
	case verdict.Harness.ExitCode():
		kind = verdict.Harness
	case verdict.Host.ExitCode(), 126, 127:
		kind = verdict.Host
	case -1:
		kind = verdict.Harness
	}
	return &verdict.Error{Verdict: kind, Err: errors.New(state.String())}
}

// script runs the text of run:. It passes the text in a file, because arguments are visible to
// every user of the host.
func (w *worker) script(ctx context.Context, s *plan.TaskStep, out *output) error {
	f, err := os.CreateTemp("", "spicelane-run-*.sh")
	if err != nil {
		return verdict.Classify("run", err)
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(s.Run)
	if err = errors.Join(err, f.Close()); err != nil {
		return verdict.Classify("run", err)
	}
	measurements, err := os.CreateTemp("", "spicelane-measurements-*")
	if err != nil {
		return verdict.Classify("run", err)
	}
	_ = measurements.Close()
	defer os.Remove(measurements.Name())
	with := *s
	with.Env = map[string]string{"SPICELANE_MEASUREMENTS": measurements.Name()}
	for k, v := range s.Env {
		with.Env[k] = v
	}
	err = w.command(ctx, &with, out, append(append([]string{}, s.Shell...), f.Name())...)
	if merr := w.readMeasurements(measurements.Name()); err == nil {
		err = merr
	}
	return err
}

// readMeasurements reads the measurements that a command wrote into file: lines of the form
// "NAME VALUE [UNIT [lower|higher]]".
func (w *worker) readMeasurements(file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return verdict.Classify("measurements", err)
	}
	for i, line := range strings.Split(string(b), "\n") {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		var value float64
		err := errors.New("it is not NAME VALUE [UNIT [lower|higher]]")
		if len(words) >= 2 && len(words) <= 4 {
			value, err = strconv.ParseFloat(words[1], 64)
		}
		if err == nil && (math.IsNaN(value) || math.IsInf(value, 0)) { // the JSON of a result has none
			err = fmt.Errorf("%q is no finite number", words[1])
		}
		if err == nil && len(words) == 4 && words[3] != "lower" && words[3] != "higher" {
			err = fmt.Errorf("%q is neither lower nor higher", words[3])
		}
		if err == nil && len(words) > 2 {
			err = w.checkUnit(w.mask.String(words[0]), w.mask.String(words[2]))
		}
		if err != nil {
			return &verdict.Error{Verdict: verdict.Harness, Op: "$SPICELANE_MEASUREMENTS", Err: fmt.Errorf("line %d, %q: %w", i+1, w.mask.String(line), err)}
		}
		m := result.Measurement{Name: w.mask.String(words[0]), Values: []float64{value}}
		if len(words) > 2 {
			m.Unit = w.mask.String(words[2])
		}
		if len(words) > 3 {
			m.Better = words[3]
		}
		w.measure(m)
	}
	return nil
}

// checkUnit returns an error if the measurement with this name has values in another unit.
func (w *worker) checkUnit(name, unit string) error {
	for _, m := range w.end.Measurements {
		if m.Name == name && m.Unit != "" && m.Unit != unit {
			return fmt.Errorf("the unit of %s was %q", name, m.Unit)
		}
	}
	return nil
}

// goTest runs go test. It takes the verdict of a failure from the JSON output.
func (w *worker) goTest(ctx context.Context, s *plan.TaskStep, out *output) error {
	r, pipe := io.Pipe()
	type read struct {
		run *report.Run
		err error
	}
	done := make(chan read, 1)
	go func() {
		run, err := report.Read(r, report.ReadOptions{Console: out})
		_, _ = io.Copy(io.Discard, r)
		done <- read{run, err}
	}()
	err := w.command(ctx, s, pipe, append([]string{"go", "test", "-json"}, s.GoTest...)...)
	_ = pipe.Close()
	got := <-done
	if err == nil || ctx.Err() != nil || got.err != nil {
		return errors.Join(err, got.err)
	}
	if kind := got.run.Verdict(); kind != "" {
		return &verdict.Error{Verdict: kind, Err: errors.New(got.run.Headline())}
	}
	return err
}
