// Package worker runs one attempt of a cell of a plan.
//
//	err := worker.Run(ctx, os.Stdin, os.Stdout)
//
// A worker reads a [plan.Task] from its input, as one line of JSON. It writes [Event]s, one per
// line, until the attempt has ended. Each worker is a separate process on this host or another one:
// package runner starts it with "spicelane run-cell" through an executor. So an executor has little
// to do: it starts a program, passes on its input and output, and copies files back.
//
// A [Command] in the input can cancel the attempt: the running step ends, and then only steps run
// whose conditions allow it, such as always(). The end of the input ends everything at once. So a
// worker whose runner was killed leaves nothing behind.
//
// The worker masks secrets in all output before it leaves the process, and in all files below the
// attempt's directory. Secrets come with the task, never through arguments or the environment of
// this process.
package worker

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/plan"
	"github.com/spicelane/spicelane/harness/plan/mask"
	"github.com/spicelane/spicelane/harness/plan/result"
	"github.com/spicelane/spicelane/harness/verdict"
)

// An Event is one line of a worker's output. Exactly one of its fields is set.
type Event struct {
	// Ready is the first event: the worker has read its task.
	Ready *Ready       `json:"ready,omitempty"`
	Begin *Begin       `json:"begin,omitempty"`
	Log   *Log         `json:"log,omitempty"`
	Step  *result.Step `json:"step,omitempty"`
	// Identity is the identity of what the lanes will test. The worker then waits for a Command with
	// Go or Skip.
	Identity *Identity `json:"identity,omitempty"`
	// Load is what a lane has used so far.
	Load *Load `json:"load,omitempty"`
	// End is the last event. The attempt's files are complete then.
	End *result.Attempt `json:"end,omitempty"`
}

// Ready says that a worker is running: Host is the host's name, and PID the worker's process.
type Ready struct {
	Host string `json:"host"`
	PID  int    `json:"pid"`
}

// An Identity identifies what the lanes of an attempt test (see result.Cell).
type Identity struct {
	Values map[string]string `json:"values"`
	// Unknown says which values are unknown and why; empty if Values is complete.
	Unknown string `json:"unknown,omitempty"`
}

// Begin says that a step begins. ID is the step's id or number.
type Begin struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// Log is a line that a step printed.
type Log struct {
	ID   string `json:"id"`
	Line string `json:"line"`
}

// lastWords is how long all steps together may run after a cancellation or a timeout.
const lastWords = 5 * time.Minute

// The directories below an attempt's directory.
const (
	WorkDir      = "work"      // what steps read and write
	LaneDir      = "lanes"     // a directory for each lane
	ArtifactsDir = "artifacts" // a directory for each artifact
)

// errCancelled ends a step because the cell was cancelled.
var errCancelled = errors.New("it was cancelled")

// A worker is a running attempt.
type worker struct {
	task  *plan.Task
	mask  *mask.Masker
	work  string
	emit  func(Event)
	hard  context.Context // ends when nothing more may run
	began time.Time
	// last is the context of all steps after the attempt was cancelled or timed out; nil before.
	last context.Context

	steps  map[string]any // the ends of steps by id, for conditions
	status plan.Status
	lanes  []*lane
	loads  *loads
	end    result.Attempt
}

// A lane is a lane of the attempt.
type lane struct {
	*harness.Lane
	name string
}

