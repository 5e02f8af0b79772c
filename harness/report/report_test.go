package report_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/report"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/internal/need"
)

// The streams in testdata are real output of go test -json of Go 1.26. $ARTIFACTS stands for the
// location of the artifact directories. lanes.json is of tests that failed in every way that lanes
// do.

func stream(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	require.NoError(t, err)
	return bytes.ReplaceAll(b, []byte("$ARTIFACTS"), []byte(artifacts(t)))
}

func artifacts(t testing.TB) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("testdata", "artifacts"))
	require.NoError(t, err)
	return dir
}

func read(t testing.TB, b []byte) *report.Run {
	t.Helper()
	run, err := report.Read(bytes.NewReader(b), report.ReadOptions{})
	require.NoError(t, err)
	return run
}

func TestAStreamBecomesTheseReports(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "*.json"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		t.Run(name, func(t *testing.T) {
			var console, junit, summary bytes.Buffer
			run, err := report.Read(bytes.NewReader(stream(t, name)), report.ReadOptions{Console: &console})
			require.NoError(t, err)
			fmt.Fprintf(&console, "%s\nproblems: %q\nexit status %d\n", run.Headline(), run.Problems, run.ExitCode())
			require.NoError(t, run.WriteJUnit(&junit, report.JUnitOptions{}))
			require.NoError(t, run.WriteSummary(&summary, report.SummaryOptions{Dir: "testdata"}))
			golden(t, name+".txt", console.Bytes())
			golden(t, name+".xml", junit.Bytes())
			golden(t, name+".md", summary.Bytes())
		})
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	got = bytes.ReplaceAll(got, []byte(artifacts(t)), []byte("$ARTIFACTS"))
	file := filepath.Join("testdata", name)
	if os.Getenv("SPICELANE_UPDATE") != "" {
		require.NoError(t, os.WriteFile(file, got, 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err, "SPICELANE_UPDATE=1 writes it")
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs (-want +got), SPICELANE_UPDATE=1 writes it:\n%s", file, diff)
	}
}

func TestEveryFailureHasItsVerdictAndItsKind(t *testing.T) {
	for _, test := range []struct {
		stream, name string
		verdict      verdict.Kind
		kind         report.Kind
		reason       string
	}{
		{"mixed", "ex/bad", verdict.Harness, report.Build, "syntax error"},
		{"mixed", "ex/y", verdict.Harness, report.Build, "declared and not used"},
		{"mixed", "ex/x.TestFail/sub", verdict.Product, report.Assertion, "boot: no"},
		{"panic", "ex/x.TestPanic", verdict.Harness, report.Panic, "panic: boom"},
		{"panic", "ex/x.TestPar", verdict.Harness, report.Unfinished, "panic: boom"},
		{"parallel-panic", "ex/q.TestPanics", verdict.Harness, report.Panic, "nil map"},
		{"parallel-panic", "ex/q.TestSpeaks", verdict.Harness, report.Unfinished, "nil map"},
		{"timeout", "ex/x.TestPanic", verdict.Harness, report.Timeout, "timed out after 1s"},
		{"timeout", "ex/x.TestPar", verdict.Harness, report.Unfinished, "timed out after 1s"},
		{"exit", "ex/x.TestPanic", verdict.Harness, report.Unfinished, "ended before"},
		{"leak", "ex/z", verdict.Harness, report.Exit, "found unexpected goroutines"},
		{"race", "ex/r.TestRace", verdict.Product, report.Race, "data race"},
		{"repeated", "ex/f.TestSometimes", verdict.Product, report.Assertion, "run 3: got 3"},
		{"lanes", "example.com/console.TestWrongBanner", verdict.Product, report.Assertion, "awaited \"login:\""},
		{"lanes", "example.com/console.TestTheGuestDies", verdict.Harness, report.Assertion, "killed on request"},
		{"lanes", "example.com/console.TestTheWrongDisplay", verdict.Harness, report.Assertion, "display vga"},
		{"lanes", "example.com/console.TestNeedsKVM", verdict.Host, report.Assertion, "KVM is required"},
		{"lanes", "example.com/console.TestNoQEMU", verdict.Host, report.Assertion, "QEMU was not found"},
		{"lanes", "example.com/console.TestTypedTextArrives", verdict.Product, report.Assertion, "await digest: awaited three key presses"},
	} {
		t.Run(test.stream+" "+test.name, func(t *testing.T) {
			for _, f := range read(t, stream(t, test.stream)).Failures() {
				if f.Name() == test.name {
					require.Equal(t, test.verdict, f.Verdict)
					require.Equal(t, test.kind, f.Kind)
					require.Contains(t, f.Reason, test.reason)
					return
				}
			}
			t.Fatal("it is not among the failures")
		})
	}
}

func TestARunsExitStatusIsThatOfTheWorstCertainty(t *testing.T) {
	fail := func(name, output string) string {
		return event("run", name, "") + event("output", name, output) + event("fail", name, "")
	}
	host := fail("TestHost", "    x_test.go:1: host fault: no QEMU\n")
	ours := fail("TestOurs", "    x_test.go:1: harness fault: a socket\n")
	product := fail("TestProduct", "    x_test.go:1: got 1, want 2\n")
	for _, test := range []struct {
		body, end string
		want      int
	}{
		{event("run", "TestA", "") + event("pass", "TestA", ""), "pass", 0},
		{event("run", "TestA", "") + event("skip", "TestA", ""), "pass", 0},
		{host, "fail", 3},
		{fail("TestHost", "    x_test.go:1: host fault (qemu): QEMU was killed by signal 9\n"), "fail", 3}, // with the hop
		{host + ours, "fail", 2},
		{host + ours + product, "fail", 1},
		{host + product, "fail", 1},
		{"", "fail", 2},
	} {
		run := read(t, []byte(event("start", "", "")+test.body+event(test.end, "", "")))
		require.Equal(t, test.want, run.ExitCode(), test.body)
	}
}

// event returns one line of a stream for the package p.
func event(action, test, output string) string {
	b, _ := json.Marshal(map[string]string{"Action": action, "Package": "p", "Test": test, "Output": output})
	return string(b) + "\n"
}

// A stream may end anywhere: the machine went down, or the disk was full.
func TestAStreamThatIsCutOffNeverPasses(t *testing.T) {
	for _, name := range []string{"cached", "mixed", "repeated", "lanes", "timeout"} {
		whole := stream(t, name)
		lastEnd := bytes.LastIndex(whole[:len(whole)-1], []byte("\n")) + 1
		for cut := 0; cut < lastEnd; cut += 1 + cut/60 {
			run := read(t, whole[:cut])
			require.NotEqual(t, 0, run.ExitCode(), "%s cut at byte %d: %v", name, cut, run.Problems)
			require.NoError(t, run.WriteJUnit(io.Discard, report.JUnitOptions{}))
			require.NoError(t, run.WriteSummary(io.Discard, report.SummaryOptions{}))
		}
	}
	whole := stream(t, "cached")
	require.Equal(t, 0, read(t, whole).ExitCode())
	require.Equal(t, 0, read(t, bytes.TrimSuffix(whole, []byte("\n"))).ExitCode(), "the last newline is of no consequence")
}

func TestWhatTheStreamLacksIsSaid(t *testing.T) {
	whole := stream(t, "repeated")
	lines := bytes.SplitAfter(whole, []byte("\n"))

	run := read(t, bytes.Join(lines[:3], nil))
	require.True(t, run.Incomplete)
	require.Equal(t, []string{"the stream ends before the tests of ex/f do"}, run.Problems)
	require.Equal(t, report.Unfinished, run.Failures()[0].Kind)

	run = read(t, append(bytes.Join(lines[:3], nil), `{"Time":"2026-`...))
	require.Contains(t, run.Problems, "the stream ends in the middle of line 4")

	run = read(t, nil)
	require.Equal(t, []string{"there are no test results in it"}, run.Problems)
	require.Equal(t, 2, run.ExitCode())

	run, err := report.Read(io.MultiReader(bytes.NewReader(whole), iotest.ErrReader(errors.New("the disk is gone"))), report.ReadOptions{})
	require.ErrorContains(t, err, "the disk is gone")
	require.True(t, run.Incomplete)
	require.Equal(t, 5, len(run.Flakes())+1, "what came before counts")
}

func TestAStreamMayEndInTheMiddleOfALineThatIsNotAResult(t *testing.T) {
	run := read(t, append(stream(t, "cached"), `{"Time":"2026-`...))
	require.Equal(t, []string{"the stream ends in the middle of line 10"}, run.Problems)
	require.Equal(t, 2, run.ExitCode(), "another package may have failed")
}

func TestRunsOneAfterTheOtherAreOneReport(t *testing.T) {
	run := read(t, append(stream(t, "repeated"), stream(t, "repeated")...))
	require.Len(t, run.Packages, 2)
	require.Equal(t, 12, run.Flakes()[0].Runs)
}

// test2json attributes a panic to the test that printed last.
func TestAPanicIsTheTestsWhoseFunctionPanicked(t *testing.T) {
	run := read(t, []byte(event("start", "", "")+event("run", "TestA", "")+event("run", "TestB", "")+
		event("output", "TestA", "panic: oh\n")+event("output", "TestA", "goroutine 7 [running]:\n")+
		event("output", "TestA", "example.com/p.check(...)\n")+event("output", "TestA", "example.com/p.TestB.func1()\n")+
		event("fail", "TestA", "")+event("fail", "", "")))
	failures := run.Failures()
	require.Equal(t, "TestB", failures[0].Test.Name)
	require.Equal(t, report.Panic, failures[0].Kind)
	require.Contains(t, failures[0].Test.Output, "example.com/p.check")
	require.Equal(t, "TestA", failures[1].Test.Name)
	require.Equal(t, report.Unfinished, failures[1].Kind)
	require.Contains(t, failures[1].Reason, "panic: oh (in TestB)")
}

func TestWhatWasRunningAtTheTimeoutTimedOut(t *testing.T) {
	kinds := func(list string) map[string]report.Kind {
		body := event("start", "", "")
		for _, name := range []string{"TestA", "TestA/sub", "TestWaits"} {
			body += event("run", name, "")
		}
		body += event("output", "TestWaits", "panic: test timed out after 1s\n")
		for line := range strings.Lines(list) {
			body += event("output", "TestWaits", line)
		}
		kinds := map[string]report.Kind{}
		for _, f := range read(t, []byte(body+event("fail", "", ""))).Failures() {
			kinds[f.Test.Name] = f.Kind
		}
		return kinds
	}
	require.Equal(t, map[string]report.Kind{"TestA": report.Timeout, "TestA/sub": report.Timeout, "TestWaits": report.Unfinished},
		kinds("\trunning tests:\n\t\tTestA/sub (1s)\n\ngoroutine 1 [running]:\n"))
	require.Equal(t, map[string]report.Kind{"TestA": report.Timeout, "TestA/sub": report.Timeout, "TestWaits": report.Timeout},
		kinds("\ngoroutine 1 [running]:\n"), "before Go 1.20 there was no list")
}

func TestOtherOutputInTheStreamIsCountedAndShown(t *testing.T) {
	var mixed bytes.Buffer
	mixed.WriteString("go: downloading example.com/x v1.2.3\n\n")
	mixed.Write(stream(t, "cached"))
	mixed.WriteString(`{"level":"info","msg":"somebody else's JSON"}` + "\n[1, 2]\n{\"Package\":\"p\"}\n{broken\n" + strings.Repeat("x", 5<<20) + "\n")
	run := read(t, mixed.Bytes())
	require.Equal(t, 6, run.Foreign)
	require.Equal(t, []string{"6 lines are not go test's: line 1: go: downloading example.com/x v1.2.3"}, run.Problems)
	require.Equal(t, 0, run.ExitCode(), "that is no reason to fail")
}

func TestOutputOfAnySizeIsKeptInBounds(t *testing.T) {
	var b bytes.Buffer
	b.WriteString(event("start", "", "") + event("run", "TestLoud", "") + event("output", "TestLoud", "the beginning\n"))
	for i := range 20000 {
		b.WriteString(event("output", "TestLoud", fmt.Sprintf("line %d %s\n", i, strings.Repeat("é", 50))))
	}
	b.WriteString(event("output", "TestLoud", "    x_test.go:7: the end\n") + event("fail", "TestLoud", "") + event("fail", "", ""))
	run := read(t, b.Bytes())
	test := run.Packages[0].Tests[0]
	require.Less(t, len(test.Output), 256<<10)
	require.True(t, strings.HasPrefix(test.Output, "the beginning\n"))
	require.True(t, strings.HasSuffix(test.Output, "the end\n"))
	require.Contains(t, test.Output, "bytes are left out")
	require.Equal(t, "the end", test.Failure.Reason)

	var md bytes.Buffer
	require.NoError(t, run.WriteSummary(&md, report.SummaryOptions{Bytes: 2000}))
	require.Less(t, md.Len(), 2100)
	require.Contains(t, md.String(), "TestLoud")
	require.Contains(t, md.String(), "left out")
}

// Names and output may come from any source: they must not become markup.
func TestOutputCannotBreakOutOfTheReports(t *testing.T) {
	name := "TestX/a|b`c`<b>&]]>"
	output := "    x_test.go:1: <script>alert(1)</script> | ]]> \x1b[31mred\x1b[0m\n```\n</details>\n````\n"
	run := read(t, []byte(event("start", "", "")+event("run", name, "")+event("output", name, output)+event("fail", name, "")+event("fail", "", "")))

	var junit bytes.Buffer
	require.NoError(t, run.WriteJUnit(&junit, report.JUnitOptions{}))
	var doc struct {
		Suites []struct {
			Cases []struct {
				Name    string `xml:"name,attr"`
				Failure string `xml:"failure"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	require.NoError(t, xml.Unmarshal(junit.Bytes(), &doc), junit.String())
	require.Equal(t, name, doc.Suites[0].Cases[0].Name)
	require.Equal(t, strings.ReplaceAll(output, "\x1b", "\ufffd"), doc.Suites[0].Cases[0].Failure)

	var md bytes.Buffer
	require.NoError(t, run.WriteSummary(&md, report.SummaryOptions{}))
	fence := regexp.MustCompile("(?m)^(`{3,})text$").FindStringSubmatch(md.String())
	require.NotNil(t, fence)
	inside := strings.Split(md.String(), fence[0])[1]
	inside, after, _ := strings.Cut(inside, "\n"+fence[1]+"\n")
	require.Contains(t, inside, "</details>", "the fence is longer than any in the output")
	require.NotContains(t, after, "<script>")
	for line := range strings.Lines(md.String()) {
		if strings.HasPrefix(line, "| **product**") {
			require.Equal(t, 7, strings.Count(strings.ReplaceAll(line, `\|`, ""), "|"), line)
			require.NotContains(t, line, "<script>")
		}
	}
}

func TestALaneThatATestBreaksOnPurposeDoesNotExplainItsOtherFailures(t *testing.T) {
	dir := t.TempDir()
	note := func(v verdict.Report) {
		b, err := json.Marshal(v)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, verdict.File), b, 0o644))
	}
	failure := func(output string) *report.Failure {
		b, err := json.Marshal(map[string]string{"Action": "artifacts", "Package": "p", "Test": "TestX", "Path": dir})
		require.NoError(t, err)
		run := read(t, []byte(event("start", "", "")+event("run", "TestX", "")+string(b)+"\n"+event("output", "TestX", output)+event("fail", "TestX", "")+event("fail", "", "")))
		return run.Failures()[0].Failure
	}
	ended := verdict.Report{Verdict: verdict.Host, Reason: "QEMU was killed by signal 9", Accel: "tcg", ReadyMS: 500}

	note(ended)
	f := failure("    x_test.go:9: status says ready, want failed\n")
	require.Equal(t, verdict.Product, f.Verdict)
	require.Equal(t, "status says ready, want failed", f.Reason)

	f = failure("    x_test.go:9: await digest: QEMU was killed by signal 9\n")
	require.Equal(t, verdict.Host, f.Verdict, "the test failed of the lane's end")

	ended.ReadyMS = 0
	note(ended)
	f = failure("    x_test.go:9: the lane did not come up\n")
	require.Equal(t, verdict.Host, f.Verdict, "there was no lane to test")
	require.Equal(t, ended.Reason, f.Reason)

	// Without the artifact directory, only what Up printed is known.
	dump := "    up.go:40: lane TestX, tcg, up for 1.2s; everything it left is in /gone\n" +
		"        it ended: host fault: QEMU was killed by signal 9\n        last serial lines:\n"
	require.NoError(t, os.RemoveAll(dir))
	f = failure("    x_test.go:9: status says ready, want failed\n" + dump)
	require.Equal(t, verdict.Product, f.Verdict)
	require.Equal(t, "status says ready, want failed", f.Reason)
	require.Equal(t, verdict.Host, failure("    x_test.go:9: await digest: QEMU was killed by signal 9\n"+dump).Verdict)
}

