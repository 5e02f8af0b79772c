package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/spicelane/spicelane/harness/filewatch"
	"github.com/spicelane/spicelane/harness/plan"
	"github.com/spicelane/spicelane/harness/plan/result"
	"github.com/spicelane/spicelane/harness/plan/runner"
	"github.com/spicelane/spicelane/harness/plan/worker"
	"github.com/spicelane/spicelane/harness/termview"
	"github.com/spicelane/spicelane/harness/verdict"
)

// runFlags are the flags of run.
type runFlags struct {
	dryRun, watch bool
	only          []string
	again, resume string
	jobs          int
	log, dir      string
	reuse         bool
	archive       string
	metricsAt     string
	metrics       *runner.Metrics // nil without --metrics
	labels        map[string]string
}

func newRun() *cobra.Command {
	var flags runFlags
	cmd := &cobra.Command{
		Use:   "run PLAN",
		Short: "Run a plan: many lanes and what to check on them",
		Long: `Run the jobs of a plan. Everything in it is checked before anything starts.

  spicelane run boot.yaml                    run all of it
  spicelane run boot.yaml --dry-run          print each cell and its exact commands
  spicelane run boot.yaml --only boot        run one job, and those that it needs
  spicelane run --resume artifacts/runs/ID   continue a run that was killed

A run leaves a directory, artifacts/runs/ID unless --dir names another one. It has
run.json with the results, and the evidence of each attempt of each cell.
docs/plans.md describes plans and what a run leaves.

Ctrl-C ends the running cells, and runs jobs and steps that have always() or
cancelled() in their conditions. A second Ctrl-C ends everything at once.

Exit status: 0 all passed; otherwise that of the failures: 1 product, 2 harness or
interrupted, 3 host.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return flags.run(cmd, arg(args, 0))
		},
	}
	f := cmd.Flags()
	f.BoolVar(&flags.dryRun, "dry-run", false, "print each cell and its exact commands, and run nothing")
	f.StringArrayVar(&flags.only, "only", nil, "run only this `JOB`, or the cells with this ID or pattern, and what they need; may be repeated")
	f.StringVar(&flags.again, "rerun-failed", "", "`DIR` of a run: run again what did not pass, and take over the other results")
	f.StringVar(&flags.resume, "resume", "", "`DIR` of a run that was killed: continue it")
	f.BoolVar(&flags.watch, "watch", false, "run again whenever a file that the plan names has changed")
	f.IntVar(&flags.jobs, "jobs", 0, "how many cells run at once on this host; default: the number of processors")
	f.StringVar(&flags.log, "log", "", "`text|json|github`; default: a table on a terminal, otherwise text")
	f.StringVar(&flags.dir, "dir", "", "the run's `DIR`ectory; default: artifacts/runs/ID")
	f.BoolVar(&flags.reuse, "reuse", false, "do not run cells that have passed already for the same build; take their results from the archive")
	f.StringVar(&flags.archive, "archive", "", "`LOCATION` of the archive for --reuse: a directory, or s3://BUCKET/PREFIX; default $"+envArchive+", else a directory of this user")
	f.StringVar(&flags.metricsAt, "metrics", "", "serve metrics of the run and its lanes for Prometheus at http://`ADDR`/metrics, such as 127.0.0.1:9107")
	f.StringToStringVar(&flags.labels, "label", nil, "`NAME=VALUE` to find the run by; may be repeated")
	return cmd
}

// planError prints the mistakes of a plan, one a line, and returns the first one.
func planError(cmd *cobra.Command, err error) error {
	var e *plan.Error
	if !errors.As(err, &e) || len(e.Problems) == 1 {
		return err
	}
	fmt.Fprintln(cmd.ErrOrStderr(), inertLines(err.Error()))
	return usage("the plan has %d mistakes; the first one is %s", len(e.Problems), e.Problems[0])
}

func (f *runFlags) run(cmd *cobra.Command, file string) error {
	switch {
	case f.resume != "" && (file != "" || f.again != "" || f.dir != "" || len(f.only) > 0 || f.dryRun || f.watch || len(f.labels) > 0):
		return usage("--resume takes everything from the run: it goes with no plan, --label, --only, --rerun-failed, --dir, --dry-run or --watch")
	case f.resume == "" && file == "":
		return usage("run needs a plan, or --resume and the directory of a run")
	case f.jobs < 0:
		return usage("--jobs %d: it has to be at least 1", f.jobs)
	case f.archive != "" && !f.reuse:
		return usage("--archive names the archive for --reuse, which is not given")
	case f.dryRun && f.reuse:
		return usage("--dry-run shows all cells: what --reuse skips is known when they run")
	case f.dryRun && f.again != "":
		return usage("--dry-run shows all cells, also those that --rerun-failed takes over")
	case f.dryRun && f.metricsAt != "":
		return usage("--dry-run runs nothing that --metrics could measure")
	case f.watch && f.dir != "":
		return usage("--watch makes a directory for each run, so that --dir cannot name it")
	}
	if _, err := runner.NewLog(cmp.Or(f.log, runner.FormatText), io.Discard); err != nil {
		return usage("--log: %w", err)
	}
	if f.metricsAt != "" {
		f.metrics = runner.NewMetrics()
		at, stop, err := f.metrics.Serve(cmd.Context(), f.metricsAt)
		if err != nil {
			return err
		}
		defer stop()
		fmt.Fprintf(cmd.ErrOrStderr(), "the metrics are at http://%s/metrics\n", at)
	}
	opt := plan.Options{Dry: f.dryRun}
	if f.resume != "" {
		return f.resumeRun(cmd)
	}
	if f.watch {
		return f.watchPlan(cmd, file)
	}
	l, err := plan.Load(cmd.Context(), file, opt)
	if err != nil {
		return planError(cmd, err)
	}
	if f.dryRun {
		return f.describe(cmd, l)
	}
	_, err = f.once(cmd.Context(), cmd, l)
	return err
}

// describe prints the cells that would run.
func (f *runFlags) describe(cmd *cobra.Command, l *plan.Loaded) error {
	selected, err := runner.Selected(l, f.only)
	if err != nil {
		return err
	}
	for _, c := range selected {
		if err := l.Describe(cmd.OutOrStdout(), c); err != nil {
			return err
		}
	}
	return nil
}

// config returns the runner's configuration, and a function to call after the run.
func (f *runFlags) config(ctx context.Context, cmd *cobra.Command, l *plan.Loaded) (runner.Config, func(), error) {
	cfg := runner.Config{Plan: l, Dir: f.dir, Jobs: f.jobs, Only: f.only, Again: f.again, Labels: f.labels, Program: programVersion()}
	end := func() {}
	if out, ok := fileOf(cmd.OutOrStdout()); ok && f.log == "" && termview.IsTerminal(out) {
		t := runner.NewTable(out, func() (int, int) { return terminalSize(out) })
		cfg.Observer, end = t, t.Close
	} else {
		log, err := runner.NewLog(cmp.Or(f.log, runner.FormatText), cmd.OutOrStdout())
		if err != nil {
			return cfg, end, usage("--log: %w", err)
		}
		cfg.Observer = log
	}
	if f.metrics != nil {
		cfg.Observer = runner.Observers{cfg.Observer, f.metrics.Observer(l)}
	}
	if f.reuse {
		a, err := openArchive(ctx, f.archive)
		if err == nil {
			cfg.Reuse, err = a.Results(ctx)
		}
		if err != nil {
			end()
			return cfg, end, err
		}
	}
	if cfg.Dir == "" {
		cfg.Dir = filepath.Join("artifacts", "runs", runner.NewID(time.Now()))
	}
	var forget func()
	cfg.Stop, forget = secondInterrupt(ctx, cmd.ErrOrStderr())
	closeLog := end
	return cfg, func() { forget(); closeLog() }, nil
}

// secondInterrupt returns a channel that is closed by the second interrupt. The first one has ended
// the command's context.
func secondInterrupt(ctx context.Context, stderr io.Writer) (<-chan struct{}, func()) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		select {
		case <-ctx.Done():
		case <-done:
			return
		}
		// The signal that ended the context may arrive here, too.
		select {
		case <-signals:
		case <-time.After(100 * time.Millisecond):
		case <-done:
			return
		}
		fmt.Fprintln(stderr, "interrupted: running cells end; once more ends everything at once")
		select {
		case <-signals:
			close(stop)
		case <-done:
		}
	}()
	return stop, func() { signal.Stop(signals); close(done) }
}

// once runs a plan and returns the error that says how it ended.
func (f *runFlags) once(ctx context.Context, cmd *cobra.Command, l *plan.Loaded) (*result.Run, error) {
	cfg, end, err := f.config(ctx, cmd, l)
	if err != nil {
		return nil, err
	}
	r, err := runner.Run(ctx, cfg)
	end()
	if err != nil {
		return nil, err
	}
	return r, planRunError(r, cfg.Dir)
}

// planRunError returns the error for a run's result; nil if it succeeded.
func planRunError(r *result.Run, dir string) error {
	switch r.Outcome {
	case result.Success:
		return nil
	case result.Cancelled:
		return &verdict.Error{Verdict: verdict.Harness, Err: fmt.Errorf("the run was interrupted: %s", runner.Summarize(r)), Hint: "see " + dir}
	}
	hop := verdict.Hop("")
	for _, c := range r.Cells {
		if c.Outcome == result.Failure && !c.Allowed && c.Verdict == r.Verdict {
			hop = c.Hop
			break
		}
	}
	return &verdict.Error{Verdict: r.Verdict, Hop: hop, Err: errors.New(runner.Summarize(r)), Hint: "see " + dir}
}

func (f *runFlags) resumeRun(cmd *cobra.Command) error {
	k, err := runner.Examine(f.resume)
	if err != nil {
		return err
	}
	if k.Done {
		r, err := result.Read(f.resume)
		if err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "the run has ended already: %s\n", runner.Summarize(r))
		return planRunError(r, f.resume)
	}
	if k.Changed {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s has changed since the run began; the run goes on with the plan as it was\n", k.File)
	}
	l, err := plan.Load(cmd.Context(), k.File, plan.Options{Text: k.Text})
	if err != nil {
		return planError(cmd, err)
	}
	f.dir = f.resume
	if f.jobs == 0 {
		f.jobs = k.Jobs
	}
	cfg, end, err := f.config(cmd.Context(), cmd, l)
	if err != nil {
		return err
	}
	r, err := runner.Resume(cmd.Context(), cfg)
	end()
	if err != nil {
		return err
	}
	return planRunError(r, f.resume)
}

// watchPlan runs the plan, and runs it again whenever a file that it names changes, until the
// command is interrupted.
func (f *runFlags) watchPlan(cmd *cobra.Command, file string) error {
	ctx := cmd.Context()
	files := []string{file}
	for {
		l, err := plan.Load(ctx, file, plan.Options{Dry: f.dryRun})
		if err == nil {
			files = l.Files()
		}
		changed := make(chan string, 1)
		var stops []func()
		for _, name := range files {
			c, stop := filewatch.Watch(name)
			stops = append(stops, stop)
			go func() {
				for range c {
					select {
					case changed <- name:
					default:
					}
				}
			}()
		}
		before := fingerprint(files)
		switch {
		case err != nil:
			fmt.Fprintln(cmd.ErrOrStderr(), inertLines(err.Error()))
		case f.dryRun:
			err = f.describe(cmd, l)
		default:
			_, err = f.once(ctx, cmd, l)
		}
		if err != nil && ctx.Err() == nil {
			fmt.Fprintf(cmd.ErrOrStderr(), "%s fault: %s\n", verdict.Of(err), oneLine(err.Error()))
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "waiting for a change of %d files; Ctrl-C ends\n", len(files))
		for ctx.Err() == nil && fingerprint(files) == before {
			select {
			case <-ctx.Done():
			case <-changed:
			}
		}
		for _, stop := range stops {
			stop()
		}
		if ctx.Err() != nil {
			return err
		}
	}
}

// fingerprint returns a hash of the paths, sizes and times of files. A notification may come
// without a change, so watchPlan compares fingerprints.
func fingerprint(files []string) string {
	h := sha256.New()
	for _, root := range files {
		_ = filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
			if err != nil {
				return nil // it does not exist now
			}
			if info, err := d.Info(); err == nil && d.Type().IsRegular() {
				fmt.Fprintln(h, path, info.Size(), info.ModTime().UnixNano())
			}
			return nil
		})
	}
	return hex.EncodeToString(h.Sum(nil))
}

// programVersion identifies this program by its revision, or by its hash if it was not built from a
// clean commit.
func programVersion() string {
	revision, modified := "", false
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				revision = s.Value
			case "vcs.modified":
				modified = s.Value == "true"
			}
		}
	}
	if revision != "" && !modified {
		return revision
	}
	self, err := os.Executable()
	if err != nil {
		return runtime.Version()
	}
	f, err := os.Open(self)
	if err != nil {
		return runtime.Version()
	}
	defer f.Close()
	h := sha256.New()
	_, _ = io.Copy(h, f)
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// terminalSize returns the size of a terminal.
func terminalSize(f *os.File) (width, height int) {
	ws, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil || ws.Col == 0 || ws.Row == 0 {
		return 80, 24
	}
	return int(ws.Col), int(ws.Row)
}

// newRunCell returns the command that runs one attempt of a cell. An executor starts it.
func newRunCell() *cobra.Command {
	var slots int
	cmd := &cobra.Command{
		Use:    runner.WorkerCommand,
		Short:  "Run one attempt of a cell; spicelane run starts it",
		Long:   `Read the task of one attempt from the standard input, carry it out, and print what happens as JSON.`,
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			// Processes that the steps start must not hold the lock of the run.
			unix.CloseOnExec(runner.LockFD)
			// A worker whose runner is gone must still end its lanes, so a write to it must not
			// kill the worker.
			signal.Ignore(syscall.SIGPIPE)
			if slots > 0 {
				release, err := runner.TakeSlot(cmd.Context(), slots, cmd.OutOrStdout())
				if err != nil {
					return err
				}
				defer release()
			}
			return worker.Run(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
	cmd.Flags().IntVar(&slots, "slots", 0, "wait for one of so many places of this host")
	return cmd
}

// newHoldHost returns the command that keeps a host for one run. The ssh executor starts it.
func newHoldHost() *cobra.Command {
	return &cobra.Command{
		Use:    runner.HoldCommand,
		Short:  "Keep this host for one run; spicelane run starts it",
		Long:   `Wait until no other run uses this host, and keep it until the standard input ends.`,
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runner.Hold(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
}
