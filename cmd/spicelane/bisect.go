package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/spicelane/spicelane/harness/archive"
	"github.com/spicelane/spicelane/harness/bisect"
)

// bisectFlags are the flags of bisect.
type bisectFlags struct {
	cfg              bisect.Config
	dir, resume      string
	plan, cell, by   string
	archived, useAll bool
	location         string
	asJSON           bool
}

func newBisect() *cobra.Command {
	var f bisectFlags
	cmd := &cobra.Command{
		Use:   "bisect [flags] [-- COMMAND...]",
		Short: "Find the first bad commit, or the first bad build among archived results",
		Long: `Find the first bad commit of a git repository, even if the failure is flaky:

  spicelane bisect --repo ../proxy --good v1.4 --bad main --build make -- ./check.sh
  spicelane bisect --repo ../proxy --good v1.4 --bad main --build make \
      --plan lanes.yaml --cell 'boot (display=qxl)'

Tests run in a separate work tree. Exit status 0 of the command means good, and 1 means bad.
Any other status, or a failed build, says nothing about the commit. The search repeats tests
until one commit is the first bad one with the probability --confidence. It can be
interrupted and continued:

  spicelane bisect --resume artifacts/bisect

Or find the first bad build among archived results, without running anything:

  spicelane bisect --archived --cell 'boot (display=qxl)' --by proxy

The search writes bisect.html to its directory, with the evidence of both sides.
docs/bisect.md describes the model and its error bound.

Exit status: 0 found; 2 wrong usage, or no answer; 3 the host lacks something.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.archived {
				return f.searchArchive(cmd, args)
			}
			return f.searchGit(cmd, args)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&f.cfg.Repository, "repo", ".", "the git repository in this `DIR`")
	fs.StringVar(&f.cfg.Good, "good", "", "a `REVISION` without the fault")
	fs.StringVar(&f.cfg.Bad, "bad", "HEAD", "a `REVISION` with the fault")
	fs.BoolVar(&f.cfg.FirstParent, "first-parent", false, "look at merges as a whole, not at the commits that they merged")
	fs.StringVar(&f.cfg.Build, "build", "", "shell `COMMAND` that builds a commit in its work tree")
	fs.BoolVar(&f.cfg.Keep, "keep-build", false, "keep the output of a build in the work tree for the next one, which may then be faster")
	fs.Float64Var(&f.cfg.Confidence, "confidence", bisect.DefaultConfidence, "end when one commit is the first bad one with this `PROBABILITY`")
	fs.IntVar(&f.cfg.MaxTests, "max-tests", bisect.DefaultMaxTests, "give up after `N` tests")
	fs.DurationVar(&f.cfg.Timeout, "timeout", bisect.DefaultTimeout, "end a build or a test after this `TIME`")
	fs.StringVar(&f.plan, "plan", "", "test with a cell of the plan in this `FILE`")
	fs.StringVar(&f.cell, "cell", "", "the `CELL` of the plan, or of the archived runs")
	fs.StringVar(&f.dir, "dir", "artifacts/bisect", "keep the search and its evidence in this `DIR`")
	fs.StringVar(&f.resume, "resume", "", "continue the search in this `DIR`")
	fs.BoolVar(&f.archived, "archived", false, "search the archive, and run nothing; arguments choose runs, as for archive list")
	fs.BoolVar(&f.useAll, "use-archive", false, "also count archived results of --cell, from runs with the label commit=SHA")
	fs.StringVar(&f.by, "by", "", "with --archived, the `KEY` of the build, or the label, that identifies a build; default: the whole build")
	fs.StringVar(&f.location, "archive", "", "`LOCATION` of the archive: a directory, or s3://BUCKET/PREFIX; default $"+envArchive+", else a directory of this user")
	fs.BoolVar(&f.asJSON, "json", false, "print the result as one JSON object")
	return cmd
}

// searchArchive searches stored results and runs nothing.
func (f *bisectFlags) searchArchive(cmd *cobra.Command, args []string) error {
	if f.cell == "" {
		return usage("bisect --archived needs --cell")
	}
	var other string
	cmd.Flags().Visit(func(flag *pflag.Flag) {
		if !slices.Contains([]string{"archived", "cell", "by", "archive", "confidence", "json"}, flag.Name) {
			other = flag.Name
		}
	})
	if other != "" {
		return usage("bisect --archived tests nothing: --%s is for commits", other)
	}
	a, err := openArchive(cmd.Context(), f.location)
	if err != nil {
		return err
	}
	all, err := records(cmd, a, args)
	if err != nil {
		return err
	}
	runs, err := load(cmd.Context(), a, all)
	if err != nil {
		return err
	}
	r, err := bisect.Archived(runs, f.cell, f.by, f.cfg.Confidence)
	if err != nil {
		return err
	}
	if f.asJSON {
		err = printJSON(cmd.OutOrStdout(), r)
	} else {
		r.WriteText(cmd.OutOrStdout())
	}
	if err == nil && r.First == nil {
		return usage("bisect: the archived results have no answer")
	}
	return err
}

// searchGit searches a range of commits by testing them.
func (f *bisectFlags) searchGit(cmd *cobra.Command, args []string) error {
	ctx, dir := cmd.Context(), cmp.Or(f.resume, f.dir)
	var s *bisect.Session
	var err error
	if f.resume != "" {
		if len(args) > 0 {
			return usage("bisect --resume takes no command: the search knows its own")
		}
		var other string
		cmd.Flags().Visit(func(flag *pflag.Flag) {
			if flag.Name != "resume" && flag.Name != "json" {
				other = flag.Name
			}
		})
		if other != "" {
			return usage("bisect --resume: --%s is that of the search; leave it out", other)
		}
		s, err = bisect.Resume(ctx, dir, cmd.ErrOrStderr())
	} else {
		if err := f.complete(ctx, cmd, args); err != nil {
			return err
		}
		s, err = bisect.New(ctx, dir, f.cfg, cmd.ErrOrStderr())
	}
	if err != nil {
		return err
	}
	defer s.Close()
	r, err := s.Run(ctx)
	if errors.Is(err, context.Canceled) {
		return usage("bisect: interrupted; continue with: spicelane bisect --resume %s", dir)
	}
	if err != nil {
		return err
	}
	if f.asJSON {
		err = printJSON(cmd.OutOrStdout(), r)
	} else {
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s  page: %s\n", r.Summary(), filepath.Join(dir, bisect.PageFile))
	}
	if err == nil && r.First == "" {
		return usage("bisect: no answer: %s", r.Why)
	}
	return err
}

// complete checks the flags and sets the test and the known results of f.cfg from them.
func (f *bisectFlags) complete(ctx context.Context, cmd *cobra.Command, args []string) error {
	switch {
	case f.by != "":
		return usage("--by needs --archived")
	case f.location != "" && !f.useAll:
		return usage("--archive needs --archived or --use-archive")
	case f.cfg.Good == "":
		return usage("bisect needs --good REVISION, without the fault")
	case f.plan == "" && len(args) == 0:
		return usage("bisect needs a command after --, or --plan and --cell")
	case f.plan != "" && len(args) > 0:
		return usage("--plan and a command exclude each other")
	case f.plan != "" && f.cell == "":
		return usage("--plan needs --cell")
	case f.useAll && f.cell == "":
		return usage("--use-archive needs --cell")
	}
	f.cfg.Test = slices.Clone(args)
	if f.plan != "" {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		file, err := filepath.Abs(f.plan)
		if err != nil {
			return err
		}
		// The plan may also be a file of the commit, so it is only read when a cell runs.
		f.cfg.Test = []string{"sh", "-c", `exec "$0" run "$1" --only "$2" --dir "$` + bisect.EnvEvidence + `/run"`, self, file, f.cell}
	}
	if !f.useAll {
		return nil
	}
	a, err := openArchive(ctx, f.location)
	if err != nil {
		return err
	}
	all, err := records(cmd, a, nil)
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(r *archive.Record) bool { return r.Labels["commit"] == "" })
	runs, err := load(ctx, a, all)
	if err != nil {
		return err
	}
	for _, r := range runs {
		passed, failed := bisect.Outcomes(r, f.cell)
		if passed+failed > 0 {
			f.cfg.Known = append(f.cfg.Known, bisect.Known{Commit: r.Labels["commit"], Passed: passed, Failed: failed})
		}
	}
	return nil
}
