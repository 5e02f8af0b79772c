package spice_test

import (
	"bytes"
	"compress/zlib"
	"image"
	stdjpeg "image/jpeg"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/codec/codectest"
	"github.com/spicelane/spicelane/spice/codec/lz"
	"github.com/spicelane/spicelane/spice/codec/lz4"
	"github.com/spicelane/spicelane/spice/codec/quic"
	"github.com/spicelane/spicelane/spice/wire"
)

// coded returns an image that is coded already.
func coded(t wire.ImageType, p *codectest.Picture, data []byte) *wire.Image {
	return &wire.Image{Type: t, Width: uint32(p.Width), Height: uint32(p.Height), Data: data}
}

func deflate(b []byte) []byte {
	var out bytes.Buffer
	w := zlib.NewWriter(&out)
	w.Write(b)
	w.Close()
	return out.Bytes()
}

func TestImagesOfEveryTypeAreShown(t *testing.T) {
	const w, h = 70, 50
	p := codectest.Photo(w, h).Opaque()
	var glz codectest.GLZEncoder
	first := glz.Encode(p, int(lz.RGB32), true)
	second := glz.Encode(p, int(lz.RGB32), true) // refers to the first
	inflated := glz.Encode(p, int(lz.RGB32), true)
	zlibGLZ := coded(wire.ImageZlibGLZRGB, p, deflate(inflated))
	zlibGLZ.GLZSize = uint32(len(inflated))
	indices, palette, indexed := p.Indexed(16)
	plt := coded(wire.ImageLZPLT, p, codectest.EncodeLZPalette(indices, w, h, int(lz.PLT8), true))
	plt.Palette = &wire.Palette{Colors: palette}
	for _, tc := range []struct {
		image *wire.Image
		want  *codectest.Picture
	}{
		{coded(wire.ImageQuic, p, codectest.EncodeQUIC(p, int(quic.RGB32))), p},
		{coded(wire.ImageLZRGB, p, codectest.EncodeLZ(p, int(lz.RGB32), false)), p},
		{coded(wire.ImageGLZRGB, p, first), p},
		{plt, indexed},
		{coded(wire.ImageLZ4, p, codectest.EncodeLZ4(p, int(lz4.RGB32), true, 10)), p},
	} {
		t.Run(tc.image.Type.String(), func(t *testing.T) {
			shows(t, tc.want, tc.image)
		})
	}
	// The last two need the images before them.
	shows(t, p, coded(wire.ImageGLZRGB, p, first), coded(wire.ImageGLZRGB, p, second), zlibGLZ)
}

// shows draws images over each other and compares the picture.
func shows(t *testing.T, want *codectest.Picture, images ...*wire.Image) {
	t.Helper()
	s := serve(t, displayID)
	c := s.dial(spice.Config{})
	d := s.peer(displayID)
	d.send(primary(uint32(want.Width), uint32(want.Height)))
	for _, m := range images {
		d.send(drawCopy(image.Point{}, m))
	}
	d.sync()
	require.Empty(t, c.Stats().Unsupported)
	pic, err := c.Snapshot(0, 0, nil)
	require.NoError(t, err)
	codectest.Equal(t, images[0].Type.String(), opaque(pic.Pix), want)
	require.EqualValues(t, len(images), c.Stats().Ops["draw_copy"].Count)
}

// opaque sets the byte without meaning as codectest's pictures have it.
func opaque(pix []byte) []byte {
	b := bytes.Clone(pix)
	for i := 3; i < len(b); i += 4 {
		b[i] = 0
	}
	return b
}

func TestAnImageOfAnotherSizeThanItsDescriptorEndsTheSession(t *testing.T) {
	p := codectest.UI(20, 10).Opaque()
	jpg := new(bytes.Buffer)
	require.NoError(t, stdjpeg.Encode(jpg, p.NRGBA(), nil))
	for _, m := range []*wire.Image{
		coded(wire.ImageQuic, p, codectest.EncodeQUIC(p, int(quic.RGB32))),
		coded(wire.ImageLZRGB, p, codectest.EncodeLZ(p, int(lz.RGB32), true)),
		coded(wire.ImageGLZRGB, p, new(codectest.GLZEncoder).Encode(p, int(lz.RGB32), true)),
		coded(wire.ImageJPEG, p, jpg.Bytes()),
	} {
		s := serve(t, displayID)
		c := s.dial(spice.Config{})
		m.Width--
		s.peer(displayID).send(primary(20, 10), drawCopy(image.Point{}, m))
		require.ErrorContains(t, c.Wait(), m.Type.String()+" image of 20×10 pixels in a descriptor of 19×10")
	}
}

