package report

import (
	"regexp"
	"slices"
	"strings"
)

// A crash is a possible end of a test process: a line like "panic: boom". Tests print such lines,
// too, for example from a guest. Whether the process died is clear only when the package ends,
// because a process that panicked never prints PASS or FAIL.
type crash struct {
	line   string
	in     *Test   // whose output the line is, according to the stream; nil for the package
	failed []*Test // tests whose end was reported right before, innermost first
	out    clip    // everything from the line on

	traced bool   // a stack trace follows
	fn     string // the test function that it names first

	// timedOut is set for go test -timeout; running is the list in its message.
	timedOut string
	running  map[string]bool
	listing  bool

	culprit *Test // set when the package ends
}

var (
	// crashLine matches the message of a crash. It may follow output without a newline, but does
	// not count in a line of t.Log.
	crashLine = regexp.MustCompile(`(?:panic: |fatal error: |SIG(?:ABRT|BUS|FPE|ILL|QUIT|SEGV|TRAP): ).*$`)

	traceLine = regexp.MustCompile(`^goroutine \d+ .*\[.*\]:$`)

	// runningTest is a line of the list that a -timeout panic begins with.
	runningTest = regexp.MustCompile(`^\t\t(\S+) \(.*\)$`)

	// testFunc matches a line of a stack trace with a test's function, or one inside it.
	testFunc = regexp.MustCompile(`^\S*\.((?:Test|Example|Benchmark|Fuzz)\w*)(?:\.func[\w.]*)?\(`)
)

// watch looks for the end of the process in one piece of output of t, or of the package if t is
// nil.
func (p *Package) watch(t *Test, output string) {
	line := strings.TrimRight(output, "\r\n")
	if line != "" && !strings.HasPrefix(line, "FAIL\t") {
		p.lastWords = line
	}
	p.finished = t == nil && (line == "PASS" || line == "FAIL") || p.finished && t == nil
	if t == nil && strings.HasPrefix(line, "FAIL\t") {
		return // go test's own
	}
	for _, c := range p.crashes {
		c.follow(line, output)
	}
	if strings.HasPrefix(line, "    ") || strings.HasPrefix(line, "\t") {
		return
	}
	said := crashLine.FindString(line)
	if said == "" {
		return
	}
	c := &crash{line: said, in: t, failed: p.lastFailed}
	c.out.add(output)
	if strings.HasPrefix(said, "panic: test timed out after ") {
		c.timedOut, c.running = strings.TrimPrefix(said, "panic: "), map[string]bool{}
	}
	// A crash with a trace stays, because another goroutine may print while the process dies.
	p.crashes = append(slices.DeleteFunc(p.crashes, func(c *crash) bool { return !c.traced }), c)
	if n := len(p.crashes); n > maxCrashes {
		p.crashes = p.crashes[n-maxCrashes:]
	}
}

// maxCrashes limits how many crashes are kept for tests that print a thousand panics.
const maxCrashes = 8

// follow reads the output after the line of the crash.
func (c *crash) follow(line, output string) {
	c.out.add(output)
	switch {
	case c.timedOut != "" && strings.TrimSpace(line) == "running tests:":
		c.listing = true
	case c.listing:
		m := runningTest.FindStringSubmatch(line)
		if c.listing = m != nil; c.listing {
			c.running[m[1]] = true
		}
	case traceLine.MatchString(line):
		c.traced = true
	case c.traced && c.fn == "":
		if m := testFunc.FindStringSubmatch(line); m != nil {
			c.fn = m[1]
		}
	}
}

// decide determines at the end whether the process died, and in which test.
func (p *Package) decide(action string) {
	if p.finished || action == "pass" || action == "skip" || len(p.crashes) == 0 {
		return
	}
	c := p.crashes[len(p.crashes)-1]
	for _, traced := range slices.Backward(p.crashes) {
		if traced.traced || traced.timedOut != "" {
			c = traced
			break
		}
	}
	// Without a trace, the line must at least be the last output, in a stream that was not cut off.
	if !c.traced && c.timedOut == "" && (action == "" || c.in != nil && p.lastRoot != c.in.root()) {
		return
	}
	p.death = c
	for _, t := range c.failed {
		t.crash = c // their end was reported right before
	}
	if c.timedOut == "" {
		c.culprit = p.culpritOf(c)
	}
}

