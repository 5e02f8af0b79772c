// Package runner runs plans.
//
//	r, err := runner.Run(ctx, runner.Config{Plan: loaded, Dir: dir, Observer: log})
//	for _, c := range r.Cells { … }
//
// Each attempt of a cell is a worker process, which an [Executor] starts. The runner decides what runs
// and when, by the rules of GitHub Actions. It writes attempts and cells into the run's journal,
// and at the end run.json (see package result). Resume continues a run that was killed.
//
// The end of the context cancels the run: running cells end, but jobs and steps with always() or
// cancelled() in their conditions still run. Closing Config.Stop ends everything at once.
//
// To debug a run, read journal.ndjson in its directory, and cells/…/log.txt.
package runner

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/spicelane/spicelane/harness/archive"
	"github.com/spicelane/spicelane/harness/plan"
	"github.com/spicelane/spicelane/harness/plan/result"
	"github.com/spicelane/spicelane/harness/plan/worker"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/internal/atomicfile"
)

// A Config says what to run and how.
type Config struct {
	Plan *plan.Loaded
	// Dir is the run's directory. It must not exist yet, or be empty.
	Dir string
	// Jobs is how many cells run at once on this host. Default: the number of processors.
	Jobs int
	// Only selects cells by ids of jobs, or by IDs or patterns (see path.Match) of cells. The jobs
	// that they need run, too. Default: all cells.
	Only []string
	// Again is the directory of an earlier run. Cells that passed there are not run again: their
	// results are reused. Default: none.
	Again string
	// Reuse, if not nil, has earlier results. A cell does not run if Reuse has a trusted result of it
	// for the same build that passed.
	Reuse *archive.Results
	// Labels are added to those of the plan.
	Labels map[string]string
	// Executable is the program that runs workers. Default: this program.
	Executable string
	// Program is the identity of the built-in proxy and client: the version of this program.
	Program string
	// Stop, if not nil, ends everything at once when it is closed.
	Stop <-chan struct{}
	// Observer gets the events of the run. Default: none.
	Observer Observer
}

// An Observer gets the events of a run. Its methods may be called from any goroutine, and must not
// block for long.
type Observer interface {
	RunBegins(dir string, cells []*plan.Cell)
	AttemptBegins(c *plan.Cell, n int)
	StepBegins(c *plan.Cell, id, name string)
	Line(c *plan.Cell, step, line string)
	// Load is called twice a second for each lane that is up.
	Load(c *plan.Cell, l worker.Load)
	StepEnds(c *plan.Cell, s result.Step)
	// AttemptEnds gets the delay until the next attempt in next; 0 if there is none.
	AttemptEnds(c *plan.Cell, a result.Attempt, next time.Duration)
	CellEnds(c result.Cell)
	RunEnds(r *result.Run)
}

// NewID returns an ID for a new run: the time in UTC and six random hex digits.
func NewID(now time.Time) string {
	var b [3]byte
	_, _ = rand.Read(b[:])
	return now.UTC().Format("20060102-150405-") + hex.EncodeToString(b[:])
}

// Run runs a plan from its beginning. It returns an error only if the run itself could not be
// carried out. Failures of cells are in the result.
func Run(ctx context.Context, cfg Config) (*result.Run, error) {
	cfg = cfg.withDefaults()
	selected, err := cfg.selection()
	if err != nil {
		return nil, err
	}
	known := &past{attempts: map[string][]result.Attempt{}, cells: map[string]result.Cell{}}
	var again *result.Run
	if cfg.Again != "" {
		if again, err = result.Read(cfg.Again); err != nil {
			return nil, err
		}
	}
	known.header = header{
		ID: NewID(time.Now()), Plan: result.Plan{Name: cfg.Plan.Name, File: cfg.Plan.File, SHA256: cfg.Plan.SHA256},
		Dir: cfg.Plan.Dir, Began: time.Now().UTC(), Only: cfg.Only, Labels: map[string]string{}, Jobs: cfg.Jobs,
	}
	for _, labels := range []map[string]string{cfg.Plan.Labels, cfg.Labels} {
		for k, v := range labels {
			known.Labels[k] = v
		}
	}
	j, err := newJournal(ctx, cfg.Dir, known.header, cfg.Plan.Text)
	if err != nil {
		return nil, err
	}
	r := newRun(cfg, j, known, selected)
	if again != nil {
		if err := r.takeOver(again); err != nil {
			return nil, errors.Join(err, j.close())
		}
	}
	return r.run(ctx)
}

// Killed describes a run that was killed.
type Killed struct {
	Dir string
	// File is the path of the plan, and Text is its text when the run began. Changed reports whether
	// the file is different now, or cannot be read.
	File    string
	Text    []byte
	Changed bool
	// Done reports whether the run has a result already.
	Done bool
	// Jobs and Only are those of the run's Config.
	Jobs int
	Only []string
}

