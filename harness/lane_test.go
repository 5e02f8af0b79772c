package harness_test

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/fixtures/digest"
	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/serial"
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

	hello := lane.Client.Server()
	require.Equal(t, "1.2", hello.ProtocolVersion)
	st, err := lane.Client.Status(ctx)
	require.NoError(t, err)
	require.True(t, st.SpiceConnected)
	require.Empty(t, st.Unsupported)
	require.Len(t, st.Surfaces, 1)
	require.Equal(t, 0, int(st.Surfaces[0].SurfaceID))
	require.Equal(t, image.Pt(1024, 768), image.Pt(st.Surfaces[0].Width, st.Surfaces[0].Height))

	requireSamePicture(ctx, t, lane)

	before := requireDigestOfThesePixels(ctx, t, lane)
	require.Zero(t, before.ChannelHashes.Keypress, "nobody has pressed a key")
	require.NoError(t, lane.Press(ctx, "x"))
	after, err := lane.AwaitDigest(ctx, "the key x", func(d harness.Digest) bool { return keypress(d, 'x') != nil })
	require.NoError(t, err)
	require.Greater(t, after.FrameCounter, before.FrameCounter)

	var want digest.ChannelHashes
	require.NoError(t, want.Add(*keypress(after, 'x')))
	require.Equal(t, want.Keypress, after.ChannelHashes.Keypress, "the rolling hash follows from the one key that was pressed")
}

// firmwareLine tells lines of OVMF's boot manager from the guest's.
func firmwareLine(s string) bool {
	return strings.HasPrefix(s, "BdsDxe: ") || strings.TrimSpace(s) == ""
}

// keypress is the newest press of a printable key in a digest, or nil.
func keypress(d harness.Digest, char rune) *digest.Keypress {
	for i := len(d.Events) - 1; i >= 0; i-- {
		if k, ok := d.Events[i].(digest.Keypress); ok && rune(k.Unicode) == char {
			return &k
		}
	}
	return nil
}

// requireSamePicture demands that client and QEMU show the same pixels. The
// cursor blinks and the digest counts, so a pair may fall on both sides of a
// change; between two changes every pair is equal.
func requireSamePicture(ctx context.Context, t *testing.T, lane *harness.Lane) {
	t.Helper()
	sub, err := lane.Client.Subscribe(ctx, "surface_drawn")
	require.NoError(t, err)
	defer sub.Close()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		qemu, err := lane.Screendump(ctx)
		require.NoError(t, err)
		client, err := lane.Screenshot(ctx)
		require.NoError(t, err)
		diff := firstDifference(client, qemu)
		if diff == "" {
			return
		}
		if _, err := sub.Next(ctx); err != nil {
			dir := t.ArtifactDir()
			require.NoError(t, harness.WritePNG(filepath.Join(dir, "differs-client.png"), client))
			require.NoError(t, harness.WritePNG(filepath.Join(dir, "differs-qemu.png"), qemu))
			require.Failf(t, "client and QEMU never showed the same picture", "%s; both are in %s", diff, dir)
		}
	}
}

// firstDifference says where two pictures differ first, or "".
func firstDifference(got, want *image.NRGBA) string {
	if got.Rect != want.Rect {
		return fmt.Sprintf("the client's picture is %v, QEMU's is %v", got.Rect.Size(), want.Rect.Size())
	}
	if bytes.Equal(got.Pix, want.Pix) {
		return ""
	}
	for i := range got.Pix {
		if got.Pix[i] != want.Pix[i] {
			p := image.Pt(i%got.Stride/4, i/got.Stride)
			return fmt.Sprintf("at %v the client has %v, QEMU has %v", p, got.NRGBAAt(p.X, p.Y), want.NRGBAAt(p.X, p.Y))
		}
	}
	return "only the padding differs"
}

// requireDigestOfThesePixels demands a screenshot whose digest has the checksum
// of its own pixels.
func requireDigestOfThesePixels(ctx context.Context, t *testing.T, lane *harness.Lane) harness.Digest {
	t.Helper()
	report, err := harness.Smoke(ctx, harness.SmokeConfig{Socket: lane.State().ControlSocket, Timeout: 100 * time.Millisecond})
	require.Error(t, err, "the test holds the socket's one place: %+v", report)
	require.Equal(t, harness.Harness, harness.VerdictOf(err))

	var last string
	for {
		img, err := lane.Screenshot(ctx)
		require.NoError(t, err, last)
		d, err := harness.ScanPicture(img)
		if err == nil && harness.FramebufferCRC(img) == d.FramebufferHash {
			return d
		}
		last = fmt.Sprintf("digest %+v, error %v, checksum %08x", d, err, harness.FramebufferCRC(img))
		_, err = lane.AwaitDigest(ctx, "a newer digest", func(n harness.Digest) bool { return n.FrameCounter > d.FrameCounter })
		require.NoError(t, err, last)
	}
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
