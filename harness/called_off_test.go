package harness_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/verdict"
)

// Somebody presses Ctrl-C while the guest boots.
func TestAStartThatIsCalledOffBlamesNobodyAndQuarantinesNoState(t *testing.T) {
	ownCache(t)
	cfg := echoLane(t)
	for client, pressed := range map[harness.Program]error{harness.None: errors.New("Ctrl-C"), harness.Builtin: context.Canceled} {
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		off := cfg
		off.Dir, off.Banner, off.Client = t.TempDir(), "never said", client
		off.OnStep = func(s registry.Step) {
			if s.Name == "proxy" { // the next step waits
				cancel(pressed)
			}
		}
		_, err := harness.Start(ctx, off)
		require.ErrorIs(t, err, pressed)
		require.Equal(t, verdict.Harness, verdict.Of(err), "%v", err)
		require.Empty(t, verdict.HopOf(err))
		b, err := os.ReadFile(filepath.Join(off.Dir, verdict.File))
		require.NoError(t, err)
		var r verdict.Report
		require.NoError(t, json.Unmarshal(b, &r))
		require.Equal(t, verdict.Harness, r.Verdict)
	}
	cfg.Client = harness.None
	lane := start(t, cfg)
	require.Equal(t, "no state of this machine is saved yet", lane.State().ColdReason)
}
