package lanetest

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Failing runs f and its cleanups as a test within a test, which may fail. It returns the messages
// of the failure; none if f passed. Log output goes to t's log. If f skips, Failing skips t.
func Failing(t *testing.T, f func(tb testing.TB)) (said []string) {
	t.Helper()
	inner := &failing{TB: t}
	inner.run(func() { f(inner) })
	for c := inner.lastCleanup(); c != nil; c = inner.lastCleanup() {
		inner.run(c)
	}
	inner.mu.Lock()
	defer inner.mu.Unlock()
	if inner.skipped && !inner.failed {
		t.SkipNow()
	}
	if inner.failed && len(inner.said) == 0 {
		return []string{"it failed without a word"}
	}
	return inner.said
}

// failing is the testing.TB of a test within a test.
type failing struct {
	testing.TB

	mu       sync.Mutex
	failed   bool
	skipped  bool
	said     []string
	cleanups []func()
}

// run calls f on a new goroutine, which FailNow may end.
func (f *failing) run(do func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	<-done
}

func (f *failing) lastCleanup() func() {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := len(f.cleanups)
	if n == 0 {
		return nil
	}
	last := f.cleanups[n-1]
	f.cleanups = slices.Delete(f.cleanups, n-1, n)
	return last
}

func (f *failing) Cleanup(c func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cleanups = append(f.cleanups, c)
}

func (f *failing) fail(text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failed = true
	if text != "" {
		f.said = append(f.said, strings.TrimRight(text, "\n"))
	}
}

func (f *failing) Failed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failed
}

func (f *failing) Skip(args ...any)                 { f.skip(fmt.Sprintln(args...)) }
func (f *failing) Skipf(format string, args ...any) { f.skip(fmt.Sprintf(format, args...)) }
func (f *failing) SkipNow()                         { f.skip("") }

func (f *failing) skip(text string) {
	f.TB.Helper()
	if text != "" {
		f.TB.Log(strings.TrimRight(text, "\n"))
	}
	f.mu.Lock()
	f.skipped = true
	f.mu.Unlock()
	runtime.Goexit()
}

func (f *failing) Fail()                             { f.fail("") }
func (f *failing) Error(args ...any)                 { f.fail(fmt.Sprintln(args...)) }
func (f *failing) Errorf(format string, args ...any) { f.fail(fmt.Sprintf(format, args...)) }
func (f *failing) FailNow()                          { f.fail(""); runtime.Goexit() }
func (f *failing) Fatal(args ...any)                 { f.fail(fmt.Sprintln(args...)); runtime.Goexit() }
func (f *failing) Fatalf(format string, args ...any) {
	f.fail(fmt.Sprintf(format, args...))
	runtime.Goexit()
}
