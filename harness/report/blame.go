package report

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/spicelane/spicelane/harness/verdict"
)

// faultWords are what harness.Up prints before the reason, behind the place
// that testing puts first.
var faultWords = regexp.MustCompile(`^(?:\s*[^\s:]+\.go:\d+: )?\s*(product|harness|host) fault(?: \([a-z]+\))?: (.*)$`)

// logLine is a line of t.Log and t.Error.
var logLine = regexp.MustCompile(`^\s+[^\s:]+\.go:\d+: (.*)$`)

// maxReason is how long a reason may be, in runes.
const maxReason = 400

// settle says how a test that has an end ended.
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

// abandon says it of one that has none.
func (t *Test) abandon(p *Package, why string) {
	t.readLanes()
	f := &Failure{Kind: Unfinished, Reason: why}
	switch {
	case p.timedOut != "" && p.wasRunning(t.Name):
		f.Kind, f.Reason = Timeout, p.timedOut
	case p.timedOut != "":
		f.Reason += ": " + p.timedOut
	case p.panicIn == t.Name:
		f.Kind, f.Reason = Panic, p.panicked
		t.out.add(p.panicOut.String())
	case p.panicked != "":
		f.Reason += ": " + p.panicked
	}
	t.ofLanes(f)
	t.fail(f)
	t.out.free()
}

func (t *Test) fail(f *Failure) {
	if f.Verdict == "" {
		f.Verdict = f.Kind.verdict()
	}
	f.Reason = oneLine(f.Reason, maxReason)
	t.Outcome, t.Failure = Failed, f
	t.Output = t.out.String()
	if t.parent != nil {
		t.parent.failed = append(t.parent.failed, t.Name)
	}
}

// failureOf finds out why t failed, and whose fault it is.
func (p *Package) failureOf(t *Test) *Failure {
	text := t.out.String()
	f := &Failure{Kind: Assertion}
	switch {
	case p.timedOut != "" && p.wasRunning(t.Name) && strings.Contains(text, p.timedOut):
		f.Kind, f.Reason = Timeout, p.timedOut
	case p.panicked != "" && p.timedOut == "" && strings.Contains(text, p.panicked):
		// Test2json gives a panic to the test that spoke last, which is not
		// always the one whose code it was.
		if in := p.current[p.panicIn]; in != nil && !in.ended && in != t && in != t.root() {
			f.Kind, f.Reason = Unfinished, fmt.Sprintf("the test process ended before it did: %s (in %s)", p.panicked, in.Name)
			break
		}
		f.Kind, f.Reason = Panic, p.panicked
	case strings.Contains(text, "race detected during execution of test"):
		f.Kind, f.Reason = Race, "the race detector found a data race"
	}
	if t.ofLanes(f) || f.Kind != Assertion {
		return f
	}
	text = withoutDump(text)
	for line := range strings.Lines(text) {
		if m := faultWords.FindStringSubmatch(strings.TrimRight(line, "\r\n")); m != nil {
			f.Verdict, f.Reason = verdict.Kind(m[1]), m[2]
			return f
		}
	}
	f.Reason = assertion(text)
	if len(t.failed) > 0 && f.Reason == "" {
		f.Kind, f.Reason = Subtests, fmt.Sprintf("%d of its subtests failed", len(t.failed))
	}
	if f.Reason == "" {
		f.Reason = or(lastLog(text), "it failed without a word")
	}
	return f
}

// ofLanes takes the verdict of the test's lanes, if one of them has any that the
// test failed of: it never came up, or the test says the same reason. A lane
// that a test breaks on purpose has a verdict, too, and does not explain what
// the test then asserts.
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

// dump is the first line of what harness.Up logs of the lane of a failed test,
// ended what it says of a lane that has ended.
var (
	dump  = regexp.MustCompile(`^\s+up\.go:\d+: lane (\S+), (\w+), .*; everything it left is in (.*)$`)
	ended = regexp.MustCompile(`^\s+it ended: (product|harness|host) fault(?: \([a-z]+\))?: (.*)$`)
)

// withoutDump is a test's output without what harness.Up logged of its lanes.
func withoutDump(text string) string {
	var b strings.Builder
	in := false
	for line := range strings.Lines(text) {
		if logLine.MatchString(strings.TrimRight(line, "\r\n")) {
			in = dump.MatchString(strings.TrimRight(line, "\r\n"))
		}
		if !in {
			b.WriteString(line)
		}
	}
	return b.String()
}

// dumpedLanes is what such a dump says of the lanes, for a run whose artifact
// directories were not kept.
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

// assertion is what testify says went wrong, in a line.
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

// lastLog is the last thing that a test logged.
func lastLog(text string) string {
	last := ""
	for line := range strings.Lines(text) {
		if m := logLine.FindStringSubmatch(strings.TrimRight(line, "\r\n")); m != nil {
			last = m[1]
		}
	}
	return oneLine(last, maxReason)
}

// watch looks for what ends a whole test process.
func (p *Package) watch(output string) {
	line := strings.TrimRight(output, "\r\n")
	if p.panicked != "" {
		p.panicOut.add(output)
	}
	switch {
	case p.panicked == "" && strings.HasPrefix(line, "panic: test timed out after "):
		p.panicked = line
		p.timedOut = strings.TrimPrefix(line, "panic: ")
	case p.panicked == "" && (strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ")):
		p.panicked = line
		p.panicOut.add(output)
	case p.timedOut != "" && strings.TrimSpace(line) == "running tests:":
		p.listing = true
	case p.listing:
		m := runningTest.FindStringSubmatch(line)
		if p.listing = m != nil; p.listing {
			p.running[m[1]] = true
		}
	case p.panicked != "" && p.panicIn == "":
		if m := testFunc.FindStringSubmatch(line); m != nil {
			p.panicIn = m[1]
		}
	}
}

// runningTest is a line of the list that a -timeout panic begins with.
var runningTest = regexp.MustCompile(`^\t\t(\S+) \(.*\)$`)

// testFunc is a line of a stack trace with a test's function, or one inside it.
var testFunc = regexp.MustCompile(`^\S*\.(Test\w*)(?:\.func[\w.]*)?\(`)

// wasRunning tells whether a test was running at the -timeout. Listed is only
// the innermost subtest.
func (p *Package) wasRunning(name string) bool {
	if len(p.running) == 0 {
		return true // an older Go: no list
	}
	for r := range p.running {
		if r == name || strings.HasPrefix(r, name+"/") {
			return true
		}
	}
	return false
}

// blame says why a package failed, nil if its tests say so.
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
	f := &Failure{Kind: Exit, Verdict: Exit.verdict(), Reason: p.panicked}
	if p.panicked != "" {
		f.Kind = Panic
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

// buildFailed is how Go before 1.24 says so.
var buildFailed = regexp.MustCompile(`(?m)^FAIL\t\S+ \[(build|setup) failed\]`)

// root is the test of the package's own that t is in.
func (t *Test) root() *Test {
	for t.parent != nil {
		t = t.parent
	}
	return t
}

func or(s, def string) string {
	if s == "" {
		return def
	}
	return s
}