// Run reads a task from in, runs the attempt and writes its events to out. It returns an error only
// if it cannot read the task. The last event says how the attempt ended.
func Run(ctx context.Context, in io.Reader, out io.Writer) error {
	lines := bufio.NewReader(in)
	first, err := lines.ReadBytes('\n')
	if err != nil {
		return &verdict.Error{Verdict: verdict.Harness, Op: "run-cell", Err: fmt.Errorf("no task on the standard input: %w", err), Hint: "spicelane run starts it"}
	}
	var t plan.Task
	if err := json.Unmarshal(first, &t); err != nil {
		return &verdict.Error{Verdict: verdict.Harness, Op: "run-cell", Err: fmt.Errorf("the task: %w", err)}
	}
	hard, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	soft, cancel := context.WithCancelCause(hard)
	defer cancel(nil)
	decided := make(chan bool, 1)
	go obey(lines, t.Heartbeat, func(c Command) {
		switch {
		case c.Cancel:
			cancel(errCancelled)
		case c.Go || c.Skip:
			select {
			case decided <- c.Go:
			default: // an earlier command has decided
			}
		}
	}, func() { stop(errCancelled) })
	var mu sync.Mutex
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	w := &worker{
		task: &t, mask: mask.New(t.Secrets), work: filepath.Join(t.Out, WorkDir), hard: hard, began: time.Now(),
		steps: map[string]any{}, status: plan.Status{Success: true, Failure: t.Failed},
		emit: func(e Event) {
			mu.Lock()
			defer mu.Unlock()
			_ = enc.Encode(e) // if it fails, nobody reads the output, and there is nobody to report to
		},
	}
	w.loads = newLoads(w.emit)
	measuring, stopLoads := context.WithCancel(context.Background())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		w.loads.run(measuring)
	}()
	name, _ := os.Hostname()
	w.emit(Event{Ready: &Ready{Host: name, PID: os.Getpid()}})
	if t.Reuse && !w.hasToRun(soft, decided) {
		w.end = result.Attempt{N: t.Attempt, Began: w.began.UTC(), Outcome: result.Skipped}
	} else {
		w.run(soft)
	}
	stopLoads()
	<-stopped
	w.loads.flush()
	w.emit(Event{End: &w.end})
	return nil
}

// A Command is a line of a worker's input after the task. An empty one is a heartbeat.
type Command struct {
	Cancel bool `json:"cancel,omitempty"`
	// Go and Skip answer the event Identity: run the attempt, or skip it.
	Go   bool `json:"go,omitempty"`
	Skip bool `json:"skip,omitempty"`
}

// hasToRun sends the identity of what the lanes will test, waits for the runner's decision, and
// returns it. If the attempt is cancelled meanwhile, it returns true, because some steps may run
// even then.
func (w *worker) hasToRun(soft context.Context, decided <-chan bool) bool {
	id := Identity{Values: map[string]string{}}
	for _, s := range w.task.Steps {
		if s.Lane == nil {
			continue
		}
		values, err := identify(soft, s.Lane.Config, w.task.Program)
		if err != nil {
			id.Unknown = w.mask.String(oneLine(err.Error()))
		}
		for k, v := range values {
			id.Values[s.Lane.Config.Name+"/"+k] = w.mask.String(v)
		}
	}
	w.emit(Event{Identity: &id})
	select {
	case run := <-decided:
		return run
	case <-soft.Done():
		return true
	}
}

// obey reads commands and passes them to command. When the input ends, it calls stop. With a
// heartbeat, it also calls stop if no line comes for four heartbeats: the runner's host may have
// vanished, which the connection may not report for hours. Its reads end with the runner's process
// or with this one.
func obey(in *bufio.Reader, heartbeat time.Duration, command func(Command), stop func()) {
	silence := time.AfterFunc(1<<62, stop)
	for {
		if heartbeat > 0 {
			silence.Reset(4 * heartbeat)
		}
		line, err := in.ReadBytes('\n')
		if err != nil {
			silence.Stop()
			stop()
			return
		}
		var c Command
		if json.Unmarshal(line, &c) == nil {
			command(c)
		}
	}
}

// run runs the steps and fills w.end.
func (w *worker) run(soft context.Context) {
	w.end = result.Attempt{N: w.task.Attempt, Began: w.began.UTC(), Outcome: result.Success,
		Identity: map[string]string{}, Surroundings: surroundings()}
	if name, err := os.Hostname(); err == nil {
		w.end.Worker = name
	}
	if err := w.prepare(); err != nil {
		w.fail(verdict.Classify("prepare the cell", err))
	} else {
		ctx, stop := context.WithTimeoutCause(soft, w.task.Timeout, &verdict.Error{Verdict: verdict.Harness,
			Err: fmt.Errorf("the job's timeout of %v is over", w.task.Timeout)})
		for i := range w.task.Steps {
			ctx = w.step(ctx, soft, &w.task.Steps[i])
		}
		stop()
	}
	w.closeLanes()
	if w.end.Outcome == result.Success || len(w.task.Artifacts) > 0 {
		if err := w.collect(); err != nil && w.end.Outcome == result.Success {
			w.fail(err)
		}
	}
	if soft.Err() != nil && w.end.Outcome == result.Success && w.status.Cancelled {
		w.end.Outcome, w.end.Reason = result.Cancelled, errCancelled.Error()
	}
	w.finish()
	w.end.TookMS = time.Since(w.began).Milliseconds()
}

