package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/spicelane/spicelane/harness/report"
	"github.com/spicelane/spicelane/harness/verdict"
)

func newReport() *cobra.Command {
	var (
		junit, summary, title, url string
		quiet                      bool
	)
	cmd := &cobra.Command{
		Use:   "report [FILE | -]",
		Short: "Convert the results of go test -json to JUnit XML and a summary",
		Long: `Read the results of a go test -json run from a file, or from standard input as
they arrive. Print each failure, whose fault it was, and where the evidence is:

  go test -json -artifacts -outputdir "$PWD/artifacts" ./... |
      spicelane report --junit artifacts/junit.xml --summary artifacts/summary.md

Each test that ran more than once (-count) gets its failure rate, with a confidence
interval.

Exit status: 0 all passed; 1 an assertion about the product failed; 2 none did, but
the harness failed, a package did not build, panicked or timed out, or the results
are incomplete; 3 only the host lacked something.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in, dir := cmd.InOrStdin(), filepath.Dir(summary)
			if name := arg(args, 0); name != "" && name != "-" {
				f, err := os.Open(name)
				if err != nil {
					return usage("%w", err)
				}
				defer f.Close()
				in = f
				if url != "" {
					// Archive the directory that the results are in.
					dir = filepath.Dir(name)
				}
			}
			out := cmd.OutOrStdout()
			if quiet {
				out = io.Discard
			}
			run, err := report.Read(in, report.ReadOptions{Console: out})
			fmt.Fprintln(out, run.Headline())
			if carried := run.Carried(); carried != "" {
				fmt.Fprintf(out, "the lanes carried %s\n", carried)
			}
			for _, f := range run.Flakes() {
				if f.Failed > 0 {
					fmt.Fprintf(out, "flaky: %s.%s: %s\n", f.Package, f.Name, f.Rate)
				}
			}
			for _, p := range run.Problems {
				fmt.Fprintf(cmd.ErrOrStderr(), "about the results: %s\n", p)
			}
			// Write what could be read, even if not all could.
			errs := []error{err}
			if junit != "" {
				errs = append(errs, writeReport(junit, run.WriteJUnit))
			}
			if summary != "" {
				errs = append(errs, writeReport(summary, func(w io.Writer) error {
					return run.WriteSummary(w, report.SummaryOptions{Title: title, Dir: dir, ArtifactsURL: url})
				}))
			}
			if err := errors.Join(errs...); err != nil {
				return usage("report: %w", err)
			}
			return runError(run)
		},
	}
	f := cmd.Flags()
	f.StringVar(&junit, "junit", "", "write JUnit XML to this `FILE`")
	f.StringVar(&summary, "summary", "", "write a summary in Markdown to this `FILE`, such as $GITHUB_STEP_SUMMARY")
	f.StringVar(&title, "title", "", "the summary's heading; default: Tests")
	f.StringVar(&url, "artifacts-url", "", "`URL` of the artifacts for the summary's links; default: links are relative to the summary")
	f.BoolVarP(&quiet, "quiet", "q", false, "print nothing on standard output")
	return cmd
}

// runError returns nil for a run that passed.
func runError(run *report.Run) error {
	v := run.Verdict()
	if v == "" {
		return nil
	}
	failures := run.Failures()
	if i := slices.IndexFunc(failures, func(f report.Finding) bool { return f.Verdict == v }); i >= 0 {
		f := failures[i]
		more := ""
		if n := len(failures) - 1; n > 0 {
			more = fmt.Sprintf(" (and %d more)", n)
		}
		return &verdict.Error{Verdict: v, Op: f.Name(), Err: errors.New(f.Reason + more)}
	}
	return &verdict.Error{Verdict: v, Op: "report", Err: errors.New(run.Problems[0])}
}

// writeReport creates path and fills it with write.
func writeReport(path string, write func(io.Writer) error) error {
	var b bytes.Buffer
	if err := write(&b); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	// NB: the file is not renamed into place, because $GITHUB_STEP_SUMMARY belongs to another
	// program.
	return os.WriteFile(path, b.Bytes(), 0o644)
}
