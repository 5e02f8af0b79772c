// Package ownguest tests a console with a guest image of one's own: guest.yaml
// says what it is, and this is all that the harness has to know.
package ownguest_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness"
)

func TestKeysReachTheGuestInOrder(t *testing.T) {
	lane := harness.Up(t, harness.Config{Fixture: "guest.yaml"})
	ctx := lane.Context()

	for _, key := range []string{"s", "p", "i", "c", "e"} {
		require.NoError(t, lane.Press(ctx, key))
		_, err := lane.AwaitSerial(ctx, "key "+key)
		require.NoError(t, err)
	}
	// The screen that went through the proxy is the one that QEMU has.
	require.NoError(t, lane.AwaitScreensMatch(ctx))
}
