package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/spicelane/spicelane/harness/archive"
	"github.com/spicelane/spicelane/harness/archive/compare"
	"github.com/spicelane/spicelane/harness/archive/s3store"
	"github.com/spicelane/spicelane/harness/host"
	"github.com/spicelane/spicelane/harness/plan/result"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/harness/warm"
	"github.com/spicelane/spicelane/internal/atomicfile"
)

// envArchive says where the archive is.
const envArchive = "SPICELANE_ARCHIVE"

// openArchive opens the archive at a location: a directory or s3://BUCKET/PREFIX. An empty location
// is that of the environment, or a directory of this user.
func openArchive(ctx context.Context, location string) (*archive.Archive, error) {
	location = cmp.Or(location, os.Getenv(envArchive), filepath.Join(host.StateDir(), "archive"))
	var store archive.Store = archive.Dir{Path: location}
	if scheme, _, ok := strings.Cut(location, "://"); ok {
		if scheme != "s3" {
			return nil, usage("archive %s: there is no kind of archive called %q; use a directory or s3://BUCKET/PREFIX", location, scheme)
		}
		cfg, err := s3store.Parse(location)
		if err != nil {
			return nil, err
		}
		if store, err = s3store.Open(ctx, cfg); err != nil {
			return nil, err
		}
	}
	return archive.Open(ctx, store, archive.Options{})
}

