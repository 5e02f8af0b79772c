package wire

// DisplayMode sets the mode of a server without surfaces.
type DisplayMode struct {
	Width  uint32 // pixels
	Height uint32
	Bits   uint32 // bits per pixel
}

// MessageType returns 101.
func (*DisplayMode) MessageType() uint16 { return 101 }

// MessageName returns "display.mode".
func (*DisplayMode) MessageName() string { return "display.mode" }

func (*DisplayMode) fromServer() {}

// Append appends the body.
func (m *DisplayMode) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *DisplayMode) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *DisplayMode) decode(r *Reader) {
	m.Width, m.Height, m.Bits = r.Uint32(), r.Uint32(), r.Uint32()
}
func (m *DisplayMode) encode(w *writer) { w.u32(m.Width); w.u32(m.Height); w.u32(m.Bits) }

// DisplayMark says that the primary surface is complete and may be shown.
type DisplayMark struct{}

// MessageType returns 102.
func (*DisplayMark) MessageType() uint16 { return 102 }

// MessageName returns "display.mark".
func (*DisplayMark) MessageName() string { return "display.mark" }

func (*DisplayMark) fromServer() {}

// Append appends the body.
func (m *DisplayMark) Append(b []byte) []byte { return b }

// Decode accepts any body, because the message has none.
func (m *DisplayMark) Decode([]byte) error { return nil }

// DisplayReset clears the primary surface and empties the palette cache.
type DisplayReset struct{}

// MessageType returns 103.
func (*DisplayReset) MessageType() uint16 { return 103 }

// MessageName returns "display.reset".
func (*DisplayReset) MessageName() string { return "display.reset" }

func (*DisplayReset) fromServer() {}

// Append appends the body.
func (m *DisplayReset) Append(b []byte) []byte { return b }

// Decode accepts any body, because the message has none.
func (m *DisplayReset) Decode([]byte) error { return nil }

// ResourcePixmap is the only type of Resource (SPICE_RES_TYPE_PIXMAP).
const ResourcePixmap uint8 = 1

// Resource names an image in the pixmap cache.
type Resource struct {
	Type uint8
	ID   uint64
}

// DisplayInvalList removes images from the pixmap cache.
type DisplayInvalList struct{ Resources []Resource }

// MessageType returns 105.
func (*DisplayInvalList) MessageType() uint16 { return 105 }

// MessageName returns "display.inval_list".
func (*DisplayInvalList) MessageName() string { return "display.inval_list" }

func (*DisplayInvalList) fromServer() {}

// Append appends the body.
func (m *DisplayInvalList) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *DisplayInvalList) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *DisplayInvalList) decode(r *Reader) {
	m.Resources = resize(m.Resources, r.Count(uint64(r.Uint16()), 9))
	for i := range m.Resources {
		m.Resources[i] = Resource{r.Uint8(), r.Uint64()}
	}
}

func (m *DisplayInvalList) encode(w *writer) {
	w.u16(uint16(len(m.Resources)))
	for _, res := range m.Resources {
		w.u8(res.Type)
		w.u64(res.ID)
	}
}

// DisplayInvalAllPixmaps empties the pixmap cache, once the named messages of
// other channels have been handled.
type DisplayInvalAllPixmaps struct{ Wait []WaitForChannel }

// MessageType returns 106.
func (*DisplayInvalAllPixmaps) MessageType() uint16 { return 106 }

// MessageName returns "display.inval_all_pixmaps".
func (*DisplayInvalAllPixmaps) MessageName() string { return "display.inval_all_pixmaps" }

func (*DisplayInvalAllPixmaps) fromServer() {}

// Append appends the body.
func (m *DisplayInvalAllPixmaps) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *DisplayInvalAllPixmaps) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *DisplayInvalAllPixmaps) decode(r *Reader) { m.Wait = readWaits(r, m.Wait) }
func (m *DisplayInvalAllPixmaps) encode(w *writer) { w.waits(m.Wait) }

// DisplayInvalPalette removes a palette from the cache.
type DisplayInvalPalette struct{ ID uint64 }

// MessageType returns 107.
func (*DisplayInvalPalette) MessageType() uint16 { return 107 }

// MessageName returns "display.inval_palette".
func (*DisplayInvalPalette) MessageName() string { return "display.inval_palette" }

