package harness_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness"
)

// failing is a test within a test, which may fail.
type failing struct {
	testing.TB
	errors   []string
	cleanups []func()
}

func (f *failing) Cleanup(c func()) { f.cleanups = append(f.cleanups, c) }
func (f *failing) Failed() bool     { return len(f.errors) > 0 }
func (f *failing) Errorf(format string, args ...any) {
	f.errors = append(f.errors, fmt.Sprintf(format, args...))
}

func (f *failing) end() {
	for _, c := range slices.Backward(f.cleanups) {
		c()
	}
	f.cleanups = nil
}

func TestABeatThatFailsFailsItsTestAndTheVerdictSaysSo(t *testing.T) {
	t.Parallel()
	inner := &failing{TB: t}
	defer inner.end() // does nothing if it has been called
	lane := harness.Up(inner, harness.Config{})
	_ = lane.Beat(lane.Context(), "stumble", func(context.Context) error { return errors.New("a stone") })
	inner.end()
	require.Len(t, inner.errors, 1)
	require.Contains(t, inner.errors[0], "beat stumble: a stone")
	r := readVerdict(t, lane.Dir())
	require.False(t, r.OK)
	require.Equal(t, t.Name(), r.Test)
}