func newArchive() *cobra.Command {
	var location string
	open := func(cmd *cobra.Command) (*archive.Archive, error) { return openArchive(cmd.Context(), location) }
	cmd := &cobra.Command{
		Use:   "archive",
		Short: "Keep the results of runs, compare them, and show their trend",
		Long: `Keep the results, evidence and measurements of runs, keyed by the build that was
tested. Equal files are stored once. Compare builds months later without running a
baseline again:

  spicelane archive add artifacts --label branch=main
  spicelane archive list
  spicelane archive compare branch=main latest
  spicelane archive trend --by proxy --format html -o trend.html

A RUN is the beginning of its id, "latest" or "latest~2". RUNS may also be "build:KEY",
"NAME=VALUE" (a label, or a part of the build), or several of these, separated by commas.

The archive is a directory, or a bucket: s3://BUCKET/PREFIX?endpoint=HOST:PORT. The keys
of a bucket are read from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.

Exit status: 0 done; for compare, no regression; 1 compare found a regression; 2 wrong usage,
or no such run; 3 the archive cannot be read or written, or verify found damage.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return usage("archive needs a command: add, list, show, get, compare, trend, verify, prune, pin, unpin, export or import")
		},
	}
	cmd.PersistentFlags().StringVar(&location, "archive", "",
		"`LOCATION` of the archive: a directory, or s3://BUCKET/PREFIX; default $"+envArchive+", else a directory of this user")
	cmd.AddCommand(archiveAdd(open), archiveList(open), archiveShow(open), archiveGet(open), archiveCompare(open), archiveTrend(open),
		archiveVerify(open), archivePrune(open), archivePin(open, true), archivePin(open, false), archiveExport(open), archiveImport(open))
	return cmd
}

type opener func(*cobra.Command) (*archive.Archive, error)

// with returns the RunE of a command that first opens the archive.
func (open opener) with(run func(*cobra.Command, *archive.Archive, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		a, err := open(cmd)
		if err != nil {
			return err
		}
		return run(cmd, a, args)
	}
}

// withRuns returns the RunE of a command whose arguments choose runs.
func (open opener) withRuns(run func(*cobra.Command, *archive.Archive, []*archive.Record) error) func(*cobra.Command, []string) error {
	return open.with(func(cmd *cobra.Command, a *archive.Archive, args []string) error {
		all, err := records(cmd, a, args)
		if err != nil {
			return err
		}
		return run(cmd, a, all)
	})
}

// withRun returns the RunE of a command whose first argument names one run. run gets the others.
func (open opener) withRun(run func(*cobra.Command, *archive.Archive, *archive.Record, []string) error) func(*cobra.Command, []string) error {
	return open.with(func(cmd *cobra.Command, a *archive.Archive, args []string) error {
		all, err := records(cmd, a, args[:1])
		if err != nil {
			return err
		}
		if len(all) != 1 {
			return usage("%q means %d runs, and one is needed", args[0], len(all))
		}
		return run(cmd, a, all[0], args[1:])
	})
}

// pairs parses NAME=VALUE words.
func pairs(flag string, words []string) (map[string]string, error) {
	var m map[string]string
	for _, w := range words {
		k, v, ok := strings.Cut(w, "=")
		if !ok || k == "" {
			return nil, usage("--%s %s: write NAME=VALUE", flag, w)
		}
		if m == nil {
			m = make(map[string]string)
		}
		m[k] = v
	}
	return m, nil
}

func archiveAdd(open opener) *cobra.Command {
	var labels, identity, around []string
	var allowMissing bool
	cmd := &cobra.Command{
		Use:   "add DIR...",
		Short: "Store the run in a directory",
		Long: `Store the run in each directory: one that spicelane run left, or one with the output of
go test -json, such as the artifacts of make test. That output does not say what was
tested, so say it with --identity:

  spicelane archive add artifacts --identity proxy="$(git rev-parse HEAD)" --label branch=main

A run that is already in the archive is not stored again.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var extra archive.Extra
			var err error
			for _, f := range []struct {
				name  string
				words []string
				to    *map[string]string
			}{{"label", labels, &extra.Labels}, {"identity", identity, &extra.Identity}, {"surroundings", around, &extra.Surroundings}} {
				if *f.to, err = pairs(f.name, f.words); err != nil {
					return err
				}
			}
			a, err := open(cmd)
			if err != nil {
				return err
			}
			for _, dir := range args {
				src, err := archive.ReadDir(dir, extra)
				if err != nil {
					return err
				}
				src.AllowMissing = allowMissing
				added, err := a.Add(cmd.Context(), src)
				if err != nil {
					return err
				}
				printAdded(cmd.OutOrStdout(), added)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&labels, "label", nil, "`NAME=VALUE` to find the run by; can be repeated")
	f.StringArrayVar(&identity, "identity", nil, "`NAME=VALUE` that says what was tested; can be repeated")
	f.StringArrayVar(&around, "surroundings", nil, "`NAME=VALUE` that may have influenced the run, such as the host; can be repeated")
	f.BoolVar(&allowMissing, "allow-missing", false, "leave out evidence that is no longer there")
	return cmd
}

func printAdded(w io.Writer, added *archive.Added) {
	r := added.Record
	if added.Known {
		fmt.Fprintf(w, "%s is there already\n", r.ID)
		return
	}
	fmt.Fprintf(w, "%s: %s; %d new contents in %s, %d were there", r.ID, outcomes(r), added.Stored, bytesText(added.StoredBytes), added.Shared)
	if n := len(added.Missing); n > 0 {
		fmt.Fprintf(w, "; %d files are missing, such as %s", n, added.Missing[0])
	}
	fmt.Fprintln(w)
}

// bytesText writes a size for people.
func bytesText(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d bytes", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	case n < 1<<30:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}

// outcomes counts a run's cells.
func outcomes(r *archive.Record) string {
	var parts []string
	for _, o := range []result.Outcome{result.Success, result.Failure, result.Cancelled, result.Skipped} {
		if n := r.Cells[o]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, o))
		}
	}
	s := cmp.Or(strings.Join(parts, ", "), "no cells")
	if r.Verdict != "" {
		s += " (" + string(r.Verdict) + ")"
	}
	return s
}