func TestDamagedImagesEndTheSession(t *testing.T) {
	p := codectest.UI(20, 10).Opaque()
	for _, m := range []*wire.Image{
		coded(wire.ImageQuic, p, codectest.EncodeQUIC(p, int(quic.RGB32))),
		coded(wire.ImageLZRGB, p, codectest.EncodeLZ(p, int(lz.RGB32), true)),
		coded(wire.ImageGLZRGB, p, new(codectest.GLZEncoder).Encode(p, int(lz.RGB32), true)),
		coded(wire.ImageLZ4, p, codectest.EncodeLZ4(p, int(lz4.RGB32), true, 10)),
	} {
		s := serve(t, displayID)
		c := s.dial(spice.Config{})
		m.Data = m.Data[:len(m.Data)/2]
		s.peer(displayID).send(primary(20, 10), drawCopy(image.Point{}, m))
		require.ErrorContains(t, c.Wait(), "malformed image at byte")
	}
}

func TestStreamsAreShownFrameByFrame(t *testing.T) {
	frame := func(w, h int, c uint8) []byte {
		m := image.NewGray(image.Rect(0, 0, w, h))
		for i := range m.Pix {
			m.Pix[i] = c
		}
		var b bytes.Buffer
		require.NoError(t, stdjpeg.Encode(&b, m, &stdjpeg.Options{Quality: 100}))
		return b.Bytes()
	}
	s := serve(t, displayID)
	c := s.dial(spice.Config{})
	d := s.peer(displayID)
	require.Equal(t, "sized_stream,monitors_config,composite,a8_surface,stream_report,lz4_compression,multi_codec,codec_mjpeg",
		d.request.ChannelCaps.ChannelNames(wire.ChannelDisplay))
	d.next() // init
	create := &wire.DisplayStreamCreate{Stream: 3, Codec: wire.VideoMJPEG, Flags: wire.StreamTopDown, StreamWidth: 8, StreamHeight: 8,
		SrcWidth: 8, SrcHeight: 8, Dest: wire.RectOf(image.Rect(1, 0, 3, 2)),
		Clip: wire.Clip{Type: wire.ClipRects, Rects: []wire.Rect{wire.RectOf(image.Rect(0, 0, 9, 1))}}}
	d.send(primary(4, 2), create, &wire.DisplayStreamData{Stream: 3, Time: 1, Data: frame(8, 8, 0x80)})
	d.sync()
	pic, err := c.Snapshot(0, 0, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"000000 808080 808080 000000", "000000 000000 000000 000000"}, pixels(pic), "scaled and clipped")

	d.send(&wire.DisplayStreamClip{Stream: 3}, &wire.DisplayStreamActivateReport{Stream: 3, UniqueID: 9, MaxWindowSize: 2, Timeout: 60000},
		&wire.DisplayStreamDataSized{Stream: 3, Time: 100, Width: 8, Height: 4, Dest: wire.RectOf(image.Rect(0, 1, 4, 2)), Data: frame(8, 4, 0xff)},
		&wire.DisplayStreamData{Stream: 3, Time: 200, Data: frame(8, 8, 0)})
	report := d.next().(*wire.DisplayStreamReport)
	report.LastFrameDelay = 0
	require.Equal(t, &wire.DisplayStreamReport{Stream: 3, UniqueID: 9, StartFrameTime: 100, EndFrameTime: 200, NumFrames: 2, AudioDelay: wire.NoAudioDelay}, report)
	d.sync()
	pic, err = c.Snapshot(0, 0, pic)
	require.NoError(t, err)
	require.Equal(t, []string{"000000 000000 000000 000000", "ffffff 000000 000000 ffffff"}, pixels(pic))

	unknown := &wire.DisplayStreamReport{Stream: 3, NumDrops: wire.StreamUnsupported}
	d.send(&wire.DisplayStreamDestroy{Stream: 3}, &wire.DisplayStreamData{Stream: 3, Data: frame(8, 8, 1)})
	d.want(unknown)
	create.Codec = wire.VideoVP8
	d.send(create)
	d.want(unknown)
	d.sync()
	require.Equal(t, map[string]uint64{"stream codec vp8": 1}, c.Stats().Unsupported)
	info, ok := c.Surface(0, 0)
	require.True(t, ok)
	require.Equal(t, "stream codec vp8", info.Problem, "the server may go on with it, report or not")
	d.send(&wire.DisplayStreamDestroyAll{})
	d.sync()
}

