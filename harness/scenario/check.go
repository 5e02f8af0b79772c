package scenario

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/verdict"
)

// ErrSkipped is what Check returns for a suite that does not apply to the lane.
var ErrSkipped = errors.New("skipped")

// Check runs one suite on a lane without go test. What the suite logs goes to out. It returns nil
// if the suite passed, an error that wraps [ErrSkipped] if it skipped itself, or otherwise the
// reason of the failure with its verdict.
//
// The suite ends with the lane. To end it earlier, close the lane.
func Check(ctx context.Context, lane *harness.Lane, s Suite, out io.Writer) error {
	p := &program{name: s.Name, ctx: ctx, out: out}
	done := make(chan struct{})
	// A suite ends its goroutine when it fails, as tests do.
	go func() {
		defer close(done)
		defer p.caught()
		defer p.cleanUp()
		defer p.caught()
		s.Run(p, lane)
	}()
	<-done
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.failed && p.why != nil:
		return &verdict.Error{Verdict: verdictOf(p.why), Hop: verdict.HopOf(p.why), Op: s.Name, Err: p.why}
	case p.failed:
		return &verdict.Error{Verdict: verdict.Product, Op: s.Name, Err: errors.New(strings.TrimSpace(cmp.Or(p.reason, p.last)))}
	case p.skipped:
		return fmt.Errorf("%w: %s", ErrSkipped, strings.TrimSpace(p.last))
	}
	return nil
}

// A noter is a test that wants to know the reason of its failure as an error.
type noter interface{ note(error) }

// A program is a testing.TB outside go test.
type program struct {
	testing.TB // nil: it has the methods that cannot be implemented elsewhere
	name       string
	ctx        context.Context
	out        io.Writer

	mu       sync.Mutex
	failed   bool
	skipped  bool
	why      error  // the first error given to note
	reason   string // the first message of Error or Fatal
	last     string // what was logged last
	cleanups []func()
}

func (p *program) note(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.why == nil {
		p.why = err
	}
}

// caught turns a panic into a failure. It must be deferred directly, because it calls recover.
func (p *program) caught() {
	if r := recover(); r != nil {
		p.note(&verdict.Error{Verdict: verdict.Harness, Err: fmt.Errorf("the suite panicked: %v", r)})
		p.Fail()
	}
}

func (p *program) cleanUp() {
	p.mu.Lock()
	n := len(p.cleanups)
	if n == 0 {
		p.mu.Unlock()
		return
	}
	f := p.cleanups[n-1]
	p.cleanups = p.cleanups[:n-1]
	p.mu.Unlock()
	defer p.cleanUp() // also if f ends this goroutine
	defer p.caught()
	f()
}

func (p *program) log(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = strings.TrimRight(text, "\n")
	_, _ = fmt.Fprintln(p.out, p.last)
}

// wrong logs text and makes it a failure.
func (p *program) wrong(text string) {
	p.log(text)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failed, p.reason = true, cmp.Or(p.reason, text)
}

func (p *program) Helper()                  {}
func (p *program) Name() string             { return p.name }
func (p *program) Context() context.Context { return p.ctx }
func (p *program) Output() io.Writer        { return p.out }
func (p *program) Attr(key, value string)   { p.Logf("%s: %s", key, value) }

func (p *program) Cleanup(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cleanups = append(p.cleanups, f)
}

func (p *program) Fail() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failed = true
}

func (p *program) FailNow() {
	p.Fail()
	runtime.Goexit()
}

func (p *program) Failed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failed
}

func (p *program) Skipped() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.skipped
}

func (p *program) SkipNow() {
	p.mu.Lock()
	p.skipped = true
	p.mu.Unlock()
	runtime.Goexit()
}

func (p *program) Log(args ...any)                 { p.log(fmt.Sprintln(args...)) }
func (p *program) Logf(format string, args ...any) { p.log(fmt.Sprintf(format, args...)) }
func (p *program) Error(args ...any)               { p.wrong(fmt.Sprintln(args...)) }
func (p *program) Errorf(f string, args ...any)    { p.wrong(fmt.Sprintf(f, args...)) }
func (p *program) Fatal(args ...any)               { p.Error(args...); p.FailNow() }
func (p *program) Fatalf(f string, args ...any)    { p.Errorf(f, args...); p.FailNow() }
func (p *program) Skip(args ...any)                { p.Log(args...); p.SkipNow() }
func (p *program) Skipf(f string, args ...any)     { p.Logf(f, args...); p.SkipNow() }

// TempDir returns a new directory, which is removed after the suite.
func (p *program) TempDir() string {
	dir, err := os.MkdirTemp("", "suite-")
	if err != nil {
		p.note(verdict.Classify("temporary directory", err))
		p.Fatal(err)
	}
	p.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// ArtifactDir returns a directory that is removed after the suite. Evidence that a suite wants to
// keep belongs in the lane's directory.
func (p *program) ArtifactDir() string { return p.TempDir() }
