package quantile_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/internal/quantile"
)

func TestQuantilesAreTimesThatWereMeasured(t *testing.T) {
	t.Parallel()
	times := []time.Duration{5, 1, 4, 2, 3}
	require.Equal(t, time.Duration(3), quantile.Of(times, 0.5))
	require.Equal(t, time.Duration(5), quantile.Of(times, 0.95))
	require.Equal(t, time.Duration(1), quantile.Of(times, 0))
	require.Equal(t, time.Duration(5), quantile.Of(times, 1))
	require.Equal(t, time.Duration(0), quantile.Of(nil, 0.5))
	require.Equal(t, []time.Duration{5, 1, 4, 2, 3}, times)
}
