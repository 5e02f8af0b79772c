package bench_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/bench"
	"github.com/spicelane/spicelane/harness/verdict"
)

// What is measured needs machines: cmd/spicelane/testdata/lane-bench.txt.

// TestMain does not call headless.Main: that is what a test here is about.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAMeasurementInAProgramThatPlaysNoPartsSaysWhatToCall(t *testing.T) {
	_, err := bench.Run(t.Context(), bench.Config{})
	require.EqualError(t, err, "Config.Processes: this program cannot be started once more as a proxy or client; "+
		"call headless.Main first thing in main or TestMain")
	require.Equal(t, verdict.Harness, verdict.Of(err))
}

func TestAMeasurementThatCannotBeMadeSaysSo(t *testing.T) {
	for name, cfg := range map[string]bench.Config{
		"no client": {Lane: harness.Config{Client: harness.None}},
		"minus one": {Rounds: -1},
	} {
		_, err := bench.Run(t.Context(), cfg)
		require.Error(t, err, name)
		require.Equal(t, verdict.Harness, verdict.Of(err), name)
	}
}
