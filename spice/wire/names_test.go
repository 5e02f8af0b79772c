package wire_test

import (
	"bytes"
	"image"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice/wire"
)

func TestCapabilitiesAreASetOfNumbers(t *testing.T) {
	caps := wire.MakeCaps(wire.CapAuthSpice, 33)
	assert.Equal(t, wire.Caps{2, 2}, caps)
	assert.True(t, caps.Has(33))
	assert.False(t, caps.Has(32))
	assert.False(t, caps.Has(1<<31))
	assert.Equal(t, []wire.Cap{1, 33}, caps.List())
	assert.Equal(t, "auth_spice,cap-33", caps.CommonNames())
	assert.Equal(t, wire.Caps{2, 0}, caps.Without(33, 900))
	assert.Equal(t, wire.Caps{2, 2}, caps, "Without copies")
	assert.Equal(t, wire.Caps{2}, caps.And(wire.Caps{3}))
	assert.Len(t, wire.MakeCaps(32*wire.MaxCapWords-1), wire.MaxCapWords)
	assert.Nil(t, wire.MakeCaps(32*wire.MaxCapWords), "what the wire cannot say is left out")
	assert.Equal(t, "sized_stream,codec_h265", wire.MakeCaps(wire.CapDisplaySizedStream, wire.CapDisplayCodecH265).ChannelNames(wire.ChannelDisplay))
	assert.Equal(t, "clipboard_grab_serial", wire.MakeCaps(wire.AgentCapClipboardGrabSerial).AgentNames())
	assert.Equal(t, "volume", wire.ChannelCapName(wire.ChannelRecord, wire.CapRecordVolume))
	assert.Len(t, wire.ChannelCapsOf(wire.ChannelDisplay), 15)
}

func TestChannelsHaveNamesThatCanBeReadBack(t *testing.T) {
	for _, typ := range append(wire.ChannelTypes(), 0, 12, 200) {
		id := wire.ChannelID{Type: typ, ID: 3}
		back, err := wire.ParseChannelID(id.String())
		require.NoError(t, err)
		assert.Equal(t, id, back)
	}
	assert.Equal(t, "channel-200:3", wire.ChannelID{Type: 200, ID: 3}.String())
	for _, bad := range []string{"", "main", "main:", "main:256", "sound:0", "channel-x:1"} {
		_, err := wire.ParseChannelID(bad)
		assert.Errorf(t, err, "%q", bad)
	}
}

func TestNumbersPrintAsTheirNames(t *testing.T) {
	for want, got := range map[string]interface{ String() string }{
		"permission_denied":  wire.ResultPermissionDenied,
		"result-77":          wire.Result(77),
		"glz_rgb":            wire.ImageGLZRGB,
		"image-2":            wire.ImageType(2),
		"auto_glz":           wire.CompressionAutoGLZ,
		"put|invers_res":     wire.RopPut | wire.RopInversRes,
		"left|0x80":          wire.MouseButtons(0x81),
		"0x0":                wire.Modifiers(0),
		"32_argb":            wire.Surface32ARGB,
		"rgba":               wire.BitmapRGBA,
		"cache_me":           wire.ImageFlagCacheMe,
		"pal_cache_me":       wire.BitmapFlagPaletteCacheMe,
		"color32":            wire.CursorColor32,
		"opus":               wire.AudioOpus,
		"mjpeg":              wire.VideoMJPEG,
		"apdu":               wire.SmartcardAPDU,
		"warn":               wire.NotifyWarn,
		"right":              wire.ButtonRight,
		"server|client":      wire.MouseModeServer | wire.MouseModeClient,
		"client":             wire.FromClient,
		"monitors_config":    wire.AgentTypeMonitorsConfig,
		"num_lock|caps_lock": wire.ModifierNumLock | wire.ModifierCapsLock,
	} {
		assert.Equal(t, want, got.String())
	}
	assert.Equal(t, image.Rect(7, 6, 9, 8), srcArea().Bounds())
	assert.Equal(t, srcArea(), wire.RectOf(image.Rect(7, 6, 9, 8)))
	assert.True(t, wire.Rect{Top: 5, Bottom: 1, Left: 0, Right: 9}.Bounds().Empty())
	assert.Equal(t, 16, wire.Surface16_565.BitsPerPixel())
}

func TestATraceIsOneStableLineAMessage(t *testing.T) {
	var out bytes.Buffer
	tr := wire.NewTracer(&out, wire.ChannelID{Type: wire.ChannelDisplay})
	tr.Linked(wire.LinkInfo{Client: wire.CapSets{Common: wire.Caps{9}, Channel: wire.Caps{2}}, Server: wire.CapSets{Common: wire.Caps{9}}})
	body := literal(copyOf(quic))
	tr.Message(server, wire.Header{Type: 304, Size: uint32(len(body))}, body)
	tr.Message(server, wire.Header{Type: 304}, body[:57])
	tr.Message(server, wire.Header{Type: 999}, []byte{1})
	tr.Message(client, wire.Header{Type: 2}, nil)
	withList, offset := wire.AppendSubMessages(nil, 0, []wire.SubMessage{{Type: 105, Body: []byte{0, 0}}})
	tr.Message(server, wire.Header{Type: 8, SubList: offset}, withList)
	inputs := tr.For(wire.ChannelID{Type: wire.ChannelInputs})
	inputs.Clock = func() time.Duration { return 1500 * time.Microsecond }
	inputs.Message(client, wire.Header{Type: 101}, []byte{0x1e, 0, 0, 0})
	assert.Equal(t, `display:0 client link common=auth_selection,mini_header channel=monitors_config
display:0 server link common=auth_selection,mini_header channel=
display:0 server display.draw_copy 82
display:0 server display.draw_copy 57 !wire: display.draw_copy: at byte 25 of the body: offset 57 lies outside the body of 57 bytes
display:0 server display.999 1
display:0 client ack 0
display:0 server list 14
display:0 server +display.inval_list 2
  0.001500 inputs:0 client inputs.key_down 4
`, out.String())
}
