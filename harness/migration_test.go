package harness_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/fixtures/digest"
	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/control"
)

// A guest that moves to another QEMU while a client looks at it: the client is told
// where to, dials there, and sees the very same guest go on.
func TestAClientIsLedAfterAGuestThatMoves(t *testing.T) {
	t.Parallel()
	lane := harness.Up(t, harness.Config{Proxy: harness.None, Client: harness.None})
	ctx := lane.Context()
	first := spice.FromVV(lane.DirectVV())
	client, driver := drive(t, lane, first)
	before, err := harness.AwaitDigest(ctx, driver, "a digest", func(harness.Digest) bool { return true })
	require.NoError(t, err)

	// Another QEMU that is the same machine, and waits for its guest.
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

	<-client.Done()
	var moved *spice.MigratedError
	require.ErrorAs(t, client.Wait(), &moved)
	require.Equal(t, &spice.MigratedError{Host: there.Spice().Host, Port: there.Spice().Port}, moved)

	_, driver = drive(t, lane, moved.Config(first))
	after, err := harness.AwaitDigest(ctx, driver, "the guest to go on", func(d harness.Digest) bool { return d.FrameCounter > before.FrameCounter })
	require.NoError(t, err)
	require.Equal(t, before.ChannelHashes, after.ChannelHashes, "this is another guest")
	require.NoError(t, driver.Chord(ctx, control.KeyShift))
	_, err = harness.AwaitDigest(ctx, driver, "a key that was pressed there", func(d harness.Digest) bool {
		for _, e := range d.Events {
			if k, ok := e.(digest.Scancode); ok && k.Code == control.KeyShift {
				return true
			}
		}
		return false
	})
	require.NoError(t, err)
}

// drive opens a session of the test's own and drives it over a control socket.
func drive(t *testing.T, lane *harness.Lane, cfg spice.Config) (*spice.Client, *control.Driver) {
	t.Helper()
	client, err := spice.Dial(lane.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = client.Close() })
	dir, err := os.MkdirTemp("", "control")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	ln, err := control.Listen(filepath.Join(dir, "s"))
	require.NoError(t, err)
	srv := control.NewServer(control.Config{Console: control.NewSpiceConsole(client), Scan: harness.ScanDigest})
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	t.Cleanup(func() {
		require.NoError(t, srv.Close())
		<-served
	})
	driver, err := control.DriverConfig{Name: "test"}.Dial(lane.Context(), filepath.Join(dir, "s"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = driver.Close() })
	return client, driver
}