func TestTheVerdictOfALaneIsFoundAmongManyFiles(t *testing.T) {
	need.Long(t)
	dir := t.TempDir()
	for i := range 2100 {
		require.NoError(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("picture-%04d.png", i)), nil, 0o600))
	}
	require.NoError(t, os.Mkdir(filepath.Join(dir, "a"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a", verdict.File), []byte(`{"ok":true,"name":"first"}`), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, verdict.File), []byte(`{"verdict":"host","reason":"QEMU was killed","accel":"tcg"}`), 0o600))
	b, err := json.Marshal(map[string]string{"Action": "artifacts", "Package": "p", "Test": "TestX", "Path": dir})
	require.NoError(t, err)
	run := read(t, []byte(event("start", "", "")+event("run", "TestX", "")+string(b)+"\n"+
		event("output", "TestX", "    x_test.go:9: the lane did not come up\n")+event("fail", "TestX", "")+event("fail", "", "")))
	require.Equal(t, verdict.Host, run.Failures()[0].Failure.Verdict)
	lanes := run.Packages[0].Tests[0].Lanes
	require.Len(t, lanes, 2)
	require.Equal(t, "first", lanes[0].Name)
}

func TestAVerdictThatIsNotOursSaysNothing(t *testing.T) {
	for _, content := range []string{"", "{", "null", "[]", `{"verdict":"guilty"}`, `{"ok":"yes"}`, `{}`} {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, verdict.File), []byte(content), 0o644))
		b, err := json.Marshal(map[string]string{"Action": "artifacts", "Package": "p", "Test": "TestX", "Path": dir})
		require.NoError(t, err)
		run := read(t, []byte(event("start", "", "")+event("run", "TestX", "")+string(b)+"\n"+event("pass", "TestX", "")+event("pass", "", "")))
		require.Empty(t, run.Packages[0].Tests[0].Lanes, content)
	}
}

