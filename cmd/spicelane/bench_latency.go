package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/keylatency"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/timeline"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice/control"
)

func newBenchLatency() *cobra.Command {
	var (
		flags  laneFlags
		cfg    keylatency.Config
		dir    string
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "latency",
		Short: "Measure the time from a key to the picture and to the digest",
		Long: `Bring a lane up and press keys one after the other, alternately directly and through
the proxy. For each key, measure the time until its first pixels arrive, and until
the digest that shows it is read.

--dir gets each measurement as CSV (seconds, one per line, in the files
key-to-picture-direct, key-to-picture-proxied, key-to-digest-direct and
key-to-digest-proxied), a plot (latency.svg) and the figures (latency.json). If the
lane fails, its files are in the subdirectory lane.

The guest must show a digest and report keys in it. --proxy measures another
proxy; the client on both paths is the built-in one.

Exit status: 0 every key was seen, 1 some keys were never seen; 2 and 3 as for
other commands.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cfg.Keys < 1 {
				return usage("--samples has to be at least 1, not %d", cfg.Keys)
			}
			if _, err := control.ParseKey(cfg.Key); err != nil {
				return usage("--key: %w", err)
			}
			lane, err := flags.config(cmd)
			if err != nil {
				return err
			}
			if lane.Proxy == harness.None {
				return usage("--proxy none: without a proxy there is only one path to measure")
			}
			if lane.Client != harness.Builtin {
				return usage("--client %s: the two paths are compared with the built-in client on both", lane.Client)
			}
			// The lane's directory is removed after the measurement.
			if own := filepath.Join(dir, "lane"); dir != "" && !isLaneOrEmpty(own) {
				return usage("--dir %s: %s is not a lane's directory, and would be removed", dir, own)
			}
			if err := qemu.CheckHost(cmd.Context(), os.Getenv); err != nil {
				return &verdict.Error{Verdict: verdict.Host, Err: err}
			}
			if dir == "" {
				dir = filepath.Join("artifacts", "latency-"+time.Now().Format("20060102-150405"))
			}
			// A directory that cannot be written should fail before the measurement, not after it.
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return &verdict.Error{Verdict: verdict.Host, Op: "key latency", Err: err, Hint: "choose another --dir"}
			}
			cfg.Lane = lane
			cfg.Lane.Dir = filepath.Join(dir, "lane")
			p := newProgress(cmd.ErrOrStderr())
			cfg.OnStep = tellSteps(p)
			r, err := keylatency.Measure(cmd.Context(), cfg)
			p.done()
			if err != nil {
				return err
			}
			if err := errors.Join(r.Write(dir), os.RemoveAll(cfg.Lane.Dir)); err != nil {
				return err
			}
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), r)
			} else {
				err = printLatency(cmd.OutOrStdout(), r, dir)
			}
			if err != nil {
				return err
			}
			if lost := r.Direct.Lost + r.Proxied.Lost; lost > 0 {
				return &verdict.Error{Verdict: verdict.Product, Op: "key latency", Err: fmt.Errorf("%d of %d keys were never seen (%d directly, %d through the proxy)",
					lost, 2*r.Keys, r.Direct.Lost, r.Proxied.Lost)}
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.IntVar(&cfg.Keys, "samples", 200, "how many keys to press on each path")
	f.StringVar(&cfg.Key, "key", "a", "the `KEY` to press; the guest must report it and do nothing else")
	f.StringVar(&dir, "dir", "", "`DIR`ectory for the CSV files, the plot and the figures; default: artifacts/latency-TIME")
	f.BoolVar(&asJSON, "json", false, "print the figures as JSON")
	flags.add(cmd)
	_ = cmd.MarkFlagDirname("dir")
	_ = cmd.RegisterFlagCompletionFunc("key", func(_ *cobra.Command, _ []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		return startingWith(control.KeyNames(), toComplete), cobra.ShellCompDirectiveNoFileComp
	})
	return cmd
}

// isLaneOrEmpty tells whether a directory is that of a lane, is empty, or is not there.
func isLaneOrEmpty(dir string) bool {
	entries, err := os.ReadDir(dir)
	return err != nil || len(entries) == 0 ||
		slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() == timeline.File })
}

func printLatency(w io.Writer, r *keylatency.Report, dir string) error {
	fmt.Fprintf(w, "%s under %s, QEMU %s, %d processors; %d keys each path, in turns; proxy: %s\n\n",
		r.Fixture, r.Accel, r.Machine.QEMU, r.Machine.CPUs, r.Keys, r.Proxy)
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "from the key to\tp50\tp95\tp99\tmax\tkeys")
	row := func(name string, s keylatency.Sums) {
		if s.N == 0 {
			fmt.Fprintf(tw, "%s\t-\t-\t-\t-\t0\n", name)
			return
		}
		fmt.Fprintf(tw, "%s\t%.1f ms\t%.1f ms\t%.1f ms\t%.1f ms\t%d\n", name, s.P50, s.P95, s.P99, s.Max, s.N)
	}
	added := func(direct, proxied keylatency.Sums) {
		if direct.N > 0 && proxied.N > 0 {
			fmt.Fprintf(tw, "  so the proxy adds\t%+.1f ms\t%+.1f ms\t%+.1f ms\t\t\n",
				proxied.P50-direct.P50, proxied.P95-direct.P95, proxied.P99-direct.P99)
		}
	}
	row("the picture, directly", r.Direct.Picture)
	row("the picture, through the proxy", r.Proxied.Picture)
	added(r.Direct.Picture, r.Proxied.Picture)
	row("the digest, directly", r.Direct.Digest)
	row("the digest, through the proxy", r.Proxied.Digest)
	added(r.Direct.Digest, r.Proxied.Digest)
	if err := tw.Flush(); err != nil {
		return err
	}
	for _, path := range []struct {
		name string
		keylatency.Path
	}{{"directly", r.Direct}, {"through the proxy", r.Proxied}} {
		if path.Lost > 0 {
			fmt.Fprintf(w, "never seen, %s: %d\n", path.name, path.Lost)
		}
		if path.Unclear > 0 {
			fmt.Fprintf(w, "seen, but not clearly enough to time, %s: %d\n", path.name, path.Unclear)
		}
	}
	fmt.Fprintf(w, "\nCSV, plot and figures: %s\n", dir)
	return nil
}