// Examine returns what the journal in a run's directory says about a run that is to be resumed.
func Examine(dir string) (*Killed, error) {
	p, err := readJournal(dir)
	if err != nil {
		return nil, err
	}
	k := &Killed{Dir: dir, Jobs: p.Jobs, Only: p.Only, File: filepath.Join(p.Dir, filepath.Base(p.Plan.File))}
	if k.Text, err = os.ReadFile(filepath.Join(dir, PlanFile)); err != nil {
		return nil, verdict.Classify("run", err)
	}
	if now, err := os.ReadFile(k.File); err != nil || !bytes.Equal(now, k.Text) {
		k.Changed = true
	}
	_, err = os.Stat(filepath.Join(dir, result.File))
	k.Done = err == nil
	return k, nil
}

// Resume continues the run in cfg.Dir, which was killed. cfg.Plan must be the plan that the run
// began with. Resume takes Only from the journal instead of cfg.
func Resume(ctx context.Context, cfg Config) (*result.Run, error) {
	cfg = cfg.withDefaults()
	j, known, err := resumeJournal(ctx, cfg.Dir)
	if err != nil {
		return nil, err
	}
	cfg.Only = known.Only
	selected, err := cfg.selection()
	if err != nil {
		return nil, errors.Join(err, j.close())
	}
	r := newRun(cfg, j, known, selected)
	r.resumed = known.resumed + 1
	for _, c := range r.cells {
		if final, ok := known.cells[c.ID]; ok {
			// NB: the attempts of a cell that was taken over from another run have no entries.
			c.attempts, c.final, c.state = final.Attempts, &final, done
			continue
		}
		c.attempts, c.begunMS = known.attempts[c.ID], known.begun[c.ID]
		if n := len(c.attempts); n > 0 && !again(c.Job.Retry, c.attempts[n-1]) {
			c.pending = true // its last attempt has ended, but the runner died before the cell's end
		}
		// The files of an attempt that has not ended are useless.
		if err := os.RemoveAll(r.attemptDir(c, len(c.attempts)+1)); err != nil {
			return nil, errors.Join(verdict.Classify("resume", err), j.close())
		}
	}
	return r.run(ctx)
}

func (c Config) withDefaults() Config {
	if c.Jobs <= 0 {
		c.Jobs = runtime.NumCPU()
	}
	if c.Observer == nil {
		c.Observer = Observers(nil)
	}
	if c.Executable == "" {
		c.Executable, _ = os.Executable()
	}
	if dir, err := filepath.Abs(c.Dir); err == nil {
		c.Dir = dir
	}
	return c
}

// selection returns the IDs of the cells that Only selects; nil means all.
func (c Config) selection() (map[string]bool, error) {
	if len(c.Only) == 0 {
		return nil, nil
	}
	cells, err := Selected(c.Plan, c.Only)
	selected := map[string]bool{}
	for _, cell := range cells {
		selected[cell.ID] = true
	}
	return selected, err
}

// Selected returns the cells that only selects (see Config.Only), and those that they need; all
// cells if only is empty.
func Selected(l *plan.Loaded, only []string) ([]*plan.Cell, error) {
	if len(only) == 0 {
		return l.Cells, nil
	}
	selected := map[*plan.Cell]bool{}
	var add func(*plan.Cell)
	add = func(cell *plan.Cell) {
		if selected[cell] {
			return
		}
		selected[cell] = true
		for _, other := range l.Cells {
			if slices.Contains(cell.Job.Needs, other.Job.ID) {
				add(other)
			}
		}
	}
	for _, pattern := range only {
		found := false
		var malformed error
		for _, cell := range l.Cells {
			match, err := path.Match(pattern, cell.ID)
			malformed = cmp.Or(malformed, err)
			if match || pattern == cell.ID || pattern == cell.Job.ID {
				add(cell)
				found = true
			}
		}
		if !found && malformed != nil { // an ID may have brackets, too
			return nil, &verdict.Error{Verdict: verdict.Harness, Op: "--only " + pattern, Err: malformed}
		}
		if !found {
			return nil, &verdict.Error{Verdict: verdict.Harness, Err: fmt.Errorf("--only %s: the plan has no such job or cell", pattern), Hint: "spicelane run --dry-run lists them"}
		}
	}
	var cells []*plan.Cell
	for _, cell := range l.Cells {
		if selected[cell] {
			cells = append(cells, cell)
		}
	}
	return cells, nil
}

// The states of a cell.
type state int

const (
	waiting state = iota // until the jobs that it needs have ended
	queued
	running
	pausing // until the next attempt
	done
)

// A cell is a cell in a run.
type cell struct {
	*plan.Cell
	state    state
	pending  bool // it has ended, but its end is not recorded yet
	attempts []result.Attempt
	final    *result.Cell
	delays   backoff.BackOff
	// begunMS is when the first attempt began, on the journal's clock, which does not jump.
	begunMS int64
	// cancel, when closed, cancels a running attempt. why is the reason for people.
	cancel chan struct{}
	why    string
	// insists means that the cell runs even if it is cancelled before it has a host, because its
	// condition is true then, too.
	insists bool
	status  plan.Status
}

