package scenario_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/impair"
	"github.com/spicelane/spicelane/harness/internal/lanetest"
	"github.com/spicelane/spicelane/harness/scenario"
)

// The limit is longer than the 15 s in which spice-server pings the display, and in which our
// client probes each connection.
const idleLimit = 20 * time.Second

// Timeline: a key arrives; nothing is pressed for 25 s; a firewall forgets connections that are
// silent for 20 s; a key arrives.
func TestAKeyArrivesAfterASilenceThatAFirewallDoesNotForgive(t *testing.T) {
	lanetest.AtLength(t)
	lanetest.AtOnce(t)
	lane := harness.Up(t, harness.Config{Link: &impair.Profile{}})
	scenario.Run(t, lane, scenario.Suite{Name: "idle", Run: scenario.Idle(scenario.MiddleBox{Limit: idleLimit})})
}

// The same silence, and a box that ignores TCP keepalive: the picture stays alive.
func TestAKeyboardThatALoadBalancerHasForgottenIsNoticed(t *testing.T) {
	lanetest.AtLength(t)
	lanetest.AtOnce(t)
	said := idleFails(t, scenario.MiddleBox{Limit: idleLimit, DataOnly: true})
	require.Regexp(t, `^product fault: idle: the keyboard is dead: a middle box forgot inputs:0 after 20(\.\d)?s without data `+
		`\(forgotten: cursor:0, inputs:0(, main:0)?\): .*; TCP keepalive does not help against a box that ends TCP`, said)
}

// A firewall forgets connections faster than either end probes.
func TestAKeepaliveThatIsSlowerThanAFirewallForgetsIsNoticed(t *testing.T) {
	lanetest.AtLength(t)
	lanetest.AtOnce(t)
	said := idleFails(t, scenario.MiddleBox{Limit: 2 * time.Second})
	require.Regexp(t, `^product fault: idle: the keyboard is dead: a middle box forgot inputs:0 after 2(\.\d)?s without a segment `+
		`\(forgotten: .*inputs:0.*\): .*; let client or proxy send TCP keepalive probes more often than every 2s`, said)
}

func idleFails(t *testing.T, box scenario.MiddleBox) string {
	t.Helper()
	said := lanetest.Failing(t, func(tb testing.TB) {
		scenario.Idle(box)(tb, harness.Up(tb, harness.Config{Link: &impair.Profile{}}))
	})
	require.NotEmpty(t, said, "the key arrived")
	return said[0]
}
