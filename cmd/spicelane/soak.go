package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/soak"
	"github.com/spicelane/spicelane/harness/verdict"
)

func newSoak() *cobra.Command {
	var (
		flags  laneFlags
		cfg    soak.Config
		cold   bool
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "soak [N]",
		Short: "Bring up N lanes, check each, and count the failures",
		Long: `Bring lanes up one after the other (or --parallel at once), run the smoke check on
each, and end it. Print how many failed, the failure rate with its 95 % confidence
interval, whose fault the failures were, and how long lanes took.

The directories of failed lanes are kept, the others are removed. If several lanes in
a row fail, the soak stops (--stop-after).

Exit status: 0 no lane failed; otherwise that of the failures: 1 product, 2 harness,
3 host.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg.N = 200
			if n := arg(args, 0); n != "" {
				var err error
				if cfg.N, err = strconv.Atoi(n); err != nil || cfg.N < 1 {
					return usage("soak needs the number of lanes, not %q", n)
				}
			}
			if cfg.Parallel < 1 {
				return usage("--parallel %d: it has to be at least 1", cfg.Parallel)
			}
			lane, err := flags.config(cmd)
			if err != nil {
				return err
			}
			if cold {
				if lane.Warm != "" && lane.Warm != harness.WarmOff {
					return usage("--cold and --warm %s exclude each other", lane.Warm)
				}
				lane.Warm = harness.WarmOff
			}
			if lane.Client == harness.None {
				return usage("--client none: without a client there is nothing to check")
			}
			if err := qemu.CheckHost(cmd.Context(), os.Getenv); err != nil {
				return &verdict.Error{Verdict: verdict.Host, Err: err}
			}
			if cfg.Dir == "" {
				cfg.Dir = filepath.Join("artifacts", "soak-"+time.Now().Format("20060102-150405"))
			}
			cfg.Lane = lane
			p := newProgress(cmd.ErrOrStderr())
			show := soakProgress{p: p, n: cfg.N}
			cfg.OnLane = show.lane
			r, err := soak.Run(cmd.Context(), cfg)
			p.done()
			if err != nil {
				return err
			}
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), r)
			} else {
				err = printSoak(cmd.OutOrStdout(), r)
			}
			if err != nil {
				return err
			}
			return soakError(r)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&cold, "cold", false, "boot every lane (the same as --warm off)")
	f.IntVar(&cfg.Parallel, "parallel", 1, "how many lanes to run at once")
	f.IntVar(&cfg.StopAfter, "stop-after", 0, "stop after this many failures in a row; default: 5; -1: never")
	f.StringVar(&cfg.Dir, "dir", "", "`DIR`ectory for the evidence and soak.json; default: artifacts/soak-TIME")
	f.BoolVar(&cfg.Smoke.RequireAgent, "require-agent", false, "fail lanes whose guest agent is not connected")
	f.BoolVar(&asJSON, "json", false, "print the report as JSON")
	flags.add(cmd)
	return cmd
}

// soakProgress shows the progress of a soak: each failure, and from time to time a summary line.
type soakProgress struct {
	p         *progress
	n         int
	done, bad int
	said      time.Time
}

// soakSays is the time between two progress lines of a soak if stderr is not a terminal.
const soakSays = 10 * time.Second

func (s *soakProgress) lane(l soak.Lane) {
	s.done++
	if !l.OK {
		s.bad++
		s.p.say(fmt.Sprintf("lane %d: %s fault at %s: %s (%s)", l.N, l.Verdict, l.Stage, oneLine(l.Reason), l.Dir))
	}
	how := "cold"
	if l.Warm {
		how = "warm"
	}
	status := fmt.Sprintf("%d of %d lanes, %d failed; the last was %s, up in %s", s.done, s.n, s.bad, how, ms(l.UpMS))
	switch {
	case s.p.terminal:
		s.p.clear()
		fmt.Fprintf(s.p.w, "  %s", status)
		s.p.waiting = true
	case s.done == s.n || time.Since(s.said) > soakSays:
		s.said = time.Now()
		s.p.say(status)
	}
}

func printSoak(w io.Writer, r *soak.Report) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	var how []string
	for a, n := range r.Accels {
		how = append(how, fmt.Sprintf("%d %s", n, a))
	}
	slices.Sort(how)
	how = append(how, fmt.Sprintf("%d warm, %d cold", r.Warm, r.Runs-r.Warm))
	fmt.Fprintf(tw, "lanes\t%d (%s), %d at once\n", r.Runs, strings.Join(how, "; "), r.Parallel)
	fmt.Fprintf(tw, "failures\t%s\n", r.Rate)
	for _, v := range []verdict.Kind{verdict.Product, verdict.Harness, verdict.Host} {
		if r.Verdicts[v] > 0 {
			fmt.Fprintf(tw, "  %s\t%d\n", v, r.Verdicts[v])
		}
	}
	passed := []struct {
		name string
		soak.Times
	}{{soak.Up, r.Up}, {soak.Smoke, r.Smoke}, {soak.Down, r.Down}}
	if r.Rate.Failed == r.Runs {
		passed = nil // no lane passed, so there are no times
	}
	for _, t := range passed {
		fmt.Fprintf(tw, "%s\tp50 %d ms, p95 %d ms, max %d ms\n", t.name, t.P50, t.P95, t.Max)
	}
	fmt.Fprintf(tw, "pace\t%.1f lanes a minute\n", r.PerMinute)
	if r.Stopped != "" {
		fmt.Fprintf(tw, "stopped\tafter %d of %d: %s\n", r.Runs, r.Wanted, r.Stopped)
	}
	return tw.Flush()
}

// soakError returns nil if every lane passed.
func soakError(r *soak.Report) error {
	v := r.Verdict()
	if v == "" {
		if r.Stopped != "" {
			return usage("the soak was stopped after %d of %d lanes: %s", r.Runs, r.Wanted, r.Stopped)
		}
		return nil
	}
	i := slices.IndexFunc(r.Failures, func(l soak.Lane) bool { return l.Verdict == v })
	l := r.Failures[i]
	more := ""
	if n := len(r.Failures) - 1; n > 0 {
		more = fmt.Sprintf(" (and %d more)", n)
	}
	return &verdict.Error{Verdict: v, Op: fmt.Sprintf("lane %d: %s", l.N, l.Stage), Err: errors.New(l.Reason + more)}
}
