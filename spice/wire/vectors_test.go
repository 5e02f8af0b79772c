package wire_test

import (
	"encoding/hex"
	"strings"

	"github.com/spicelane/spicelane/spice/wire"
)

// vector is a message as bytes and as a struct.
type vector struct {
	channel wire.ChannelType
	dir     wire.Direction
	// bytes is hex in groups as the fields lie; 'text' stands for itself and a
	// line is commented after //.
	bytes string
	msg   wire.Message
	// open is set where the message ends in data that takes the rest of the
	// body: prefixes of at least fixed bytes are messages too.
	open  bool
	fixed int
}

const (
	server = wire.FromServer
	client = wire.FromClient
)

func literal(text string) []byte {
	out := []byte{}
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "//")
		for i, part := range strings.Split(line, "'") {
			if i%2 == 1 {
				out = append(out, part...)
				continue
			}
			b, err := hex.DecodeString(strings.Join(strings.Fields(part), ""))
			if err != nil {
				panic(err)
			}
			out = append(out, b...)
		}
	}
	return out
}

// drawBase is surface 1, box top 2 left 3 bottom 4 right 5, no clip: 21 bytes.
const drawBase = "01000000 02000000 03000000 04000000 05000000 00 "

func base() wire.DisplayBase {
	return wire.DisplayBase{Surface: 1, Box: wire.Rect{Top: 2, Left: 3, Bottom: 4, Right: 5}}
}

// area is top 6 left 7 bottom 8 right 9: 16 bytes.
const area = "06000000 07000000 08000000 09000000 "

func srcArea() wire.Rect { return wire.Rect{Top: 6, Left: 7, Bottom: 8, Right: 9} }

// noMask is a mask without a picture: 13 bytes.
const noMask = "00 00000000 00000000 00000000 "

// quic is a QUIC image of 2×1 pixels and 3 bytes: 25 bytes.
const quic = "1122334455667788 01 01 02000000 01000000 03000000 aabbcc "

func quicImage() *wire.Image {
	return &wire.Image{ID: 0x8877665544332211, Type: wire.ImageQuic, Flags: wire.ImageFlagCacheMe,
		Width: 2, Height: 1, Data: []byte{0xaa, 0xbb, 0xcc}}
}

// copyOf returns a draw_copy of an image that follows at offset 57 = 0x39.
func copyOf(image string) string {
	return drawBase + "39000000 " + area + "0800 01" + noMask + image
}

func drawCopyOf(m *wire.Image) *wire.DrawCopy {
	return &wire.DrawCopy{Base: base(), Src: m, SrcArea: srcArea(), Rop: wire.RopPut, Scale: wire.ScaleNearest}
}

