package harness_test

import (
	"context"
	"image"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness"
)

// TestAScreendumpIsBelievedWhereItDisagreesWithTheDBusDisplay: QEMU does not tell its listeners
// about a new surface that has the size of the previous one, so their picture may be old. A
// screendump is never old. The truth server takes QEMU's place: its memory is what a screendump
// would show.
func TestAScreendumpIsBelievedWhereItDisagreesWithTheDBusDisplay(t *testing.T) {
	t.Parallel()
	truthHost(t)
	lane := harness.Up(t, harness.Config{Server: harness.ServerTruth})
	right, err := lane.Screendump(t.Context())
	require.NoError(t, err)
	wrong := image.NewNRGBA(right.Rect)
	copy(wrong.Pix, right.Pix)
	wrong.Pix[0] ^= 1
	const differs = "the D-Bus display shows something else"

	diff, err := harness.Arbitrate(t.Context(), lane, right, true, differs)
	require.NoError(t, err)
	require.Empty(t, diff, "the client shows what a screendump shows: the D-Bus display is old")

	diff, err = harness.Arbitrate(t.Context(), lane, wrong, true, differs)
	require.NoError(t, err)
	require.Equal(t, differs, diff, "the client shows neither")

	diff, err = harness.Arbitrate(t.Context(), lane, right, false, differs)
	require.NoError(t, err)
	require.Equal(t, differs, diff, "that was a screendump's picture already")

	diff, err = harness.Arbitrate(t.Context(), lane, nil, true, "the client has no surface")
	require.NoError(t, err)
	require.Equal(t, "the client has no surface", diff)

	require.NoError(t, lane.Close())
	diff, err = harness.Arbitrate(context.Background(), lane, right, true, differs)
	require.Error(t, err, "nobody can say what is right")
	require.Equal(t, differs, diff)
}
