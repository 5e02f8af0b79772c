package harness_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/fixtures/digest"
	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/internal/lanetest"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/control"
)

// A guest moves to another QEMU while clients are connected. QEMU tells a session of the test where
// the guest has gone, and the test connects there. The lane's client follows by itself.
func TestClientsFollowAGuestThatMoves(t *testing.T) {
	t.Parallel()
	lane := harness.Up(t, harness.Config{Proxy: harness.None})
	ctx := lane.Context()
	session, err := spice.Dial(ctx, spice.FromVV(lane.DirectVV()))
	require.NoError(t, err)
	t.Cleanup(func() { _ = session.Close() })
	before, err := lane.AwaitDigest(ctx, "a digest", func(harness.Digest) bool { return true })
	require.NoError(t, err)

	there := move(t, lane)

	<-session.Done()
	var moved *spice.MigratedError
	require.ErrorAs(t, session.Wait(), &moved)
	require.Equal(t, &spice.MigratedError{Host: there.Spice().Host, Port: there.Spice().Port}, moved)
	next, err := spice.Dial(ctx, moved.Config(spice.FromVV(lane.DirectVV())))
	require.NoError(t, err)
	t.Cleanup(func() { _ = next.Close() })

	after, err := lane.AwaitDigest(ctx, "the guest to go on", func(d harness.Digest) bool { return d.FrameCounter > before.FrameCounter })
	require.NoError(t, err)
	require.Equal(t, before.ChannelHashes, after.ChannelHashes, "this is another guest")
	require.NoError(t, next.Key(ctx, control.KeyShift, true))
	require.NoError(t, next.Key(ctx, control.KeyShift, false))
	_, err = lane.AwaitDigest(ctx, "a key that was pressed there", func(d harness.Digest) bool {
		return slices.ContainsFunc(d.Events, func(e digest.Event) bool {
			k, ok := e.(digest.Scancode)
			return ok && k.Code == control.KeyShift && k.State == digest.KeyUp
		})
	})
	require.NoError(t, err)
	// The lane's client can also disconnect and reconnect there.
	require.NoError(t, lanetest.Control(t, lane).Disconnect(ctx))
	require.NoError(t, lanetest.Control(t, lane).Reconnect(ctx))
	_, err = lane.AwaitDigest(ctx, "the guest after that", func(d harness.Digest) bool { return d.FrameCounter > after.FrameCounter })
	require.NoError(t, err)
}

// move makes the lane's guest move to another QEMU, which is the same machine.
func move(t *testing.T, lane *harness.Lane) *qemu.Machine {
	t.Helper()
	ctx := lane.Context()
	dir, err := os.MkdirTemp("", "lane") // short, for the sockets
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	incoming := "unix:" + filepath.Join(dir, "in")
	cfg := lane.Machine().Config()
	cfg.Name, cfg.Dir, cfg.SocketDir, cfg.LoadState, cfg.Said = "there", dir, dir, "", nil
	cfg.Disk, cfg.Firmware = "", qemu.Firmware{} // its own copies
	cfg.Spice.Unix, cfg.Spice.Port = "", qemu.AnyPort
	cfg.Args = append(cfg.Args, "-incoming", incoming)
	cfg, err = qemu.Prepare(ctx, cfg)
	require.NoError(t, err)
	there, err := qemu.Start(ctx, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, there.Close()) })

	here := lane.Machine().QMP()
	require.NoError(t, here.Do(ctx, "client_migrate_info", map[string]any{
		"protocol": "spice", "hostname": there.Spice().Host, "port": there.Spice().Port}, nil))
	require.NoError(t, here.Migrate(ctx, incoming))
	return there
}