// records lists the archive, and returns the runs that args name. Without args it returns all.
func records(cmd *cobra.Command, a *archive.Archive, args []string) ([]*archive.Record, error) {
	all, err := a.List(cmd.Context())
	if err != nil {
		if len(all) == 0 {
			return nil, err
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "%s; spicelane archive verify says more\n", oneLine(err.Error()))
	}
	if len(args) == 0 {
		return all, nil
	}
	chosen, err := archive.Select(all, strings.Join(args, ","))
	if err != nil {
		return nil, usage("archive %s: %w", a.Location(), err)
	}
	return chosen, nil
}

func archiveList(open opener) *cobra.Command {
	var asJSON bool
	var n int
	cmd := &cobra.Command{
		Use:   "list [RUNS...]",
		Short: "List the runs, the newest first",
		RunE: open.withRuns(func(cmd *cobra.Command, a *archive.Archive, all []*archive.Record) error {
			if n > 0 && len(all) > n {
				all = all[:n]
			}
			if asJSON {
				for _, r := range all {
					if err := printJSON(cmd.OutOrStdout(), r); err != nil {
						return err
					}
				}
				return nil
			}
			if len(all) == 0 {
				fmt.Fprintf(cmd.OutOrStdout(), "no runs in %s\n", a.Location())
				return nil
			}
			pinned, err := a.Pins(cmd.Context())
			if err != nil {
				return err
			}
			t := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
			fmt.Fprintln(t, "RUN\tBEGAN\tPLAN\tBUILD\tRESULT\tLABELS")
			for _, r := range all {
				var notes []string
				for _, k := range slices.Sorted(maps.Keys(r.Labels)) {
					notes = append(notes, k+"="+r.Labels[k])
				}
				if pinned[r.ID] {
					notes = append(notes, "pinned")
				}
				if time.Until(r.Began) > 24*time.Hour {
					notes = append(notes, "its host's clock was ahead")
				}
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", r.ID, r.Began.UTC().Format("2006-01-02 15:04"), inertText(r.Plan), cmp.Or(r.Key, "unknown"),
					outcomes(r), inertText(strings.Join(notes, " ")))
			}
			return t.Flush()
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object per run")
	cmd.Flags().IntVarP(&n, "lines", "n", 0, "print at most `N` runs; default: all")
	return cmd
}

func archiveShow(open opener) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show RUN",
		Short: "Print a run: its build, its cells and its files",
		Args:  cobra.ExactArgs(1),
		RunE: open.withRun(func(cmd *cobra.Command, a *archive.Archive, rec *archive.Record, _ []string) error {
			r, err := a.Run(cmd.Context(), rec.ID)
			if err != nil {
				return err
			}
			w := cmd.OutOrStdout()
			if asJSON {
				b, err := r.Encode()
				if err == nil {
					_, err = w.Write(b)
				}
				return err
			}
			files, err := a.Files(cmd.Context(), rec.ID)
			if err != nil {
				return err
			}
			fmt.Fprintf(w, "%s  %s  %s  %s\n", rec.ID, rec.Began.UTC().Format("2006-01-02 15:04:05"), inertText(rec.Plan), outcomes(rec))
			for _, k := range slices.Sorted(maps.Keys(rec.Labels)) {
				fmt.Fprintf(w, "label %s: %s\n", k, inertText(rec.Labels[k]))
			}
			fmt.Fprintf(w, "build %s\n", cmp.Or(rec.Key, "unknown"))
			for _, k := range slices.Sorted(maps.Keys(rec.Build)) {
				fmt.Fprintf(w, "  %s: %s\n", k, inertText(rec.Build[k]))
			}
			t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
			for i := range r.Cells {
				c := &r.Cells[i]
				why := c.Reason
				if c.Verdict != "" {
					why = string(c.Verdict) + " fault: " + why
				}
				if c.ReusedFrom != "" {
					why = "from run " + c.ReusedFrom + " " + why
				}
				fmt.Fprintf(t, "%s\t%s\t%s\n", c.Outcome, inertText(c.ID), inertText(why))
			}
			if err := t.Flush(); err != nil {
				return err
			}
			fmt.Fprintf(w, "%d files, %s\n", len(files), bytesText(rec.Bytes))
			for _, f := range files {
				fmt.Fprintf(w, "  %s  %s\n", inertText(f.Path), bytesText(f.Bytes))
			}
			return nil
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the run's run.json")
	return cmd
}

func archiveGet(open opener) *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "get RUN [PATTERN...]",
		Short: "Write a run's files to a directory",
		Long: `Write the files of a run, and its run.json, to a directory. With patterns, write only
the files that one of them matches: a path, a directory, or a pattern such as '*/serial.log'.
Each file is checked against its hash.`,
		Args: cobra.MinimumNArgs(1),
		PreRunE: func(*cobra.Command, []string) error {
			if out == "" {
				return usage("archive get needs -o DIR")
			}
			return nil
		},
		RunE: open.withRun(func(cmd *cobra.Command, a *archive.Archive, rec *archive.Record, patterns []string) error {
			r, err := a.Run(cmd.Context(), rec.ID)
			if err != nil {
				return err
			}
			files, err := a.Files(cmd.Context(), rec.ID)
			if err != nil {
				return err
			}
			n := 0
			for _, f := range files {
				if !wanted(f.Path, patterns) {
					continue
				}
				n++
				if err := getFile(cmd.Context(), a, f, out); err != nil {
					return err
				}
			}
			if n == 0 && len(patterns) > 0 {
				return usage("run %s has no file %s", rec.ID, strings.Join(patterns, " "))
			}
			if len(patterns) == 0 {
				b, err := r.Encode()
				if err == nil {
					err = os.MkdirAll(out, 0o755)
				}
				if err == nil {
					err = atomicfile.Write(filepath.Join(out, result.File), b, 0o644)
				}
				if err != nil {
					return err
				}
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%d files of %s in %s\n", n, rec.ID, out)
			return nil
		}),
	}
	cmd.Flags().StringVarP(&out, "output", "o", "", "the `DIR` to write to")
	return cmd
}

// wanted tells whether a file's path matches a pattern, equals one, or is below one.
func wanted(name string, patterns []string) bool {
	for _, p := range patterns {
		if ok, err := path.Match(p, name); err == nil && ok || strings.HasPrefix(name, strings.TrimSuffix(p, "/")+"/") || name == p {
			return true
		}
	}
	return len(patterns) == 0
}

// getFile writes a file below dir. If the content is damaged, an existing file stays as it was.
func getFile(ctx context.Context, a *archive.Archive, f archive.File, dir string) error {
	to := filepath.Join(dir, filepath.FromSlash(f.Path))
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	in, err := a.OpenFile(ctx, f)
	if err != nil {
		return err
	}
	defer in.Close()
	err = atomicfile.Fill(to, 0o644, func(out *os.File) error {
		_, err := io.Copy(out, in)
		return err
	})
	if err != nil {
		return verdict.Classify("archive "+a.Location(), fmt.Errorf("%s: %w", f.Path, err))
	}
	return nil
}

// formatted is a comparison or a trend.
type formatted interface {
	WriteText(io.Writer) error
	WriteMarkdown(io.Writer) error
	WriteHTML(io.Writer) error
}

// output has the flags of a command that writes in one of several formats.
type output struct{ format, file string }

func (o *output) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.format, "format", "text", "`text|json|markdown|html`; html is one page that needs no other file")
	cmd.Flags().StringVarP(&o.file, "output", "o", "", "write to this `FILE` instead of standard output")
}