// A run is a run that is under way. Only the goroutine of loop uses its fields, except those that
// never change.
type run struct {
	Config
	*journal
	known     *past
	selected  map[string]bool
	cells     []*cell
	byJob     map[string][]*cell
	executors map[string]Executor
	ended     chan attemptEnd
	due       chan *cell
	cancelled bool
	stopped   bool
	broken    error // the journal cannot be written
	resumed   int
	hard      context.Context
	stop      context.CancelFunc
	workers   sync.WaitGroup
	timers    map[*cell]*time.Timer
}

type attemptEnd struct {
	cell *cell
	a    result.Attempt
	// reused is an earlier result that is reused instead of an attempt; nil if there was an attempt.
	reused *result.Cell
}

func newRun(cfg Config, j *journal, known *past, selected map[string]bool) *run {
	r := &run{
		Config: cfg, journal: j, known: known, selected: selected, byJob: map[string][]*cell{}, executors: map[string]Executor{},
		ended: make(chan attemptEnd), due: make(chan *cell), timers: map[*cell]*time.Timer{},
	}
	for _, c := range cfg.Plan.Cells {
		rc := &cell{Cell: c, delays: delays(c.Job.Retry)}
		r.cells = append(r.cells, rc)
		r.byJob[c.Job.ID] = append(r.byJob[c.Job.ID], rc)
	}
	return r
}

// takeOver reuses the results of cells that passed in another run.
func (r *run) takeOver(old *result.Run) error {
	for _, was := range old.Cells {
		i := slices.IndexFunc(r.cells, func(c *cell) bool { return c.ID == was.ID })
		if i < 0 || was.Outcome != result.Success {
			continue
		}
		c := r.cells[i]
		if was.ReusedFrom == "" {
			was.ReusedFrom = old.ID
		}
		for _, e := range keepArtifacts(&was) {
			path := filepath.FromSlash(e.Path)
			if err := linkOrCopy(filepath.Join(r.Again, path), filepath.Join(r.Dir, path)); err != nil {
				return verdict.Classify("take over "+was.ID, err)
			}
		}
		c.attempts, c.final, c.state = was.Attempts, &was, done
		if err := r.add(entry{Cell: &was}); err != nil {
			return err
		}
	}
	return nil
}

// keepArtifacts removes all evidence except the artifacts from a result of another run. It returns
// the artifacts, which later jobs may need.
func keepArtifacts(was *result.Cell) (all []result.Evidence) {
	was.Attempts = slices.Clone(was.Attempts)
	for k := range was.Attempts {
		var kept []result.Evidence
		for _, e := range was.Attempts[k].Evidence {
			if e.Kind == result.KindArtifact {
				kept = append(kept, e)
			}
		}
		was.Attempts[k].Evidence = kept
		all = append(all, kept...)
	}
	return all
}

func linkOrCopy(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if os.Link(from, to) == nil {
		return nil
	}
	return copyFile(from, to)
}

// copyFile copies a file with its permissions, for a directory on another file system.
func copyFile(from, to string) error {
	st, err := os.Stat(from)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, st.Mode().Perm())
}

func (r *run) attemptDir(c *cell, n int) string {
	return filepath.Join(r.Dir, cellsDir, c.Path, strconv.Itoa(n))
}

// run runs all cells and writes the result.
func (r *run) run(ctx context.Context) (*result.Run, error) {
	r.hard, r.stop = context.WithCancel(context.WithoutCancel(ctx))
	defer r.stop()
	defer func() {
		for _, e := range r.executors {
			_ = e.Close()
		}
		_ = r.journal.close()
	}()
	r.Observer.RunBegins(r.Dir, r.Plan.Cells)
	for _, c := range r.cells {
		switch {
		case c.pending:
			r.finish(c, "")
		case c.state == done: // in an earlier part of this run, or in another one
			r.Observer.CellEnds(*c.final)
		}
	}
	r.loop(ctx)
	r.workers.Wait()
	if r.broken != nil {
		return nil, r.broken
	}
	if r.stopped {
		return nil, &verdict.Error{Verdict: verdict.Harness, Op: "run", Err: errors.New("it was stopped at once, without waiting for what ran"), Hint: "go on with: spicelane run --resume " + r.Dir}
	}
	res := r.result()
	b, err := res.Encode()
	if err == nil {
		err = atomicfile.Write(filepath.Join(r.Dir, result.File), b, 0o644)
	}
	if err != nil {
		return nil, verdict.Classify("write "+result.File, err)
	}
	r.Observer.RunEnds(res)
	return res, nil
}

