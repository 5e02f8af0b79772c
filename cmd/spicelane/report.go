package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/spicelane/spicelane/harness/replay"
	"github.com/spicelane/spicelane/harness/report"
	"github.com/spicelane/spicelane/harness/trace"
	"github.com/spicelane/spicelane/harness/trace/otlp"
	"github.com/spicelane/spicelane/harness/verdict"
)

func newReport() *cobra.Command {
	var (
		junit, summary, html, traceFile, title, url string
		quiet                                       bool
	)
	cmd := &cobra.Command{
		Use:   "report [FILE | - | DIR]",
		Short: "Convert the results of go test -json to JUnit XML, a summary and a page",
		Long: `Read the results of a go test -json run from a file, or from standard input as
they arrive. Print each failure, whose fault it was, and where the evidence is:

  go test -json -artifacts -outputdir "$PWD/artifacts" ./... |
      spicelane report --junit artifacts/junit.xml --summary artifacts/summary.md \
          --html artifacts/index.html

The page of the run has each lane's last picture and a link to its lane.html, which
shows the lane again. --html makes missing ones, and makes those of failed tests
again, with the test's output. JUnit and the summary link to the page of the run and
to those of the lanes.

With a directory, make lane.html from the files that each lane in it left, for example
a lane that was killed.

--trace writes the times of the run, for ui.perfetto.dev: the tests, and each lane with
its phases, steps, beats and waits, and a row for each track of its timeline. With a
directory, it covers the lanes in it.

If OTEL_EXPORTER_OTLP_ENDPOINT is set, the times of the run are sent to that collector as
spans, over OTLP (http/protobuf). The other OTEL_ variables and TRACEPARENT have their
usual meaning.

Each test that ran more than once (-count) gets its failure rate, with a confidence
interval.

Exit status: 0 all passed; 1 an assertion about the product failed; 2 none did, but
the harness failed, a package did not build, panicked or timed out, or the results
are incomplete; 3 only the host lacked something.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if name := arg(args, 0); name != "" && isDir(name) {
				for _, flag := range []string{"junit", "summary", "html", "title", "artifacts-url"} {
					if cmd.Flags().Changed(flag) {
						return usage("--%s needs the results of tests, and %s is a directory", flag, name)
					}
				}
				pages := cmd.OutOrStdout()
				if quiet {
					pages = io.Discard
				}
				return makePages(pages, name, traceFile)
			}
			switch {
			case title != "" && summary == "" && html == "":
				return usage("--title needs --summary or --html")
			case url != "" && summary == "":
				return usage("--artifacts-url needs --summary")
			}
			in, dir := cmd.InOrStdin(), filepath.Dir(summary)
			if name := arg(args, 0); name != "" && name != "-" {
				f, err := os.Open(name)
				if err != nil {
					return usage("%w", err)
				}
				defer f.Close()
				in = f
				if url != "" {
					// Archive the directory that contains the results.
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
			page := ""
			if html != "" {
				// Pages first: the others link to them.
				_, err := run.MakePages()
				errs = append(errs, err, writeReport(html, func(w io.Writer) error {
					return run.WriteIndex(w, report.IndexOptions{Title: title, Dir: filepath.Dir(html)})
				}))
				if page, err = filepath.Abs(html); err != nil {
					page = html
				}
			}
			if junit != "" {
				errs = append(errs, writeReport(junit, func(w io.Writer) error { return run.WriteJUnit(w, report.JUnitOptions{Index: page}) }))
			}
			if summary != "" {
				errs = append(errs, writeReport(summary, func(w io.Writer) error {
					return run.WriteSummary(w, report.SummaryOptions{Title: title, Dir: dir, Index: page, ArtifactsURL: url})
				}))
			}
			if traceFile != "" {
				errs = append(errs, writeReport(traceFile, func(w io.Writer) error { return trace.WriteChrome(w, trace.OfRun(run)) }))
			}
			if err := errors.Join(errs...); err != nil {
				failed := runError(run)
				if verdict.Of(failed) != verdict.Product {
					return verdict.Classify("report", err)
				}
				// That outweighs everything else.
				fmt.Fprintf(cmd.ErrOrStderr(), "spicelane: report: %s\n", oneLine(err.Error()))
				return failed
			}
			if otlp.Wanted() {
				sendSpans(cmd, out, trace.OfRun(run))
			}
			return runError(run)
		},
	}
	f := cmd.Flags()
	f.StringVar(&junit, "junit", "", "write JUnit XML to this `FILE`")
	f.StringVar(&summary, "summary", "", "write a summary in Markdown to this `FILE`, such as $GITHUB_STEP_SUMMARY")
	f.StringVar(&html, "html", "", "write a page of the run to this `FILE`, and pages of lanes that have none")
	f.StringVar(&traceFile, "trace", "", "write a trace of the run to this `FILE`, for ui.perfetto.dev")
	f.StringVar(&title, "title", "", "`TEXT` of the heading of summary and page; default: Tests")
	f.StringVar(&url, "artifacts-url", "", "`URL` of the artifacts for the summary's links; default: links are relative to the summary")
	f.BoolVarP(&quiet, "quiet", "q", false, "print nothing on standard output")
	return cmd
}

func isDir(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.IsDir()
}

// makePages makes the pages of the lanes in dir and below. If traceFile is not empty, it also
// writes a trace of them.
func makePages(w io.Writer, dir, traceFile string) error {
	pages, err := replay.WriteAll(dir)
	for _, page := range pages {
		fmt.Fprintln(w, page)
	}
	if traceFile != "" && err == nil {
		err = traceLanes(dir, traceFile)
	}
	return verdict.Classify("report", err)
}

// traceLanes writes a trace of the lanes in dir and below.
func traceLanes(dir, file string) error {
	lanes, err := replay.Find(dir)
	if err != nil {
		return err
	}
	root, err := trace.OfLanes(lanes)
	if err != nil {
		return err
	}
	return writeReport(file, func(w io.Writer) error { return trace.WriteChrome(w, root) })
}

// sendWait limits the time for sending spans to a collector.
const sendWait = 30 * time.Second

// sendSpans sends spans to a collector. If that fails, it says so on stderr and returns no error,
// because the result of the tests does not depend on it.
func sendSpans(cmd *cobra.Command, out io.Writer, root *trace.Span) {
	ctx, cancel := context.WithTimeout(cmd.Context(), sendWait)
	defer cancel()
	sent, err := otlp.Send(ctx, root)
	if err != nil {
		fmt.Fprintf(cmd.ErrOrStderr(), "the spans of the run were not sent: %s\n", oneLine(err.Error()))
		return
	}
	fmt.Fprintf(out, "%d spans were sent, trace %s\n", sent.Spans, sent.Trace)
}

// runError returns the first failure that has the run's verdict; nil for a run that passed. If the
// stream is incomplete and nothing failed, it returns the stream's first problem.
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