func (o *output) check(*cobra.Command, []string) error {
	if !slices.Contains([]string{"text", "json", "markdown", "html"}, o.format) {
		return usage("--format %s: not one of text, json, markdown, html", o.format)
	}
	return nil
}

func (o *output) write(w io.Writer, v formatted) error {
	var b bytes.Buffer
	var err error
	switch o.format {
	case "json":
		err = printJSON(&b, v)
	case "markdown":
		err = v.WriteMarkdown(&b)
	case "html":
		err = v.WriteHTML(&b)
	default:
		var text bytes.Buffer
		err = v.WriteText(&text)
		for line := range strings.Lines(text.String()) {
			b.WriteString(inertText(strings.TrimRight(line, "\n")) + "\n")
		}
	}
	if err != nil {
		return err
	}
	if o.file != "" {
		return os.WriteFile(o.file, b.Bytes(), 0o644)
	}
	_, err = w.Write(b.Bytes())
	return err
}

// load reads the run.json of some records.
func load(ctx context.Context, a *archive.Archive, all []*archive.Record) ([]*result.Run, error) {
	var runs []*result.Run
	for _, rec := range all {
		r, err := a.Run(ctx, rec.ID)
		if err != nil {
			return nil, err
		}
		runs = append(runs, r)
	}
	return runs, nil
}