// loop starts cells and handles events until every cell has ended, or the run is stopped.
func (r *run) loop(ctx context.Context) {
	interrupted, stop := ctx.Done(), r.Stop
	for {
		r.decide()
		if r.broken == nil && !r.stopped && r.start() {
			continue // other jobs may wait for a cell that has ended without an attempt
		}
		left := r.count(func(c *cell) bool { return c.state != done })
		if active := r.count(func(c *cell) bool { return c.state == running || c.state == pausing }); left == 0 || active == 0 && (r.broken != nil || r.stopped) {
			return
		}
		select {
		case e := <-r.ended:
			r.attemptEnded(e)
		case c := <-r.due:
			if c.state == pausing {
				c.state = queued
			}
		case <-interrupted:
			interrupted = nil
			r.cancelAll("the run was interrupted")
		case <-stop:
			stop = nil
			r.stopNow()
		}
		if r.broken != nil {
			r.stopNow()
		}
	}
}

func (r *run) count(f func(*cell) bool) int {
	n := 0
	for _, c := range r.cells {
		if f(c) {
			n++
		}
	}
	return n
}

// stopNow ends everything at once. The run can be resumed.
func (r *run) stopNow() {
	r.stopped = true
	r.stop()
	for c, t := range r.timers {
		t.Stop()
		if c.state == pausing {
			c.state = queued
		}
	}
}

// cancelAll cancels the run.
func (r *run) cancelAll(why string) {
	r.cancelled = true
	for _, c := range r.cells {
		r.cancelCell(c, why, true)
	}
}

// cancelCell cancels one cell. With ask, a queued cell without an attempt still runs if its
// condition is true for a cancelled run.
func (r *run) cancelCell(c *cell, why string, ask bool) {
	switch c.state {
	case running:
		if c.cancel != nil {
			close(c.cancel)
			c.cancel, c.why = nil, why
		}
	case queued:
		c.status.Cancelled = true
		if ask && len(c.attempts) == 0 {
			if runs, err := r.Plan.JobRuns(c.Cell, r.needs(c.Job), c.status); err == nil && runs {
				return
			}
		}
		r.finish(c, why)
	case pausing:
		r.timers[c].Stop()
		r.finish(c, "")
	}
}

// decide decides which cells run, for the jobs whose needs have all ended.
func (r *run) decide() {
	for changed := true; changed; {
		changed = false
		for _, j := range r.Plan.Jobs {
			cells := r.byJob[j.ID]
			if !slices.ContainsFunc(cells, func(c *cell) bool { return c.state == waiting }) {
				continue
			}
			if slices.ContainsFunc(j.Needs, func(n string) bool { return !r.jobDone(n) }) {
				continue
			}
			for _, c := range cells {
				if c.state == waiting {
					r.decideCell(c)
					changed = true
				}
			}
		}
	}
}

func (r *run) decideCell(c *cell) {
	if r.selected != nil && !r.selected[c.ID] {
		r.end(c, result.Skipped, nil, "it was not selected (--only)")
		return
	}
	if i := slices.IndexFunc(r.byJob[c.Job.ID], (*cell).failsFast); i >= 0 { // in an earlier part of this run
		r.finish(c, failFastReason(r.byJob[c.Job.ID][i]))
		return
	}
	c.status = r.status(c.Job)
	runs, err := r.Plan.JobRuns(c.Cell, r.needs(c.Job), c.status)
	switch {
	case err != nil:
		r.end(c, result.Failure, &verdict.Error{Verdict: verdict.Harness, Op: "if", Err: err}, "")
	case runs:
		c.state = queued
	case r.cancelled:
		r.end(c, result.Cancelled, nil, "the run was interrupted")
	case c.Job.If == "":
		r.end(c, result.Skipped, nil, "a job that it needs did not succeed")
	default:
		r.end(c, result.Skipped, nil, "its condition is not true: "+c.Job.If)
	}
}

// status returns the status for the conditions of a job's cells. It covers all jobs that the job
// needs, directly or through others.
func (r *run) status(j *plan.Job) plan.Status {
	s := plan.Status{Success: true, Cancelled: r.cancelled}
	seen := map[string]bool{}
	var visit func(*plan.Job)
	visit = func(j *plan.Job) {
		for _, n := range j.Needs {
			if seen[n] {
				continue
			}
			seen[n] = true
			end := r.jobEnd(n)
			s.Success = s.Success && end.Result == result.Success
			s.Failure = s.Failure || end.Result == result.Failure
			visit(r.byJob[n][0].Job)
		}
	}
	visit(j)
	return s
}

func (r *run) jobDone(id string) bool {
	return !slices.ContainsFunc(r.byJob[id], func(c *cell) bool { return c.state != done })
}

