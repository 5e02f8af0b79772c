package harness_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/verdict"
)

// A test may start a wait in a goroutine and end it when it has seen enough.
func TestAWaitThatItsCallerEndsBlamesNobody(t *testing.T) {
	t.Parallel()
	truthHost(t)
	lane := harness.Up(t, harness.Config{Server: harness.ServerTruth})
	never := func(ctx context.Context) error {
		_, err := lane.AwaitDigest(ctx, "a digest", func(harness.Digest) bool { return false })
		return err
	}
	ctx, cancel := context.WithCancel(lane.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	err := never(ctx)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, verdict.Harness, verdict.Of(err), "%v", err)
	require.Empty(t, verdict.HopOf(err))

	ctx, cancel = context.WithTimeout(lane.Context(), 50*time.Millisecond)
	defer cancel()
	require.Equal(t, verdict.Product, verdict.Of(never(ctx)), "it had its time")
}
