package lanetest

import (
	"testing"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/headless"
	"github.com/spicelane/spicelane/spice/control"
)

// Control returns the driver of the lane's client. If the lane has none, it fails the test.
func Control(tb testing.TB, lane *harness.Lane) *control.Driver {
	tb.Helper()
	d, err := lane.Control()
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

// Proxy returns the lane's built-in proxy. If the lane has none inside this process, it fails the
// test.
func Proxy(tb testing.TB, lane *harness.Lane) *headless.Proxy {
	tb.Helper()
	p, err := lane.Proxy()
	if err != nil {
		tb.Fatal(err)
	}
	return p
}
