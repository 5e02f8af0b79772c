package main

import (
	"image"
	"image/png"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice/control/controltest"
	"github.com/spicelane/spicelane/spice/control/server"
)

// A guest with two heads, each with a display channel of its own, and a further surface
// on the second.
func TestAScreenshotIsOfTheHeadThatIsNamed(t *testing.T) {
	c := controltest.New(64, 48)
	c.AddSurface(2, 0, 32, 24)
	c.AddSurface(2, 7, 16, 12)
	path, _ := controltest.Open(t, server.Config{Console: c})
	for _, tc := range []struct {
		args []string
		size image.Point
	}{
		{nil, image.Pt(64, 48)},
		{[]string{"--display", "2"}, image.Pt(32, 24)},
		{[]string{"--display", "2", "--surface", "7"}, image.Pt(16, 12)},
		{[]string{"--display", "0", "--surface", "0"}, image.Pt(64, 48)},
	} {
		file := filepath.Join(t.TempDir(), "p.png")
		root := newRoot()
		root.SetArgs(append([]string{"screenshot", "--socket", path, "-o", file}, tc.args...))
		require.NoError(t, root.ExecuteContext(t.Context()))
		f, err := os.Open(file)
		require.NoError(t, err)
		img, err := png.Decode(f)
		f.Close()
		require.NoError(t, err)
		require.Equal(t, tc.size, img.Bounds().Size(), "%q", tc.args)
	}
	root := newRoot()
	root.SetArgs([]string{"screenshot", "--socket", path, "-o", filepath.Join(t.TempDir(), "p.png"), "--display", "1"})
	require.ErrorContains(t, root.ExecuteContext(t.Context()), "no surface 0 on display channel 1")
	root = newRoot()
	root.SetArgs([]string{"screenshot", "a", "-o", "p.png", "--via", "qmp", "--display", "1"})
	require.ErrorContains(t, root.ExecuteContext(t.Context()), "QEMU's own picture is of the first head")
}
