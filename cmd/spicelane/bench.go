package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/bench"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/verdict"
)

func newBench() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure lanes, and the time from a key to the picture",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return usage("bench needs a subcommand; see: spicelane bench --help")
		},
	}
	cmd.AddCommand(newBenchLane(), newBenchLatency())
	return cmd
}

// tellSteps returns a function that shows the user what is being measured.
func tellSteps(p *progress) func(what string) {
	if p.terminal {
		return p.begin
	}
	return p.say
}

func newBenchLane() *cobra.Command {
	var (
		flags  laneFlags
		cfg    bench.Config
		asJSON bool
		output string
	)
	cmd := &cobra.Command{
		Use:   "lane",
		Short: "Measure how long lanes take to come up, lanes per minute, and their memory",
		Long: `Measure lanes, cold and warm:

  - the time to the banner, to the first picture at the client, and to the first
    digest;
  - the time of QEMU alone with the same command line, and what the harness adds;
  - how many lanes per minute come up, pass the smoke check and end;
  - the memory of a lane's processes.

In a step of a plan, it also reports them as measurements, so that an archive shows
their trend.

Measurements that are compared with each other alternate, so that a busy machine slows
all of them.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cfg.Rounds < 1 || cfg.Pace < 1 || cfg.Parallel < 1 {
				return usage("--rounds, --pace and --parallel have to be at least 1")
			}
			if cmd.Flags().Changed("warm") {
				return usage("--warm: lanes are measured cold and warm")
			}
			lane, err := flags.config(cmd)
			if err != nil {
				return err
			}
			if lane.Client == harness.None {
				return usage("--client none: without a client there is no picture to wait for")
			}
			if err := qemu.CheckHost(cmd.Context(), os.Getenv); err != nil {
				return &verdict.Error{Verdict: verdict.Host, Err: err}
			}
			cfg.Lane = lane
			p := newProgress(cmd.ErrOrStderr())
			cfg.OnStep = tellSteps(p)
			r, err := bench.Run(cmd.Context(), cfg)
			p.done()
			if err != nil {
				return err
			}
			if output != "" {
				if err := writeReport(output, func(w io.Writer) error { return printJSON(w, r) }); err != nil {
					return verdict.Classify("--output", err)
				}
			}
			if err := reportMeasurements(r); err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), r)
			}
			return printBench(cmd.OutOrStdout(), r)
		},
	}
	f := cmd.Flags()
	f.IntVar(&cfg.Rounds, "rounds", 5, "how many times to measure each start")
	f.IntVar(&cfg.Pace, "pace", 20, "number of warm lanes for measuring lanes per minute; a quarter as many cold ones, but at least twice as many as run at once")
	f.IntVar(&cfg.Parallel, "parallel", 2, "how many lanes run at once in the second measurement of lanes per minute; in the first, one runs at a time")
	f.BoolVar(&asJSON, "json", false, "print the figures as JSON")
	f.StringVarP(&output, "output", "o", "", "also write the figures to this `FILE` as JSON")
	flags.add(cmd)
	return cmd
}

// reportMeasurements adds the figures to the measurements of a plan's step, if this process is one.
func reportMeasurements(r *bench.Report) error {
	path := os.Getenv("SPICELANE_MEASUREMENTS")
	if path == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err == nil {
		err = errors.Join(r.WriteMeasurements(f), f.Close())
	}
	return verdict.Classify("SPICELANE_MEASUREMENTS", err)
}

func printBench(w io.Writer, r *bench.Report) error {
	m := r.Machine
	fmt.Fprintf(w, "%s, %d processors, %d MiB, Linux %s, QEMU %s, %s; load %.1f\n%s under %s, medians of %d rounds (least to most):\n\n",
		m.CPU, m.CPUs, m.MemoryMiB, m.Kernel, m.QEMU, m.Go, m.Load, r.Fixture, r.Accel, r.Cold.Banner.N)
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "from the start to\tcold\twarm")
	row := func(name string, f func(bench.Starts) bench.Times) {
		warm := "-"
		if r.Warm != nil {
			warm = times(f(*r.Warm))
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\n", name, times(f(r.Cold)), warm)
	}
	row("the banner", func(s bench.Starts) bench.Times { return s.Banner })
	if r.Bare != nil {
		fmt.Fprintf(tw, "  QEMU alone, same command line\t%s\t\n", times(*r.Bare))
		fmt.Fprintf(tw, "  so the harness adds\t%s\t\n", times(*r.Overhead))
	}
	row("the first picture", func(s bench.Starts) bench.Times { return s.Picture })
	row("the first digest: ready", func(s bench.Starts) bench.Times { return s.Digest })
	row("processor time of harness, proxy and client", func(s bench.Starts) bench.Times { return s.CPU })
	row("and to end it", func(s bench.Starts) bench.Times { return s.Down })
	if r.NotWarm != "" {
		fmt.Fprintf(tw, "no lane was warm\t%s\n", oneLine(r.NotWarm))
	}
	for _, f := range r.Film {
		fmt.Fprintf(tw, "to film a %s lane, processor time\t%s\t%.1f %% of the lane's; %d KiB\n", coldWarm(f.Warm), times(f.CPU), f.Share, f.Bytes>>10)
	}
	fmt.Fprintln(tw)
	fmt.Fprintln(tw, "lanes a minute (up, smoke, down)\t\t")
	for _, p := range r.Pace {
		fmt.Fprintf(tw, "  %s, %d at once\t%.1f\t\n", coldWarm(p.Warm), p.Parallel, p.PerMinute)
	}
	fmt.Fprintln(tw)
	fmt.Fprintln(tw, "memory of a lane\tresident\tits share")
	for _, m := range r.Memory {
		fmt.Fprintf(tw, "  %s: QEMU\t%.0f MiB\t%.0f MiB\n", coldWarm(m.Warm), m.QEMURSS, m.QEMUPSS)
		fmt.Fprintf(tw, "  %s  proxy\t%.0f MiB\t%.0f MiB\n", strings.Repeat(" ", 4), m.ProxyRSS, m.ProxyPSS)
		fmt.Fprintf(tw, "  %s  client\t%.0f MiB\t%.0f MiB\n", strings.Repeat(" ", 4), m.ClientRSS, m.ClientPSS)
		fmt.Fprintf(tw, "  %s  together\t%.0f MiB\t%.0f MiB\n", strings.Repeat(" ", 4), m.RSS, m.PSS)
	}
	return tw.Flush()
}

func coldWarm(warm bool) string {
	if warm {
		return "warm"
	}
	return "cold"
}

func times(t bench.Times) string {
	return fmt.Sprintf("%.0f ms (%.0f to %.0f)", t.P50, t.Min, t.Max)
}
