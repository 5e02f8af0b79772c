package bench_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/bench"
	"github.com/spicelane/spicelane/harness/verdict"
)

// The measurements themselves need machines: cmd/spicelane/testdata/lane-bench.txt.

// TestMain does not call headless.Main: a test here is about that.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAMeasurementInAProgramThatPlaysNoPartsSaysWhatToCall(t *testing.T) {
	_, err := bench.Run(t.Context(), bench.Config{})
	require.EqualError(t, err, "Config.Processes: this program cannot be started once more as a proxy or client; "+
		"call headless.Main first thing in main or TestMain")
	require.Equal(t, verdict.Harness, verdict.Of(err))
}

func TestALaneWithoutAMachineIsNotMeasured(t *testing.T) {
	_, err := bench.Run(t.Context(), bench.Config{Lane: harness.Config{Server: harness.ServerTruth}})
	require.EqualError(t, err, "bench: it measures how machines start, and a lane whose server is truth has none")
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

func TestTheMediansAreMeasurementsOfAPlansStep(t *testing.T) {
	at := func(ms float64) bench.Times { return bench.Times{N: 3, Min: 1, P50: ms, Max: 9999} }
	overhead := at(-2.5)
	r := bench.Report{
		Cold:     bench.Starts{Banner: at(4843), Picture: at(5098.5), Digest: at(5099), Down: at(39), CPU: at(130)},
		Overhead: &overhead,
		Pace:     []bench.Pace{{Parallel: 1, PerMinute: 10.6}, {Warm: true, Parallel: 2, PerMinute: 126}},
		Memory:   []bench.Memory{{Warm: true, QEMURSS: 1000, QEMUPSS: 117, ProxyPSS: 8, ClientPSS: 20.5}},
	}
	var b strings.Builder
	require.NoError(t, r.WriteMeasurements(&b))
	require.Equal(t, `cold/banner 4843 ms lower
cold/picture 5098.5 ms lower
cold/digest 5099 ms lower
cold/down 39 ms lower
cold/cpu 130 ms lower
overhead -2.5 ms lower
cold/pace-of-1 10.6 lanes/min higher
warm/pace-of-2 126 lanes/min higher
warm/memory 145.5 MiB lower
`, b.String(), "what was not measured is not there")
}
