package harness

import (
	"context"
	"errors"
	"image"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/headless"
	"github.com/spicelane/spicelane/harness/host"
	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/timeline"
	"github.com/spicelane/spicelane/harness/verdict"
)

// Programs that were written for the old names keep working for one release.
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

	reg := DefaultRegistry()
	require.Equal(t, (registry.Registry{}).Entry("x"), reg.Entry("x"))
	require.Equal(t, registry.CheckName("a/b"), CheckName("a/b"))
	require.Error(t, CheckName("a/b"))
	require.True(t, Alive(os.Getpid()))
	img := image.NewNRGBA(image.Rect(0, 0, 3, 2))
	require.Equal(t, drive.FramebufferCRC(img), FramebufferCRC(img))
	_, err = ScanDigest(make([]byte, 4*8*8), 4*8, 8, 8)
	require.True(t, drive.NoDigestYet(err), "%v", err)
	var (
		_ *host.Report      = &DoctorReport{Checks: []DoctorCheck{}}
		_ *timeline.Writer  = (*Timeline)(nil)
		_ drive.SmokeReport = SmokeReport{Checks: []SmokeCheck{}}
		_ registry.State    = State{PIDs: PIDs{}, SPICE: Addr{}, Proxy: ProxyAddrs{}}
		_ *headless.Client  = (*Client)(nil)
		_ *headless.Proxy   = (*Proxy)(nil)
		_ ScreenshotFunc    = Shot(nil)
		_ host.Progress     = Progress{}
		_ func() []State    = RunningTests
	)

	l := &Lane{}
	_, err = l.Client()
	_, same := l.Control()
	require.Equal(t, same, err)
	require.Nil(t, l.Link())
	require.Equal(t, l.SyncTicket(), l.TellTicket())
}