func archiveCompare(open opener) *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use:   "compare A B",
		Short: "Say what differs between stored results: A is the baseline",
		Long: `Compare two builds from their stored results. A and B each name one or more runs, whose
results are combined. For each cell, print whether it is a regression, a fix, flaky, new,
gone or the same, or has no result because the harness or the host failed. For each
measurement, print the medians with their 95 % confidence intervals, and whether chance
explains the difference.

  spicelane archive compare latest~1 latest
  spicelane archive compare release=1.4 branch=main --format html -o compare.html

Exit status: 0 no regression; 1 a regression; 2 wrong usage, or no such run; 3 the archive
cannot be read.`,
		Args:    cobra.ExactArgs(2),
		PreRunE: out.check,
		RunE: open.with(func(cmd *cobra.Command, a *archive.Archive, args []string) error {
			all, err := records(cmd, a, nil)
			if err != nil {
				return err
			}
			var sides [2]compare.Side
			for i, text := range args {
				chosen, err := archive.Select(all, text)
				if err != nil {
					return usage("archive %s: %w", a.Location(), err)
				}
				sides[i].Name = text
				if sides[i].Runs, err = load(cmd.Context(), a, chosen); err != nil {
					return err
				}
			}
			c := compare.Compare(sides[0], sides[1])
			if err := out.write(cmd.OutOrStdout(), c); err != nil {
				return err
			}
			if v := c.Verdict(); v != "" {
				d := c.Cells[0]
				return &verdict.Error{Verdict: v, Op: "compare", Err: fmt.Errorf("%s: %s: %s", c.Headline(), d.Cell, cmp.Or(d.Reason, "it fails"))}
			}
			return nil
		}),
	}
	out.add(cmd)
	return cmd
}

func archiveTrend(open opener) *cobra.Command {
	var out output
	var by, plan string
	var n int
	cmd := &cobra.Command{
		Use:   "trend [RUNS...]",
		Short: "Show results and measurements over many builds, and where they change",
		Long: `Show how often cells fail, and the measurements, build by build in the order in which
they were first tested. Mark the builds at which something changes.

  spicelane archive trend --by proxy
  spicelane archive trend branch=main -n 200 --format html -o trend.html`,
		PreRunE: out.check,
		RunE: open.withRuns(func(cmd *cobra.Command, a *archive.Archive, all []*archive.Record) error {
			if plan != "" {
				all = slices.DeleteFunc(all, func(r *archive.Record) bool { return r.Plan != plan })
			}
			if n > 0 && len(all) > n {
				all = all[:n]
			}
			if len(all) == 0 {
				return usage("archive %s: there are no such runs", a.Location())
			}
			runs, err := load(cmd.Context(), a, all)
			if err != nil {
				return err
			}
			return out.write(cmd.OutOrStdout(), compare.Over(runs, by))
		}),
	}
	cmd.Flags().StringVar(&by, "by", "", "`KEY` of the build that identifies a point, such as proxy; default: the whole build")
	cmd.Flags().StringVar(&plan, "plan", "", "only runs of the plan with this `NAME`")
	cmd.Flags().IntVarP(&n, "lines", "n", 200, "the newest `N` runs; 0 for all")
	out.add(cmd)
	return cmd
}

