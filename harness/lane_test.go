package harness_test

import (
	"context"
	"image"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/fixtures/digest"
	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/internal/lanetest"
	"github.com/spicelane/spicelane/harness/serial"
	"github.com/spicelane/spicelane/harness/verdict"
)

// The lane of these tests:
//
//	Beacon ── QEMU ── unix socket ── proxy ── TLS on loopback ── client ── control socket ── test
//
// all but QEMU inside the test process.

func TestALaneComesUpAndItsScreenIsRight(t *testing.T) {
	t.Parallel()
	lane := harness.Up(t, harness.Config{})
	ctx := lane.Context()

	// The firmware talks on COM1, too, before it starts the guest.
	lines := lane.Serial().Lines()
	require.Equal(t, "Hello from Beacon", lines[slices.IndexFunc(lines, func(l serial.Line) bool { return !firmwareLine(l.Text) })].Text, "the guest's first line on COM1")

	hello := lanetest.Control(t, lane).Server()
	require.Equal(t, "1.2", hello.ProtocolVersion)
	st, err := lanetest.Control(t, lane).Status(ctx)
	require.NoError(t, err)
	require.True(t, st.SPICEConnected)
	require.Empty(t, st.Unsupported)
	require.Len(t, st.Surfaces, 1)
	require.Equal(t, 0, int(st.Surfaces[0].SurfaceID))
	require.Equal(t, image.Pt(1024, 768), image.Pt(st.Surfaces[0].Width, st.Surfaces[0].Height))

	requireSamePicture(ctx, t, lane)

	report, err := drive.Smoke(ctx, drive.SmokeConfig{Socket: lane.State().ControlSocket, Timeout: 100 * time.Millisecond})
	require.Error(t, err, "the test holds the socket's one place: %+v", report)
	require.Equal(t, verdict.Harness, verdict.Of(err))

	_, before, err := lane.AwaitVerifiedScreenshot(ctx)
	require.NoError(t, err)
	require.Zero(t, before.ChannelHashes.Keypress, "nobody has pressed a key")
	require.NoError(t, lane.Press(ctx, "x"))
	after, err := lane.AwaitDigest(ctx, "the key x", func(d harness.Digest) bool { return keypress(d, 'x') != nil })
	require.NoError(t, err)
	require.Greater(t, after.FrameCounter, before.FrameCounter)

	var want digest.ChannelHashes
	require.NoError(t, want.Add(*keypress(after, 'x')))
	require.Equal(t, want.Keypress, after.ChannelHashes.Keypress, "the rolling hash follows from the one key that was pressed")
}

// firmwareLine tells lines of OVMF's boot manager from those of the guest.
func firmwareLine(s string) bool {
	return strings.HasPrefix(s, "BdsDxe: ") || strings.TrimSpace(s) == ""
}

// keypress returns the newest press of a printable key in a digest, or nil.
func keypress(d harness.Digest, char rune) *digest.Keypress {
	for i := len(d.Events) - 1; i >= 0; i-- {
		if k, ok := d.Events[i].(digest.Keypress); ok && rune(k.Unicode) == char {
			return &k
		}
	}
	return nil
}

func requireSamePicture(ctx context.Context, t *testing.T, lane *harness.Lane) {
	t.Helper()
	require.NoError(t, lane.AwaitScreensMatch(ctx))
}

func TestALaneLeavesItsLogsAndNothingElse(t *testing.T) {
	t.Parallel()
	dir := t.ArtifactDir()
	var run string
	t.Run("lane", func(t *testing.T) {
		lane := harness.Up(t, harness.Config{Dir: dir})
		run = lane.State().RunDir
		require.DirExists(t, run)
		require.NoError(t, lane.Beat(lane.Context(), "press a key", func(ctx context.Context) error { return lane.Press(ctx, "y") }))
	})
	if run == "" {
		t.SkipNow() // the lane was skipped, with its reason
	}
	require.NoDirExists(t, run)
	for _, name := range []string{"serial.log", "qemu.log", "qemu.argv", "qmp.ndjson", "proxy.log", "client.log", "timeline.ndjson", "beat-01-press-a-key.png"} {
		require.FileExists(t, filepath.Join(dir, name))
	}
	b, err := os.ReadFile(filepath.Join(dir, "serial.log"))
	require.NoError(t, err)
	require.Contains(t, string(b), "\r\nHello from Beacon\r\n")
}

func TestTheContextOfALaneEndsWithIt(t *testing.T) {
	t.Parallel()
	harness.RequireHost(t)
	cfg := echoLane(t)
	cfg.Dir = t.TempDir()
	lane, err := harness.Start(t.Context(), cfg)
	require.NoError(t, err)
	ctx := lane.Context()
	require.NoError(t, ctx.Err())
	_, err = lane.Control()
	require.EqualError(t, err, "this lane has no client")
	_, err = lane.Proxy()
	require.EqualError(t, err, "proxy: the built-in proxy does not run inside this process")
	require.NoError(t, lane.Close())
	require.ErrorContains(t, context.Cause(ctx), "the lane was closed")

	lane, err = harness.Start(t.Context(), cfg)
	require.NoError(t, err)
	defer lane.Close()
	require.NoError(t, syscall.Kill(lane.State().PIDs.QEMU, syscall.SIGKILL))
	<-lane.Context().Done()
	require.Equal(t, lane.Err(), context.Cause(lane.Context()))
	require.ErrorContains(t, lane.Err(), "killed by signal 9")
}