func (*DisplayInvalPalette) fromServer() {}

// Append appends the body.
func (m *DisplayInvalPalette) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *DisplayInvalPalette) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *DisplayInvalPalette) decode(r *Reader) { m.ID = r.Uint64() }
func (m *DisplayInvalPalette) encode(w *writer) { w.u64(m.ID) }

// DisplayInvalAllPalettes empties the palette cache.
type DisplayInvalAllPalettes struct{}

// MessageType returns 108.
func (*DisplayInvalAllPalettes) MessageType() uint16 { return 108 }

// MessageName returns "display.inval_all_palettes".
func (*DisplayInvalAllPalettes) MessageName() string { return "display.inval_all_palettes" }

func (*DisplayInvalAllPalettes) fromServer() {}

// Append appends the body.
func (m *DisplayInvalAllPalettes) Append(b []byte) []byte { return b }

// Decode accepts any body, because the message has none.
func (m *DisplayInvalAllPalettes) Decode([]byte) error { return nil }

// SurfaceFormat is the pixel format of a surface (SPICE_SURFACE_FMT_*).
type SurfaceFormat uint32

// The surface formats.
const (
	Surface1A     SurfaceFormat = 1
	Surface8A     SurfaceFormat = 8
	Surface16_555 SurfaceFormat = 16
	Surface32XRGB SurfaceFormat = 32
	Surface16_565 SurfaceFormat = 80
	Surface32ARGB SurfaceFormat = 96
)

var surfaceFormatNames = map[uint32]string{1: "1_a", 8: "8_a", 16: "16_555", 32: "32_xrgb", 80: "16_565", 96: "32_argb"}

// String returns "32_xrgb", …
func (f SurfaceFormat) String() string { return enumName("surface", uint32(f), surfaceFormatNames) }

// BitsPerPixel returns 1, 8, 16 or 32, and 0 for an unknown format.
func (f SurfaceFormat) BitsPerPixel() int {
	switch f {
	case Surface1A:
		return 1
	case Surface8A:
		return 8
	case Surface16_555, Surface16_565:
		return 16
	case Surface32XRGB, Surface32ARGB:
		return 32
	}
	return 0
}

// SurfaceFlags describe a surface (SPICE_SURFACE_FLAGS_*).
type SurfaceFlags uint32

// The surface flags.
const (
	SurfacePrimary       SurfaceFlags = 1 << 0
	SurfaceStreamingMode SurfaceFlags = 1 << 1
)

// DisplaySurfaceCreate makes a surface; its pixels are black at first.
type DisplaySurfaceCreate struct {
	Surface uint32
	Width   uint32 // pixels
	Height  uint32
	Format  SurfaceFormat
	Flags   SurfaceFlags
}

// MessageType returns 314.
func (*DisplaySurfaceCreate) MessageType() uint16 { return 314 }

// MessageName returns "display.surface_create".
func (*DisplaySurfaceCreate) MessageName() string { return "display.surface_create" }

func (*DisplaySurfaceCreate) fromServer() {}

// Append appends the body.
func (m *DisplaySurfaceCreate) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *DisplaySurfaceCreate) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *DisplaySurfaceCreate) decode(r *Reader) {
	m.Surface, m.Width, m.Height = r.Uint32(), r.Uint32(), r.Uint32()
	m.Format, m.Flags = SurfaceFormat(r.Uint32()), SurfaceFlags(r.Uint32())
}

func (m *DisplaySurfaceCreate) encode(w *writer) {
	w.u32(m.Surface)
	w.u32(m.Width)
	w.u32(m.Height)
	w.u32(uint32(m.Format))
	w.u32(uint32(m.Flags))
}

// DisplaySurfaceDestroy removes a surface.
type DisplaySurfaceDestroy struct{ Surface uint32 }

// MessageType returns 315.
func (*DisplaySurfaceDestroy) MessageType() uint16 { return 315 }

// MessageName returns "display.surface_destroy".
func (*DisplaySurfaceDestroy) MessageName() string { return "display.surface_destroy" }

func (*DisplaySurfaceDestroy) fromServer() {}