func archiveVerify(open opener) *cobra.Command {
	var asJSON, discard bool
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Read every byte and say what is damaged or missing",
		Args:  cobra.NoArgs,
		RunE: open.with(func(cmd *cobra.Command, a *archive.Archive, _ []string) error {
			if discard {
				gone, err := a.Discard(cmd.Context())
				for _, name := range gone {
					fmt.Fprintf(cmd.OutOrStdout(), "discarded %s\n", name)
				}
				if err != nil {
					return err
				}
			}
			v, err := a.Verify(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), v)
			} else {
				for _, f := range v.Faults {
					fmt.Fprintf(cmd.OutOrStdout(), "%s: %s", f.Name, f.Why)
					if len(f.Runs) > 0 {
						fmt.Fprintf(cmd.OutOrStdout(), "; needed by %s", strings.Join(f.Runs, ", "))
					}
					fmt.Fprintln(cmd.OutOrStdout())
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%d runs, %d objects, %s; %d unused blobs\n", v.Runs, v.Objects, bytesText(v.Bytes), v.Unused)
			}
			if err != nil {
				return err
			}
			if n := len(v.Faults); n > 0 {
				return &verdict.Error{Verdict: verdict.Host, Op: "archive " + a.Location(), Err: fmt.Errorf("%d objects are damaged or missing", n),
					Hint: "discard them with --discard, and add or import their runs again"}
			}
			return nil
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	cmd.Flags().BoolVar(&discard, "discard", false, "delete damaged objects, so that adding or importing their runs stores them again")
	return cmd
}

// age parses a maximum age: a Go duration, or days or weeks such as 30d and 4w. An empty text is 0.
func age(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	day := 24 * time.Hour
	for end, unit := range map[string]time.Duration{"d": day, "w": 7 * day} {
		if digits, ok := strings.CutSuffix(s, end); ok {
			n, err := strconv.ParseUint(digits, 10, 16)
			if err == nil && n > 0 {
				return time.Duration(n) * unit, nil
			}
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, usage("--age %s: write a number and d, w or h: 90d", s)
	}
	return d, nil
}

func archivePrune(open opener) *cobra.Command {
	var keep archive.Retention
	var maxAge, size string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Delete old runs, and stored files that no run needs",
		Long: `Delete the runs that exceed the limits, the oldest first, and then all stored files that
no run needs. Pinned runs stay. It waits until no other process writes.

  spicelane archive prune --age 90d --max-bytes 20G --at-least 10 --dry-run

A run's age counts from the present or from the newest run, whichever is earlier. So a clock
that has jumped ahead deletes nothing.`,
		Args: cobra.NoArgs,
		PreRunE: func(*cobra.Command, []string) (err error) {
			if keep.Age, err = age(maxAge); err != nil {
				return err
			}
			if keep.Bytes, err = warm.ParseSize(cmp.Or(size, "0")); err != nil {
				return usage("--max-bytes: %w", err)
			}
			if keep.Runs < 0 || keep.AtLeast < 0 {
				return usage("--runs and --at-least cannot be negative")
			}
			return nil
		},
		RunE: open.with(func(cmd *cobra.Command, a *archive.Archive, _ []string) error {
			p, err := a.Prune(cmd.Context(), keep)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), p)
			}
			word := "deleted"
			if keep.DryRun {
				word = "would delete"
			}
			for _, id := range p.Runs {
				fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", word, id)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s %d runs and %d contents, %s; %d runs stay\n", word, len(p.Runs), p.Blobs, bytesText(p.Bytes), p.Kept)
			return nil
		}),
	}
	f := cmd.Flags()
	f.StringVar(&maxAge, "age", "", "delete runs older than this `AGE`: 90d, 12w, 48h; default: no limit")
	f.IntVar(&keep.Runs, "runs", 0, "keep the newest `N` runs; 0 for no limit")
	f.StringVar(&size, "max-bytes", "", "keep the newest runs that fit into this `SIZE`, such as 20G; default: no limit")
	f.IntVar(&keep.AtLeast, "at-least", 0, "keep the newest `N` runs whatever the other limits say")
	f.BoolVar(&keep.DryRun, "dry-run", false, "only print what would be deleted")
	f.BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func archivePin(open opener, pin bool) *cobra.Command {
	cmd := &cobra.Command{Use: "pin RUN", Short: "Keep a run, such as a baseline, from prune", Args: cobra.ExactArgs(1)}
	if !pin {
		cmd.Use, cmd.Short = "unpin RUN", "Let prune delete a run that was pinned"
	}
	cmd.RunE = open.withRun(func(cmd *cobra.Command, a *archive.Archive, rec *archive.Record, _ []string) error {
		if pin {
			return a.Pin(cmd.Context(), rec.ID)
		}
		return a.Unpin(cmd.Context(), rec.ID)
	})
	return cmd
}