func TestLinksLeadToTheArchiveIfThereIsOne(t *testing.T) {
	run := read(t, stream(t, "lanes"))
	var md bytes.Buffer
	require.NoError(t, run.WriteSummary(&md, report.SummaryOptions{Title: "Lanes", Dir: "testdata", ArtifactsURL: "https://ci.example/run/7/artifacts/1"}))
	require.True(t, strings.HasPrefix(md.String(), "## Lanes: failed: product and others\n"))
	require.Contains(t, md.String(), "[`artifacts/TestNeedsKVM`](https://ci.example/run/7/artifacts/1)")
	require.NotContains(t, md.String(), "](artifacts/")
}

func TestTheFlakeRateHasAnInterval(t *testing.T) {
	for _, test := range []struct {
		rate      report.Rate
		low, high float64
	}{ // Wilson 1927, computed apart
		{report.Rate{Failed: 0, Runs: 200}, 0, 0.018845},
		{report.Rate{Failed: 1, Runs: 200}, 0.000883, 0.027774},
		{report.Rate{Failed: 5, Runs: 10}, 0.236593, 0.763407},
		{report.Rate{Failed: 20, Runs: 20}, 0.838875, 1},
		{report.Rate{Failed: 0, Runs: 1}, 0, 0.793451},
		{report.Rate{}, 0, 1},
	} {
		low, high := test.rate.Interval()
		require.InDelta(t, test.low, low, 1e-6, "%+v", test.rate)
		require.InDelta(t, test.high, high, 1e-6, "%+v", test.rate)
	}
	require.Equal(t, "0 of 200 failed: 0.0 % (95 % confidence: 0.0 % to 1.9 %)", report.Rate{Runs: 200}.String())
}

