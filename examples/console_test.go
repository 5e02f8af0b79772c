// Package console shows how tests of another module use the harness: with
// harness.Up, which ties a lane to a test, and with harness.Start, which knows
// nothing about tests.
//
//	go test -v .                      # skips, with the reason, if no lane can run here
//	SPICELANE_LANES=require go test . # fails instead
package console_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/fixtures/digest"
	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/verdict"
)

// The zero Config boots Beacon behind the built-in proxy. Beacon's digest, a QR
// code on its screen, shows what input it received.
func TestAKeyReachesTheGuestAndTheScreenIsRight(t *testing.T) {
	t.Parallel()
	lane := harness.Up(t, harness.Config{})
	ctx := lane.Context()

	require.NoError(t, lane.Press(ctx, "x"))
	_, err := lane.AwaitDigest(ctx, "a press of x", func(d harness.Digest) bool {
		for _, e := range d.Events {
			if k, ok := e.(digest.Keypress); ok && rune(k.Unicode) == 'x' {
				return true
			}
		}
		return false
	})
	require.NoError(t, err)

	// A beat is a step of a scenario. The timeline notes it, with a picture.
	require.NoError(t, lane.Beat(ctx, "compare", lane.AwaitScreensMatch))
}

// A field of the Config selects the display device, another one the compression.
func TestThePictureIsRightOnEveryDisplay(t *testing.T) {
	for _, display := range []qemu.Display{"qxl", "std"} {
		t.Run(string(display), func(t *testing.T) {
			t.Parallel()
			lane := harness.Up(t, harness.Config{Display: display, Compression: "quic"})
			require.NoError(t, lane.AwaitScreensMatch(lane.Context()))
		})
	}
}

// Start is for programs that are not tests, and for tests that decide themselves what
// a failure of the lane means.
func TestALaneWhoseGuestDiesSaysWhoseFaultItWas(t *testing.T) {
	t.Parallel()
	harness.RequireHost(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	lane, err := harness.Start(ctx, harness.Config{Dir: t.ArtifactDir()})
	require.NoError(t, err)
	defer lane.Close()

	lane.Machine().Kill()
	select {
	case <-lane.Done():
	case <-ctx.Done():
		t.Fatal("the lane goes on without its guest")
	}
	require.Error(t, lane.Err())
	require.Equal(t, registry.StateFailed, lane.State().State)
	require.NotEmpty(t, verdict.Of(lane.Err()))
}
