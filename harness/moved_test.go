package harness

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/host"
	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/verdict"
)

// Programs that were written for the old names go on for one release.
func TestOldNamesMeanTheNewOnes(t *testing.T) {
	t.Parallel()
	var err error = &Fault{Verdict: Host, Op: "qemu", Err: errors.New("gone")}
	var now *verdict.Error
	require.ErrorAs(t, err, &now)
	require.Equal(t, verdict.Host, VerdictOf(err))
	require.Equal(t, []verdict.Kind{verdict.Product, verdict.Harness}, []Verdict{Product, Harness})
	require.Equal(t, registry.StateReady, (&State{State: StateReady}).State)
	require.Equal(t, host.CacheDir(), CacheDir())

	_, err = Smoke(t.Context(), SmokeConfig{Socket: filepath.Join(t.TempDir(), "none.sock")})
	require.Equal(t, verdict.Harness, VerdictOf(err))
	var await *AwaitError
	require.ErrorAs(t, &drive.AwaitError{Wanted: "x", Err: context.Canceled}, &await)

	l := &Lane{}
	_, err = l.Client()
	_, same := l.Control()
	require.Equal(t, same, err)
	require.Nil(t, l.Link())
	require.Equal(t, l.SyncTicket(), l.TellTicket())
}