// ends is a slow, plain model of which runs count: each run of each test, and its end in the
// stream. It reads no output.
func ends(b []byte) (tests map[string][]string, anyFail bool, packages map[string]string) {
	tests, packages = map[string][]string{}, map[string]string{}
	current := map[string]int{} // the run of a test that is in progress
	again := map[string]int{}   // how many times a package began
	for _, line := range bytes.Split(b, []byte("\n")) {
		var e struct{ Action, Package, ImportPath, Test, Output string }
		if json.Unmarshal(bytes.TrimSpace(line), &e) != nil || !bytes.HasPrefix(bytes.TrimSpace(line), []byte("{")) || e.Package == "" || e.Action == "" ||
			strings.HasPrefix(e.Action, "build-") {
			continue
		}
		pkg := fmt.Sprint(e.Package, "#", again[e.Package])
		if packages[pkg] == "" {
			packages[pkg] = "none"
		}
		end := slices.Contains([]string{"pass", "fail", "skip"}, e.Action)
		if e.Test == "" {
			if end {
				packages[pkg] = e.Action
				again[e.Package]++
			}
			continue
		}
		name := pkg + "\x00" + e.Test
		if len(tests[name]) == 0 || e.Action == "run" {
			tests[name] = append(tests[name], "none")
			current[name] = len(tests[name]) - 1
		}
		if e.Action == "bench" {
			end, e.Action = true, "pass"
		}
		if end && tests[name][current[name]] == "none" {
			tests[name][current[name]] = e.Action
			anyFail = anyFail || e.Action == "fail"
		}
	}
	return tests, anyFail, packages
}

