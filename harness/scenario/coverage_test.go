package scenario_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/coverage"
	"github.com/spicelane/spicelane/harness/internal/lanetest"
	"github.com/spicelane/spicelane/harness/scenario"
	"github.com/spicelane/spicelane/spice"
)

// A lane whose QEMU is on a unix socket carries bitmaps. Everything else that is required is
// missing.
func TestALaneThatDidNotCarryWhatIsDemandedFails(t *testing.T) {
	lanetest.AtLength(t)
	lanetest.AtOnce(t)
	harness.RequireHost(t)
	dir := t.ArtifactDir()
	said := lanetest.Failing(t, func(tb testing.TB) {
		lane := harness.Up(tb, harness.Config{Dir: dir})
		scenario.Surfaces(tb, lane)
		scenario.Covers(coverage.Demand{Kind: "operation", Name: "draw_copy", Count: 5}, coverage.Demand{Kind: "image", Name: "bitmap"}).Run(tb, lane)
		scenario.Covers(append(scenario.Codecs("quic"), coverage.Demand{Kind: "message", Name: "server display.draw_rop3", Count: 2})...).Run(tb, lane)
	})
	require.Equal(t, []string{"product fault: coverage: missing image quic (0 of 3), message server display.draw_rop3 (0 of 2)"}, said)

	// When the lane has ended, the timeline has what was carried.
	rows, err := coverage.OfLane(dir)
	require.NoError(t, err)
	require.NoError(t, coverage.Check(rows, coverage.Demand{Kind: "operation", Name: "draw_copy", Count: 5},
		coverage.Demand{Kind: "message", Name: "client display.init"}))
	require.Error(t, coverage.Check(rows, coverage.Demand{Kind: "image", Name: "quic"}))
	require.Contains(t, harness.Carried(), "draw_copy ")
}

func TestWhatTheClientDidNotReceiveOfTheNativeSceneIsNamed(t *testing.T) {
	t.Parallel()
	var complete spice.Coverage
	for _, d := range scenario.NativeDemands {
		complete = append(complete, spice.CoverageRow{Kind: d.Kind, Name: d.Name, Count: d.Count})
	}
	require.NoError(t, coverage.Check(complete, scenario.NativeDemands...))
	known := spice.CoverageOf()
	for i, d := range scenario.NativeDemands {
		complete[i].Count--
		err := coverage.Check(complete, scenario.NativeDemands...)
		require.EqualError(t, err, fmt.Sprintf("coverage: missing %s %s (%d of %d)", d.Kind, d.Name, d.Count-1, d.Count))
		complete[i].Count++
		modelled := false
		for _, row := range known {
			modelled = modelled || row.Kind == d.Kind && row.Name == d.Name
		}
		require.True(t, modelled, "%s %s is nothing that a client counts", d.Kind, d.Name)
	}
}
