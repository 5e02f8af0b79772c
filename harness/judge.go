package harness

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spicelane/spicelane/harness/host"
	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/internal/atomicfile"
)

// A testNote is what a lane knows about its test.
type testNote struct {
	name   string
	failed bool
	why    error // the first error given to NoteFailure
}

// NoteFailure records why the lane's test is about to fail: verdict.json then has the verdict, hop
// and reason of err. Of several errors the first counts. The suites of harness/scenario call it. A
// lane of Start, which has no test, has failed once a failure is noted.
func (l *Lane) NoteFailure(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.test.why == nil {
		l.test.why = err
	}
	if l.cfg.test == "" {
		l.test.failed = true
	}
}

// writeVerdict records how the lane ended: by itself, with err, or because it was closed.
func (l *Lane) writeVerdict(err error) { l.writeVerdictOf(l.State(), err) }

// writeVerdictOf does what writeVerdict does, for a lane in state s.
func (l *Lane) writeVerdictOf(s registry.State, err error) {
	l.mu.Lock()
	test := l.test
	l.mu.Unlock()
	r := verdict.Report{
		OK: err == nil && !test.failed, Test: test.name, Name: s.Name, Fixture: s.Fixture, Accel: s.Accel, Warm: s.Warm, ReadyMS: s.ReadyMS,
		UpMS: l.log.Since().Milliseconds(), Dir: l.dir,
		State: s.State, EndedBy: s.EndedBy, Carried: l.covered,
	}
	switch {
	case err != nil:
		r.Verdict, r.Hop, r.Reason = verdict.Of(err), verdict.HopOf(err), err.Error()
	case test.failed && test.why != nil:
		r.Verdict, r.Hop, r.Reason = verdict.Of(test.why), verdict.HopOf(test.why), test.why.Error()
	case test.failed:
		r.Reason = "an assertion of the test failed"
	case s.EndedBy == registry.EndedByGuest:
		r.Reason = s.Reason
	}
	l.mu.Lock()
	if l.judged != nil {
		r.UpMS = l.judged.UpMS // it has ended before
	}
	l.judged = &r
	l.mu.Unlock()
	l.leaveVerdict(&r)
}

// failure returns why a lane that has ended by itself has failed. A guest that switches itself off
// has failed only if its test has failed. Then the test may know more about the reason.
func (l *Lane) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case !switchedOff(l.err):
		return l.err
	case !l.test.failed:
		return nil
	case l.test.why != nil:
		return l.test.why
	}
	return l.err
}

// judgeSwitchedOff records, when the lane is closed, whether a guest that has switched itself off has
// failed.
func (l *Lane) judgeSwitchedOff(failure error) {
	l.setState(func(s *registry.State) {
		s.Verdict, s.Hop = "", ""
		if failure != nil {
			s.Verdict, s.Hop = verdict.Of(failure), verdict.HopOf(failure)
		}
	})
	if failure != nil {
		l.log.Add("verdict", map[string]any{"verdict": verdict.Of(failure), "reason": failure.Error()})
	}
	l.writeVerdict(failure)
}

// hasFailed tells whether the lane or its test has failed.
func (l *Lane) hasFailed() bool {
	err := l.failure()
	l.mu.Lock()
	defer l.mu.Unlock()
	return err != nil || l.test.failed
}

// failLate records that the test of a lane that has ended fails with err. If it had failed before, the
// first reason stays.
func (l *Lane) failLate(err error) {
	if l.hasFailed() {
		return
	}
	l.NoteFailure(err)
	l.mu.Lock()
	l.test.failed = true
	l.mu.Unlock()
	l.writeVerdict(nil)
}

// addCarried adds what the client was sent to the verdict of a lane that has ended by itself. That
// is known only after the client has ended, too.
func (l *Lane) addCarried() {
	l.mu.Lock()
	r := l.judged
	l.mu.Unlock()
	if r == nil || len(l.covered) == 0 {
		return
	}
	more := *r
	more.Carried = l.covered
	l.leaveVerdict(&more)
}

// leaveVerdict writes the verdict file.
func (l *Lane) leaveVerdict(r *verdict.Report) {
	b, err := json.MarshalIndent(r, "", "  ")
	if err == nil {
		err = atomicfile.Write(filepath.Join(l.dir, verdict.File), append(b, '\n'), 0o644)
	}
	if err != nil {
		l.cfg.log().Error("cannot write the verdict", "err", err)
	}
}

// EnvKeep says which lanes of tests stay up after their test: "failed".
const EnvKeep = host.EnvKeep

// keepFailed tells whether the lane of a failed test should stay up.
func keepFailed() bool { return os.Getenv(EnvKeep) == "failed" }

// reason returns the root cause of err, if that is known: a failure that the guest itself reported,
// or a message that the proxy changed.
func (l *Lane) reason(err error) error {
	if l.failures != nil && isClosed(l.failures.failed) {
		return verdict.Classify("", l.failures.err)
	}
	if changed := l.witness.err(); changed != nil {
		return changed
	}
	return err
}

// judgeWait annotates err, the error of a wait since began, with what the host did meanwhile. It
// blames the host if the host did not let the guest run.
func (l *Lane) judgeWait(began time.Time, err error) (judged error) {
	defer func() { l.noteWait(began, judged) }()
	err = givenUp(err)
	if m := l.machine(); m == nil || m.Err() != nil {
		return err
	}
	return l.noteSoft(began, l.watchdog.Explain(began, err))
}

// givenUp returns err, the error of a wait, without its blame if its caller has cancelled the wait: then
// it says nothing that the awaited did not come.
func givenUp(err error) error {
	var e *verdict.Error
	var wait interface{ Awaited() string }
	if !errors.Is(err, context.Canceled) || !errors.As(err, &wait) || !errors.As(err, &e) || e.Verdict != verdict.Product {
		return err
	}
	given := *e
	given.Verdict, given.Hop = verdict.Harness, ""
	return &given
}

// noteSoft adds soft failures that the guest printed during a wait.
func (l *Lane) noteSoft(began time.Time, err error) error {
	var known *verdict.Error
	said := ""
	if l.failures != nil {
		said = l.failures.softSince(began)
	}
	if said == "" || !errors.As(err, &known) {
		return err
	}
	noted := *known
	noted.Hint = strings.TrimPrefix(noted.Hint+"; "+said, "; ")
	return &noted
}
