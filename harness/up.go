package harness

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/timeline"
	"github.com/spicelane/spicelane/harness/verdict"
)

// teardownGrace is reserved twice at the end of a test's time: for the last pictures, and for
// ending the lane.
const teardownGrace = 5 * time.Second

// Up brings a lane up for a test and ends it with the test. It returns when the lane is ready, and
// fails the test if the lane does not get ready. On a host that cannot run a lane, it skips the
// test with the reason, or fails it if SPICELANE_LANES=require.
//
// If the test fails, Up logs what is known of the lane: the last serial lines, the last digest, the
// files of the last pictures, and QEMU's command line.
func Up(tb testing.TB, cfg Config) *Lane {
	tb.Helper()
	RequireHost(tb)
	ctx, cancel := laneContext(tb)
	if cfg.Name == "" {
		cfg.Name = laneName(tb.Name())
	}
	if cfg.Dir == "" {
		cfg.Dir = tb.ArtifactDir()
		if f := flag.Lookup("test.artifacts"); f != nil && f.Value.String() == "false" {
			cfg.soonGone = "go test removes this directory when the test ends; go test -artifacts keeps it\n"
		}
	}
	cfg.test = tb.Name()
	// Register the report before anything is started, because what follows may panic.
	var lane *Lane
	tb.Cleanup(func() {
		defer cancel(nil)
		if lane == nil {
			return
		}
		lane.mu.Lock()
		beatErr := lane.beatErr
		lane.mu.Unlock()
		if beatErr != nil && !tb.Failed() {
			lane.fail(tb, beatErr)
		}
		if !tb.Failed() {
			if err := lane.checkCounts(ctx); err != nil {
				lane.fail(tb, err)
			}
		}
		if !tb.Failed() {
			if err := lane.checkWitness(ctx); err != nil {
				lane.fail(tb, err)
			}
		}
		if tb.Failed() {
			lane.report(tb)
			if keepFailed() {
				lane.keep(ctx, "failed")
			}
		}
		lane.mu.Lock()
		lane.test.name, lane.test.failed = tb.Name(), tb.Failed()
		lane.mu.Unlock()
		if err := lane.Close(); err != nil {
			lane.failLate(fmt.Errorf("the lane did not end well: %w", err))
			tb.Errorf("%s fault: the lane did not end well: %v", verdict.Of(err), err)
		}
		if err := lane.searchSecrets(); err != nil {
			lane.failLate(err)
			tb.Errorf("%s fault: %v", verdict.Of(err), err)
		}
	})
	cfg = noteRunning(cfg)
	cfg.leaked = func(err error) { tb.Errorf("%s fault: %v", verdict.Of(err), err) }
	cfg.changedScreen = func(err error) { tb.Errorf("%s fault: %v", verdict.Of(err), err) }
	if keepFailed() {
		cfg.startFailed = func(l *Lane, err error) { l.keepStarted(ctx, err) }
	}
	lane, err := Start(ctx, cfg)
	if err != nil {
		var f *verdict.Error
		if errors.As(err, &f) {
			if d := f.Details(); d != "" {
				tb.Log(strings.TrimRight(d, "\n"))
			}
		}
		left := ""
		if _, serr := os.Stat(filepath.Join(cfg.Dir, timeline.File)); serr == nil {
			left = strings.TrimRight("\nwhat it left is in "+cfg.Dir+"\n"+cfg.soonGone, "\n")
		}
		tb.Fatalf("%s fault: %v%s", verdict.Of(err), err, left)
	}
	lane.ctx = ctx
	return lane
}

// fail fails a test with err, and records err for verdict.json.
func (l *Lane) fail(tb testing.TB, err error) {
	tb.Helper()
	l.NoteFailure(err)
	tb.Errorf("%s fault: %v", verdict.Of(err), err)
}

// laneContext returns a context that lives until the test's cleanup, and ends early enough for it
// if the test has a deadline. It is not tb.Context(), which ends before the cleanups: the lane
// would be gone before its last picture.
func laneContext(tb testing.TB) (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(tb.Context()))
	t, ok := tb.(interface{ Deadline() (time.Time, bool) })
	if !ok {
		return ctx, cancel
	}
	deadline, ok := t.Deadline()
	if !ok {
		return ctx, cancel
	}
	ctx = context.WithValue(ctx, deadlineName{}, fmt.Sprintf("go test -timeout, of which %v are kept for the lane's end,", 2*teardownGrace))
	ctx, stop := context.WithDeadlineCause(ctx, deadline.Add(-2*teardownGrace),
		&verdict.Error{Verdict: verdict.Harness, Err: fmt.Errorf("the test's time (go test -timeout) is up at %s", deadline.Format(time.TimeOnly))})
	return ctx, func(cause error) {
		stop()
		cancel(cause)
	}
}

