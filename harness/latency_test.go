package harness_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/headless"
	"github.com/spicelane/spicelane/harness/internal/lanetest"
	"github.com/spicelane/spicelane/internal/quantile"
	"github.com/spicelane/spicelane/spice/control"
	"github.com/spicelane/spicelane/spice/vv"
)

// Two clients on one guest, in turns, so that the host's load is the same for
// both:
//
//	Beacon ── QEMU ─┬─ proxy ── TLS ── client ── control socket ─┐
//	                └───────────────── client ── control socket ─┴─ test
func TestTheProxyAddsLittleToAKeysWay(t *testing.T) {
	t.Parallel()
	lane := harness.Up(t, harness.Config{})
	ctx := lane.Context()
	socket := filepath.Join(lane.State().RunDir, "direct.sock")
	direct, err := headless.StartClient(ctx, headless.ClientConfig{
		VV:     func(context.Context) (*vv.File, error) { return lane.DirectVV(), nil },
		Socket: socket,
	})
	require.NoError(t, err)
	defer direct.Close()
	d, err := control.Dial(ctx, socket)
	require.NoError(t, err)
	defer d.Close()

	// Beacon only reports keys while F10 holds it.
	require.NoError(t, lane.Press(ctx, "F10"))
	require.Empty(t, proxyAdds(ctx, t, lane.Scaled(2*time.Second), lanetest.Control(t, lane), d))
}

// proxyAdds measures keys in turns and returns a text if the proxy adds too much. A host that is
// busy for some of many keys does not move their quantiles; a slow proxy does.
func proxyAdds(ctx context.Context, t *testing.T, patience time.Duration, proxied, direct *control.Driver) string {
	t.Helper()
	l, err := drive.KeyLatencies(ctx, drive.LatencyConfig{Keys: 80, Patience: patience}, proxied, direct)
	require.NoError(t, err)
	with, without := l[0], l[1]
	require.Zero(t, with.Lost+without.Lost, "keys that no digest showed")
	said := ""
	for name, pair := range map[string][2][]time.Duration{
		"key to picture": {with.Picture, without.Picture},
		"key to digest":  {with.Digest, without.Digest},
	} {
		require.NotEmpty(t, pair[0], name)
		require.NotEmpty(t, pair[1], name)
		p50, q50 := quantile.Of(pair[0], 0.5), quantile.Of(pair[1], 0.5)
		p90, q90 := quantile.Of(pair[0], 0.9), quantile.Of(pair[1], 0.9)
		line := fmt.Sprintf("%s: through the proxy p50 %v p90 %v, directly p50 %v p90 %v; added p50 %v, ratio %.2f",
			name, p50, p90, q50, q90, p50-q50, float64(p50)/float64(q50))
		t.Log(line)
		// The proxy must add little to the path itself: the median may at most double, and the 90th
		// percentile at most triple.
		if p50 >= 2*q50 || p90 >= 3*q90 {
			said = line
		}
	}
	return said
}
