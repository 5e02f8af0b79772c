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

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAMeasurementThatCannotBeMadeSaysSo(t *testing.T) {
	for name, cfg := range map[string]bench.Config{
		"no executable": {},
		"no client":     {Executable: "/bin/true", Lane: harness.Config{Client: harness.None}},
		"minus one":     {Executable: "/bin/true", Rounds: -1},
	} {
		_, err := bench.Run(t.Context(), cfg)
		require.Error(t, err, name)
		require.Equal(t, verdict.Harness, verdict.Of(err), name)
	}
}
