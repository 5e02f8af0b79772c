package harness

import (
	"os"
	"testing"

	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/internal/need"
)

// RequireHost skips the test with the reason on a host that cannot run a lane,
// or fails it if SPICELANE_LANES=require. Up calls it.
func RequireHost(tb testing.TB) {
	tb.Helper()
	switch d := qemu.Gate(tb.Context(), os.Getenv); d.Action {
	case qemu.Skip:
		tb.Skip(d.Reason)
	case qemu.Fail:
		tb.Fatalf("%s fault: %s", verdict.Of(verdict.Classify("", d.Err)), d.Reason)
	}
}

// SkipOrFail skips the test with the reason, or fails it if SPICELANE_LANES=require. It is for
// tests that need a program besides QEMU.
func SkipOrFail(tb testing.TB, reason string) {
	tb.Helper()
	need.OrSkip(tb, reason)
}
