package harness_test

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/host"
	"github.com/spicelane/spicelane/harness/impair"
	"github.com/spicelane/spicelane/harness/internal/lanetest"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/timeline"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/control"
)

// The lane of these tests has a relay between client and proxy:
//
//	Beacon ── QEMU ── proxy ── relay ── client ── control socket ── test

// ended waits for the lane to end by itself and returns why.
func ended(t *testing.T, lane *harness.Lane) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
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
	lane := harness.Up(t, harness.Config{Link: &impair.Profile{}, SingleClient: true})
	ctx := lane.Context()
	before, err := lanetest.Control(t, lane).Status(ctx)
	require.NoError(t, err)

	require.NoError(t, lanetest.Control(t, lane).Disconnect(ctx))
	st, err := lanetest.Control(t, lane).Status(ctx)
	require.NoError(t, err)
	require.False(t, st.SPICEConnected)

	// Many reconnects, each with its own token. Each client sees the screen before the next one
	// connects: spice-server 0.15.1 crashes if a client hangs up while its channels are still being
	// set up.
	for range 10 {
		require.NoError(t, lanetest.Control(t, lane).Reconnect(ctx))
		_, err := drive.AwaitSurface(ctx, lanetest.Control(t, lane))
		require.NoError(t, err)
	}
	st, err = lanetest.Control(t, lane).Status(ctx)
	require.NoError(t, err)
	require.True(t, st.SPICEConnected)
	require.NotEqual(t, before.Session, st.Session)
	requireSamePicture(ctx, t, lane)

	// With a changed ticket, nobody gets in until the source knows it.
	require.NoError(t, lane.ChangeTicketSilently(ctx))
	err = lanetest.Control(t, lane).Reconnect(ctx)
	var refused *control.Error
	require.ErrorAs(t, err, &refused)
	require.NoError(t, lane.SyncTicket())
	require.NoError(t, lanetest.Control(t, lane).Reconnect(ctx))
	requireSamePicture(ctx, t, lane)
}

func TestACutChannelEndsTheSessionAndSaysWhich(t *testing.T) {
	t.Parallel()
	lane := harness.Up(t, harness.Config{Link: &impair.Profile{}})
	require.ErrorContains(t, lane.CutChannel("playback:9"), "display:0", "it says which there are")
	require.NoError(t, lane.CutChannel("display:0"))
	err := ended(t, lane)
	require.ErrorContains(t, err, "display:0")
	require.Equal(t, verdict.Product, verdict.Of(err))
}

// requireGuestGoesOn requires, by QEMU's own screen, that the guest keeps painting, whatever a
// client sees.
func requireGuestGoesOn(t *testing.T, lane *harness.Lane) {
	t.Helper()
	ctx, cancel := context.WithTimeout(lane.Context(), time.Minute)
	defer cancel()
	var first uint32
	for seen := 0; ; {
		img, err := lane.Screendump(ctx)
		require.NoError(t, err)
		d, err := drive.ScanPicture(img)
		switch {
		case err != nil: // caught in the middle of painting
		case seen == 0:
			first, seen = d.FrameCounter, 1
		case d.FrameCounter > first+2:
			return
		}
		require.NoError(t, ctx.Err(), "the guest does nothing")
	}
}

// requireStandstill requires that the client sees nothing new for a while.
func requireStandstill(t *testing.T, lane *harness.Lane) {
	t.Helper()
	first, err := drive.ReadDigest(lane.Context(), lanetest.Control(t, lane))
	require.NoError(t, err)
	patience, cancel := context.WithTimeoutCause(lane.Context(), 2*time.Second, errPatience)
	defer cancel()
	// Digests that were already on their way may still arrive.
	_, err = lane.AwaitDigest(patience, "two more digests", func(d harness.Digest) bool { return d.FrameCounter > first.FrameCounter+1 })
	require.ErrorIs(t, err, errPatience)
	if verdict.Of(err) != verdict.Host { // a host that starved the guest meanwhile is blamed before
		require.Equal(t, verdict.Product, verdict.Of(err), "%v", err)
		return
	}
	require.ErrorContains(t, err, ": the host stalled")
}

// requireKey requires that a key reaches the guest, and that its picture comes back. What the guest
// paints by itself may push the event out of the digest, but not out of the hash.
func requireKey(t *testing.T, lane *harness.Lane, key rune) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(lane.Context(), time.Minute, errPatience)
	defer cancel()
	before, err := drive.ReadDigest(ctx, lanetest.Control(t, lane))
	require.NoError(t, err)
	require.NoError(t, lane.Press(ctx, string(key)))
	requireHash(t, lane, before)
}