var vectors = []vector{
	// All channels.
	{wire.ChannelMain, server, "03000000", &wire.Migrate{Flags: 3}, false, 0},
	{wire.ChannelCursor, server, "010203", &wire.MigrateData{Data: []byte{1, 2, 3}}, true, 0},
	{wire.ChannelDisplay, server, "01000000 14000000", &wire.SetAck{Generation: 1, Window: 20}, false, 0},
	{wire.ChannelMain, server, "07000000 0807060504030201 0000", &wire.Ping{ID: 7, Timestamp: 0x0102030405060708, Data: []byte{0, 0}}, true, 12},
	{wire.ChannelDisplay, server, "02 02 00 0100000000000000 04 01 ffffffffffffffff",
		&wire.WaitForChannels{Wait: []wire.WaitForChannel{
			{Channel: wire.ChannelID{Type: wire.ChannelDisplay}, Serial: 1},
			{Channel: wire.ChannelID{Type: wire.ChannelCursor, ID: 1}, Serial: 1<<64 - 1}}}, false, 0},
	{wire.ChannelInputs, server, "0100000000000000 07000000", &wire.Disconnecting{Time: 1, Reason: wire.ResultPermissionDenied}, false, 0},
	{wire.ChannelMain, server, "0500000000000000 01000000 02000000 03000000 05000000 'hello' 00",
		&wire.Notify{Time: 5, Severity: wire.NotifyWarn, Visibility: 2, What: 3, Message: "hello"}, true, 29},
	{wire.ChannelMain, server, "0000", &wire.List{Data: []byte{0, 0}}, true, 0},
	{wire.ChannelMain, client, "01000000", &wire.AckSync{Generation: 1}, false, 0},
	{wire.ChannelMain, client, "", &wire.Ack{}, false, 0},
	{wire.ChannelMain, client, "07000000 0807060504030201", &wire.Pong{ID: 7, Timestamp: 0x0102030405060708}, false, 0},
	{wire.ChannelMain, client, "", &wire.MigrateFlushMark{}, false, 0},
	{wire.ChannelCursor, client, "010203", &wire.ClientMigrateData{Data: []byte{1, 2, 3}}, true, 0},
	{wire.ChannelMain, client, "0100000000000000 00000000", &wire.ClientDisconnecting{Time: 1}, false, 0},

	// main
	{wire.ChannelMain, server, `0c17 0d17 05000000 14000000 05000000 19000000 'host' 00 'CN=a' 00`,
		&wire.MainMigrateBegin{Target: wire.MigrationTarget{Port: 5900, SecurePort: 5901, Host: "host", CertSubject: "CN=a"}}, false, 0},
	{wire.ChannelMain, server, "", &wire.MainMigrateCancel{}, false, 0},
	{wire.ChannelMain, server, "01000000 02000000 03000000 01000000 01000000 0a000000 00100000 00000004",
		&wire.MainInit{SessionID: 1, DisplayChannelsHint: 2, SupportedMouseModes: 3, CurrentMouseMode: wire.MouseModeServer,
			AgentConnected: 1, AgentTokens: 10, MultiMediaTime: 4096, RAMHint: 64 << 20}, false, 0},
	{wire.ChannelMain, server, "02000000 02 00 04 01", &wire.MainChannelsList{Channels: []wire.ChannelID{
		{Type: wire.ChannelDisplay}, {Type: wire.ChannelCursor, ID: 1}}}, false, 0},
	{wire.ChannelMain, server, "0300 0200", &wire.MainMouseMode{Supported: 3, Current: wire.MouseModeClient}, false, 0},
	{wire.ChannelMain, server, "2a000000", &wire.MainMultiMediaTime{Time: 42}, false, 0},
	{wire.ChannelMain, server, "", &wire.MainAgentConnected{}, false, 0},
	{wire.ChannelMain, server, "01000000", &wire.MainAgentDisconnected{Reason: wire.ResultError}, false, 0},
	{wire.ChannelMain, server, "0102", &wire.MainAgentData{Data: []byte{1, 2}}, true, 0},
	{wire.ChannelMain, server, "05000000", &wire.MainAgentToken{Tokens: 5}, false, 0},
	{wire.ChannelMain, server, `0c17 0000 05000000 14000000 00000000 00000000 'host' 00`,
		&wire.MainMigrateSwitchHost{Target: wire.MigrationTarget{Port: 5900, Host: "host"}}, false, 0},
	{wire.ChannelMain, server, "", &wire.MainMigrateEnd{}, false, 0},
	{wire.ChannelMain, server, "04000000 'vm1' 00", &wire.MainName{Name: "vm1"}, false, 0},
	{wire.ChannelMain, server, "000102030405060708090a0b0c0d0e0f",
		&wire.MainUUID{UUID: [16]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}}, false, 0},
	{wire.ChannelMain, server, "0a000000", &wire.MainAgentConnectedTokens{Tokens: 10}, false, 0},
	{wire.ChannelMain, server, `0c17 0000 05000000 18000000 00000000 00000000 02000000 'host' 00`,
		&wire.MainMigrateBeginSeamless{Target: wire.MigrationTarget{Port: 5900, Host: "host"}, SourceVersion: 2}, false, 0},
	{wire.ChannelMain, server, "", &wire.MainMigrateDstSeamlessAck{}, false, 0},
	{wire.ChannelMain, server, "", &wire.MainMigrateDstSeamlessNack{}, false, 0},
	{wire.ChannelMain, client, "0000100000000000", &wire.MainClientInfo{CacheSize: 1 << 20}, false, 0},
	{wire.ChannelMain, client, "", &wire.MainMigrateConnected{}, false, 0},
	{wire.ChannelMain, client, "", &wire.MainMigrateConnectError{}, false, 0},
	{wire.ChannelMain, client, "", &wire.MainAttachChannels{}, false, 0},
	{wire.ChannelMain, client, "0200", &wire.MainMouseModeRequest{Mode: wire.MouseModeClient}, false, 0},
	{wire.ChannelMain, client, "ffffffff", &wire.MainAgentStart{Tokens: 1<<32 - 1}, false, 0},
	{wire.ChannelMain, client, "0102", &wire.MainClientAgentData{Data: []byte{1, 2}}, true, 0},
	{wire.ChannelMain, client, "05000000", &wire.MainClientAgentToken{Tokens: 5}, false, 0},
	{wire.ChannelMain, client, "", &wire.MainClientMigrateEnd{}, false, 0},
	{wire.ChannelMain, client, "02000000", &wire.MainMigrateDstDoSeamless{SourceVersion: 2}, false, 0},
	{wire.ChannelMain, client, "", &wire.MainMigrateConnectedSeamless{}, false, 0},
	{wire.ChannelMain, client, "09", &wire.MainQualityIndicator{Data: []byte{9}}, true, 0},

	// display
	{wire.ChannelDisplay, server, "00040000 00030000 20000000", &wire.DisplayMode{Width: 1024, Height: 768, Bits: 32}, false, 0},
	{wire.ChannelDisplay, server, "", &wire.DisplayMark{}, false, 0},
	{wire.ChannelDisplay, server, "", &wire.DisplayReset{}, false, 0},
	{wire.ChannelDisplay, server, "02000000 02000000 03000000 04000000 05000000 01 02000000" + area + area + "ffffffff 0a000000",
		&wire.DisplayCopyBits{Base: wire.DisplayBase{Surface: 2, Box: base().Box,
			Clip: wire.Clip{Type: wire.ClipRects, Rects: []wire.Rect{srcArea(), srcArea()}}},
			SrcPos: wire.Point{X: -1, Y: 10}}, false, 0},
	{wire.ChannelDisplay, server, drawBase + "01000000 02000000",
		&wire.DisplayCopyBits{Base: base(), SrcPos: wire.Point{X: 1, Y: 2}}, false, 0},
	{wire.ChannelDisplay, server, "0200 01 0100000000000000 01 0200000000000080",
		&wire.DisplayInvalList{Resources: []wire.Resource{{Type: 1, ID: 1}, {Type: 1, ID: 1<<63 | 2}}}, false, 0},
	{wire.ChannelDisplay, server, "01 02 01 0500000000000000", &wire.DisplayInvalAllPixmaps{Wait: []wire.WaitForChannel{
		{Channel: wire.ChannelID{Type: wire.ChannelDisplay, ID: 1}, Serial: 5}}}, false, 0},
	{wire.ChannelDisplay, server, "0900000000000000", &wire.DisplayInvalPalette{ID: 9}, false, 0},
	{wire.ChannelDisplay, server, "", &wire.DisplayInvalAllPalettes{}, false, 0},
	{wire.ChannelDisplay, server, `00000000 05000000 01 01 0807060504030201 40010000 f0000000 80020000 e0010000
		` + area + `01 00000000`,
		&wire.DisplayStreamCreate{Stream: 5, Flags: wire.StreamTopDown, Codec: wire.VideoMJPEG, Stamp: 0x0102030405060708,
			StreamWidth: 320, StreamHeight: 240, SrcWidth: 640, SrcHeight: 480, Dest: srcArea(),
			Clip: wire.Clip{Type: wire.ClipRects}}, false, 0},
	{wire.ChannelDisplay, server, "05000000 10270000 03000000 ffd8ff", &wire.DisplayStreamData{Stream: 5, Time: 10000, Data: []byte{0xff, 0xd8, 0xff}}, false, 0},
	{wire.ChannelDisplay, server, "05000000 01 01000000" + area, &wire.DisplayStreamClip{Stream: 5,
		Clip: wire.Clip{Type: wire.ClipRects, Rects: []wire.Rect{srcArea()}}}, false, 0},
	{wire.ChannelDisplay, server, "05000000", &wire.DisplayStreamDestroy{Stream: 5}, false, 0},
	{wire.ChannelDisplay, server, "", &wire.DisplayStreamDestroyAll{}, false, 0},
	{wire.ChannelDisplay, server, drawBase + "01 332211ff 0800" + noMask,
		&wire.DrawFill{Base: base(), Brush: wire.Brush{Type: wire.BrushSolid, Color: 0xff112233}, Rop: wire.RopPut}, false, 0},
	{wire.ChannelDisplay, server, // a pattern at 49 = 0x31, then a mask at 49+25 = 0x4a
		drawBase + "02 31000000 0a000000 0b000000 4000 01 01000000 ffffffff 4a000000" + quic + `
		0900000000000000 00 00 08000000 02000000  02 04 08000000 02000000 01000000 00000000 f00f`,
		&wire.DrawFill{Base: base(), Brush: wire.Brush{Type: wire.BrushPattern, Pattern: quicImage(), Pos: wire.Point{X: 10, Y: 11}},
			Rop: wire.RopXor, Mask: wire.Mask{Flags: wire.MaskFlagInvers, Pos: wire.Point{X: 1, Y: -1}, Bitmap: &wire.Image{
				ID: 9, Type: wire.ImageBitmap, Width: 8, Height: 2, Data: []byte{0xf0, 0x0f},
				Bitmap: wire.Bitmap{Format: wire.Bitmap1BitBE, Flags: wire.BitmapFlagTopDown, Width: 8, Height: 2, Stride: 1}}}}, false, 0},
	{wire.ChannelDisplay, server, drawBase + "3e000000" + area + "01 56341200 1000 00" + noMask + quic,
		&wire.DrawOpaque{Base: base(), Src: quicImage(), SrcArea: srcArea(), Brush: wire.Brush{Type: wire.BrushSolid, Color: 0x123456},
			Rop: wire.RopOr}, false, 0},
	{wire.ChannelDisplay, server, copyOf(quic), drawCopyOf(quicImage()), false, 0},
	{wire.ChannelDisplay, server, // the picture is bottom-up and carries its palette behind it, at 57+18+18+4 = 0x61
		copyOf("0100000000000000 00 00 04000000 02000000  03 01 04000000 02000000 02000000 61000000 12 34 56 78") +
			"0700000000000000 0200 00000000 ffffff00",
		drawCopyOf(&wire.Image{ID: 1, Width: 4, Height: 2, Data: []byte{0x12, 0x34, 0x56, 0x78},
			Bitmap:  wire.Bitmap{Format: wire.Bitmap4BitLE, Flags: wire.BitmapFlagPaletteCacheMe, Width: 4, Height: 2, Stride: 2},
			Palette: &wire.Palette{Unique: 7, Colors: []uint32{0, 0xffffff}}}), false, 0},
	{wire.ChannelDisplay, server,
		copyOf("0100000000000000 00 00 02000000 01000000  05 02 02000000 01000000 02000000 0700000000000000 0001"),
		drawCopyOf(&wire.Image{ID: 1, Width: 2, Height: 1, Data: []byte{0, 1}, PaletteID: 7,
			Bitmap: wire.Bitmap{Format: wire.Bitmap8Bit, Flags: wire.BitmapFlagPaletteFromCache, Width: 2, Height: 1, Stride: 2}}), false, 0},
	{wire.ChannelDisplay, server, // palette at 57+18+9+2 = 0x56
		copyOf("0100000000000000 64 00 02000000 01000000  00 02000000 56000000 abcd 0700000000000000 0100 01020300"),
		drawCopyOf(&wire.Image{ID: 1, Type: wire.ImageLZPLT, Width: 2, Height: 1, Data: []byte{0xab, 0xcd},
			Palette: &wire.Palette{Unique: 7, Colors: []uint32{0x030201}}}), false, 0},
	{wire.ChannelDisplay, server,
		copyOf("0100000000000000 64 00 02000000 01000000  02 02000000 0700000000000000 abcd"),
		drawCopyOf(&wire.Image{ID: 1, Type: wire.ImageLZPLT, Width: 2, Height: 1, Data: []byte{0xab, 0xcd}, PaletteID: 7,
			Bitmap: wire.Bitmap{Flags: wire.BitmapFlagPaletteFromCache}}), false, 0},
	{wire.ChannelDisplay, server, copyOf("0100000000000000 65 02 02000000 01000000  02000000 abcd"),
		drawCopyOf(&wire.Image{ID: 1, Type: wire.ImageLZRGB, Flags: wire.ImageFlagHighBitsSet, Width: 2, Height: 1, Data: []byte{0xab, 0xcd}}), false, 0},
	{wire.ChannelDisplay, server, copyOf("0100000000000000 66 00 02000000 01000000  02000000 abcd"),
		drawCopyOf(&wire.Image{ID: 1, Type: wire.ImageGLZRGB, Width: 2, Height: 1, Data: []byte{0xab, 0xcd}}), false, 0},
	{wire.ChannelDisplay, server, copyOf("0100000000000000 67 00 02000000 01000000"),
		drawCopyOf(&wire.Image{ID: 1, Type: wire.ImageFromCache, Width: 2, Height: 1}), false, 0},
	{wire.ChannelDisplay, server, copyOf("0100000000000000 68 00 02000000 01000000  04000000"),
		drawCopyOf(&wire.Image{ID: 1, Type: wire.ImageSurface, Width: 2, Height: 1, Surface: 4}), false, 0},
	{wire.ChannelDisplay, server, copyOf("0100000000000000 69 00 02000000 01000000  02000000 ffd8"),
		drawCopyOf(&wire.Image{ID: 1, Type: wire.ImageJPEG, Width: 2, Height: 1, Data: []byte{0xff, 0xd8}}), false, 0},
	{wire.ChannelDisplay, server, copyOf("0100000000000000 6a 00 02000000 01000000"),
		drawCopyOf(&wire.Image{ID: 1, Type: wire.ImageFromCacheLossless, Width: 2, Height: 1}), false, 0},
	{wire.ChannelDisplay, server, copyOf("0100000000000000 6b 04 02000000 01000000  08000000 02000000 789c"),
		drawCopyOf(&wire.Image{ID: 1, Type: wire.ImageZlibGLZRGB, Flags: wire.ImageFlagCacheReplaceMe, Width: 2, Height: 1, GLZSize: 8, Data: []byte{0x78, 0x9c}}), false, 0},
	{wire.ChannelDisplay, server, copyOf("0100000000000000 6c 00 02000000 01000000  01 02000000 03000000 ffd855"),
		drawCopyOf(&wire.Image{ID: 1, Type: wire.ImageJPEGAlpha, Width: 2, Height: 1, JPEGTopDown: true, JPEGSize: 2, Data: []byte{0xff, 0xd8, 0x55}}), false, 0},
	{wire.ChannelDisplay, server, copyOf("0100000000000000 6d 00 02000000 01000000  02000000 0108"),
		drawCopyOf(&wire.Image{ID: 1, Type: wire.ImageLZ4, Width: 2, Height: 1, Data: []byte{1, 8}}), false, 0},
	{wire.ChannelDisplay, server, drawBase + "00000000" + area + "0800 00" + noMask,
		&wire.DrawCopy{Base: base(), SrcArea: srcArea(), Rop: wire.RopPut}, false, 0},
	{wire.ChannelDisplay, server, copyOf(quic),
		&wire.DrawBlend{Base: base(), Src: quicImage(), SrcArea: srcArea(), Rop: wire.RopPut, Scale: wire.ScaleNearest}, false, 0},
	{wire.ChannelDisplay, server, drawBase + noMask, &wire.DrawBlackness{Base: base()}, false, 0},
	{wire.ChannelDisplay, server, drawBase + noMask, &wire.DrawWhiteness{Base: base()}, false, 0},
	{wire.ChannelDisplay, server, drawBase + "00 01000000 02000000 22000000" + quic,
		&wire.DrawInvers{Base: base(), Mask: wire.Mask{Pos: wire.Point{X: 1, Y: 2}, Bitmap: quicImage()}}, false, 0},
	{wire.ChannelDisplay, server, drawBase + "39000000" + area + "00 ca 01" + noMask + quic,
		&wire.DrawRop3{Base: base(), Src: quicImage(), SrcArea: srcArea(), Rop3: 0xca, Scale: wire.ScaleNearest}, false, 0},
	{wire.ChannelDisplay, server, // path at 40 = 0x28, style behind it at 40+4+5+16+5 = 0x46
		drawBase + "28000000 08 02 46000000 01 0000ff00 0800 0900" + `
		02000000  01 02000000 10000000 20000000 f0ffffff 00000000  0a 00000000  30000000 40000000`,
		&wire.DrawStroke{Base: base(), LineFlags: wire.LineStyled, Style: []wire.Fixed{48, 64},
			Path: []wire.PathSegment{{Flags: wire.PathBegin, Points: []wire.PointFix{{X: 16, Y: 32}, {X: -16}}},
				{Flags: wire.PathEnd | wire.PathClose}},
			Brush: wire.Brush{Type: wire.BrushSolid, Color: 0xff0000}, ForeMode: 8, BackMode: 9}, false, 0},
	{wire.ChannelDisplay, server, drawBase + "23000000 00 01 0000ff00 0800 0900 00000000",
		&wire.DrawStroke{Base: base(), Brush: wire.Brush{Type: wire.BrushSolid, Color: 0xff0000}, ForeMode: 8, BackMode: 9}, false, 0},
	{wire.ChannelDisplay, server, // string at 51 = 0x33
		drawBase + "33000000" + area + "01 00ff0000 00 0800 0900" + `
		0200 01  05000000 06000000 00000000 faffffff 0900 0200 ff80ff80  00000000 00000000 00000000 00000000 0000 0300`,
		&wire.DrawText{Base: base(), Flags: wire.StringRasterA1, BackArea: srcArea(),
			Glyphs: []wire.Glyph{{RenderPos: wire.Point{X: 5, Y: 6}, Origin: wire.Point{Y: -6}, Width: 9, Height: 2,
				Data: []byte{0xff, 0x80, 0xff, 0x80}}, {Height: 3, Data: []byte{}}},
			ForeBrush: wire.Brush{Type: wire.BrushSolid, Color: 0xff00}, ForeMode: 8, BackMode: 9}, false, 0},
	{wire.ChannelDisplay, server,
		drawBase + "2f000000" + area + "00 00 0800 0900" + "0100 02  05000000 06000000 00000000 00000000 0300 0100 1230",
		&wire.DrawText{Base: base(), Flags: wire.StringRasterA4, BackArea: srcArea(),
			Glyphs: []wire.Glyph{{RenderPos: wire.Point{X: 5, Y: 6}, Width: 3, Height: 1, Data: []byte{0x12, 0x30}}}, ForeMode: 8, BackMode: 9}, false, 0},
	{wire.ChannelDisplay, server,
		drawBase + "2f000000" + area + "00 00 0800 0900" + "0100 0c  05000000 06000000 00000000 00000000 0300 0100 123056",
		&wire.DrawText{Base: base(), Flags: wire.StringRasterA8 | wire.StringRasterTopDown, BackArea: srcArea(),
			Glyphs: []wire.Glyph{{RenderPos: wire.Point{X: 5, Y: 6}, Width: 3, Height: 1, Data: []byte{0x12, 0x30, 0x56}}}, ForeMode: 8, BackMode: 9}, false, 0},
	{wire.ChannelDisplay, server, drawBase + "31000000" + area + "010000ff 02000000" + quic,
		&wire.DrawTransparent{Base: base(), Src: quicImage(), SrcArea: srcArea(), SrcColor: 0xff000001, TrueColor: 2}, false, 0},
	{wire.ChannelDisplay, server, drawBase + "01 80 2b000000" + area + quic,
		&wire.DrawAlphaBlend{Base: base(), Flags: wire.AlphaDestHasAlpha, Alpha: 128, Src: quicImage(), SrcArea: srcArea()}, false, 0},
	{wire.ChannelDisplay, server, "01000000 00040000 00030000 20000000 01000000",
		&wire.DisplaySurfaceCreate{Surface: 1, Width: 1024, Height: 768, Format: wire.Surface32XRGB, Flags: wire.SurfacePrimary}, false, 0},
	{wire.ChannelDisplay, server, "01000000", &wire.DisplaySurfaceDestroy{Surface: 1}, false, 0},
	{wire.ChannelDisplay, server, "05000000 10270000 02000000 01000000" + area + "02000000 ffd8",
		&wire.DisplayStreamDataSized{Stream: 5, Time: 10000, Width: 2, Height: 1, Dest: srcArea(), Data: []byte{0xff, 0xd8}}, false, 0},
	{wire.ChannelDisplay, server, "0100 0400 00000000 01000000 00040000 00030000 02000000 03000000 00000000",
		&wire.DisplayMonitorsConfig{MaxAllowed: 4, Heads: []wire.Head{{Surface: 1, Width: 1024, Height: 768, X: 2, Y: 3}}}, false, 0},
	{wire.ChannelDisplay, server, // source at 89 = 0x59, mask at 89+25 = 0x72
		drawBase + `03003800 59000000 72000000
		01000000 02000000 03000000 04000000 05000000 06000000
		07000000 08000000 09000000 0a000000 0b000000 0c000000  ffff 0200 0300 0400` + quic + quic,
		&wire.DrawComposite{Base: base(), Flags: 3 | wire.CompositeHasMask | wire.CompositeHasSrcTransform | wire.CompositeHasMaskTransform,
			Src: quicImage(), Mask: quicImage(), SrcTransform: wire.Transform{T00: 1, T01: 2, T02: 3, T10: 4, T11: 5, T12: 6},
			MaskTransform: wire.Transform{T00: 7, T01: 8, T02: 9, T10: 10, T11: 11, T12: 12},
			SrcOrigin:     wire.Point16{X: -1, Y: 2}, MaskOrigin: wire.Point16{X: 3, Y: 4}}, false, 0},
	{wire.ChannelDisplay, server, drawBase + "03000000 25000000 ffff 0200 0300 0400" + quic,
		&wire.DrawComposite{Base: base(), Flags: 3, Src: quicImage(), SrcOrigin: wire.Point16{X: -1, Y: 2}, MaskOrigin: wire.Point16{X: 3, Y: 4}}, false, 0},
	{wire.ChannelDisplay, server, "05000000 01000000 0a000000 e8030000",
		&wire.DisplayStreamActivateReport{Stream: 5, UniqueID: 1, MaxWindowSize: 10, Timeout: 1000}, false, 0},
	{wire.ChannelDisplay, server, "00040000 00030000 00100000 58523234 01000000",
		&wire.DisplayGLScanoutUnix{Width: 1024, Height: 768, Stride: 4096, FourCC: 0x34325258, Flags: 1}, false, 0},
	{wire.ChannelDisplay, server, "01000000 02000000 03000000 04000000", &wire.DisplayGLDraw{X: 1, Y: 2, Width: 3, Height: 4}, false, 0},
	{wire.ChannelDisplay, server, "09", &wire.DisplayQualityIndicator{Data: []byte{9}}, true, 0},
	{wire.ChannelDisplay, client, "01 0000400100000000 02 00008000",
		&wire.DisplayInit{PixmapCacheID: 1, PixmapCacheSize: 20 << 20, GLZDictionaryID: 2, GLZWindowSize: 8 << 20}, false, 0},
	{wire.ChannelDisplay, client, "05000000 01000000 64000000 c8000000 0a000000 02000000 fbffffff ffffffff",
		&wire.DisplayStreamReport{Stream: 5, UniqueID: 1, StartFrameTime: 100, EndFrameTime: 200, NumFrames: 10, NumDrops: 2,
			LastFrameDelay: -5, AudioDelay: wire.NoAudioDelay}, false, 0},
	{wire.ChannelDisplay, client, "05", &wire.DisplayPreferredCompression{Compression: wire.CompressionGLZ}, false, 0},
	{wire.ChannelDisplay, client, "", &wire.DisplayGLDrawDone{}, false, 0},
	{wire.ChannelDisplay, client, "02 01 04", &wire.DisplayPreferredVideoCodecType{Codecs: []wire.VideoCodec{wire.VideoMJPEG, wire.VideoVP9}}, false, 0},

	// inputs
	{wire.ChannelInputs, server, "0200", &wire.InputsInit{Modifiers: wire.ModifierNumLock}, false, 0},
	{wire.ChannelInputs, server, "0400", &wire.InputsKeyModifiers{Modifiers: wire.ModifierCapsLock}, false, 0},
	{wire.ChannelInputs, server, "", &wire.InputsMouseMotionAck{}, false, 0},
	{wire.ChannelInputs, client, "e01d0000", &wire.InputsKeyDown{Code: 0x1de0}, false, 0},
	{wire.ChannelInputs, client, "e09d0000", &wire.InputsKeyUp{Code: 0x9de0}, false, 0},
	{wire.ChannelInputs, client, "0700", &wire.InputsClientKeyModifiers{Modifiers: 7}, false, 0},
	{wire.ChannelInputs, client, "1e9e", &wire.InputsKeyScancode{Codes: []byte{0x1e, 0x9e}}, true, 0},
	{wire.ChannelInputs, client, "ffffffff 02000000 0100", &wire.InputsMouseMotion{DX: -1, DY: 2, Buttons: wire.ButtonLeft.Mask()}, false, 0},
	{wire.ChannelInputs, client, "01000000 02000000 0400 03", &wire.InputsMousePosition{X: 1, Y: 2, Buttons: wire.ButtonRight.Mask(), Display: 3}, false, 0},
	{wire.ChannelInputs, client, "01 0100", &wire.InputsMousePress{Button: wire.ButtonLeft, Buttons: 1}, false, 0},
	{wire.ChannelInputs, client, "05 0000", &wire.InputsMouseRelease{Button: wire.ButtonDown}, false, 0},

	// cursor
	{wire.ChannelCursor, server, "0a00 f6ff 0100 0200 01 0200 0807060504030201 06 0200 0100 0100 0000 01020304",
		&wire.CursorInit{Position: wire.Point16{X: 10, Y: -10}, TrailLength: 1, TrailFrequency: 2, Visible: true,
			Cursor: wire.Cursor{Flags: wire.CursorFlagCacheMe, Unique: 0x0102030405060708, Type: wire.CursorColor32, Width: 2, Height: 1,
				HotSpotX: 1, Data: []byte{1, 2, 3, 4}}}, true, 9 + 2 + 17},
	{wire.ChannelCursor, server, "0000 0000 0000 0000 00 0100", &wire.CursorInit{Cursor: wire.Cursor{Flags: wire.CursorFlagNone, Data: []byte{}}}, true, 11},
	{wire.ChannelCursor, server, "", &wire.CursorReset{}, false, 0},
	{wire.ChannelCursor, server, "0a00 f6ff 01 0400 0807060504030201 00 0200 0100 0100 0000",
		&wire.CursorSet{Position: wire.Point16{X: 10, Y: -10}, Visible: true,
			Cursor: wire.Cursor{Flags: wire.CursorFlagFromCache, Unique: 0x0102030405060708, Width: 2, Height: 1, HotSpotX: 1, Data: []byte{}}}, true, 24},
	{wire.ChannelCursor, server, "0a00 f6ff", &wire.CursorMove{Position: wire.Point16{X: 10, Y: -10}}, false, 0},
	{wire.ChannelCursor, server, "", &wire.CursorHide{}, false, 0},
	{wire.ChannelCursor, server, "0100 0200", &wire.CursorTrail{Length: 1, Frequency: 2}, false, 0},
	{wire.ChannelCursor, server, "0900000000000000", &wire.CursorInvalOne{ID: 9}, false, 0},
	{wire.ChannelCursor, server, "", &wire.CursorInvalAll{}, false, 0},

	// playback and record
	{wire.ChannelPlayback, server, "0a000000 0102", &wire.PlaybackData{Time: 10, Data: []byte{1, 2}}, true, 4},
	{wire.ChannelPlayback, server, "0a000000 0300 01", &wire.PlaybackMode{Time: 10, Mode: wire.AudioOpus, Data: []byte{1}}, true, 6},
	{wire.ChannelPlayback, server, "02000000 0100 80bb0000 0a000000",
		&wire.PlaybackStart{Channels: 2, Format: wire.AudioS16, Frequency: 48000, Time: 10}, false, 0},
	{wire.ChannelPlayback, server, "", &wire.PlaybackStop{}, false, 0},
	{wire.ChannelPlayback, server, "02 ffff 0080", &wire.PlaybackVolume{Volumes: []uint16{0xffff, 0x8000}}, false, 0},
	{wire.ChannelPlayback, server, "01", &wire.PlaybackMute{Mute: true}, false, 0},
	{wire.ChannelPlayback, server, "c8000000", &wire.PlaybackLatency{Latency: 200}, false, 0},
	{wire.ChannelRecord, server, "01000000 0100 44ac0000", &wire.RecordStart{Channels: 1, Format: wire.AudioS16, Frequency: 44100}, false, 0},
	{wire.ChannelRecord, server, "", &wire.RecordStop{}, false, 0},
	{wire.ChannelRecord, server, "01 0080", &wire.RecordVolume{Volumes: []uint16{0x8000}}, false, 0},
	{wire.ChannelRecord, server, "00", &wire.RecordMute{}, false, 0},
	{wire.ChannelRecord, client, "0a000000 0102", &wire.RecordData{Time: 10, Data: []byte{1, 2}}, true, 4},
	{wire.ChannelRecord, client, "0a000000 0100", &wire.RecordMode{Time: 10, Mode: wire.AudioRaw, Data: []byte{}}, true, 6},
	{wire.ChannelRecord, client, "0a000000", &wire.RecordStartMark{Time: 10}, false, 0},

	// smartcard, usbredir, port, webdav
	{wire.ChannelSmartcard, server, "07000000 01000000 02000000 00a4", &wire.SmartcardData{Type: wire.SmartcardAPDU, Reader: 1, Data: []byte{0, 0xa4}}, false, 0},
	{wire.ChannelSmartcard, client, "03000000 00000000 02000000 'r' 00", &wire.SmartcardData{Type: wire.SmartcardReaderAdd, Data: []byte("r\x00")}, false, 0},
	{wire.ChannelUSBRedir, server, "0102", &wire.SpicevmcData{Data: []byte{1, 2}}, true, 0},
	{wire.ChannelUSBRedir, client, "0102", &wire.SpicevmcData{Data: []byte{1, 2}}, true, 0},
	{wire.ChannelUSBRedir, server, "01 10000000 0102", &wire.SpicevmcCompressedData{Type: wire.DataLZ4, Size: 16, Data: []byte{1, 2}}, true, 5},
	{wire.ChannelUSBRedir, client, "00 0102", &wire.SpicevmcCompressedData{Data: []byte{1, 2}}, true, 1},
	{wire.ChannelPort, server, "05000000 09000000 01 'name' 00", &wire.PortInit{Name: "name", Opened: true}, false, 0},
	{wire.ChannelPort, server, "02", &wire.PortEvent{Event: wire.PortBreak}, false, 0},
	{wire.ChannelWebDAV, client, "01", &wire.PortClientEvent{Event: wire.PortClosed}, false, 0},
	{wire.ChannelWebDAV, client, "0102", &wire.SpicevmcData{Data: []byte{1, 2}}, true, 0},
}