// laneName makes a lane's name from a test's.
func laneName(test string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '_', r == '-':
			return r
		}
		return '-'
	}, test)
	if len(name) > registry.MaxName {
		name = name[len(name)-registry.MaxName:]
	}
	return strings.TrimLeft(name, "._-")
}

// reportLines is how many serial lines a failed test shows.
const reportLines = 15

// report logs what a person needs to understand a failure without running it again, and saves the
// last pictures.
func (l *Lane) report(tb testing.TB) {
	tb.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "lane %s, %s, up for %v; everything it left is in %s\n", l.cfg.name(), l.State().Accel, l.log.Since().Round(time.Millisecond), l.dir)
	b.WriteString(l.cfg.soonGone)
	if err := l.Err(); err != nil {
		fmt.Fprintf(&b, "it ended: %s fault: %v\n", verdict.Of(err), err)
	}
	if relay := l.startedRelay(); relay != nil {
		fmt.Fprintf(&b, "client side: %v, %s\n", relay.Profile(), relay.Shaped())
	}
	if l.driver != nil {
		ctx, cancel := context.WithTimeout(context.Background(), pictureGrace)
		if d, err := drive.ReadDigest(ctx, l.driver); err == nil {
			fmt.Fprintf(&b, "last digest: %s\n", drive.DescribeDigest(d))
		} else {
			fmt.Fprintf(&b, "last digest: none: %v\n", err)
		}
		cancel()
	}
	for _, p := range l.lastPictures() {
		fmt.Fprintf(&b, "last picture: %s\n", p)
	}
	if l.standIn != nil {
		tb.Log(b.String())
		l.log.Add("verdict", map[string]any{"verdict": "test failed", "test": tb.Name()})
		return
	}
	fmt.Fprintf(&b, "last serial lines:\n")
	for _, line := range l.Serial().Tail(reportLines) {
		fmt.Fprintf(&b, "\t%s\n", line)
	}
	if lines := l.machine().StderrTail(reportLines); len(lines) > 0 {
		fmt.Fprintf(&b, "QEMU's last lines:\n\t%s\n", strings.Join(lines, "\n\t"))
	}
	fmt.Fprintf(&b, "QEMU's command line:\n\t%s", qemu.CommandLine(l.machine().Argv()))
	tb.Log(b.String())
	l.log.Add("verdict", map[string]any{"verdict": "test failed", "test": tb.Name()})
}

// Context returns a context that lives as long as the lane's test; use it for all waits of the
// test. It ends a little before the test's deadline, so that a hanging wait is reported and the
// lane can be examined. For a lane of Start, it ends with the lane, and its cause is why the lane
// ended.
func (l *Lane) Context() context.Context { return l.ctx }

// keep leaves the lane of a failed test up until the test is interrupted, its time is over or QEMU
// ends. It prints how to inspect the lane, and why the test failed. It prints to standard error,
// because a test's own log is shown only after the test.
func (l *Lane) keep(ctx context.Context, why string) {
	if l.driver != nil {
		// The control socket serves one client at a time: leave it to the person who looks at the
		// lane.
		_ = l.driver.Close()
	}
	s := l.State()
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s %s; %s=failed leaves its lane up until Ctrl-C:\n", s.Name, why, EnvKeep)
	if s.ControlSocket != "" {
		fmt.Fprintf(&b, "\tspicelane smoke --socket %s\n", s.ControlSocket)
		fmt.Fprintf(&b, "\tspicelane screenshot --socket %s -o screen.png\n", s.ControlSocket)
	}
	if s.VV != "" {
		fmt.Fprintf(&b, "\tremote-viewer %s\n", s.VV)
	}
	if l.machine() != nil {
		fmt.Fprintf(&b, "\tsocat - UNIX-CONNECT:%s    # QMP\n", s.QMP)
		fmt.Fprintf(&b, "\ttail -f %s\n", s.SerialLog)
	}
	fmt.Fprintf(&b, "everything it left is in %s\n", l.dir)
	// Do it before printing: a reader may interrupt at once.
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	fmt.Fprint(os.Stderr, b.String())
	select {
	case <-ctx.Done():
	case <-l.backendDone():
		fmt.Fprintf(os.Stderr, "%s ended: %v\n", s.Name, l.backendErr())
	}
}

// keepStarted does what keep does, for a lane that did not come up. Without a machine there is
// nothing to inspect.
func (l *Lane) keepStarted(ctx context.Context, err error) {
	if l.machine() != nil && l.machine().Err() == nil {
		l.keep(ctx, fmt.Sprintf("did not come up: %s fault: %v", verdict.Of(err), err))
	}
}

// noteRunning returns cfg with a hook that registers each change of the lane's state, so that
// people can find lanes of tests.
func noteRunning(cfg Config) Config {
	next := cfg.OnState
	cfg.OnState = func(s registry.State) {
		registry.NoteTest(s)
		if next != nil {
			next(s)
		}
	}
	return cfg
}