// requireHash requires that the guest has seen other keys than those in a digest.
func requireHash(t *testing.T, lane *harness.Lane, before harness.Digest) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(lane.Context(), time.Minute, errPatience)
	defer cancel()
	_, err := lane.AwaitDigest(ctx, "a key", func(d harness.Digest) bool {
		return d.ChannelHashes.Keypress != before.ChannelHashes.Keypress
	})
	require.NoError(t, err)
}

// visit opens a session beside that of the lane's client. It waits for the picture, because
// spice-server 0.15.1 crashes if a client hangs up while its channels are still being set up.
func visit(t *testing.T, lane *harness.Lane) *spice.Client {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(lane.Context(), time.Minute, errPatience)
	defer cancel()
	f, err := lane.VV(ctx)
	require.NoError(t, err)
	c, err := spice.Dial(ctx, spice.FromVV(f))
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	changed := make(chan struct{}, 1)
	defer c.Observe(func(spice.Event) {
		select {
		case changed <- struct{}{}:
		default:
		}
	})()
	for {
		if p, err := c.Snapshot(0, 0, nil); err == nil && slices.ContainsFunc(p.Pix, func(b byte) bool { return b != 0 }) {
			return c
		}
		select {
		case <-changed:
		case <-c.Done():
			require.NoError(t, c.Wait())
		case <-ctx.Done():
			require.NoError(t, context.Cause(ctx))
		}
	}
}

func TestAStoppedQEMUStandsStillAndGoesOn(t *testing.T) {
	t.Parallel()
	lane := harness.Up(t, harness.Config{})
	require.NoError(t, lane.Signal(lane.Context(), harness.PartQEMU, syscall.SIGSTOP))
	requireStandstill(t, lane)
	require.NoError(t, lane.Signal(lane.Context(), harness.PartQEMU, syscall.SIGCONT))
	requireKey(t, lane, 'q')
	requireSamePicture(lane.Context(), t, lane)
}

// The proxy and the client are processes here, started from this test binary.
func TestAStoppedProxyHoldsUpNobodyButItsClient(t *testing.T) {
	t.Parallel()
	lane := harness.Up(t, harness.Config{Processes: true})
	require.NoError(t, lane.Signal(lane.Context(), harness.PartProxy, syscall.SIGSTOP))
	requireStandstill(t, lane)
	requireGuestGoesOn(t, lane)
	require.NoError(t, lane.Signal(lane.Context(), harness.PartProxy, syscall.SIGCONT))
	requireKey(t, lane, 'p')
	requireSamePicture(lane.Context(), t, lane)
}

func TestAKilledProxyEndsTheLaneAndIsNamed(t *testing.T) {
	t.Parallel()
	lane := harness.Up(t, harness.Config{Processes: true})
	require.NoError(t, lane.Signal(lane.Context(), harness.PartProxy, syscall.SIGKILL))
	err := ended(t, lane)
	require.Equal(t, verdict.Product, verdict.Of(err))
	require.ErrorContains(t, err, "the proxy ended: ")
	require.ErrorContains(t, err, "signal: killed")
	require.True(t, host.Alive(lane.State().PIDs.QEMU), "QEMU is there to be looked at until the lane is closed")
}

// spice-server draws for all clients only as fast as the slowest takes it, which is
// why another client may see nothing new; but it gets in, and the guest goes on.
func TestAStoppedClientHoldsUpNeitherTheGuestNorWhoComes(t *testing.T) {
	t.Parallel()
	lane := harness.Up(t, harness.Config{Processes: true})
	require.NoError(t, lane.Signal(lane.Context(), harness.PartClient, syscall.SIGSTOP))
	patience, cancel := context.WithTimeoutCause(lane.Context(), time.Second, errPatience)
	defer cancel()
	_, err := lanetest.Control(t, lane).Status(patience)
	require.ErrorIs(t, err, errPatience)
	requireGuestGoesOn(t, lane)
	require.NoError(t, visit(t, lane).Close(), "another client gets in meanwhile")
	require.NoError(t, lane.Signal(lane.Context(), harness.PartClient, syscall.SIGCONT))
	requireKey(t, lane, 'c')
	requireSamePicture(lane.Context(), t, lane)
}

func TestAKilledClientEndsTheLaneAndIsNamed(t *testing.T) {
	t.Parallel()
	lane := harness.Up(t, harness.Config{Processes: true})
	require.NoError(t, lane.Signal(lane.Context(), harness.PartClient, syscall.SIGKILL))
	err := ended(t, lane)
	require.Equal(t, verdict.Product, verdict.Of(err))
	require.ErrorContains(t, err, "the client ended: ")
	require.ErrorContains(t, err, "signal: killed")
}