// FuzzRead checks that a report can be made of any input. It also checks that a test's outcome is
// the one in the structure of the stream, whatever is printed.
func FuzzRead(f *testing.F) {
	for _, name := range []string{"mixed", "panic", "timeout", "repeated", "lanes", "field", "field-v"} {
		b, err := os.ReadFile(filepath.Join("testdata", name+".json"))
		require.NoError(f, err)
		// One package at a time: small inputs are mutated a hundred times faster.
		packages := map[string][]byte{}
		for line := range bytes.Lines(b) {
			var e struct{ Package, ImportPath string }
			require.NoError(f, json.Unmarshal(line, &e))
			key, _, _ := strings.Cut(e.ImportPath, " ")
			if e.Package != "" {
				key = e.Package
			}
			packages[key] = append(packages[key], line...)
		}
		for _, stream := range packages {
			f.Add(stream)
		}
	}
	f.Add([]byte(event("run", "TestA", "") + event("output", "TestA", "half--- FAIL: TestA (0.00s)\n") + event("output", "", "PASS\n") + event("pass", "", "")))
	f.Add([]byte(event("run", "TestA", "") + event("output", "TestA", "half=== RUN   TestA/b\n") + event("output", "TestA", "panic: x\n") +
		event("fail", "TestA", "") + event("pass", "TestA", "") + event("fail", "", "")))
	f.Fuzz(func(t *testing.T, b []byte) {
		run, err := report.Read(bytes.NewReader(b), report.ReadOptions{Console: io.Discard})
		require.NoError(t, err)
		var junit, md bytes.Buffer
		require.NoError(t, run.WriteJUnit(&junit, report.JUnitOptions{}))
		require.NoError(t, run.WriteSummary(&md, report.SummaryOptions{}))
		var doc struct{}
		require.NoError(t, xml.Unmarshal(junit.Bytes(), &doc), junit.String())
		tests, anyFail, packages := ends(b)
		got := map[string][]report.Outcome{}
		seen := map[string]int{}
		failed := map[string]bool{}
		for _, p := range run.Packages {
			n := seen[p.Path]
			seen[p.Path]++
			pkg := fmt.Sprint(p.Path, "#", n)
			for _, test := range p.Tests {
				got[pkg+"\x00"+test.Name] = append(got[pkg+"\x00"+test.Name], test.Outcome)
				failed[pkg] = failed[pkg] || test.Outcome == report.Failed
			}
		}
		if len(b) > 1<<20 || len(run.Packages) != len(packages) {
			return // packages without tests are left out
		}
		want := map[string]report.Outcome{"pass": report.Passed, "fail": report.Failed, "skip": report.Skipped}
		for name, runs := range tests {
			for _, end := range runs {
				if w := want[end]; w != "" && !slices.Contains(got[name], w) {
					t.Errorf("%s: the stream says %v, the report %v", name, runs, got[name])
				}
			}
			pkg, _, _ := strings.Cut(name, "\x00")
			if packages[pkg] == "pass" && !slices.Contains(runs, "fail") && slices.Contains(got[name], report.Failed) {
				t.Errorf("%s failed in a package that passed", name)
			}
		}
		if anyFail {
			require.NotZero(t, run.ExitCode())
		}
		for pkg, end := range packages {
			if end == "fail" || end == "none" {
				require.NotZero(t, run.ExitCode(), pkg)
			}
		}
		c := run.Count()
		if run.ExitCode() == 0 {
			require.Zero(t, c.Failed)
			require.False(t, run.Incomplete)
		}
	})
}
