package harness

import (
	"context"
	"errors"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// This process never stops while it runs the test, so only the context ends the wait.
func TestTheWaitForAStoppedProcessEndsWithItsContext(t *testing.T) {
	t.Parallel()
	why := errors.New("the test gave up")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	require.ErrorIs(t, awaitStopped(ctx, os.Getpid()), why)
}
