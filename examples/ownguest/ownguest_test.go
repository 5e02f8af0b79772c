// Package ownguest tests a console with its own guest image. The file guest.yaml
// describes the image, and the harness needs to know no more.
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
	// The picture that came through the proxy equals QEMU's own.
	require.NoError(t, lane.AwaitScreensMatch(ctx))
}