func archiveExport(open opener) *cobra.Command {
	var epoch string
	cmd := &cobra.Command{
		Use:   "export FILE [RUNS...]",
		Short: "Write runs with all their files to one file",
		Long: `Write RUNS, or all runs, to one file that import merges into another archive. It is a
tar file, which unpacks to an archive. --epoch chooses the runs of a year, a month or a
day in UTC:

  spicelane archive export 2026-11.tar --epoch 2026-11`,
		Args: cobra.MinimumNArgs(1),
		PreRunE: func(*cobra.Command, []string) error {
			if epoch != "" && !isEpoch(epoch) {
				return usage("--epoch %s: write a year, a month or a day: 2026, 2026-11, 2026-11-27", epoch)
			}
			return nil
		},
		RunE: open.with(func(cmd *cobra.Command, a *archive.Archive, args []string) error {
			all, err := records(cmd, a, args[1:])
			if err != nil {
				return err
			}
			chosen := make(map[string]bool)
			for _, r := range all {
				chosen[r.ID] = r.InEpoch(epoch)
			}
			n, err := a.ExportFile(cmd.Context(), args[0], func(r *archive.Record) bool { return chosen[r.ID] })
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%d runs in %s\n", n, args[0])
			return nil
		}),
	}
	cmd.Flags().StringVar(&epoch, "epoch", "", "only runs that began in this `TIME`: 2026, 2026-11 or 2026-11-27")
	return cmd
}

func isEpoch(s string) bool {
	return slices.ContainsFunc([]string{"2006", "2006-01", "2006-01-02"}, func(layout string) bool {
		_, err := time.Parse(layout, s)
		return err == nil
	})
}

func archiveImport(open opener) *cobra.Command {
	return &cobra.Command{
		Use:   "import FILE...",
		Short: "Merge exported runs into the archive",
		Args:  cobra.MinimumNArgs(1),
		RunE: open.with(func(cmd *cobra.Command, a *archive.Archive, args []string) error {
			for _, file := range args {
				f, err := os.Open(file)
				if errors.Is(err, fs.ErrNotExist) {
					return usage("%w", err)
				}
				if err != nil {
					return err
				}
				done, err := a.Import(cmd.Context(), f)
				f.Close()
				if err != nil {
					return fmt.Errorf("%s: %w", file, err)
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s: %d new runs, %d were there, %d new contents\n", file, len(done.Runs), len(done.Known), done.Blobs)
				for _, from := range slices.Sorted(maps.Keys(done.Renamed)) {
					fmt.Fprintf(cmd.OutOrStdout(), "another run is called %s; this one is %s\n", from, done.Renamed[from])
				}
			}
			return nil
		}),
	}
}
