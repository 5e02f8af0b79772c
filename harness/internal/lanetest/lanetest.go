// Package lanetest has helpers that the tests with lanes of several packages share.
package lanetest

import (
	"runtime"
	"testing"

	"github.com/spicelane/spicelane/internal/race"
)

// AtOnce is t.Parallel for tests with a lane. With the race detector it limits how many run at
// once: a lane then needs nearly a whole processor, and lanes without enough time miss what they
// should see.
func AtOnce(t *testing.T) {
	t.Helper()
	t.Parallel()
	if race.Enabled {
		slots <- struct{}{}
		t.Cleanup(func() { <-slots })
	}
}

var slots = make(chan struct{}, max(2, runtime.GOMAXPROCS(0)-1))

// AtLength skips a test with -short, which runs only the canary.
func AtLength(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("-short runs the canary only")
	}
}