// jobEnd returns the end of a job: the worst of the ends of its cells.
func (r *run) jobEnd(id string) plan.End {
	e := plan.End{Outcome: result.Skipped}
	for _, c := range r.byJob[id] {
		// Hop and reason belong to the verdict, so among failures they are those of the worst verdict.
		if result.Worse(c.final.Outcome, c.final.Verdict, e.Outcome, e.Verdict) {
			e.Outcome, e.Verdict, e.Hop, e.Reason = c.final.Outcome, c.final.Verdict, c.final.Hop, c.final.Reason
		}
	}
	e.Result = e.Outcome
	if e.Outcome == result.Failure && r.byJob[id][0].Job.ContinueOnError {
		e.Result = result.Success
	}
	return e
}

func (r *run) needs(j *plan.Job) map[string]plan.End {
	all := make(map[string]plan.End, len(j.Needs))
	for _, n := range j.Needs {
		all[n] = r.jobEnd(n)
	}
	return all
}

// start starts as many queued cells as may run. It reports whether a cell has ended at once,
// because its executor could not be made.
func (r *run) start() (ended bool) {
	busy, busyJobs := map[string]int{}, map[string]int{}
	for _, c := range r.cells {
		if c.state == running {
			busy[executorName(c.Job)]++
			busyJobs[c.Job.ID]++
		}
	}
	for _, c := range r.cells {
		if c.state != queued {
			continue
		}
		name := executorName(c.Job)
		most := c.Job.Strategy.MaxParallel
		if most > 0 && busyJobs[c.Job.ID] >= most {
			continue
		}
		e, err := r.executor(name)
		if err != nil {
			r.end(c, result.Failure, err, "")
			ended = true
			continue
		}
		if busy[name] >= e.Capacity() {
			continue
		}
		busy[name]++
		busyJobs[c.Job.ID]++
		r.startCell(c, e)
	}
	return ended
}

func executorName(j *plan.Job) string {
	if j.Executor == "" {
		return "local"
	}
	return j.Executor
}

func (r *run) executor(name string) (Executor, error) {
	if e, ok := r.executors[name]; ok {
		return e, nil
	}
	var e Executor
	def, ok := r.Plan.Executors[name]
	switch {
	case !ok:
		e = &local{executable: r.Executable, capacity: r.Jobs, lock: r.lock}
	case def.Type == "command":
		words, err := commandWords(def)
		if err != nil {
			return nil, err
		}
		e = &local{executable: r.Executable, capacity: r.Jobs, lock: r.lock, command: words}
	default:
		var err error
		if e, err = newSSH(def, r.Plan, r.Executable); err != nil {
			return nil, err
		}
	}
	r.executors[name] = e
	return e, nil
}

// startCell starts the next attempt of a cell.
func (r *run) startCell(c *cell, e Executor) {
	n := len(c.attempts) + 1
	c.state, c.cancel, c.why = running, make(chan struct{}), ""
	if c.status.Cancelled { // it runs although it is cancelled, because its condition is true
		c.cancel = nil
	}
	if n == 1 {
		c.begunMS = r.sinceMS()
	}
	if err := r.add(entry{Begin: &attemptID{c.ID, n}}); err != nil {
		r.broken = err
	}
	cancelled := c.status
	cancelled.Cancelled = true
	runs, err := r.Plan.JobRuns(c.Cell, r.needs(c.Job), cancelled)
	c.insists = err == nil && runs
	t, err := r.task(c, n)
	cancel := c.cancel
	r.workers.Add(1)
	go func() {
		defer r.workers.Done()
		end := attemptEnd{cell: c}
		if err != nil {
			end.a = result.Attempt{N: n, Began: time.Now().UTC(), Outcome: result.Failure, Verdict: verdict.Of(err), Reason: err.Error()}
		} else {
			end.a, end.reused = r.attempt(c, e, t, cancel)
		}
		r.ended <- end // the loop reads until no worker is left
	}()
}

// task returns the task of a cell's attempt.
func (r *run) task(c *cell, n int) (*plan.Task, error) {
	t, err := r.Plan.Task(c.Cell)
	if err != nil {
		return nil, err
	}
	t.Attempt, t.Out, t.Program = n, r.attemptDir(c, n), r.Program
	t.Vars, t.Failed = t.WithNeeds(r.needs(c.Job)), c.status.Failure
	t.Reuse = r.Reuse != nil && n == 1 && slices.ContainsFunc(t.Steps, func(s plan.TaskStep) bool { return s.Lane != nil })
	paths, err := r.Plan.Restores(c.Cell, t)
	if err != nil {
		return nil, err
	}
	for i, restore := range c.Job.Restore {
		cells := r.byJob[restore.From]
		for _, from := range cells {
			k := len(from.attempts)
			if k == 0 || from.final == nil || from.final.Outcome != result.Success {
				continue
			}
			dir := filepath.Join(r.attemptDir(from, from.attempts[k-1].N), worker.ArtifactsDir, restore.Name)
			if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
				continue
			}
			to := paths[i]
			if len(cells) > 1 {
				to = filepath.Join(to, from.Path)
			}
			t.Restore = append(t.Restore, plan.TaskRestore{From: dir, To: to})
		}
	}
	return t, nil
}