func TestStreamsWithTheLastRowFirstAreTurnedOver(t *testing.T) {
	m := image.NewGray(image.Rect(0, 0, 8, 16))
	for i := range 64 {
		m.Pix[i] = 0xff
	}
	var b bytes.Buffer
	require.NoError(t, stdjpeg.Encode(&b, m, &stdjpeg.Options{Quality: 100}))
	s := serve(t, displayID)
	c := s.dial(spice.Config{})
	d := s.peer(displayID)
	d.send(primary(1, 2), &wire.DisplayStreamCreate{Codec: wire.VideoMJPEG, Dest: wire.RectOf(image.Rect(0, 0, 1, 2))}, &wire.DisplayStreamData{Data: b.Bytes()})
	d.sync()
	require.Equal(t, []string{"000000", "ffffff"}, shown(t, c))
}

func TestOffscreenSurfacesAreDrawnFrom(t *testing.T) {
	s := serve(t, displayID)
	c := s.dial(spice.Config{})
	d := s.peer(displayID)
	onto := func(surface uint32, m *wire.DrawFill) *wire.DrawFill {
		m.Base.Surface = surface
		return m
	}
	from := &wire.Image{Type: wire.ImageSurface, Surface: 7, Width: 2, Height: 1}
	blend := &wire.DrawAlphaBlend{Base: base(image.Rect(2, 0, 4, 1)), Flags: wire.AlphaSrcSurfaceHasAlpha, Alpha: 255, Src: from, SrcArea: wire.RectOf(image.Rect(0, 0, 2, 1))}
	d.send(primary(4, 1), fill(image.Rect(0, 0, 4, 1), 0x0000ff),
		&wire.DisplaySurfaceCreate{Surface: 7, Width: 2, Height: 1, Format: wire.Surface32ARGB},
		onto(7, fill(image.Rect(0, 0, 2, 1), 0x80800000)), onto(7, fill(image.Rect(1, 0, 2, 1), 0xff00ff00)),
		drawCopy(image.Point{}, from), blend,
		&wire.DisplaySurfaceDestroy{Surface: 7})
	d.sync()
	pic, err := c.Snapshot(0, 0, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"800000 00ff00 80007f 00ff00"}, pixels(pic))
	require.Len(t, c.Surfaces(), 1)
	d.send(drawCopy(image.Point{}, from))
	require.ErrorContains(t, c.Wait(), "surface 7 to draw from does not exist")
}

// BenchmarkFrames measures a session that gets one picture of 1280×800 after the other: reading, decoding and drawing.
func BenchmarkFrames(b *testing.B) {
	p := codectest.UI(1280, 800).Opaque()
	raw := &wire.Image{Type: wire.ImageBitmap, Width: 1280, Height: 800, Data: p.Pix,
		Bitmap: wire.Bitmap{Format: wire.Bitmap32Bit, Flags: wire.BitmapFlagTopDown, Width: 1280, Height: 800, Stride: 4 * 1280}}
	for _, m := range []*wire.Image{
		raw,
		coded(wire.ImageQuic, p, codectest.EncodeQUIC(p, int(quic.RGB32))),
		coded(wire.ImageLZRGB, p, codectest.EncodeLZ(p, int(lz.RGB32), true)),
	} {
		b.Run(m.Type.String(), func(b *testing.B) {
			s := serve(b, displayID)
			c := s.dial(spice.Config{})
			d := s.peer(displayID)
			d.send(primary(1280, 800))
			body := drawCopy(image.Point{}, m).Append(nil)
			b.SetBytes(4 * 1280 * 800)
			b.ReportAllocs()
			for b.Loop() {
				if err := d.out.WriteRaw(wire.Header{Type: 304}, body); err != nil {
					b.Fatal(err, c.Wait())
				}
			}
			d.sync()
		})
	}
}

// onARGB draws on a surface with alpha and returns its cells.
func onARGB(t *testing.T, before uint32, m ...wire.ServerMessage) []uint32 {
	t.Helper()
	s := serve(t, displayID)
	c := s.dial(spice.Config{})
	d := s.peer(displayID)
	create := primary(2, 1)
	create.Format = wire.Surface32ARGB
	d.send(create, fill(image.Rect(0, 0, 2, 1), before))
	d.send(m...)
	d.sync()
	got, err := c.Cells(0, 0, image.Rectangle{}, nil)
	require.NoError(t, err)
	require.Empty(t, c.Stats().Unsupported)
	return argb(got.Pix)
}

