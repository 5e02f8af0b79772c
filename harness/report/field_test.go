package report_test

import (
	"bytes"
	"errors"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/report"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/internal/need"
)

// goTest runs the tests of packages of testdata/module and returns their stream.
func goTest(t *testing.T, args ...string) *report.Run {
	t.Helper()
	// Two tests of package parallel wait for each other. On one processor, they would wait for
	// ever.
	cmd := exec.Command("go", append([]string{"test", "-json", "-parallel=2"}, args...)...)
	cmd.Dir = filepath.Join("testdata", "module")
	cmd.Env = append(cmd.Environ(), "GOWORK=off", "GOFLAGS=-buildvcs=false", "GOTRACEBACK=")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	require.NotEmpty(t, out, stderr.String())
	return read(t, out)
}

// outcome is what a report says about a test, or about a package (by its name).
type outcome struct {
	kind    report.Kind // "passed" and "skipped" are put here, too
	verdict verdict.Kind
	reason  string
}

func outcomes(run *report.Run) map[string]outcome {
	all := map[string]outcome{}
	for _, p := range run.Packages {
		name := p.Path[len("example.com/field/"):]
		if p.Failure != nil {
			all[name] = outcome{p.Failure.Kind, p.Failure.Verdict, p.Failure.Reason}
		}
		for _, t := range p.Tests {
			o := outcome{kind: report.Kind(t.Outcome), reason: t.Reason}
			if t.Failure != nil {
				o = outcome{t.Failure.Kind, t.Failure.Verdict, t.Failure.Reason}
			}
			all[name+"."+t.Name] = o
		}
	}
	return all
}

// These are streams of real go test runs of the packages of testdata/module. The reader takes their
// structure as the truth, and text only for the reason.
func TestRealStreamsAreJudgedByTheirStructure(t *testing.T) {
	need.Long(t)
	t.Parallel()
	const died = "the test process ended before it did"
	passed := outcome{kind: "passed"}
	fails := func(v verdict.Kind, reason string) outcome { return outcome{report.Assertion, v, reason} }
	subtests := outcome{report.Subtests, verdict.Product, "1 of its subtests failed"}
	panics := func(reason string) outcome { return outcome{report.Panic, verdict.Harness, reason} }
	unfinished := func(reason string) outcome { return outcome{report.Unfinished, verdict.Harness, reason} }

	want := map[string]outcome{
		// golang/go#25021: the parent of a subtest that panics gets the panic's text.
		"subtestpanic.TestOuter":      subtests,
		"subtestpanic.TestOuter/good": passed,
		"subtestpanic.TestOuter/bad":  panics("panic: inside a subtest [recovered, repanicked]"),

		// golang/go#26325: output without a newline before what the test logs.
		"nonewline.TestHost":    fails(verdict.Host, "KVM is required (asked for) and cannot be used"),
		"nonewline.TestProduct": fails(verdict.Product, `banner is "a", want "b"`),
		"nonewline.TestSkipped": {kind: "skipped", reason: "no KVM here"},

		// gotestyourself/gotestsum#94: a line that begins with "panic:" is not always from this
		// process. Here it is from a guest's serial log.
		"printedpanic.TestPrints":           fails(verdict.Product, `banner is "a", want "b"`),
		"printedpanic.TestLogs":             fails(verdict.Product, "got 1, want 2"),
		"printedpanic.TestPassesAfterwards": passed,
		"printedpanic.TestPrintsLast":       fails(verdict.Product, "got 3, want 4"),
		"printedthenpanics.TestPrints":      passed,
		"printedthenpanics.TestPanics":      panics("panic: of the test [recovered, repanicked]"),

		"passing.TestPrintsHalfALine":         passed,
		"passing.TestSubtests":                passed,
		"passing.TestSubtests/one":            passed,
		"passing.TestSubtests/two":            passed,
		"passing.TestSkipsAfterHalfALine":     passed,
		"passing.TestSkipsAfterHalfALine/sub": {kind: "skipped", reason: "no KVM here"},

		"mixed.TestPassesWithHalfALine":          passed,
		"mixed.TestFails":                        fails(verdict.Product, "got 1, want 2"),
		"mixed.TestFailsWithHalfALineAfterwards": fails(verdict.Product, "got 3, want 4"),

		"example.Example":               fails(verdict.Product, `got "hello\nworld", want "hello\nthere"`),
		"examplepanic.Example_panics":   panics("panic: in an example [recovered, repanicked]"),
		"background.TestQuiet":          passed,
		"background.TestBackground":     panics("panic: in the background"),
		"killed.TestBefore":             passed,
		"killed.TestDies":               unfinished(died + ": signal: killed"),
		"exits.TestExits":               panics("panic: unexpected call to os.Exit(0) during test [recovered, repanicked]"),
		"initpanic":                     panics("panic: before any test"),
		"nobuild":                       {report.Build, verdict.Harness, "nobuild/nobuild_test.go:5:33: declared and not used: x"},
		"parallel.TestInterleaved":      subtests,
		"parallel.TestInterleaved/good": passed,
		"parallel.TestInterleaved/bad":  fails(verdict.Product, "bad: got 1, want 2"),

		// The log of a script begins with its environment; the reason is its last line.
		"script.TestScripts":    subtests,
		"script.TestScripts/up": fails(verdict.Product, "testdata/up.txt:7: unexpected command failure"),
	}
	for name, args := range map[string][]string{"go test -json": nil, "go test -json -v": {"-v"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := append(args, "./subtestpanic", "./nonewline", "./printedpanic", "./printedthenpanics", "./passing", "./mixed", "./example",
				"./examplepanic", "./background", "./killed", "./exits", "./initpanic", "./nobuild", "./parallel", "./script")
			run := goTest(t, args...)
			got := outcomes(run)
			for name, w := range want {
				require.Equal(t, w, got[name], name)
			}
			require.Len(t, got, len(want))
			require.Equal(t, 1, run.ExitCode())
			require.Empty(t, run.Problems)
		})
	}
}

// golang/go#38063, gotestyourself/gotestsum#124: with -v, test2json does not see the end of a test
// that printed without a newline.
func TestAPassingRunPassesWhateverItsTestsPrint(t *testing.T) {
	need.Long(t)
	t.Parallel()
	for _, args := range [][]string{{"./passing"}, {"-v", "./passing"}, {"-v", "-count=2", "./passing"}} {
		run := goTest(t, args...)
		require.Empty(t, run.Failures(), "%v", args)
		require.Equal(t, 0, run.ExitCode())
	}
}

func TestATestThatHangsTimedOutThoughItPrintedHalfALine(t *testing.T) {
	need.Long(t)
	t.Parallel()
	for _, args := range [][]string{{"-timeout=1s", "./hangs"}, {"-v", "-timeout=1s", "./hangs"}} {
		got := outcomes(goTest(t, args...))
		timeout := outcome{report.Timeout, verdict.Harness, "test timed out after 1s"}
		require.Equal(t, map[string]outcome{"hangs.TestHangs": timeout, "hangs.TestHangs/deep": timeout}, got)
	}
}
