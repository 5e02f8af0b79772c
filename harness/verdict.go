package harness

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/serial"
)

// VerdictFile is the verdict's name in a lane's directory.
const VerdictFile = "verdict.json"

// A VerdictReport is verdict.json: how a lane ended, for programs.
type VerdictReport struct {
	// OK tells that nothing failed: the lane was closed and its test, if it had
	// one, passed.
	OK bool `json:"ok"`
	// Verdict says whose fault it is if not; empty for a test that failed in an
	// assertion of its own.
	Verdict Verdict `json:"verdict,omitempty"`
	Reason  string  `json:"reason,omitempty"`
	Test    string  `json:"test,omitempty"`
	Name    string  `json:"name"`
	Fixture string  `json:"fixture,omitempty"`
	Accel   string  `json:"accel"`
	Warm    bool    `json:"warm"`
	ReadyMS int64   `json:"ready_ms"`
	// UpMS is how long the lane lived, in milliseconds.
	UpMS int64  `json:"up_ms"`
	Dir  string `json:"dir"`
}

// A testNote is what a lane knows of its test.
type testNote struct {
	name   string
	failed bool
}

// writeVerdict notes how the lane ended: by itself, with err, or because it was
// closed.
func (l *Lane) writeVerdict(err error) {
	s := l.State()
	l.mu.Lock()
	test := l.test
	l.mu.Unlock()
	r := VerdictReport{
		OK: err == nil && !test.failed, Test: test.name, Name: s.Name, Fixture: s.Fixture, Accel: s.Accel, Warm: s.Warm, ReadyMS: s.ReadyMS,
		UpMS: l.log.Since().Milliseconds(), Dir: l.dir,
	}
	switch {
	case err != nil:
		r.Verdict, r.Reason = VerdictOf(err), err.Error()
	case test.failed:
		r.Reason = "an assertion of the test failed"
	}
	b, merr := json.MarshalIndent(r, "", "  ")
	if merr == nil {
		merr = writeFileAtomic(filepath.Join(l.dir, VerdictFile), append(b, '\n'), 0o644)
	}
	if merr != nil {
		l.cfg.log().Error("cannot write the verdict", "err", merr)
	}
}

// EnvKeep says which lanes of tests stay up after their test: "failed".
const EnvKeep = "SPICELANE_KEEP"

// keepFailed tells whether the lane of a failed test is to stay up.
func keepFailed() bool { return os.Getenv(EnvKeep) == "failed" }

// reason prefers what the guest itself said of its failure to everything that
// followed from it.
func (l *Lane) reason(err error) error {
	if l.failures == nil {
		return err
	}
	select {
	case <-l.failures.failed:
		return classify("", l.failures.err)
	default:
		return err
	}
}

// judgeWait adds to a wait that ended in vain what the host did meanwhile, and
// blames the host if it did not let the guest run.
func (l *Lane) judgeWait(began time.Time, err error) error {
	var (
		f      *Fault
		await  *AwaitError
		boot   *qemu.BootError
		saw    *serial.AwaitError
		waited = errors.As(err, &await) || errors.As(err, &boot) || errors.As(err, &saw)
	)
	if !waited || l.watchdog == nil || l.machine().Err() != nil || !errors.As(err, &f) || f.Verdict != Product {
		return err
	}
	p := l.watchdog.since(began)
	g := *f
	g.Hint = p.String()
	if p.Stalled() {
		g.Verdict = Host
	}
	return &g
}
