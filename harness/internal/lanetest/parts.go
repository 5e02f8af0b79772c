package lanetest

import (
	"testing"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/headless"
	"github.com/spicelane/spicelane/spice/control"
)

// Control returns the driver of the lane's client. It fails the test of a lane without one.
func Control(tb testing.TB, lane *harness.Lane) *control.Driver {
	tb.Helper()
	d, err := lane.Control()
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

// Proxy returns the lane's own proxy. It fails the test of a lane without one inside this process.
func Proxy(tb testing.TB, lane *harness.Lane) *headless.Proxy {
	tb.Helper()
	p, err := lane.Proxy()
	if err != nil {
		tb.Fatal(err)
	}
	return p
}