// cancelGrace is how long a worker that must end at once may take to end its lanes.
const cancelGrace = 20 * time.Second

// attempt runs one attempt and returns its result, or an earlier result of the cell that is reused.
func (r *run) attempt(c *cell, e Executor, t *plan.Task, cancel <-chan struct{}) (result.Attempt, *result.Cell) {
	began := time.Now()
	failed := func(err error) result.Attempt {
		return result.Attempt{N: t.Attempt, Began: began.UTC(), TookMS: time.Since(began).Milliseconds(), Outcome: result.Failure,
			Verdict: verdict.Of(err), Hop: verdict.HopOf(err), Reason: r.Plan.Masker().String(strings.ReplaceAll(err.Error(), "\n", "; "))}
	}
	out := t.Out // an executor may change it to a path of another host
	if err := os.MkdirAll(out, 0o755); err != nil {
		return failed(verdict.Classify("make the attempt's directory", err)), nil
	}
	log, err := os.Create(filepath.Join(out, LogFile))
	if err != nil {
		return failed(verdict.Classify("make the log", err)), nil
	}
	defer log.Close()
	talk := &talk{run: r, cell: c, log: log, begins: sync.OnceFunc(func() { r.Observer.AttemptBegins(c.Cell, t.Attempt) })}
	if !t.Reuse { // otherwise it begins only if no earlier result is reused
		talk.begins()
	}
	// A file that cannot be read fails the steps that need it. The hash is then empty, and no earlier
	// result is reused.
	talk.does, _ = r.Plan.Does(t)
	ctx, stop := context.WithCancel(r.hard)
	defer stop()
	w, err := r.startWorker(ctx, c, e, t, cancel)
	if errors.Is(err, errCancelled) {
		talk.begins()
		return result.Attempt{N: t.Attempt, Began: began.UTC(), TookMS: time.Since(began).Milliseconds(), Outcome: result.Cancelled, Reason: err.Error()}, nil
	}
	if err != nil {
		talk.begins()
		return failed(err), nil
	}
	if w.Release != nil {
		defer w.Release()
	}
	a, err := talk.converse(ctx, w, t, cancel)
	// A worker that was cancelled runs without waiting for the answer.
	if talk.reused != nil && (err != nil || a.Outcome == result.Skipped) {
		if w.Fetch != nil {
			_ = w.Fetch(ctx) // it removes the attempt's files on the other host
		}
		_ = os.Remove(filepath.Join(out, LogFile))
		_ = os.Remove(out) // unless there are artifacts
		return result.Attempt{}, talk.reused
	}
	talk.begins()
	if err != nil {
		a = ptr(failed(err))
	}
	a.Does = talk.does
	if w.Fetch != nil {
		fetch, stopFetch := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
		ferr := w.Fetch(fetch)
		stopFetch()
		if ferr != nil && a.Outcome == result.Success {
			a = ptr(failed(ferr))
		}
		// Files that a host sent before it vanished were not masked there.
		if _, cerr := r.Plan.Masker().Clean(out); cerr != nil {
			// NB: evidence that may contain a secret must not stay, as in the worker.
			cerr = errors.Join(cerr, os.RemoveAll(out))
			if a.Outcome == result.Success {
				a = ptr(failed(verdict.Classify("", cerr)))
			}
		}
		if a.Evidence == nil {
			a.Evidence, _ = worker.ListEvidence(out)
		}
	}
	if w.Host != "" {
		a.Worker = w.Host
	}
	r.completeEvidence(c, a, out)
	return *a, nil
}

// errCancelled ends the start of a worker because its cell was cancelled.
var errCancelled = errors.New("it was cancelled before it began")

// startWorker starts a worker. A cell that is cancelled while it waits for a host ends at once, as
// one that is queued does.
func (r *run) startWorker(ctx context.Context, c *cell, e Executor, t *plan.Task, cancel <-chan struct{}) (*Worker, error) {
	starting, giveUp := context.WithCancelCause(ctx)
	started := make(chan struct{})
	var watch sync.WaitGroup
	if !c.insists {
		watch.Go(func() {
			select {
			case <-cancel:
				giveUp(errCancelled)
			case <-started:
			}
		})
	}
	w, err := e.Start(starting, t)
	close(started)
	watch.Wait()
	if err != nil && ctx.Err() == nil && starting.Err() != nil {
		err = errCancelled // whatever it broke
	}
	giveUp(nil) // NB: not before, because starting then has another cause
	return w, err
}

func ptr[T any](v T) *T { return &v }

