package report

import (
	"cmp"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"
)

// ReadOptions configure Read. The zero value is useful.
type ReadOptions struct {
	// Console gets one line per package and the output of failures, as they arrive. Nil means none.
	Console io.Writer
}

// Read reads a stream to its end. It always returns a Run. The error is that of r; Run.Problems has
// the problems of the content.
func Read(r io.Reader, opt ReadOptions) (*Run, error) {
	rd := &reader{
		run:      &Run{},
		console:  console{w: opt.Console},
		packages: map[string]*Package{},
		builds:   map[string]*clip{},
	}
	n := 0
	err := eachLine(r, func(line []byte, cut bool) {
		n++
		e, err := parseEvent(line)
		switch {
		case err == nil:
			rd.event(e)
		case cut && len(line) > 0 && line[0] == '{':
			rd.run.Incomplete = true
			rd.problem("the stream ends in the middle of line %d", n)
		case len(strings.TrimSpace(string(line))) > 0:
			rd.foreign(n, string(line))
		}
	})
	if err != nil {
		rd.run.Incomplete = true
		rd.problem("the stream cannot be read after line %d: %v", n, err)
	}
	rd.end()
	return rd.run, err
}

type reader struct {
	run      *Run
	console  console
	packages map[string]*Package
	builds   map[string]*clip // what the compiler said, by import path
	firstBad string
}

func (rd *reader) problem(format string, args ...any) {
	rd.run.Problems = append(rd.run.Problems, fmt.Sprintf(format, args...))
}

func (rd *reader) foreign(n int, line string) {
	if rd.run.Foreign == 0 {
		rd.firstBad = fmt.Sprintf("line %d: %s", n, oneLine(line, 120))
	}
	rd.run.Foreign++
}

func (rd *reader) event(e event) {
	if !e.Time.IsZero() {
		if rd.run.Began.IsZero() || e.Time.Before(rd.run.Began) {
			rd.run.Began = e.Time
		}
		if e.Time.After(rd.run.Ended) {
			rd.run.Ended = e.Time
		}
	}
	switch e.Action {
	case "build-output":
		c := rd.builds[e.ImportPath]
		if c == nil {
			c = &clip{}
			rd.builds[e.ImportPath] = c
		}
		c.add(e.Output)
		return
	case "build-fail":
		return
	}
	if e.Package == "" {
		return
	}
	p := rd.packages[e.Package]
	if p == nil || p.ended {
		// A stream of several runs, one after the other, repeats packages.
		p = &Package{Path: e.Package, current: map[string]*Test{}}
		rd.packages[e.Package] = p
		rd.run.Packages = append(rd.run.Packages, p)
	}
	if e.Test == "" {
		rd.packageEvent(p, e)
		return
	}
	rd.testEvent(p, e)
}

func (rd *reader) testEvent(p *Package, e event) {
	t := p.current[e.Test]
	if t == nil || e.Action == "run" {
		t = p.begin(e.Test, e)
	}
	if len(p.crashes) == 0 && len(p.held) > 0 && p.held[0].t.root() != t.root() {
		rd.release(p)
	}
	if e.Action != "output" {
		p.speaks = nil
	}
	failing := e.Action == "fail" || e.Action == "output" && strings.HasPrefix(strings.TrimLeft(e.Output, " "), "--- FAIL: "+t.Name+" (")
	switch {
	case failing && !slices.Contains(p.lastFailed, t):
		p.lastFailed = append(p.lastFailed[:len(p.lastFailed):len(p.lastFailed)], t)
	case !failing:
		defer func() { p.lastFailed = nil }()
	}
	switch e.Action {
	case "output":
		p.watch(t, e.Output)
		to := cmp.Or(p.speaks, t)
		if text := p.unglue(e.Output, e); !frame(text) {
			to.out.add(text)
		}
	case "pause":
		t.parallel = true
	case "artifacts":
		t.Artifacts = e.Path
	case "pass", "fail", "skip", "bench":
		if t.ended {
			break // no test has two ends
		}
		t.ended = true
		t.Elapsed, t.Ended = seconds(e.Elapsed), e.Time
		if n := len(p.crashes); n > 0 {
			t.crash = p.crashes[n-1]
		}
		p.held = append(p.held, held{t, e.Action})
	}
}

// begin adds a test.
func (p *Package) begin(name string, e event) *Test {
	t := &Test{Package: p.Path, Name: name, Began: e.Time, Parent: parentOf(p, name)}
	p.current[name] = t
	p.Tests = append(p.Tests, t)
	if t.Parent == nil {
		p.lastRoot = t
	}
	return t
}

// A held is a test and the action with which it ended.
type held struct {
	t      *Test
	action string
}

