package scenario_test

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/internal/lanetest"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/scenario"
	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/control"
)

// With filter and all, spice-server makes a stream of the scene's video.
func TestAQXLDeviceDrawsNatively(t *testing.T) {
	for _, streaming := range []string{"off", "filter", "all"} {
		t.Run("video "+streaming, func(t *testing.T) { drawsNatively(t, streaming) })
	}
}

func drawsNatively(t *testing.T, streaming string) {
	lanetest.AtLength(t)
	lanetest.AtOnce(t)
	lane := harness.Up(t, harness.Config{Witness: true, Compression: "auto_glz", Streaming: streaming})
	scenario.Native(t, lane)
	var st spice.Stats
	require.NoError(t, lanetest.Control(t, lane).Stats(lane.Context(), &st))
	if streaming == "off" {
		require.Zero(t, st.Ops["stream_data"].Count)
	}
}

func TestTheNativeSceneBearsInterruptions(t *testing.T) {
	lanetest.AtLength(t)
	lanetest.AtOnce(t)
	scenario.NativeInterrupted(t, harness.Up(t, harness.Config{}))
}

// shape returns a pointer of two by one pixels: one has a colour, and one is transparent.
func shape(c color.NRGBA) []byte {
	img := image.NewNRGBA(image.Rect(0, 0, 2, 1))
	img.SetNRGBA(0, 0, c)
	img.SetNRGBA(1, 0, color.NRGBA{R: 9, A: 0}) // the colour of a transparent pixel does not matter
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// The line's checksum is that of the eight bytes fe 03 02 ff 00 00 00 00.
const pointerLine = "native pointer shape=mono visible=1 x=-3 y=20 hot_x=1 hot_y=0" +
	" width=2 height=1 crc=%08x"

func TestAPointerIsHeldAgainstWhatTheGuestHasSet(t *testing.T) {
	t.Parallel()
	blue := color.NRGBA{R: 2, G: 3, B: 0xfe, A: 255}
	red, faint := color.NRGBA{R: 0xfe, G: 3, B: 2, A: 255}, color.NRGBA{R: 2, G: 3, B: 0xfe, A: 254}
	crc := scenario.CRC([]byte{0xfe, 3, 2, 255, 0, 0, 0, 0})
	right := control.CursorResult{Visible: true, X: -3, Y: 20, HotX: 1, Width: 2, Height: 1, Data: shape(blue)}
	line := fmt.Sprintf(pointerLine, crc)
	require.NoError(t, scenario.CheckPointer(line, right))

	for _, tt := range []struct {
		change func(*control.CursorResult)
		want   string
	}{
		{func(c *control.CursorResult) { c.Visible = false }, "visible is false, the guest has set true"},
		{func(c *control.CursorResult) { c.X++ }, "position is (-2,20), the guest has set (-3,20)"},
		{func(c *control.CursorResult) { c.Y-- }, "position is (-3,19), the guest has set (-3,20)"},
		{func(c *control.CursorResult) { c.HotX-- }, "hot spot is (0,0), the guest has set (1,0)"},
		{func(c *control.CursorResult) { c.HotY++ }, "hot spot is (1,1), the guest has set (1,0)"},
		{func(c *control.CursorResult) { c.Width = 3 }, "size is (3,1), the guest has set (2,1)"},
		{func(c *control.CursorResult) { c.Data = nil }, "its shape cannot be read"},
		{func(c *control.CursorResult) { c.Data = shape(red) }, "checksum"},
		{func(c *control.CursorResult) { c.Data = shape(faint) }, "checksum"},
	} {
		wrong := right
		tt.change(&wrong)
		require.ErrorContains(t, scenario.CheckPointer(line, wrong), tt.want)
	}

	for _, bad := range []string{"shape=mono", line + " x=1", "native pointer " + line} {
		require.Error(t, scenario.CheckPointer(bad, right), bad)
	}
}

func TestALaneStreamsIfItsQEMUIsToldTo(t *testing.T) {
	t.Parallel()
	for how, want := range map[string]bool{"": false, "off": false, "all": true, "filter": true} {
		require.Equal(t, want, scenario.Streams(qemu.Config{Spice: qemu.Spice{Streaming: how}}), how)
		args := []string{"-spice", "streaming-video=" + how + ",seamless-migration=on"}
		require.Equal(t, want, scenario.Streams(qemu.Config{Args: args}), how)
	}
	require.False(t, scenario.Streams(qemu.Config{Args: []string{"-spice", "image-compression=off"}}))
}