// completeEvidence adds the log to the evidence of an attempt, makes the paths relative to the
// run's directory, and drops files that are not there.
func (r *run) completeEvidence(c *cell, a *result.Attempt, out string) {
	prefix := path.Join(cellsDir, c.Path, strconv.Itoa(a.N))
	kept := a.Evidence[:0]
	for _, e := range a.Evidence {
		if e.Path == LogFile {
			continue
		}
		if _, err := os.Stat(filepath.Join(out, filepath.FromSlash(e.Path))); err != nil {
			continue // it was lost with its host
		}
		e.Path = path.Join(prefix, e.Path)
		kept = append(kept, e)
	}
	if info, err := os.Stat(filepath.Join(out, LogFile)); err == nil {
		kept = append(kept, result.Evidence{Path: path.Join(prefix, LogFile), Kind: result.KindLog, Bytes: info.Size()})
	}
	slices.SortFunc(kept, func(a, b result.Evidence) int { return strings.Compare(a.Path, b.Path) })
	a.Evidence = kept
}

// A talk is the conversation with the worker of an attempt.
type talk struct {
	*run
	cell *cell
	log  *os.File
	// begins tells the observer that the attempt begins. does is the hash of what the attempt does.
	begins func()
	does   string
	// decided has the answer to the worker's event Identity. reused is the earlier result that is
	// reused; nil for none.
	decided chan worker.Command
	reused  *result.Cell
}

// converse sends a worker its task and reads its events until it has ended.
func (r *talk) converse(ctx context.Context, w *Worker, t *plan.Task, cancel <-chan struct{}) (*result.Attempt, error) {
	b, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	r.decided = make(chan worker.Command, 1)
	over := make(chan struct{})  // closed when no event follows
	ended := make(chan struct{}) // closed when the worker has ended
	var helpers sync.WaitGroup
	helpers.Go(func() {
		_, _ = w.In.Write(append(b, '\n')) // if the worker is gone, its last event is missing
		var beat <-chan time.Time
		if t.Heartbeat > 0 {
			tick := time.NewTicker(t.Heartbeat)
			defer tick.Stop()
			beat = tick.C
		}
		for {
			select {
			case <-cancel:
				cancel = nil
				say(w.In, worker.Command{Cancel: true})
			case answer := <-r.decided:
				say(w.In, answer)
			case <-beat:
				_, _ = w.In.Write([]byte("{}\n"))
			case <-over:
				return
			case <-ctx.Done():
				return
			}
		}
	})
	// NB: not the goroutine above, which waits as long as the worker reads nothing.
	helpers.Go(func() {
		select {
		case <-ended:
			return
		case <-ctx.Done():
		}
		_ = w.In.Close()
		select {
		case <-ended:
		case <-time.After(cancelGrace):
			w.Kill()
		}
	})
	end, rerr := r.listen(ctx, w)
	close(over)
	_ = w.In.Close()
	werr := w.Wait()
	close(ended)
	helpers.Wait()
	switch {
	case end != nil:
		return end, nil
	case werr != nil:
		return nil, fmt.Errorf("the worker ended without a result: %w", werr)
	case rerr != nil:
		return nil, &verdict.Error{Verdict: verdict.Harness, Op: "the worker's output", Err: rerr}
	}
	return nil, &verdict.Error{Verdict: verdict.Harness, Err: errors.New("the worker ended without a result")}
}

// say sends a command to a worker. It ignores errors, because a worker that is gone needs no
// command.
func say(in io.Writer, c worker.Command) {
	b, _ := json.Marshal(c) // NB: three booleans always encode
	_, _ = in.Write(append(b, '\n'))
}

// maxEvent limits one line of a worker's output in bytes.
const maxEvent = 16 << 20

// listen reads the events of a worker until its output ends, and returns the last one's result.
func (r *talk) listen(ctx context.Context, w *Worker) (*result.Attempt, error) {
	c, log := r.cell, r.log
	lines := bufio.NewScanner(w.Out)
	lines.Buffer(nil, maxEvent)
	var end *result.Attempt
	for lines.Scan() {
		var e worker.Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			// A program between runner and worker, such as a login shell, may print a greeting.
			e = worker.Event{Log: &worker.Log{ID: "worker", Line: r.Plan.Masker().String(lines.Text())}}
		}
		switch {
		case e.Begin != nil:
			fmt.Fprintf(log, "== %s\n", e.Begin.Name)
			r.Observer.StepBegins(c.Cell, e.Begin.ID, e.Begin.Name)
		case e.Log != nil:
			fmt.Fprintln(log, e.Log.Line)
			r.Observer.Line(c.Cell, e.Log.ID, e.Log.Line)
		case e.Step != nil:
			fmt.Fprintf(log, "-- %s: %s %s\n", e.Step.Name, e.Step.Outcome, e.Step.Reason)
			r.Observer.StepEnds(c.Cell, *e.Step)
		case e.Identity != nil:
			r.answer(ctx, *e.Identity)
		case e.Load != nil:
			r.Observer.Load(c.Cell, *e.Load)
		case e.End != nil:
			end = e.End
		}
	}
	// NB: read the rest: a worker whose output nobody reads would block for ever.
	_, err := io.Copy(io.Discard, w.Out)
	return end, errors.Join(lines.Err(), err)
}

