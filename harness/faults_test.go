package harness_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/impair"
	"github.com/spicelane/spicelane/spice/control"
)

// The lane of these tests has a relay on the client's leg:
//
//	Beacon ── QEMU ── proxy ── relay ── client ── control socket ── test

// ended waits for the lane to end by itself and returns why.
func ended(t *testing.T, lane *harness.Lane) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(lane.Context(), time.Minute)
	defer cancel()
	select {
	case <-lane.Done():
		return lane.Err()
	case <-ctx.Done():
		require.NoError(t, ctx.Err(), "the lane did not notice")
		return nil
	}
}

func TestAClientComesBackAfterADisconnect(t *testing.T) {
	t.Parallel()
	lane := harness.Up(t, harness.Config{Link: &impair.Link{}, SingleClient: true})
	ctx := lane.Context()
	before, err := lane.Client.Status(ctx)
	require.NoError(t, err)

	require.NoError(t, lane.Client.Disconnect(ctx))
	st, err := lane.Client.Status(ctx)
	require.NoError(t, err)
	require.False(t, st.SpiceConnected)

	// A storm of them, each with a token of its own. Each sees the screen before
	// the next: spice-server 0.15.1 crashes if a client hangs up while its
	// channels are still being set up.
	for range 10 {
		require.NoError(t, lane.Client.Reconnect(ctx))
		_, err := harness.AwaitSurface(ctx, lane.Client)
		require.NoError(t, err)
	}
	st, err = lane.Client.Status(ctx)
	require.NoError(t, err)
	require.True(t, st.SpiceConnected)
	require.NotEqual(t, before.Session, st.Session)
	requireSamePicture(ctx, t, lane)

	// With a changed ticket nobody comes in until the source knows it.
	require.NoError(t, lane.ChangeTicket(ctx, false))
	err = lane.Client.Reconnect(ctx)
	var refused *control.Error
	require.ErrorAs(t, err, &refused)
	require.NoError(t, lane.TellTicket())
	require.NoError(t, lane.Client.Reconnect(ctx))
	requireSamePicture(ctx, t, lane)
}

func TestACutChannelEndsTheSessionAndSaysWhich(t *testing.T) {
	t.Parallel()
	lane := harness.Up(t, harness.Config{Link: &impair.Link{}})
	require.ErrorContains(t, lane.CutChannel("playback:9"), "display:0", "it says which there are")
	require.NoError(t, lane.CutChannel("display:0"))
	err := ended(t, lane)
	require.ErrorContains(t, err, "display:0")
	require.Equal(t, harness.Product, harness.VerdictOf(err))
}

func TestAFrozenGuestIsSeenAsADigestThatStandsStill(t *testing.T) {
	t.Parallel()
	lane := harness.Up(t, harness.Config{})
	ctx := lane.Context()
	require.NoError(t, lane.Machine().Pause(ctx))
	first, err := harness.ReadDigest(ctx, lane.Client)
	require.NoError(t, err)
	patience, cancel := context.WithTimeoutCause(ctx, 3*time.Second, errPatience)
	defer cancel()
	// One that was on its way when the guest stopped may still arrive.
	_, err = lane.AwaitDigest(patience, "two more digests", func(d harness.Digest) bool { return d.FrameCounter > first.FrameCounter+1 })
	require.ErrorIs(t, err, errPatience)
	require.Equal(t, harness.Product, harness.VerdictOf(err))
	require.ErrorContains(t, err, "digest frame")
	require.NoError(t, lane.Machine().Resume(ctx))
	_, err = lane.AwaitDigest(ctx, "it goes on", func(d harness.Digest) bool { return d.FrameCounter > first.FrameCounter+1 })
	require.NoError(t, err)
}

// Whoever does it, the kernel or this process: what a slow path does is the same.
func TestASlowPathDelaysThePictureAndLosesNothing(t *testing.T) {
	t.Parallel()
	places := []impair.Place{impair.InProcess}
	if lack := impair.Probe(); lack == nil {
		places = append(places, impair.InKernel)
	} else {
		t.Logf("in process only: %v", lack)
	}
	for _, place := range places {
		t.Run(string(place), func(t *testing.T) {
			lane := harness.Up(t, harness.Config{Link: &impair.Link{}, LinkIn: place})
			requireSlowPath(t, lane)
		})
	}
}

func requireSlowPath(t *testing.T, lane *harness.Lane) {
	t.Helper()
	ctx := lane.Context()
	press := func(key string) time.Duration {
		t.Helper()
		before, err := harness.ReadDigest(ctx, lane.Client)
		require.NoError(t, err)
		began := time.Now()
		require.NoError(t, lane.Press(ctx, key))
		_, err = lane.AwaitDigest(ctx, "the key "+key, func(d harness.Digest) bool {
			return d.ChannelHashes.Keypress != before.ChannelHashes.Keypress
		})
		require.NoError(t, err)
		return time.Since(began)
	}
	press("x")
	fast := press("y")
	require.NoError(t, lane.SetLink(impair.Link{Delay: 300 * time.Millisecond}))
	slow := press("z")
	require.GreaterOrEqual(t, slow, 600*time.Millisecond, "the key there and the picture back")
	require.NoError(t, lane.SetLink(impair.Link{}))
	t.Logf("key to digest: %v, and %v with 300 ms each way, %s", fast, slow, lane.Link().Shaped())
	requireSamePicture(ctx, t, lane)
}

func TestALaneSaysWhereItsLinkIsMade(t *testing.T) {
	t.Parallel()
	lane := harness.Up(t, harness.Config{Link: &impair.Link{Delay: time.Millisecond}})
	lack := impair.Probe()
	want := "by netem, between two network namespaces"
	if lack != nil {
		want = "in this process, on the byte streams: " + lack.Error()
	}
	require.Equal(t, want, lane.Link().Shaped())
	timeline, err := os.ReadFile(filepath.Join(lane.Dir(), harness.TimelineFile))
	require.NoError(t, err)
	require.Contains(t, string(timeline), `"shaped":"`+want+`"`)
}

func TestALinkThatTheKernelCannotMakeIsTheHostsFault(t *testing.T) {
	t.Parallel()
	harness.RequireHost(t)
	if impair.Probe() == nil {
		return // it can
	}
	dir := t.ArtifactDir()
	_, err := harness.Start(t.Context(), harness.Config{Dir: dir, Link: &impair.Link{}, LinkIn: impair.InKernel})
	require.Equal(t, harness.Host, harness.VerdictOf(err), "%v", err)
	require.ErrorContains(t, err, impair.Probe().Error())
	require.ErrorContains(t, err, "impair.Auto")
}

func TestAGuestThatPowersOffIsNoFailureOfTheHarness(t *testing.T) {
	t.Parallel()
	lane := harness.Up(t, harness.Config{})
	require.NoError(t, lane.Machine().QMP().Do(lane.Context(), "quit", nil, nil))
	err := ended(t, lane)
	require.Error(t, err)
	var f *harness.Fault
	require.True(t, errors.As(err, &f), "%v", err)
}