// Append appends the body.
func (m *DisplaySurfaceDestroy) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *DisplaySurfaceDestroy) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *DisplaySurfaceDestroy) decode(r *Reader) { m.Surface = r.Uint32() }
func (m *DisplaySurfaceDestroy) encode(w *writer) { w.u32(m.Surface) }

// Head is one monitor: which part of which surface it shows.
type Head struct {
	ID      uint32
	Surface uint32
	Width   uint32 // pixels
	Height  uint32
	X       uint32
	Y       uint32
	Flags   uint32
}

// DisplayMonitorsConfig says what the monitors show.
type DisplayMonitorsConfig struct {
	MaxAllowed uint16
	Heads      []Head
}

// MessageType returns 317.
func (*DisplayMonitorsConfig) MessageType() uint16 { return 317 }

// MessageName returns "display.monitors_config".
func (*DisplayMonitorsConfig) MessageName() string { return "display.monitors_config" }

func (*DisplayMonitorsConfig) fromServer() {}

// Append appends the body.
func (m *DisplayMonitorsConfig) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *DisplayMonitorsConfig) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *DisplayMonitorsConfig) decode(r *Reader) {
	n := uint64(r.Uint16())
	m.MaxAllowed = r.Uint16()
	m.Heads = resize(m.Heads, r.Count(n, 28))
	for i := range m.Heads {
		m.Heads[i] = Head{r.Uint32(), r.Uint32(), r.Uint32(), r.Uint32(), r.Uint32(), r.Uint32(), r.Uint32()}
	}
}

func (m *DisplayMonitorsConfig) encode(w *writer) {
	w.u16(uint16(len(m.Heads)))
	w.u16(m.MaxAllowed)
	for _, h := range m.Heads {
		for _, v := range []uint32{h.ID, h.Surface, h.Width, h.Height, h.X, h.Y, h.Flags} {
			w.u32(v)
		}
	}
}

// DisplayGLScanoutUnix gives the client a DMA buffer; the file descriptor goes
// beside the bytes, over a unix socket.
type DisplayGLScanoutUnix struct {
	Width  uint32 // pixels
	Height uint32
	Stride uint32 // bytes
	FourCC uint32 // as in drm_fourcc.h
	Flags  uint32 // SPICE_GL_SCANOUT_FLAGS_*: 1 is Y0TOP
}

// MessageType returns 320.
func (*DisplayGLScanoutUnix) MessageType() uint16 { return 320 }

// MessageName returns "display.gl_scanout_unix".
func (*DisplayGLScanoutUnix) MessageName() string { return "display.gl_scanout_unix" }

func (*DisplayGLScanoutUnix) fromServer() {}

// Append appends the body.
func (m *DisplayGLScanoutUnix) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *DisplayGLScanoutUnix) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *DisplayGLScanoutUnix) decode(r *Reader) {
	m.Width, m.Height, m.Stride, m.FourCC, m.Flags = r.Uint32(), r.Uint32(), r.Uint32(), r.Uint32(), r.Uint32()
}

func (m *DisplayGLScanoutUnix) encode(w *writer) {
	for _, v := range []uint32{m.Width, m.Height, m.Stride, m.FourCC, m.Flags} {
		w.u32(v)
	}
}

// DisplayGLDraw says that a part of the DMA buffer changed.
type DisplayGLDraw struct{ X, Y, Width, Height uint32 }

// MessageType returns 321.
func (*DisplayGLDraw) MessageType() uint16 { return 321 }

// MessageName returns "display.gl_draw".
func (*DisplayGLDraw) MessageName() string { return "display.gl_draw" }

func (*DisplayGLDraw) fromServer() {}

// Append appends the body.
func (m *DisplayGLDraw) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *DisplayGLDraw) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *DisplayGLDraw) decode(r *Reader) {
	m.X, m.Y, m.Width, m.Height = r.Uint32(), r.Uint32(), r.Uint32(), r.Uint32()
}

func (m *DisplayGLDraw) encode(w *writer) {
	for _, v := range []uint32{m.X, m.Y, m.Width, m.Height} {
		w.u32(v)
	}
}

// DisplayQualityIndicator is a server's assessment of the connection.
type DisplayQualityIndicator struct{ Data []byte }

// MessageType returns 322.
func (*DisplayQualityIndicator) MessageType() uint16 { return 322 }

// MessageName returns "display.quality_indicator".
func (*DisplayQualityIndicator) MessageName() string { return "display.quality_indicator" }

