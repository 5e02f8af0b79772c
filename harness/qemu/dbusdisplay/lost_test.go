package dbusdisplay_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/serial"
	"github.com/spicelane/spicelane/internal/need"
)

// TestAListenerThatIsLostIsReplacedAndMissesNothing cuts the connection over which QEMU reports
// changes. The next picture must have what is painted while there is none.
func TestAListenerThatIsLostIsReplacedAndMissesNothing(t *testing.T) {
	harness.RequireHost(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "dbus") // short enough for a socket's path
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	sector, err := os.ReadFile("../testdata/echo.bin")
	require.NoError(t, err)
	disk := filepath.Join(dir, "echo.img")
	require.NoError(t, os.WriteFile(disk, append(sector, make([]byte, 1<<20-len(sector))...), 0o600))
	cfg, err := qemu.Prepare(ctx, qemu.Config{Dir: dir, Image: disk, BIOS: true, Accel: qemu.TCG, Display: qemu.Std, MemoryMiB: 64})
	require.NoError(t, err)
	m, err := qemu.Start(ctx, cfg)
	require.NoError(t, err)
	defer m.Close()
	_, err = m.AwaitBoot(ctx, serial.Contains("READY"))
	require.NoError(t, err)
	d, release, err := m.Display(ctx)
	if err != nil {
		need.OrSkip(t, err.Error())
	}
	defer release()

	for range 3 {
		before, err := d.Picture(ctx)
		require.NoError(t, err)
		require.NoError(t, d.CutListener())
		require.NoError(t, m.Reset(ctx)) // the firmware clears the screen and writes on it again
		after, err := d.Await(ctx, before.Changes)
		require.NoError(t, err)
		require.Greater(t, after.Scanouts, before.Scanouts, "the new listener gets the whole surface")
	}
	require.NoError(t, m.Pause(ctx))
	for {
		p, err := d.Picture(ctx)
		require.NoError(t, err)
		want, err := m.Screenshot(ctx)
		require.NoError(t, err)
		if want.Rect.Size() == p.Rect.Size() && string(want.Pix) == string(p.Pix) {
			break
		}
		_, err = d.Await(ctx, p.Changes) // QEMU has painted more
		require.NoError(t, err, "the picture stays another one than that of a screendump")
	}
}