// attemptEnded records the end of an attempt, and either plans the next one or ends the cell.
func (r *run) attemptEnded(e attemptEnd) {
	c, a := e.cell, e.a
	if r.stopped {
		c.state = queued // it did not end by itself: it runs again when the run is resumed
		return
	}
	if e.reused != nil {
		c.attempts = e.reused.Attempts
		r.conclude(c, e.reused)
		return
	}
	switch {
	case a.Outcome != result.Cancelled:
	case c.why != "":
		a.Reason = c.why
	case !r.cancelled: // NB: a run whose cells are cancelled for no reason must not pass
		a.Outcome, a.Verdict = result.Failure, verdict.Host
		a.Reason = "nobody cancelled it: its worker no longer heard from its runner"
	}
	c.attempts = append(c.attempts, a)
	if err := r.add(entry{Attempt: &attemptResult{c.ID, a}}); err != nil {
		r.broken = err
		c.state = queued
		return
	}
	next := time.Duration(0)
	if again(c.Job.Retry, a) && c.why == "" && !r.cancelled {
		next = max(c.delays.NextBackOff(), 1)
		c.state = pausing
		r.timers[c] = time.AfterFunc(next, func() {
			select {
			case r.due <- c:
			case <-r.hard.Done():
			}
		})
	}
	r.Observer.AttemptEnds(c.Cell, a, next)
	if next == 0 {
		r.finish(c, "")
	}
}

// finish records the end of a cell with the result of its last attempt. If the cell has none, it
// was cancelled, and why is the reason.
func (r *run) finish(c *cell, why string) {
	if len(c.attempts) == 0 {
		r.end(c, result.Cancelled, nil, why)
		return
	}
	a := c.attempts[len(c.attempts)-1]
	final := r.newFinal(c)
	final.Outcome, final.Verdict, final.Hop, final.Reason = a.Outcome, a.Verdict, a.Hop, a.Reason
	final.Worker, final.Identity, final.Surroundings, final.Measurements = a.Worker, a.Identity, a.Surroundings, a.Measurements
	final.Does = a.Does
	final.TookMS = r.sinceMS() - c.begunMS
	r.conclude(c, final)
	if c.failsFast() {
		r.failFast(c)
	}
}

func (r *run) newFinal(c *cell) *result.Cell {
	return &result.Cell{ID: c.ID, Job: c.Job.ID, Matrix: c.Matrix, Allowed: c.Job.ContinueOnError, Executor: executorName(c.Job), Attempts: c.attempts}
}

// end records the end of a cell without an attempt.
func (r *run) end(c *cell, o result.Outcome, err error, why string) {
	final := r.newFinal(c)
	final.Outcome, final.Reason = o, why
	if err != nil {
		final.Verdict, final.Hop, final.Reason = verdict.Of(err), verdict.HopOf(err), r.Plan.Masker().String(err.Error())
	}
	r.conclude(c, final)
}

func (r *run) conclude(c *cell, final *result.Cell) {
	c.final, c.state = final, done
	if err := r.add(entry{Cell: final}); err != nil {
		r.broken = err
	}
	r.Observer.CellEnds(*final)
}

// failsFast reports whether a cell has failed and therefore cancels the other cells of its job.
func (c *cell) failsFast() bool {
	ff := c.Job.Strategy.FailFast
	return (ff == nil || *ff) && !c.Job.ContinueOnError && c.state == done && c.final.Outcome == result.Failure && len(c.attempts) > 0
}

// failFast cancels the other cells of a job after the failure of one.
func (r *run) failFast(c *cell) {
	for _, other := range r.byJob[c.Job.ID] {
		if other != c {
			r.cancelCell(other, failFastReason(c), false)
		}
	}
}

func failFastReason(failed *cell) string {
	return fmt.Sprintf("the cell %s failed (fail-fast)", failed.ID)
}

// result returns the result of a run that has ended.
func (r *run) result() *result.Run {
	res := &result.Run{
		Schema: result.Schema, ID: r.known.ID, Plan: r.known.Plan, Began: r.known.Began, Ended: time.Now().UTC(), TookMS: r.sinceMS(),
		Resumed: r.resumed, Outcome: result.Success, Labels: r.known.Labels, Cells: make([]result.Cell, 0, len(r.cells)),
	}
	var kinds []verdict.Kind
	for _, c := range r.cells {
		res.Cells = append(res.Cells, *c.final)
		if c.final.Outcome == result.Failure && !c.final.Allowed {
			res.Outcome = result.Failure
			kinds = append(kinds, c.final.Verdict)
		}
	}
	// An interrupt may have been before the kill of a resumed run. Only the cells tell of it then.
	cancelled := r.cancelled || slices.ContainsFunc(res.Cells, func(c result.Cell) bool { return c.Outcome == result.Cancelled })
	if cancelled && res.Outcome == result.Success {
		res.Outcome = result.Cancelled
	}
	res.Verdict = result.Worst(kinds...)
	return res
}