func TestAPartInsideTheTestHasNoProcess(t *testing.T) {
	t.Parallel()
	lane := harness.Up(t, harness.Config{})
	err := lane.Signal(lane.Context(), harness.PartProxy, syscall.SIGSTOP)
	require.ErrorContains(t, err, "signal proxy: it is not a separate process; set Config.Processes")
	require.Equal(t, verdict.Harness, verdict.Of(err))
	require.ErrorContains(t, lane.Signal(lane.Context(), "printer", syscall.SIGSTOP), `a lane has no part "printer"`)
}

func TestWhereNothingListensNobodyGetsInUntilItIsBack(t *testing.T) {
	t.Parallel()
	lane := harness.Up(t, harness.Config{Link: &impair.Profile{}, SingleClient: true})
	ctx := lane.Context()
	lane.Relay().SetDown(true)
	requireKey(t, lane, 'd') // existing sessions stay up
	err := lanetest.Control(t, lane).Reconnect(ctx)
	var refused *control.Error
	require.ErrorAs(t, err, &refused)
	require.NoError(t, lane.Err())
	lane.Relay().SetDown(false)
	require.NoError(t, lanetest.Control(t, lane).Reconnect(ctx))
	requireSamePicture(ctx, t, lane)
}

// The connection is half open: neither end gets an error, and only waits notice it.
func TestAFrozenChannelIsNoticedByWaitsAndFixedByAReconnect(t *testing.T) {
	t.Parallel()
	lane := harness.Up(t, harness.Config{Link: &impair.Profile{}, SingleClient: true})
	require.NoError(t, lane.FreezeChannel("display:0"))
	requireStandstill(t, lane)
	requireGuestGoesOn(t, lane)
	require.NoError(t, lane.Err(), "no part has noticed")
	require.NoError(t, lanetest.Control(t, lane).Reconnect(lane.Context()))
	requireSamePicture(lane.Context(), t, lane)
	requireKey(t, lane, 'f')
}

func TestASlowReaderHoldsUpNobodyAndMissesNothing(t *testing.T) {
	t.Parallel()
	lane := harness.Up(t, harness.Config{Link: &impair.Profile{}})
	require.NoError(t, lane.HoldChannel("display:0"))
	requireStandstill(t, lane)
	requireGuestGoesOn(t, lane)
	// The other channels do not wait for this one.
	before, err := drive.ReadDigest(lane.Context(), lanetest.Control(t, lane))
	require.NoError(t, err)
	require.NoError(t, lane.Press(lane.Context(), "s"))
	require.NoError(t, lane.ReleaseChannel("display:0"))
	requireHash(t, lane, before)
	requireSamePicture(lane.Context(), t, lane)
}

// Timeline: two clients are connected; the backend dies under them; nobody gets in and the proxy
// lives; the backend is back, at its beginning; both get in again.
func TestABackendThatRestartsIsReachedAgainThroughTheSameProxy(t *testing.T) {
	t.Parallel()
	lane := harness.Up(t, harness.Config{})
	ctx := lane.Context()
	require.ErrorContains(t, lane.StartBackend(ctx), "call StopBackend first")
	visitor := visit(t, lane)
	requireKey(t, lane, 'a')
	pid := lane.State().PIDs.QEMU

	require.NoError(t, lane.StopBackend(ctx))
	require.Error(t, visitor.Wait(), "its session has ended")
	require.NoError(t, visitor.Close())
	f, err := lane.VV(ctx)
	require.NoError(t, err, "the proxy hands out files whatever becomes of the backend")
	_, err = spice.Dial(ctx, spice.FromVV(f))
	require.Error(t, err)
	require.False(t, host.Alive(pid))
	require.Eventually(t, func() bool { return len(lanetest.Proxy(t, lane).Sessions()) == 0 }, 5*time.Second, 10*time.Millisecond)
	require.NoError(t, lane.Err(), "it was asked for")

	require.NoError(t, lane.StartBackend(ctx))
	after, err := lane.AwaitDigest(ctx, "any digest", func(harness.Digest) bool { return true })
	require.NoError(t, err)
	require.Zero(t, after.ChannelHashes.Keypress, "the guest has started again")
	requireKey(t, lane, 'b')
	requireSamePicture(ctx, t, lane)
	require.NotEqual(t, pid, lane.State().PIDs.QEMU)
	require.NoError(t, visit(t, lane).Close())

	// From now on, no command is the cause of its end.
	require.NoError(t, lane.Signal(lane.Context(), harness.PartQEMU, syscall.SIGKILL))
	require.ErrorContains(t, ended(t, lane), "killed by signal 9")
}

