package scenario_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/internal/lanetest"
	"github.com/spicelane/spicelane/harness/scenario"
	"github.com/spicelane/spicelane/spice/proxy"
)

// With spice-server in its mode for several clients, and in its default mode.
func TestASecondViewerGetsWhatThePolicySays(t *testing.T) {
	lanetest.AtLength(t)
	for _, policy := range []proxy.Takeover{proxy.TakeoverShare, proxy.TakeoverRefuse, proxy.TakeoverReplace} {
		for _, single := range []bool{false, true} {
			name := string(policy) + "/several clients"
			if single {
				name = string(policy) + "/one client"
			}
			t.Run(name, func(t *testing.T) {
				lanetest.AtOnce(t)
				lane := harness.Up(t, harness.Config{Takeover: policy, SingleClient: single})
				scenario.Run(t, lane, scenario.Suite{Name: "takeover", Run: scenario.Takeover(policy)})
			})
		}
	}
}

// Each policy is tested against a proxy with another one.
func TestASecondViewerWhoGetsSomethingElseIsNoticed(t *testing.T) {
	lanetest.AtLength(t)
	for _, tt := range []struct {
		has, want proxy.Takeover
		said      string
	}{
		{proxy.TakeoverShare, proxy.TakeoverRefuse, "product fault: the second viewer was answered <nil>, want channel_not_available"},
		{proxy.TakeoverRefuse, proxy.TakeoverReplace, "product fault: another viewer: "},
		{proxy.TakeoverReplace, proxy.TakeoverShare, "product fault: a key of another client: "},
		{proxy.TakeoverShare, proxy.TakeoverReplace, "s QEMU used "}, // the host is looked at
	} {
		t.Run(string(tt.has)+" instead of "+string(tt.want), func(t *testing.T) {
			lanetest.AtOnce(t)
			said := lanetest.Failing(t, func(tb testing.TB) {
				scenario.Takeover(tt.want)(tb, harness.Up(tb, harness.Config{Takeover: tt.has}))
			})
			require.Contains(t, strings.Join(said, "\n"), tt.said)
		})
	}
}

// Neither suite is about the policy; both connect more clients.
func TestSuitesDoNotEndTheClientOfALaneForASingleOne(t *testing.T) {
	lanetest.AtLength(t)
	for name, cfg := range map[string]harness.Config{
		"one client": {SingleClient: true},
		"refuse":     {Takeover: proxy.TakeoverRefuse},
		"replace":    {Takeover: proxy.TakeoverReplace},
	} {
		t.Run(name, func(t *testing.T) {
			lanetest.AtOnce(t)
			scenario.Run(t, harness.Up(t, cfg), scenario.Suites("tone", "reconnect")...)
		})
	}
}
