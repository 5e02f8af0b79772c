package harness_test

import (
	"context"
	"errors"
	"image"
	"image/draw"
	"image/png"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/impair"
	"github.com/spicelane/spicelane/harness/internal/lanetest"
	"github.com/spicelane/spicelane/harness/replay"
	"github.com/spicelane/spicelane/harness/verdict"
)

// soon returns a context with a short timeout, for waits for what does not come.
func soon(t *testing.T, lane *harness.Lane) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(lane.Context(), 3*time.Second, errPatience)
	t.Cleanup(cancel)
	return ctx
}

// requireBlame requires that err blames the product, at hop. If the host did not let the guest run,
// err blames the host instead, and says so.
func requireBlame(t *testing.T, err error, hop verdict.Hop) {
	t.Helper()
	require.ErrorIs(t, err, errPatience)
	if verdict.Of(err) == verdict.Host {
		require.ErrorContains(t, err, ": the host stalled")
		return
	}
	require.Equal(t, verdict.Product, verdict.Of(err), "%v", err)
	require.Equal(t, hop, verdict.HopOf(err), "%v", err)
}

func TestAFailedWaitSaysWhatEachHopKnows(t *testing.T) {
	t.Parallel()
	lane := harness.Up(t, harness.Config{})
	_, err := lane.AwaitDigest(soon(t, lane), "a digest that never comes", func(harness.Digest) bool { return false })
	requireBlame(t, err, "") // who did not answer is not known
	require.ErrorContains(t, err, "QEMU's own picture does not show it either, but digest frame ")
	require.Regexp(t, `the proxy has 1 session\(s\) \(display:0: [1-9]\d* messages from QEMU, [1-9]\d* from the client, silent for [\d.]+m?s; inputs:0: `, err.Error())
	require.Regexp(t, `the client has received [1-9]\d* messages`, err.Error())
}

// Timeline: the display channel freezes between proxy and client; a key is pressed; QEMU
// shows it and the client does not.
func TestWhatQEMUShowsAndTheClientDoesNotWasLostOnThePath(t *testing.T) {
	t.Parallel()
	lane := harness.Up(t, harness.Config{Link: &impair.Profile{}})
	ctx := lane.Context()
	before, err := drive.ReadDigest(ctx, lanetest.Control(t, lane))
	require.NoError(t, err)
	require.NoError(t, lane.FreezeChannel("display:0"))
	require.NoError(t, lane.Press(ctx, "a"))
	_, err = lane.AwaitDigest(soon(t, lane), "the key", func(d harness.Digest) bool {
		return d.ChannelHashes.Keypress != before.ChannelHashes.Keypress
	})
	requireBlame(t, err, verdict.HopPath)
	require.ErrorContains(t, err, "QEMU's own picture shows it: it was lost between QEMU and the client")

	err = lane.AwaitScreensMatch(soon(t, lane))
	requireBlame(t, err, verdict.HopPath)
	require.ErrorContains(t, err, "awaited client and QEMU to show the same picture, saw last at (")

	require.NoFileExists(t, filepath.Join(lane.Dir(), "direct-client.png"), "a server that waits for a client proves nothing")
}

// Another client shows one pixel wrongly, and the path is good.
func TestPicturesThatDifferAreKeptWithThoseOfAClientThatConnectsToQEMUItself(t *testing.T) {
	t.Parallel()
	lane := harness.Up(t, harness.Config{})
	shot := func(ctx context.Context) (*image.NRGBA, error) {
		img, err := lane.Screenshot(ctx)
		if err == nil {
			img.Pix[0] ^= 1
		}
		return img, err
	}
	ctx, cancel := context.WithTimeoutCause(lane.Context(), time.Second, errPatience)
	defer cancel()
	err := lane.AwaitScreensMatchOf(ctx, shot, func(ctx context.Context) error {
		<-ctx.Done()
		return context.Cause(ctx)
	})
	requireBlame(t, err, verdict.HopPath)
	require.NoError(t, lane.Close())
	kept := map[string]*image.NRGBA{}
	for _, name := range []string{"differs-client.png", "differs-qemu.png", "direct-client.png", "direct-qemu.png"} {
		f, err := os.Open(filepath.Join(lane.Dir(), name))
		require.NoError(t, err)
		img, err := png.Decode(f)
		require.NoError(t, errors.Join(err, f.Close()))
		kept[name] = image.NewNRGBA(img.Bounds())
		draw.Draw(kept[name], img.Bounds(), img, image.Point{}, draw.Src)
	}
	require.Contains(t, drive.FirstDifference(kept["differs-client.png"], kept["differs-qemu.png"]), "at (0,0) ")
	require.Empty(t, drive.FirstDifference(kept["direct-client.png"], kept["direct-qemu.png"]))

	r, err := replay.Read(lane.Dir())
	require.NoError(t, err)
	at := map[string]time.Duration{}
	for _, e := range r.Events {
		if e.Kind == "picture" {
			at[e.Text] = e.At
		}
	}
	require.Contains(t, at, "differs-client.png")
	require.Equal(t, at["differs-client.png"], at["differs-qemu.png"], "a pair is of one moment")
	require.Equal(t, at["direct-client.png"], at["direct-qemu.png"])
	require.Greater(t, at["direct-client.png"], at["differs-client.png"])
}

// QEMU answers nothing then, so no picture of it can be taken.
func TestAPictureThatDoesNotComeIsNoFaultOfTheHarness(t *testing.T) {
	t.Parallel()
	lane := harness.Up(t, harness.Config{})
	require.NoError(t, lane.Signal(lane.Context(), harness.PartQEMU, syscall.SIGSTOP))
	t.Cleanup(func() { require.NoError(t, lane.Signal(lane.Context(), harness.PartQEMU, syscall.SIGCONT)) })
	for name, compare := range map[string]func(context.Context) error{
		"same picture": lane.AwaitScreensMatch,
		"digest": func(ctx context.Context) error {
			_, _, err := lane.AwaitVerifiedScreenshot(ctx)
			if err == nil { // the client's picture is good
				_, err = lane.AwaitDigest(ctx, "the next frame", func(harness.Digest) bool { return false })
			}
			return err
		},
	} {
		err := compare(soon(t, lane))
		require.ErrorIs(t, err, errPatience, name)
		require.Equal(t, verdict.Product, verdict.Of(err), "%s: %v", name, err)
		require.ErrorContains(t, err, "QEMU is stopped by a signal", name)
	}
}