func (*DisplayQualityIndicator) fromServer() {}

// Append appends the body.
func (m *DisplayQualityIndicator) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *DisplayQualityIndicator) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *DisplayQualityIndicator) decode(r *Reader) { m.Data = r.Rest() }
func (m *DisplayQualityIndicator) encode(w *writer) { w.bytes(m.Data) }

// DisplayInit is the client's first message. The server sends nothing before.
type DisplayInit struct {
	PixmapCacheID   uint8
	PixmapCacheSize int64 // pixels
	GLZDictionaryID uint8
	GLZWindowSize   int32 // pixels
}

// MessageType returns 101.
func (*DisplayInit) MessageType() uint16 { return 101 }

// MessageName returns "display.init".
func (*DisplayInit) MessageName() string { return "display.init" }

func (*DisplayInit) fromClient() {}

// Append appends the body.
func (m *DisplayInit) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *DisplayInit) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *DisplayInit) decode(r *Reader) {
	m.PixmapCacheID, m.PixmapCacheSize = r.Uint8(), int64(r.Uint64())
	m.GLZDictionaryID, m.GLZWindowSize = r.Uint8(), r.Int32()
}

func (m *DisplayInit) encode(w *writer) {
	w.u8(m.PixmapCacheID)
	w.u64(uint64(m.PixmapCacheSize))
	w.u8(m.GLZDictionaryID)
	w.i32(m.GLZWindowSize)
}

// DisplayPreferredCompression overrides the server's image compression; needs
// CapDisplayPrefCompression.
type DisplayPreferredCompression struct{ Compression ImageCompression }

// MessageType returns 103.
func (*DisplayPreferredCompression) MessageType() uint16 { return 103 }

// MessageName returns "display.preferred_compression".
func (*DisplayPreferredCompression) MessageName() string { return "display.preferred_compression" }

func (*DisplayPreferredCompression) fromClient() {}

// Append appends the body.
func (m *DisplayPreferredCompression) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *DisplayPreferredCompression) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *DisplayPreferredCompression) decode(r *Reader) { m.Compression = ImageCompression(r.Uint8()) }
func (m *DisplayPreferredCompression) encode(w *writer) { w.u8(uint8(m.Compression)) }

// DisplayGLDrawDone answers DisplayGLDraw.
type DisplayGLDrawDone struct{}

// MessageType returns 104.
func (*DisplayGLDrawDone) MessageType() uint16 { return 104 }

// MessageName returns "display.gl_draw_done".
func (*DisplayGLDrawDone) MessageName() string { return "display.gl_draw_done" }

func (*DisplayGLDrawDone) fromClient() {}

// Append appends the body.
func (m *DisplayGLDrawDone) Append(b []byte) []byte { return b }

// Decode accepts any body, because the message has none.
func (m *DisplayGLDrawDone) Decode([]byte) error { return nil }

// DisplayPreferredVideoCodecType lists codecs, best first; needs
// CapDisplayPrefVideoCodecType.
type DisplayPreferredVideoCodecType struct{ Codecs []VideoCodec }

// MessageType returns 105.
func (*DisplayPreferredVideoCodecType) MessageType() uint16 { return 105 }

// MessageName returns "display.preferred_video_codec_type".
func (*DisplayPreferredVideoCodecType) MessageName() string {
	return "display.preferred_video_codec_type"
}

func (*DisplayPreferredVideoCodecType) fromClient() {}

// Append appends the body.
func (m *DisplayPreferredVideoCodecType) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *DisplayPreferredVideoCodecType) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

// maxCodecs is the greatest count of DisplayPreferredVideoCodecType.
const maxCodecs = 255

func (m *DisplayPreferredVideoCodecType) decode(r *Reader) {
	m.Codecs = resize(m.Codecs, r.Count(uint64(r.Uint8()), 1))
	for i := range m.Codecs {
		m.Codecs[i] = VideoCodec(r.Uint8())
	}
}

func (m *DisplayPreferredVideoCodecType) encode(w *writer) {
	codecs := m.Codecs[:min(len(m.Codecs), maxCodecs)]
	w.u8(uint8(len(codecs)))
	for _, c := range codecs {
		w.u8(uint8(c))
	}
}
