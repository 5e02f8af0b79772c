package report

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"

	"github.com/spicelane/spicelane/harness/verdict"
)

// faultWords match what harness.Up prints before the reason, after the position that testing prints
// first.
var faultWords = regexp.MustCompile(`^(?:\s*[^\s:]+\.go:\d+: )?\s*(product|harness|host) fault(?: \([a-z]+\))?: (.*)$`)

// logLine is a line of t.Log and t.Error.
var logLine = regexp.MustCompile(`(?:^|\S)(?: {4})+[^\s:]+\.go:\d+: (.*)$`)

// maxReason is how long a reason may be, in runes.
const maxReason = 400

// settle records how a test ended that has an end in the stream.
func (t *Test) settle(p *Package, action string) {
	t.readLanes()
	switch action {
	case "skip":
		t.Outcome = Skipped
		t.Reason = lastLog(t.out.String())
	case "fail":
		t.fail(p.failureOf(t))
	default:
		t.Outcome = Passed
	}
	t.out.free()
}

// abandon does the same for a test without an end. why is the reason if nothing is known about the
// process.
func (t *Test) abandon(p *Package, why string) {
	t.readLanes()
	f := &Failure{Kind: Unfinished, Reason: why}
	if p.death != nil {
		f = p.death.died(t)
	} else if p.finished {
		f.Reason = "the stream does not say how it ended"
	} else if m := processEnd.FindString(p.lastWords); m != "" {
		f.Reason += ": " + m
	}
	t.ofLanes(f)
	t.fail(f)
	t.out.free()
}

// processEnd matches what go test prints about the end of a process, after any output without a
// newline.
var processEnd = regexp.MustCompile(`(?:signal: [a-z][a-z ]*(?: \(core dumped\))?|exit status \d+)$`)

func (t *Test) fail(f *Failure) {
	if f.Verdict == "" {
		f.Verdict = f.Kind.verdict()
	}
	f.Reason = oneLine(f.Reason, maxReason)
	t.Outcome, t.Failure = Failed, f
	t.Output = t.out.String()
	if t.Parent != nil {
		t.Parent.failed = append(t.Parent.failed, t.Name)
	}
}

// failureOf returns why t failed, and whose fault it is.
func (p *Package) failureOf(t *Test) *Failure {
	text := t.out.String()
	f := &Failure{Kind: Assertion}
	switch {
	case p.death != nil && t.crash == p.death:
		f = p.death.died(t)
	case strings.Contains(text, "race detected during execution of test"):
		f.Kind, f.Reason = Race, "the race detector found a data race"
	}
	if t.ofLanes(f) || f.Kind != Assertion {
		return f
	}
	text = withoutDump(text)
	if f.Reason = scriptFailure(text); f.Reason != "" {
		return f
	}
	for line := range strings.Lines(text) {
		if m := faultIn(line); m != nil {
			f.Verdict, f.Reason = verdict.Kind(m[1]), m[2]
			return f
		}
	}
	f.Reason = assertion(text)
	if len(t.failed) > 0 && f.Reason == "" {
		f.Kind, f.Reason = Subtests, fmt.Sprintf("%d of its subtests failed", len(t.failed))
	}
	if f.Reason == "" {
		f.Reason = cmp.Or(lastLog(text), t.exampleFailure(text), "it failed without a word")
	}
	return f
}

// faultIn returns the match of a line that names a fault: element 1 is the verdict, 2 the reason.
// It returns nil if the line names none.
func faultIn(line string) []string {
	line = strings.TrimRight(line, "\r\n")
	if m := faultWords.FindStringSubmatch(line); m != nil {
		return m
	}
	if said, ok := logged(line); ok {
		return faultWords.FindStringSubmatch(said)
	}
	return nil
}

// logged returns the text of a line of t.Log. It may follow the test's own output without a
// newline; testing indents it by four blanks per level.
func logged(line string) (said string, ok bool) {
	m := logLine.FindStringSubmatch(strings.TrimRight(line, "\r\n"))
	if m == nil {
		return "", false
	}
	return m[1], true
}

// scriptFailure returns why a script of package testscript failed, or "". The script's log is one
// entry, which begins with its environment, so the reason is not at its start.
func scriptFailure(text string) string {
	in := false
	for line := range strings.Lines(text) {
		if _, ok := logged(line); ok {
			in = strings.Contains(line, "testscript.go:")
		}
		if m := scriptFail.FindStringSubmatch(strings.TrimRight(line, "\r\n")); in && m != nil {
			return m[1]
		}
	}
	return ""
}

var scriptFail = regexp.MustCompile(`^\s+FAIL: (.+:\d+: .*)$`)

// exampleFailure says how the output of a failed Example differs from its comment. It returns ""
// for other tests.
func (t *Test) exampleFailure(text string) string {
	m := exampleFail.FindStringSubmatch(text)
	if m == nil || !strings.HasPrefix(t.Name, "Example") {
		return ""
	}
	return oneLine(fmt.Sprintf("got %q, want%s %q", m[1], m[2], strings.TrimRight(m[3], "\n")), maxReason)
}

var exampleFail = regexp.MustCompile(`(?s)(?:^|\n)got:\n(.*?)\n?want( \(unordered\))?:\n(.*)$`)