// culpritOf returns the test whose code crashed. Test2json attributes a panic to the test that
// printed last, or to the parent of the subtest.
func (p *Package) culpritOf(c *crash) *Test {
	byTrace := p.current[c.fn]
	if len(c.failed) > 0 {
		// The testing package reports the tests that the panic goes through, from the inside out.
		inner := c.failed[0]
		if byTrace == nil || inner.root() == byTrace {
			return inner
		}
	}
	switch {
	case byTrace == nil, c.in != nil && c.in.root() == byTrace:
		return c.in
	}
	return byTrace
}

// wasRunning tells whether a test was running at the -timeout. The list in its message names only
// the innermost subtests.
func (c *crash) wasRunning(name string) bool {
	if len(c.running) == 0 {
		return true // an older Go: no list
	}
	for r := range c.running {
		if r == name || strings.HasPrefix(r, name+"/") {
			return true
		}
	}
	return false
}

// died returns the failure of a test that ended with the crash, because it has no end in the stream
// or test2json added one.
func (c *crash) died(t *Test) *Failure {
	f := &Failure{Kind: Unfinished, Reason: "the test process ended before it did"}
	switch {
	case c.timedOut != "" && c.wasRunning(t.Name):
		f.Kind, f.Reason = Timeout, c.timedOut
	case c.timedOut != "":
		f.Reason += ": " + c.timedOut
	case c.culprit == t:
		f.Kind, f.Reason = Panic, c.line
		if c.in != t {
			t.out.add(c.out.String())
		}
	case c.culprit != nil && c.culprit.within(t):
		f.Kind, f.Reason = Subtests, "1 of its subtests failed"
	case c.culprit != nil:
		f.Reason += ": " + c.line + " (in " + c.culprit.Name + ")"
	default:
		f.Reason += ": " + c.line
	}
	return f
}

// frameLine matches a line with which package testing ends a test. If the test's output before it
// lacks a newline, and go test runs with -v, test2json takes the line for output (golang/go#26325,
// #38063).
var frameLine = regexp.MustCompile(`--- (PASS|FAIL|SKIP|BENCH): (\S.*?) \(\d+\.\d+s\)\r?\n?$`)

// runLine matches a line with which package testing begins a test, or says whose output follows.
var runLine = regexp.MustCompile(`=== (RUN|NAME|CONT) +(\S+)\r?\n?$`)

// unglue removes such a line from a piece of output, and records what it says about tests whose
// beginning or end test2json did not see.
func (p *Package) unglue(output string, e event) string {
	if loc := runLine.FindStringSubmatchIndex(output); loc != nil && loc[0] > 0 {
		name := output[loc[4]:loc[5]]
		if p.speaks = p.current[name]; p.speaks == nil && output[loc[2]:loc[3]] == "RUN" {
			p.speaks = p.begin(name, e)
		}
		return output[:loc[0]] + "\n"
	}
	loc := frameLine.FindStringSubmatchIndex(output)
	if loc == nil {
		return output
	}
	t := p.current[output[loc[4]:loc[5]]]
	if t == nil {
		return output
	}
	t.said, p.speaks = output[loc[2]:loc[3]], nil
	if strings.TrimLeft(output[:loc[0]], " ") == "" {
		return ""
	}
	return output[:loc[0]] + "\n"
}

// over tells whether a test without an end must have ended: its package passed, its process ended
// normally, or a test began that had to wait for it.
func (p *Package) over(t *Test, action string) bool {
	root := t.root()
	return action == "pass" || p.finished || !root.parallel && p.lastRoot != root
}