func rawBitmap(format wire.BitmapFormat, w int, data []byte, colors ...uint32) *wire.Image {
	m := &wire.Image{Type: wire.ImageBitmap, Width: uint32(w), Height: 1, Data: data,
		Bitmap: wire.Bitmap{Format: format, Flags: wire.BitmapFlagTopDown, Width: uint32(w), Height: 1, Stride: uint32(len(data))}}
	if colors != nil {
		m.Palette = &wire.Palette{Colors: colors}
	}
	return m
}

func blend(alpha uint8, src *wire.Image) *wire.DrawAlphaBlend {
	box := image.Rect(0, 0, int(src.Width), 1)
	return &wire.DrawAlphaBlend{Base: base(box), Alpha: alpha, Src: src, SrcArea: wire.RectOf(box)}
}

func TestThePaletteOfABitmapHasAlphaOnASurfaceWithAlpha(t *testing.T) {
	indexed := func() *wire.Image { return rawBitmap(wire.Bitmap8Bit, 2, []byte{0, 1}, 0x00102030, 0xff405060) }
	require.Equal(t, []uint32{0x00102030, 0xff405060}, onARGB(t, 0, drawCopy(image.Point{}, indexed())))
	// Alpha 0 leaves the destination's alpha and adds its colour; full alpha covers.
	require.Equal(t, []uint32{0x80112131, 0xff405060}, onARGB(t, 0x80010101, blend(255, indexed())))
}

func TestBitmapsOfSixteenBitsAreOpaqueOnASurfaceWithAlpha(t *testing.T) {
	require.Equal(t, []uint32{0xffff0000, 0xff0000ff}, onARGB(t, 0, drawCopy(image.Point{}, rawBitmap(wire.Bitmap16Bit, 2, []byte{0x00, 0x7c, 0x1f, 0x00}))))
}

func TestAnImageOfAlphaAloneIsAnOpaqueSourceAndMaskOnASurfaceWithAlpha(t *testing.T) {
	p := &codectest.Picture{Width: 2, Height: 1, Pix: []byte{0, 0, 0, 0x10, 0, 0, 0, 0x80}}
	composite := func(flags wire.CompositeFlags, src, mask *wire.Image) *wire.DrawComposite {
		return &wire.DrawComposite{Base: base(image.Rect(0, 0, 2, 1)), Flags: flags, Src: src, Mask: mask}
	}
	const opSrc = 1
	for _, alpha := range []*wire.Image{
		rawBitmap(wire.Bitmap8BitA, 2, []byte{0x10, 0x80}),
		coded(wire.ImageLZRGB, p, codectest.EncodeLZ(p, int(lz.A8), true)),
		coded(wire.ImageLZ4, p, codectest.EncodeLZ4(p, int(lz4.A8), true, 1)),
	} {
		what := alpha.Type.String()
		require.Equal(t, []uint32{0xff000000, 0xff000000}, onARGB(t, 0x12345678, composite(opSrc, alpha, nil)), what)
		require.Equal(t, []uint32{0xcfbfbfbf, 0xe6666666}, onARGB(t, 0xcccccccc, blend(255, alpha)), what)
		colour := rawBitmap(wire.BitmapRGBA, 2, words(0xff102030, 0xff405060))
		require.Equal(t, []uint32{0xff102030, 0xff405060},
			onARGB(t, 0x12345678, composite(opSrc|wire.CompositeHasMask, colour, alpha)), what)
	}
}

func TestTextIsDrawnFromTheBottomUpWhateverItsFlagsSay(t *testing.T) {
	text := func(flags wire.StringFlags) []string {
		s := serve(t, displayID)
		c := s.dial(spice.Config{})
		d := s.peer(displayID)
		d.send(primary(2, 2), &wire.DrawText{Base: base(image.Rect(0, 0, 2, 2)), Flags: flags, ForeMode: wire.RopPut,
			ForeBrush: wire.Brush{Type: wire.BrushSolid, Color: 0xffffff},
			Glyphs:    []wire.Glyph{{Width: 2, Height: 2, Data: []byte{0x80, 0x40}}}})
		d.sync()
		return shown(t, c)
	}
	want := []string{"000000 ffffff", "ffffff 000000"}
	require.Equal(t, want, text(wire.StringRasterA1))
	require.Equal(t, want, text(wire.StringRasterA1|wire.StringRasterTopDown))
}