// ofLanes uses the verdict of one of the test's lanes if that made the test fail: the lane never
// came up, or the test gives the same reason. A lane that a test breaks on purpose also has a
// verdict, which does not explain the test's failure.
func (t *Test) ofLanes(f *Failure) bool {
	said := oneLine(withoutDump(t.out.String()), clipHead+clipTail)
	for _, l := range t.Lanes {
		if l.OK || l.Verdict == "" {
			continue
		}
		reason := oneLine(l.Reason, maxReason)
		if (l.ReadyMS > 0 || l.Gone) && (reason == "" || !strings.Contains(said, strings.TrimSuffix(reason, "…"))) {
			continue
		}
		f.Verdict = l.Verdict
		if f.Kind == Assertion {
			f.Reason = reason
		}
		return f.Reason != ""
	}
	return false
}

// dump matches the first line that harness.Up logs about the lane of a failed test. ended matches
// the line about a lane that has ended.
var (
	dump  = regexp.MustCompile(`^\s+up\.go:\d+: lane (\S+), (\w+), .*; everything it left is in (.*)$`)
	ended = regexp.MustCompile(`^\s+it ended: (product|harness|host) fault(?: \([a-z]+\))?: (.*)$`)
)

// withoutDump returns a test's output without the lines that harness.Up logged about its lanes.
func withoutDump(text string) string {
	var b strings.Builder
	in := false
	for line := range strings.Lines(text) {
		if _, ok := logged(line); ok {
			in = dump.MatchString(strings.TrimRight(line, "\r\n"))
		}
		if !in {
			b.WriteString(line)
		}
	}
	return b.String()
}

// dumpedLanes returns the lanes that harness.Up logged in a test's output. It serves runs whose
// artifact directories were not kept.
func dumpedLanes(text string) []Lane {
	var lanes []Lane
	in := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if logLine.MatchString(line) {
			m := dump.FindStringSubmatch(line)
			if in = m != nil; in {
				lanes = append(lanes, Lane{Report: verdict.Report{Name: m[1], Accel: m[2], Dir: m[3]}, Gone: true})
			}
		} else if m := ended.FindStringSubmatch(line); in && m != nil {
			l := &lanes[len(lanes)-1]
			l.Verdict, l.Reason = verdict.Kind(m[1]), m[2]
		}
	}
	return lanes
}

// assertion returns testify's message in one line.
func assertion(text string) string {
	var words []string
	in := false
block:
	for line := range strings.Lines(text) {
		s := strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(s, "Error Trace:"):
			if len(words) > 0 {
				break block // the first one says it
			}
		case strings.HasPrefix(s, "Error:"):
			in, s = true, strings.TrimSpace(strings.TrimPrefix(s, "Error:"))
		case strings.HasPrefix(s, "Test:"):
			in = false
		case strings.HasPrefix(s, "Messages:") && len(words) > 0:
			words = append(words, "("+strings.TrimSpace(strings.TrimPrefix(s, "Messages:"))+")")
			in = false
		}
		if in && s != "" {
			words = append(words, s)
		}
	}
	return strings.TrimPrefix(strings.Join(words, " "), "Received unexpected error: ")
}

// lastLog returns the last thing that a test logged.
func lastLog(text string) string {
	last := ""
	for line := range strings.Lines(text) {
		if said, ok := logged(line); ok {
			last = said
		}
	}
	return oneLine(last, maxReason)
}

// blame returns why a package failed; nil if its tests say so.
func (p *Package) blame(failedBuild string, builds map[string]*clip) *Failure {
	if failedBuild != "" || buildFailed.MatchString(p.Output) {
		f := &Failure{Kind: Build, Verdict: Build.verdict(), Reason: "it does not build"}
		if c := builds[failedBuild]; c != nil {
			p.Output = c.String()
			for line := range strings.Lines(p.Output) {
				if !strings.HasPrefix(line, "#") && strings.TrimSpace(line) != "" {
					f.Reason = oneLine(line, maxReason)
					break
				}
			}
		}
		return f
	}
	if anyFailed(p) {
		return nil
	}
	f := &Failure{Kind: Exit, Verdict: Exit.verdict()}
	if p.death != nil {
		f.Kind, f.Reason = Panic, p.death.line
	}
	var status string
	for line := range strings.Lines(p.Output) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "exit status "), strings.HasPrefix(line, "signal: "):
			status = line
		case line == "", line == "PASS", line == "FAIL", strings.HasPrefix(line, "FAIL\t"), strings.HasPrefix(line, "coverage: "):
		case f.Reason == "":
			f.Reason = line
		}
	}
	switch {
	case f.Reason == "":
		f.Reason = or(status, "no test failed, but the test process did")
	case status != "":
		f.Reason += " (" + status + ")"
	}
	f.Reason = oneLine(f.Reason, maxReason)
	return f
}

// buildFailed matches a failed build as Go before 1.24 reports it.
var buildFailed = regexp.MustCompile(`(?m)^FAIL\t\S+ \[(build|setup) failed\]`)

// within tells whether t is a subtest of outer, at any depth.
func (t *Test) within(outer *Test) bool {
	for t = t.Parent; t != nil; t = t.Parent {
		if t == outer {
			return true
		}
	}
	return false
}

// root returns the top-level test that contains t.
func (t *Test) root() *Test {
	for t.Parent != nil {
		t = t.Parent
	}
	return t
}

func or(s, def string) string {
	if s == "" {
		return def
	}
	return s
}
