package scenario_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/internal/lanetest"
	"github.com/spicelane/spicelane/harness/scenario"
)

func TestALaneWithoutAGuestRunsTheSuitesThatLookAtPicturesAndFailsTheOthers(t *testing.T) {
	t.Parallel()
	harness.RequireHost(t)
	if _, err := harness.TruthHelper(t.Context()); err != nil {
		harness.SkipOrFail(t, err.Error())
	}
	lane := harness.Up(t, harness.Config{Server: harness.ServerTruth})
	scenario.Run(t, lane)
	said := lanetest.Failing(t, func(tb testing.TB) { scenario.Boot(tb, lane) })
	require.Equal(t, []string{"harness fault: this suite needs a guest, and the lane has none; see Config.Server"}, said)
}

func TestTheSuitesOfALaneWithARunningServerLeaveOutItsOwnPicture(t *testing.T) {
	t.Parallel()
	harness.RequireHost(t)
	if _, err := harness.TruthHelper(t.Context()); err != nil {
		harness.SkipOrFail(t, err.Error())
	}
	server := harness.Up(t, harness.Config{Server: harness.ServerTruth, Proxy: harness.None, Client: harness.None})
	scenario.Run(t, harness.Up(t, harness.Config{Server: server.State().SPICE.Addr, ServerTicket: server.DirectVV().Password}))
}
