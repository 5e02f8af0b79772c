package harness_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/internal/lanetest"
)

func TestABeatThatFailsFailsItsTestAndTheVerdictSaysSo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	said := lanetest.Failing(t, func(tb testing.TB) {
		lane := harness.Up(tb, harness.Config{Dir: dir})
		_ = lane.Beat(lane.Context(), "stumble", func(context.Context) error { return errors.New("a stone") })
	})
	require.Len(t, said, 1)
	require.Contains(t, said[0], "beat stumble: a stone")
	r := readVerdict(t, dir)
	require.False(t, r.OK)
	require.Equal(t, t.Name(), r.Test)
	require.Contains(t, r.Reason, "beat stumble: a stone")
}
