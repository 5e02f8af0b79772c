package report

import (
	"fmt"
	"strings"
	"time"

	"github.com/spicelane/spicelane/harness/verdict"
)

// An Outcome is how a test or package ended.
type Outcome string

const (
	Passed  Outcome = "passed"
	Failed  Outcome = "failed"
	Skipped Outcome = "skipped"
)

// A Kind says how a failure appeared.
type Kind string

const (
	// Assertion: the test reported the failure itself.
	Assertion Kind = "assertion"
	// Panic: the test process panicked or threw while the test ran.
	Panic Kind = "panic"
	// Timeout: the test was running when go test -timeout ended the process.
	Timeout Kind = "timeout"
	// Race: the race detector found a data race.
	Race Kind = "race"
	// Build: the package or its tests do not build. Only packages have it.
	Build Kind = "build"
	// Exit: the test process failed although no test did. Only packages have it.
	Exit Kind = "exit"
	// Unfinished: the test has no end, because its process or the stream ended first.
	Unfinished Kind = "unfinished"
	// Subtests: subtests failed; nothing more is known about the test itself.
	Subtests Kind = "subtests"
)

// verdict returns whose fault a failure of this kind is if nothing says more. A test's assertions
// are about the product.
func (k Kind) verdict() verdict.Kind {
	switch k {
	case Assertion, Race, Subtests:
		return verdict.Product
	default:
		return verdict.Harness
	}
}

// A Failure says what went wrong.
type Failure struct {
	Kind    Kind
	Verdict verdict.Kind
	// Reason is one line.
	Reason string
}

// A Test is one run of one test; with -count a test has several.
type Test struct {
	Package string
	Name    string // with the names of its parents: "TestA/sub"
	Outcome Outcome
	// Failure is set if Outcome is Failed.
	Failure *Failure
	// Reason says why the test was skipped.
	Reason  string
	Elapsed time.Duration
	// Began and Ended are its times in the stream; zero if it has none. The time that a parallel
	// test was paused is between them, and not in Elapsed.
	Began, Ended time.Time
	// Parent is the test whose subtest it is; nil for none.
	Parent *Test
	// Output is the test's output, without the lines that package testing prints around it. Long
	// output lacks its middle. The output of a passed test is not kept.
	Output string
	// Artifacts is the test's artifact directory; empty if it has none.
	Artifacts string
	// Lanes are the known lanes of the test.
	Lanes []Lane

	out      clip
	ended    bool
	failed   []string // its subtests that failed
	parallel bool     // it was paused
	said     string   // PASS, FAIL or SKIP in a line that test2json took for output
	crash    *crash   // the last one in the stream when it ended
}

// A Package is the run of one package's tests.
type Package struct {
	Path    string
	Outcome Outcome
	// Failure is set if the package failed for another reason than a failed test.
	Failure *Failure
	Elapsed time.Duration
	Cached  bool
	// Output is what was printed outside tests, or by the compiler.
	Output string
	// Tests are in the order in which they began.
	Tests []*Test

	out     clip
	ended   bool
	current map[string]*Test
	// held are tests that have ended and wait until it is known whether the process died.
	held       []held
	lastRoot   *Test    // the top-level test that began last
	lastFailed []*Test  // tests whose end was reported last, as failed; reset by anything else
	speaks     *Test    // a test whose beginning test2json did not see, and whose output it gives to another
	crashes    []*crash // lines that may be a crash, see decide
	death      *crash   // the crash that ended the process
	finished   bool     // the process said PASS or FAIL, as its last words
	lastWords  string   // its last line
	notFound   bool     // no test files
}

// A Run is the content of a stream.
type Run struct {
	// Packages are in the order in which they began, without those that have no tests.
	Packages []*Package
	// Began and Ended are the first and last time in the stream; zero if it
	// has none.
	Began, Ended time.Time
	// Problems are the problems of the stream itself, one line each.
	Problems []string
	// Foreign is the number of lines that are not from go test.
	Foreign int
	// Incomplete means that the stream ends too early, or contains no results.
	Incomplete bool
}

// Tests calls f for every run of every test.
func (r *Run) Tests(f func(*Test)) {
	for _, p := range r.Packages {
		for _, t := range p.Tests {
			f(t)
		}
	}
}

