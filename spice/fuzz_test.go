package spice_test

import (
	"encoding/binary"
	"image"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/codec/codectest"
	"github.com/spicelane/spicelane/spice/codec/lz"
	"github.com/spicelane/spicelane/spice/codec/quic"
	"github.com/spicelane/spicelane/spice/wire"
)

var fuzzed = []wire.ChannelID{mainID, displayID, inputsID, cursorID, playbackID}

// script is messages as FuzzSession takes them: for each a byte for the channel, its type, its length, its body.
func script(id wire.ChannelID, messages ...wire.ServerMessage) []byte {
	var b []byte
	for _, m := range messages {
		body := m.Append(nil)
		for i := range fuzzed {
			if fuzzed[i] == id {
				b = append(b, byte(i))
			}
		}
		b = binary.LittleEndian.AppendUint16(b, m.MessageType())
		b = binary.LittleEndian.AppendUint16(b, uint16(len(body)))
		b = append(b, body...)
	}
	return b
}

// FuzzSession has a server say anything at all. The client may end the session, with a typed error; nothing else may happen.
func FuzzSession(f *testing.F) {
	p := codectest.UI(64, 64).Opaque()
	box := base(image.Rect(0, 0, 8, 8))
	pattern := wire.Brush{Type: wire.BrushPattern, Pattern: bitmap(1, 2, 2, 1, 2, 3)}
	mask := wire.Mask{Bitmap: &wire.Image{Type: wire.ImageBitmap, Width: 8, Height: 8, Data: make([]byte, 8),
		Bitmap: wire.Bitmap{Format: wire.Bitmap1BitBE, Width: 8, Height: 8, Stride: 1}}}
	src, area := bitmap(2, 8, 8, 5, 6), wire.RectOf(image.Rect(0, 0, 4, 4))
	keep := bitmap(3, 4, 4, 9)
	keep.Flags = wire.ImageFlagCacheMe
	create := primary(64, 64)
	f.Add(script(displayID, create, &wire.DisplayMark{}, drawCopy(image.Point{}, coded(wire.ImageQuic, p, codectest.EncodeQUIC(p, int(quic.RGB32)))),
		drawCopy(image.Point{}, coded(wire.ImageLZRGB, p, codectest.EncodeLZ(p, int(lz.RGB32), true)))))
	f.Add(script(displayID, create, drawCopy(image.Point{}, coded(wire.ImageGLZRGB, p, new(codectest.GLZEncoder).Encode(p, int(lz.RGB32), true))),
		drawCopy(image.Point{}, keep), drawCopy(image.Point{}, &wire.Image{ID: 3, Type: wire.ImageFromCache, Width: 4, Height: 4}),
		&wire.DisplayInvalList{Resources: []wire.Resource{{Type: 1, ID: 3}}}, &wire.DisplayInvalAllPixmaps{}))
	f.Add(script(displayID, create,
		&wire.DrawFill{Base: box, Brush: pattern, Rop: wire.RopXor, Mask: mask},
		&wire.DrawOpaque{Base: box, Src: src, SrcArea: area, Brush: pattern, Rop: wire.RopAnd, Mask: mask},
		&wire.DrawBlend{Base: box, Src: src, SrcArea: area, Rop: wire.RopOr},
		&wire.DrawBlackness{Base: box}, &wire.DrawWhiteness{Base: box, Mask: mask}, &wire.DrawInvers{Base: box},
		&wire.DrawRop3{Base: box, Src: src, SrcArea: area, Brush: pattern, Rop3: 0x69},
		&wire.DrawTransparent{Base: box, Src: src, SrcArea: area},
		&wire.DrawAlphaBlend{Base: box, Src: src, SrcArea: area, Alpha: 100},
		&wire.DrawComposite{Base: box, Src: src, Flags: 3 | wire.CompositeHasMask, Mask: keep},
		&wire.DrawStroke{Base: box, Path: []wire.PathSegment{{Flags: wire.PathBegin, Points: []wire.PointFix{{}, {X: 99, Y: 70}}}}, Brush: pattern, ForeMode: wire.RopPut},
		&wire.DrawText{Base: box, Flags: wire.StringRasterA4, Glyphs: []wire.Glyph{{Width: 3, Height: 2, Data: []byte{1, 2, 3, 4}}}, ForeBrush: pattern, ForeMode: wire.RopPut},
		&wire.DisplayCopyBits{Base: box, SrcPos: wire.Point{X: 3, Y: 3}}))
	f.Add(script(displayID, create, &wire.DisplayMonitorsConfig{Heads: []wire.Head{{Width: 1, Height: 1}}}, &wire.DisplayReset{}, &wire.DisplayMode{Width: 9, Height: 9, Bits: 16},
		&wire.DisplayStreamCreate{Codec: wire.VideoMJPEG, Dest: area}, &wire.DisplayStreamData{Data: []byte{0xff, 0xd8}}, &wire.DisplayStreamDestroyAll{}, &wire.DisplaySurfaceDestroy{}))
	f.Add(append(script(cursorID, &wire.CursorInit{Visible: true, Cursor: wire.Cursor{Type: wire.CursorMono, Width: 8, Height: 1, Data: []byte{1, 2}}}, &wire.CursorMove{}, &wire.CursorHide{}),
		script(inputsID, &wire.InputsInit{}, &wire.InputsKeyModifiers{Modifiers: 1}, &wire.InputsMouseMotionAck{})...))
	agent := wire.AppendAgent(nil, &wire.AgentAnnounceCapabilities{Request: true, Caps: agentCaps}, nil)
	agent = wire.AppendAgent(agent, &wire.AgentClipboardGrab{Types: []wire.ClipboardType{1}}, agentCaps)
	f.Add(script(mainID, &wire.MainAgentConnectedTokens{Tokens: 9}, &wire.MainAgentData{Data: agent}, &wire.MainAgentToken{Tokens: 1}, &wire.MainAgentDisconnected{},
		&wire.MainMouseMode{Supported: 3, Current: 1}, &wire.SetAck{Generation: 1, Window: 2}, &wire.Ping{ID: 1}, &wire.MainName{Name: "x"},
		&wire.WaitForChannels{}, &wire.Notify{Message: "x"}, &wire.MainMigrateBegin{}, &wire.Disconnecting{}))
	f.Add(append(script(mainID, &wire.MainMigrateBeginSeamless{}, &wire.MainMigrateCancel{}, &wire.MainMigrateBegin{}),
		script(inputsID, &wire.Migrate{Flags: wire.MigrateNeedFlush | wire.MigrateNeedDataTransfer}, &wire.MigrateData{Data: []byte{1}})...))
	sound := opusStart()
	for _, packet := range readOpus(f)[:3] {
		sound = append(sound, &wire.PlaybackData{Data: packet.data})
	}
	f.Add(script(playbackID, append(sound, &wire.PlaybackStop{}, &wire.PlaybackMode{Mode: wire.AudioRaw}, &wire.PlaybackData{Data: []byte{1}})...))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := serve(t, displayID, inputsID, cursorID, playbackID)
		c := s.dial(spice.Config{Sound: &heard{}, Limits: spice.Limits{SurfacePixels: 1 << 14, TotalPixels: 1 << 16, ImagePixels: 1 << 14, Surfaces: 16}, PixmapCachePixels: 1 << 12, GLZWindowPixels: 1 << 12})
		for _, id := range fuzzed {
			go io.Copy(io.Discard, s.peer(id).conn)
		}
		for len(data) >= 5 {
			p := s.peer(fuzzed[int(data[0])%len(fuzzed)])
			n := min(int(binary.LittleEndian.Uint16(data[3:])), len(data)-5)
			p.conn.SetWriteDeadline(time.Now().Add(10 * time.Second))
			if p.out.WriteRaw(wire.Header{Type: binary.LittleEndian.Uint16(data[1:])}, data[5:5+n]) != nil {
				break
			}
			data = data[5+n:]
		}
		for _, id := range fuzzed {
			s.peer(id).conn.Close()
		}
		err := c.Wait()
		var typed *spice.ChannelError
		require.ErrorAs(t, err, &typed)
		require.NoError(t, c.Close()) // other channels may still take what was sent
		for _, info := range c.Surfaces() {
			_, err := c.Snapshot(info.Channel, info.ID, nil)
			require.NoError(t, err)
		}
		c.Stats()
	})
}