// Neither QEMU's own clients nor a proxy in another process can be told a new address.
func TestABackendThatRestartsIsAtTheAddressWhereItWas(t *testing.T) {
	t.Parallel()
	for name, with := range map[string]func(*harness.Config){
		"without a proxy":          func(*harness.Config) {},
		"behind a proxy's process": func(c *harness.Config) { c.Proxy, c.Processes, c.Compression = harness.Builtin, true, "lz" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			harness.RequireHost(t)
			cfg := echoLane(t)
			cfg.Client, cfg.Warm = harness.Builtin, harness.WarmOff
			with(&cfg)
			lane := start(t, cfg)
			ctx, cancel := context.WithTimeout(lane.Context(), 2*time.Minute)
			defer cancel()
			before := lane.State().SPICE.Addr
			require.NoError(t, lane.RestartBackend(ctx))
			require.Equal(t, before, lane.State().SPICE.Addr)
			requireSamePicture(ctx, t, lane)
		})
	}
}

func TestAFileForQEMUItselfHasItsPresentTicket(t *testing.T) {
	t.Parallel()
	harness.RequireHost(t)
	lane := start(t, echoLane(t))
	before, err := lane.VV(lane.Context())
	require.NoError(t, err)
	require.NoError(t, lane.ChangeTicketSilently(lane.Context()))
	after, err := lane.VV(lane.Context())
	require.NoError(t, err)
	require.NotEqual(t, before.Password, after.Password)
	require.Equal(t, lane.DirectVV(), after)
}

// Timeline: two waits begin; the backend dies and boots again; what they wait for comes from the
// second guest.
func TestAWaitGoesOnWhileTheBackendIsAway(t *testing.T) {
	t.Parallel()
	lane := harness.Up(t, harness.Config{Witness: true})
	ctx := lane.Context()
	requireKey(t, lane, 'a')
	before, err := drive.ReadDigest(ctx, lanetest.Control(t, lane))
	require.NoError(t, err)
	var waits errgroup.Group
	waits.Go(func() error {
		_, err := lane.AwaitDigest(ctx, "a guest that no key has reached", func(d harness.Digest) bool {
			return d.ChannelHashes.Keypress != before.ChannelHashes.Keypress
		})
		return err
	})
	waits.Go(func() error {
		_, err := lane.AwaitSerial(ctx, "type=refresh_stats") // the guest writes this when it has to end
		return err
	})
	require.NoError(t, lane.RestartBackend(ctx))
	_, err = lane.AwaitDigest(ctx, "any digest", func(harness.Digest) bool { return true })
	require.NoError(t, err)
	require.NoError(t, lane.Machine().QMP().Powerdown(ctx))
	require.NoError(t, waits.Wait())
}

// Timeline: the proxy's TLS listener breaks, and nothing else; the proxy ends, and with it the
// client's session.
func TestAProxyWhoseListenerBreaksIsBlamedAndNotTheClient(t *testing.T) {
	t.Parallel()
	lane := harness.Up(t, harness.Config{})
	breakListener(t, lane.State().Proxy.TLSAddr)
	err := ended(t, lane)
	require.ErrorContains(t, err, "the proxy ended: proxy: accept on "+lane.State().Proxy.TLSAddr)
	require.Equal(t, verdict.Product, verdict.Of(err))
}

// breakListener makes every further accept on the listener at addr fail for good. The listener
// belongs to this process.
func breakListener(t *testing.T, addr string) {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	for _, e := range fds {
		fd, _ := strconv.Atoi(e.Name())
		listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
		if err != nil || listens == 0 {
			continue
		}
		name, err := unix.Getsockname(fd)
		require.NoError(t, err)
		in4, ok := name.(*unix.SockaddrInet4)
		if ok && netip.AddrPortFrom(netip.AddrFrom4(in4.Addr), uint16(in4.Port)).String() == addr {
			require.NoError(t, unix.Shutdown(fd, unix.SHUT_RD))
			return
		}
	}
	t.Fatalf("nothing in this process listens on %s", addr)
}

