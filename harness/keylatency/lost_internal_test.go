package keylatency

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/impair"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/internal/need"
)

// A proxy that is measured may lose every key.
func TestAMeasurementEndsIfItsFirstKeyIsLost(t *testing.T) {
	need.Long(t)
	lane := harness.Up(t, harness.Config{Link: &impair.Profile{}})
	driver, err := lane.Control()
	require.NoError(t, err)
	require.NoError(t, lane.FreezeChannel("inputs:0"))
	ctx, cancel := context.WithTimeoutCause(lane.Context(), lane.Scaled(keyPatience)+20*time.Second, errors.New("it did not end"))
	defer cancel()
	_, err = measure(ctx, Config{Keys: 1}, lane, driver, driver)
	require.ErrorContains(t, err, "the key was lost")
	require.Equal(t, verdict.Product, verdict.Of(err))
}
