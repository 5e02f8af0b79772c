package qemu_test

import (
	"context"
	"image"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/qemu/dbusdisplay"
)

// needDBus skips the test if QEMU has no D-Bus display.
func needDBus(t *testing.T, m *qemu.Machine) *dbusdisplay.Display {
	t.Helper()
	if !m.Config().DBusDisplay {
		if os.Getenv(qemu.EnvLanes) == string(qemu.LanesRequire) {
			t.Fatal("this QEMU has no D-Bus display, and lanes are required")
		}
		t.Skip("this QEMU has no D-Bus display")
	}
	d, release, err := m.Display(boundary(t))
	require.NoError(t, err)
	t.Cleanup(release)
	return d
}

// samePicture asserts that a picture of an idle guest equals QEMU's own screenshot.
func samePicture(t *testing.T, m *qemu.Machine, got *image.NRGBA) {
	t.Helper()
	want, err := m.Screenshot(boundary(t))
	require.NoError(t, err)
	require.Equal(t, want.Rect.Size(), got.Rect.Size())
	require.True(t, string(want.Pix) == string(got.Pix), "other pixels than those of a screendump")
}

func TestEveryDisplayDeviceIsSeenOverDBusAsByScreendump(t *testing.T) {
	t.Parallel()
	for _, device := range []qemu.Display{qemu.Std, qemu.QXL, qemu.Virtio} {
		t.Run(string(device), func(t *testing.T) {
			t.Parallel()
			m := startEcho(t, func(c *qemu.Config) { c.Display = device })
			d := needDBus(t, m)
			p, err := d.Picture(boundary(t))
			require.NoError(t, err)
			// The cursor of a text screen blinks, so one equal pair is enough.
			for try := 0; ; try++ {
				want, err := m.Screenshot(boundary(t))
				require.NoError(t, err)
				if want.Rect.Size() == p.Rect.Size() && string(want.Pix) == string(p.Pix) {
					break
				}
				p, err = d.Await(boundary(t), p.Changes)
				require.NoError(t, err, "no equal pair")
			}
			img, err := m.Screen(boundary(t))
			require.NoError(t, err)
			require.Equal(t, p.Rect, img.Rect)
			require.Positive(t, p.Scanouts)
		})
	}
}

func TestDamageWakesWhoWaitsForIt(t *testing.T) {
	t.Parallel()
	m := startEcho(t)
	d := needDBus(t, m)
	before, err := d.Picture(boundary(t))
	require.NoError(t, err)
	// A reset clears the screen and writes on it again.
	require.NoError(t, m.Reset(boundary(t)))
	after, err := d.Await(boundary(t), before.Changes)
	require.NoError(t, err)
	require.Greater(t, after.Changes, before.Changes)
	for after.Scanouts == before.Scanouts && string(after.Pix) == string(before.Pix) {
		after, err = d.Await(boundary(t), after.Changes)
		require.NoError(t, err)
	}

	// Without changes there is no notification: the wait ends with its context.
	require.NoError(t, m.Pause(boundary(t)))
	why := context.Canceled
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = d.Await(ctx, 1<<60)
	require.ErrorIs(t, err, why)
}

// Several callers see the machine, one after another or at once.
func TestADisplayIsSharedAndOpenedAgain(t *testing.T) {
	t.Parallel()
	m := startEcho(t)
	first := needDBus(t, m)
	second, release, err := m.Display(boundary(t))
	require.NoError(t, err)
	require.Same(t, first, second)
	release()
	release()
	_, err = first.Picture(boundary(t))
	require.NoError(t, err, "another one still looks")

	m = startEcho(t)
	require.NoError(t, m.Pause(boundary(t)))
	for range 3 {
		img, err := m.Screen(boundary(t))
		require.NoError(t, err)
		samePicture(t, m, img)
	}
}

func TestTheDisplayEndsWithItsMachine(t *testing.T) {
	t.Parallel()
	m := startEcho(t)
	d := needDBus(t, m)
	_, err := d.Picture(boundary(t))
	require.NoError(t, err)
	require.NoError(t, m.Kill())
	_, err = d.Await(boundary(t), 1<<60)
	require.ErrorContains(t, err, "the connection has ended")
	_, err = m.Screen(boundary(t))
	require.Error(t, err)
}

func TestWithoutADBusDisplayTheScreenIsAScreendump(t *testing.T) {
	t.Parallel()
	assert.True(t, qemu.HasDBusDisplay(t.Context(), program(t, "echo 'Available display backend types:'; echo none; echo dbus")))
	assert.False(t, qemu.HasDBusDisplay(t.Context(), program(t, "echo none; echo egl-headless")))
	assert.False(t, qemu.HasDBusDisplay(t.Context(), "/nonexistent"))
	m := startEcho(t)
	m.WithoutDBusDisplay()
	_, _, err := m.Display(boundary(t))
	require.ErrorIs(t, err, qemu.ErrNoDBusDisplay)
	require.NoError(t, m.Pause(boundary(t)))
	img, err := m.Screen(boundary(t))
	require.NoError(t, err)
	samePicture(t, m, img)
}

func TestAnotherProcessSeesTheScreenOverTheToolsSocket(t *testing.T) {
	t.Parallel()
	m := startEcho(t)
	needDBus(t, m)
	require.NoError(t, m.Pause(boundary(t)))
	for range 2 {
		img, err := qemu.ScreenVia(boundary(t), m.Config().ToolSocket(), t.TempDir())
		require.NoError(t, err)
		samePicture(t, m, img)
	}
	_, err := qemu.ScreenVia(boundary(t), m.Config().ToolSocket()+"-none", t.TempDir())
	require.Error(t, err)
}

// A display that has no surface, or does not answer, is not waited for.
func TestADisplayThatShowsNothingInTimeIsReplacedByAScreendump(t *testing.T) {
	t.Parallel()
	m := startEcho(t)
	needDBus(t, m)
	require.NoError(t, m.Pause(boundary(t)))
	img, err := m.ScreenWithin(boundary(t), time.Nanosecond)
	require.NoError(t, err)
	samePicture(t, m, img)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = m.ScreenWithin(ctx, time.Hour)
	require.ErrorIs(t, err, context.Canceled)
}