// prepare makes the directories and restores artifacts.
func (w *worker) prepare() error {
	if err := os.MkdirAll(w.work, 0o755); err != nil {
		return err
	}
	for _, r := range w.task.Restore {
		if err := copyTree(r.From, filepath.Join(w.work, r.To)); err != nil {
			return fmt.Errorf("restore %s: %w", r.To, err)
		}
	}
	return nil
}

// fail makes the attempt fail. Its reason is the err of the first call.
func (w *worker) fail(err error) {
	w.status.Success, w.status.Failure = false, true
	if w.end.Outcome != result.Success {
		return
	}
	w.end.Outcome, w.end.Verdict, w.end.Hop = result.Failure, verdict.Of(err), verdict.HopOf(err)
	w.end.Reason = w.mask.String(oneLine(err.Error()))
}

// step runs one step if its condition is true. It returns the context for the next step.
func (w *worker) step(ctx, soft context.Context, s *plan.TaskStep) context.Context {
	began := time.Now()
	if soft.Err() != nil {
		w.status.Cancelled = true
	} else if ctx.Err() != nil { // the timeout came just when the previous step ended
		w.fail(context.Cause(ctx))
	}
	end := result.Step{ID: s.ID, Name: w.mask.String(s.Name), Outcome: result.Skipped, Allowed: s.ContinueOnError}
	runs, err := plan.StepRuns(s.If, w.task.Vars, w.steps, w.status)
	switch {
	case err != nil:
		err = &verdict.Error{Verdict: verdict.Harness, Op: "if", Err: err}
	case !runs:
		w.record(end)
		return ctx
	default:
		if ctx.Err() != nil { // the attempt is over, but this step's condition is true even so
			if w.last == nil { // NB: once, because each step would get its own time otherwise
				var stop context.CancelFunc
				w.last, stop = context.WithTimeoutCause(w.hard, lastWords, &verdict.Error{Verdict: verdict.Harness,
					Err: fmt.Errorf("the %v for steps after the end of the attempt are over", lastWords)})
				context.AfterFunc(w.hard, stop)
			}
			ctx = w.last
		}
		w.emit(Event{Begin: &Begin{ID: s.ID, Name: end.Name}})
		err = w.carryOut(ctx, s)
	}
	end.Outcome = result.Success
	end.TookMS = time.Since(began).Milliseconds()
	switch {
	case err == nil:
	case errors.Is(context.Cause(ctx), errCancelled):
		end.Outcome, end.Reason = result.Cancelled, errCancelled.Error()
		w.status.Success, w.status.Cancelled = false, true
		if w.end.Outcome == result.Success {
			w.end.Outcome, w.end.Reason = result.Cancelled, errCancelled.Error()
		}
	default:
		end.Outcome, end.Verdict, end.Hop = result.Failure, verdict.Of(err), verdict.HopOf(err)
		end.Reason = w.mask.String(oneLine(err.Error()))
		// continue-on-error allows a failure of the step, but not what ended the whole attempt.
		if over := ctx.Err() != nil; over || !s.ContinueOnError {
			end.Allowed = end.Allowed && !over
			w.fail(fmt.Errorf("%s: %w", s.Name, err))
		}
	}
	w.record(end)
	return ctx
}

// record records how a step ended, for later conditions and for the runner.
func (w *worker) record(end result.Step) {
	e := plan.End{Result: end.Outcome, Outcome: end.Outcome, Verdict: end.Verdict, Hop: end.Hop, Reason: end.Reason}
	if end.Allowed && end.Outcome == result.Failure {
		e.Result = result.Success
	}
	w.steps[end.ID] = e.Vars()
	w.end.Steps = append(w.end.Steps, end)
	w.emit(Event{Step: &end})
}

// carryOut runs a step. Its errors have a verdict.
func (w *worker) carryOut(ctx context.Context, s *plan.TaskStep) (err error) {
	if s.Timeout > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeoutCause(ctx, s.Timeout, &verdict.Error{Verdict: verdict.Harness, Err: fmt.Errorf("the step's timeout of %v is over", s.Timeout)})
		defer stop()
	}
	out := w.output(s)
	defer out.Close()
	defer func() {
		if err == nil {
			return
		}
		// A timeout is the reason, and not the error that it led to.
		var over *verdict.Error
		if cause := context.Cause(ctx); ctx.Err() != nil && errors.As(cause, &over) {
			err = over
		}
		err = verdict.Classify("", err)
		if l := w.lane(s.On); l != nil {
			w.lastPicture(l)
			l.NoteFailure(err)
		}
	}()
	switch {
	case s.Lane != nil:
		return w.bringUp(ctx, s, out)
	case s.Suite != nil:
		return w.suites(ctx, s, out)
	case s.Beats != nil:
		return w.beats(ctx, s, out)
	case s.GoTest != nil:
		return w.goTest(ctx, s, out)
	}
	return w.script(ctx, s, out)
}

