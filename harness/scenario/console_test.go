package scenario_test

import (
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/internal/lanetest"
	"github.com/spicelane/spicelane/harness/scenario"
	"github.com/spicelane/spicelane/harness/screen"
)

// The guest's terminal is made to turn capital letters into small ones on their way in.
func TestReadBackFailsIfTheGuestGetsOtherCharactersThanWereTyped(t *testing.T) {
	lanetest.AtOnce(t)
	lane := harness.Up(t, harness.Config{Fixture: "linux", Display: "virtio"})
	_, err := lane.TypeInto(lane.Context(), "linux# ", "clear; stty iuclc; echo lower case only\n")
	require.NoError(t, err)
	_, err = lane.AwaitTextMatch(lane.Context(), screen.TextQuery{Pattern: regexp.MustCompile(`^lower case only$`)})
	require.NoError(t, err)
	said := lanetest.Failing(t, func(tb testing.TB) { scenario.ReadBackOf(tb, lane, time.Second/2, "AB") })
	require.Len(t, said, 1)
	require.Contains(t, said[0], `after "AB" was typed into "linux# "`)
	require.Contains(t, said[0], `\nlinux# ab`)
}