// release settles the held tests.
func (rd *reader) release(p *Package) {
	for _, h := range p.held {
		h.t.settle(p, h.action)
		rd.console.test(h.t)
	}
	p.held = nil
}

// close settles every test of a package that has ended. A test without an end in the stream has
// failed, unless it must have ended and its result is known.
func (rd *reader) close(p *Package, action string, now time.Time, why string) {
	p.decide(action)
	for _, t := range p.Tests {
		if !t.ended {
			t.Elapsed, t.Ended = since(t.Began, now), now
		}
	}
	rd.release(p)
	// Subtests first, because their test counts the failed ones.
	for _, t := range slices.Backward(p.Tests) {
		if t.ended {
			continue
		}
		said := map[string]string{"PASS": "pass", "FAIL": "fail", "SKIP": "skip", "BENCH": "pass"}[t.said]
		if action == "pass" && said != "skip" {
			said = "pass" // no test of it failed, whatever one printed
		}
		if said != "" && p.over(t, action) {
			t.settle(p, said)
		} else {
			t.abandon(p, why)
		}
	}
	for _, t := range p.Tests {
		if !t.ended {
			rd.console.test(t)
		}
	}
}

// parentOf returns the test whose subtest name is; nil for none. A subtest's own name may contain
// slashes.
func parentOf(p *Package, name string) *Test {
	for i := strings.LastIndexByte(name, '/'); i > 0; i = strings.LastIndexByte(name[:i], '/') {
		if t := p.current[name[:i]]; t != nil {
			return t
		}
	}
	return nil
}

func (rd *reader) packageEvent(p *Package, e event) {
	switch e.Action {
	case "output":
		p.watch(nil, e.Output)
		p.lastFailed = nil
		switch {
		case strings.HasPrefix(e.Output, "ok  ") && strings.Contains(e.Output, "(cached)"):
			p.Cached = true
		case strings.Contains(e.Output, "[no test files]"):
			p.notFound = true
		}
		p.out.add(e.Output)
	case "pass", "fail", "skip":
		p.ended = true
		p.Elapsed = seconds(e.Elapsed)
		rd.endPackage(p, e)
	}
}

func (rd *reader) endPackage(p *Package, e event) {
	rd.close(p, e.Action, e.Time, "the test process ended before it did")
	p.Output = p.out.String()
	switch e.Action {
	case "pass":
		p.Outcome = Passed
	case "skip":
		p.Outcome = Skipped
	default:
		p.Outcome = Failed
		p.Failure = p.blame(e.FailedBuild, rd.builds)
	}
	p.release()
	rd.console.pkg(p)
}

// end handles the end of the stream.
func (rd *reader) end() {
	r := rd.run
	for _, p := range r.Packages {
		if p.ended {
			continue
		}
		r.Incomplete = true
		rd.problem("the stream ends before the tests of %s do", p.Path)
		p.Outcome = Failed
		rd.close(p, "", r.Ended, "the stream ends before it does")
		p.Output = p.out.String()
		if !anyFailed(p) {
			p.Failure = &Failure{Kind: Unfinished, Verdict: Unfinished.verdict(), Reason: "the stream ends before the package does"}
		}
		p.release()
		rd.console.pkg(p)
	}
	kept := r.Packages[:0]
	for _, p := range r.Packages {
		if !p.notFound || p.Failure != nil {
			kept = append(kept, p)
		}
	}
	if len(r.Packages) == 0 {
		r.Incomplete = true
		rd.problem("there are no test results in it")
	}
	r.Packages = kept
	if r.Foreign > 0 {
		what := "lines are"
		if r.Foreign == 1 {
			what = "line is"
		}
		rd.problem("%d %s not go test's: %s", r.Foreign, what, rd.firstBad)
	}
}

func (p *Package) release() {
	p.current, p.crashes, p.death, p.lastFailed, p.lastRoot = nil, nil, nil, nil, nil
	p.out.free()
}

func anyFailed(p *Package) bool {
	for _, t := range p.Tests {
		if t.Outcome == Failed {
			return true
		}
	}
	return false
}

// frame recognises the lines that testing prints around a test's own output.
func frame(s string) bool {
	return strings.HasPrefix(s, "=== ") || frameEnd.MatchString(s)
}

var frameEnd = regexp.MustCompile(`^\s*--- (PASS|FAIL|SKIP|BENCH): .* \(\d+\.\d+s\)\n?$`)

func seconds(s float64) time.Duration {
	return time.Duration(s * float64(time.Second))
}

func since(began, ended time.Time) time.Duration {
	if began.IsZero() || ended.Before(began) {
		return 0
	}
	return ended.Sub(began)
}

// oneLine folds s into one line of at most n runes.
func oneLine(s string, n int) string {
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}
