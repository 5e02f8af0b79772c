// Package lanetest has what the tests with lanes of several packages share.
package lanetest

import (
	"runtime"
	"testing"

	"github.com/spicelane/spicelane/internal/race"
)

// AtOnce is t.Parallel for tests with a lane. Under the race detector a lane
// takes nearly a whole processor, and lanes that starve miss what they should see.
func AtOnce(t *testing.T) {
	t.Helper()
	t.Parallel()
	if race.Enabled {
		slots <- struct{}{}
		t.Cleanup(func() { <-slots })
	}
}

var slots = make(chan struct{}, max(2, runtime.GOMAXPROCS(0)-1))

// AtLength keeps a test out of the canary.
func AtLength(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("-short runs the canary only")
	}
}