// output returns a writer for the output of a step. It masks the output and sends it as Log events.
func (w *worker) output(s *plan.TaskStep) *output {
	lines := &lineWriter{line: func(line string) { w.emit(Event{Log: &Log{ID: s.ID, Line: line}}) }}
	return &output{masked: w.mask.Writer(lines), lines: lines}
}

// An output masks secrets and cuts its input into lines. Several goroutines may write to it.
type output struct {
	mu     sync.Mutex
	masked *mask.Writer
	lines  *lineWriter
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.masked.Write(p)
}

func (o *output) Close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	_ = o.masked.Close()
	o.lines.flush()
}

// maxLine limits a line in bytes. Longer lines are cut, because a program may print no newline at
// all.
const maxLine = 64 << 10

// A lineWriter calls line with each line.
type lineWriter struct {
	line func(string)
	rest []byte
}

// flush passes on the last line if it has no newline.
func (l *lineWriter) flush() {
	if len(l.rest) > 0 {
		l.line(strings.ToValidUTF8(string(l.rest), "\ufffd"))
		l.rest = nil
	}
}

func (l *lineWriter) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for {
		i := bytes.IndexByte(l.rest, '\n')
		next := i + 1
		if i < 0 && len(l.rest) > maxLine {
			i, next = maxLine, maxLine
		}
		if i < 0 {
			return len(p), nil
		}
		l.line(strings.ToValidUTF8(strings.TrimSuffix(string(l.rest[:i]), "\r"), "\ufffd"))
		l.rest = l.rest[next:]
	}
}

// oneLine joins the lines of a message with semicolons.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}

// environment returns the environment of a step's commands.
func (w *worker) environment(s *plan.TaskStep) []string {
	env := map[string]string{
		"SPICELANE_WORK":     w.work,
		"SPICELANE_PLAN_DIR": w.task.Dir,
		"SPICELANE_CELL":     w.task.Cell,
		"SPICELANE_ATTEMPT":  fmt.Sprint(w.task.Attempt),
	}
	for _, l := range w.lanes {
		maps.Copy(env, l.addresses("SPICELANE_LANE_"+envName(l.name)+"_"))
	}
	if l := w.lane(s.On); l != nil {
		maps.Copy(env, l.addresses("SPICELANE_LANE_"))
	}
	maps.Copy(env, s.Env)
	all := os.Environ()
	if self, err := os.Executable(); err == nil && filepath.Base(self) == "spicelane" {
		if _, set := env["PATH"]; !set {
			env["PATH"] = filepath.Dir(self) + string(os.PathListSeparator) + os.Getenv("PATH")
		}
	}
	for k, v := range env {
		all = append(all, k+"="+v)
	}
	return all
}

// addresses returns the addresses and paths of a lane's parts as environment variables with a
// prefix.
func (l *lane) addresses(prefix string) map[string]string {
	s := l.State()
	env := map[string]string{
		prefix + "NAME": l.name, prefix + "DIR": s.Dir, prefix + "QMP": s.QMP, prefix + "SERIAL_LOG": s.SerialLog,
		prefix + "CONTROL_SOCKET": s.ControlSocket, prefix + "VV": s.VV, prefix + "UUID": s.ConsoleUUID,
		prefix + "SPICE": s.SPICE.Addr, prefix + "PROXY": s.Proxy.Addr, prefix + "PROXY_TLS": s.Proxy.TLSAddr, prefix + "PROXY_API": s.Proxy.API,
	}
	maps.DeleteFunc(env, func(_, v string) bool { return v == "" })
	return env
}

// envName returns a lane's name in the form that it has in a variable's name.
func envName(s string) string {
	return strings.ToUpper(strings.ReplaceAll(s, "-", "_"))
}

func (w *worker) lane(name string) *lane {
	for _, l := range w.lanes {
		if l.name == name {
			return l
		}
	}
	return nil
}