// Counts are the numbers of a run.
type Counts struct {
	Tests, Passed, Failed, Skipped int
	// Packages counts packages. Those that failed for another reason than a failed test also count
	// among Failed.
	Packages int
	// Verdicts counts failures by verdict; a test that failed only in its subtests is not counted
	// again.
	Verdicts map[verdict.Kind]int
	// Lanes counts the lanes that left a verdict.json and had an accelerator; Warm and Accels count
	// among those.
	Lanes, Warm int
	Accels      map[string]int
	// Carried is how often the clients of these lanes received each kind of drawing, see
	// verdict.Report.
	Carried map[string]uint64
}

// Count returns the numbers of the run.
func (r *Run) Count() Counts {
	c := Counts{Packages: len(r.Packages), Verdicts: map[verdict.Kind]int{}, Accels: map[string]int{}, Carried: map[string]uint64{}}
	r.Tests(func(t *Test) {
		c.Tests++
		switch t.Outcome {
		case Passed:
			c.Passed++
		case Skipped:
			c.Skipped++
		}
		for _, l := range t.Lanes {
			if l.Gone || l.Accel == "" {
				continue
			}
			c.Lanes++
			c.Accels[l.Accel]++
			if l.Warm {
				c.Warm++
			}
			for name, n := range l.Carried {
				c.Carried[name] += n
			}
		}
	})
	for _, f := range r.Failures() {
		c.Failed++
		c.Verdicts[f.Failure.Verdict]++
	}
	return c
}

// A Finding is a failed test or, if Test is nil, a failed package.
type Finding struct {
	*Failure
	Package *Package
	Test    *Test
}

// Name returns the name of the test, or of its package.
func (f Finding) Name() string {
	if f.Test == nil {
		return f.Package.Path
	}
	return f.Package.Path + "." + f.Test.Name
}

// Failures returns the failures, package by package. In each package, tests that another failure
// cut short come last. If a test failed only in its subtests, the list has the subtests instead.
func (r *Run) Failures() []Finding {
	var out []Finding
	for _, p := range r.Packages {
		if p.Failure != nil {
			out = append(out, Finding{p.Failure, p, nil})
		}
		for _, cutShort := range []bool{false, true} {
			for _, t := range p.Tests {
				if t.Failure != nil && t.Failure.Kind != Subtests && (t.Failure.Kind == Unfinished) == cutShort {
					out = append(out, Finding{t.Failure, p, t})
				}
			}
		}
	}
	return out
}

// Verdict returns the verdict of the whole run; empty if it passed. A product failure outweighs a
// harness failure, and that outweighs a host failure. An incomplete stream is a harness failure.
func (r *Run) Verdict() verdict.Kind {
	c := r.Count()
	for _, v := range []verdict.Kind{verdict.Product, verdict.Harness} {
		if c.Verdicts[v] > 0 {
			return v
		}
	}
	switch {
	case r.Incomplete:
		return verdict.Harness
	case c.Verdicts[verdict.Host] > 0:
		return verdict.Host
	}
	return ""
}

// ExitCode returns the exit status for the run.
func (r *Run) ExitCode() int {
	if v := r.Verdict(); v != "" {
		return v.ExitCode()
	}
	return 0
}

// clip keeps the beginning and the end of a text.
type clip struct {
	head, tail []byte
	dropped    int
}

// Limits for the kept beginning and end of one test's output, in bytes.
const (
	clipHead = 32 << 10
	clipTail = 96 << 10
)

func (c *clip) add(s string) {
	if room := clipHead - len(c.head); room > 0 && c.dropped == 0 && len(c.tail) == 0 {
		n := min(room, len(s))
		c.head = append(c.head, s[:n]...)
		s = s[n:]
	}
	c.tail = append(c.tail, s...)
	if over := len(c.tail) - clipTail; over > clipTail {
		c.dropped += over
		c.tail = append(c.tail[:0], c.tail[over:]...)
	}
}

// String returns the kept text.
func (c *clip) String() string {
	switch {
	case c.dropped > 0 || len(c.tail) > clipTail:
		tail := c.tail[len(c.tail)-clipTail:]
		return strings.ToValidUTF8(fmt.Sprintf("%s\n… %d bytes are left out …\n%s", c.head, c.dropped+len(c.tail)-clipTail, tail), "")
	default:
		return string(c.head) + string(c.tail)
	}
}

func (c *clip) free() { *c = clip{} }