func TestAFrozenGuestIsSeenAsADigestThatStandsStill(t *testing.T) {
	t.Parallel()
	lane := harness.Up(t, harness.Config{})
	ctx := lane.Context()
	require.NoError(t, lane.Machine().Pause(ctx))
	first, err := drive.ReadDigest(ctx, lanetest.Control(t, lane))
	require.NoError(t, err)
	patience, cancel := context.WithTimeoutCause(ctx, 3*time.Second, errPatience)
	defer cancel()
	// A digest that was on its way when the guest stopped may still arrive.
	_, err = lane.AwaitDigest(patience, "two more digests", func(d harness.Digest) bool { return d.FrameCounter > first.FrameCounter+1 })
	requireBlame(t, err, "")
	require.ErrorContains(t, err, "digest frame")
	require.NoError(t, lane.Machine().Resume(ctx))
	_, err = lane.AwaitDigest(ctx, "it goes on", func(d harness.Digest) bool { return d.FrameCounter > first.FrameCounter+1 })
	require.NoError(t, err)
}

// A slow path has the same effects whether the kernel or this process makes it slow.
func TestASlowPathDelaysThePictureAndLosesNothing(t *testing.T) {
	t.Parallel()
	places := []impair.Mode{impair.InProcess}
	if lack := impair.Probe(); lack == nil {
		places = append(places, impair.InKernel)
	} else {
		t.Logf("in process only: %v", lack)
	}
	for _, place := range places {
		t.Run(string(place), func(t *testing.T) {
			lane := harness.Up(t, harness.Config{Link: &impair.Profile{}, ImpairMode: place})
			requireSlowPath(t, lane)
		})
	}
}

func requireSlowPath(t *testing.T, lane *harness.Lane) {
	t.Helper()
	ctx := lane.Context()
	press := func(key string) time.Duration {
		t.Helper()
		before, err := drive.ReadDigest(ctx, lanetest.Control(t, lane))
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
	require.NoError(t, lane.SetLink(impair.Profile{Delay: 300 * time.Millisecond}))
	slow := press("z")
	require.GreaterOrEqual(t, slow, 600*time.Millisecond, "the key there and the picture back")
	require.NoError(t, lane.SetLink(impair.Profile{}))
	t.Logf("key to digest: %v, and %v with 300 ms each way, %s", fast, slow, lane.Relay().Shaped())
	requireSamePicture(ctx, t, lane)
}

func TestALaneSaysWhereItsLinkIsMade(t *testing.T) {
	t.Parallel()
	lane := harness.Up(t, harness.Config{Link: &impair.Profile{Delay: time.Millisecond}})
	lack := impair.Probe()
	want := "by netem, between two network namespaces"
	if lack != nil {
		want = "in this process, on the byte streams: " + lack.Error()
	}
	require.Equal(t, want, lane.Relay().Shaped())
	timeline, err := os.ReadFile(filepath.Join(lane.Dir(), timeline.File))
	require.NoError(t, err)
	require.Contains(t, string(timeline), `"shaped":"`+want+`"`)
}

func TestALinkThatTheKernelCannotMakeIsTheHostsFault(t *testing.T) {
	t.Parallel()
	harness.RequireHost(t)
	if impair.Probe() == nil {
		t.Skip("this kernel can make bad networks")
	}
	dir := t.ArtifactDir()
	_, err := harness.Start(t.Context(), harness.Config{Dir: dir, Link: &impair.Profile{}, ImpairMode: impair.InKernel})
	require.Equal(t, verdict.Host, verdict.Of(err), "%v", err)
	require.ErrorContains(t, err, impair.Probe().Error())
	require.ErrorContains(t, err, "impair.Auto")
}

func TestAGuestThatPowersItselfOffFailsTheLane(t *testing.T) {
	t.Parallel()
	lane := harness.Up(t, harness.Config{})
	require.NoError(t, lane.Machine().QMP().Powerdown(lane.Context())) // Beacon obeys its power button
	err := ended(t, lane)
	var exit *qemu.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, qemu.KindShutdown, exit.Kind)
	require.Equal(t, verdict.Product, verdict.Of(err))
	require.Equal(t, verdict.HopGuest, verdict.HopOf(err))
	require.Equal(t, registry.StateStopped, lane.State().State)
}

// The holder of the QMP socket ended QEMU, not the guest.
func TestAQEMUThatWasToldToQuitIsTheHarnesssFault(t *testing.T) {
	t.Parallel()
	lane := harness.Up(t, harness.Config{})
	require.NoError(t, lane.Machine().QMP().Do(lane.Context(), "quit", nil, nil))
	err := ended(t, lane)
	var exit *qemu.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, verdict.Harness, verdict.Of(err), "%v", err)
	require.Equal(t, registry.StateFailed, lane.State().State)
}
