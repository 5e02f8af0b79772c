package wire

// VideoCodec says how a stream is encoded (SPICE_VIDEO_CODEC_TYPE_*).
type VideoCodec uint8

// The video codecs.
const (
	VideoMJPEG VideoCodec = 1
	VideoVP8   VideoCodec = 2
	VideoH264  VideoCodec = 3
	VideoVP9   VideoCodec = 4
	VideoH265  VideoCodec = 5
)

var videoCodecNames = map[uint32]string{1: "mjpeg", 2: "vp8", 3: "h264", 4: "vp9", 5: "h265"}

// String returns "mjpeg", …
func (c VideoCodec) String() string { return enumName("codec", uint32(c), videoCodecNames) }

// MaxStreams limits stream ids: they are less than MaxStreams (SPICE_MAX_NUM_STREAMS).
const MaxStreams = 64

// StreamTopDown is the flag of a stream whose first row is the top one
// (SPICE_STREAM_FLAGS_TOP_DOWN).
const StreamTopDown uint8 = 1

// DisplayStreamCreate begins a video on a part of a surface.
type DisplayStreamCreate struct {
	Surface      uint32
	Stream       uint32
	Flags        uint8
	Codec        VideoCodec
	Stamp        uint64
	StreamWidth  uint32 // pixels of the video
	StreamHeight uint32
	SrcWidth     uint32 // pixels of what the guest draws
	SrcHeight    uint32
	Dest         Rect
	Clip         Clip
}

// MessageType returns 122.
func (*DisplayStreamCreate) MessageType() uint16 { return 122 }

// MessageName returns "display.stream_create".
func (*DisplayStreamCreate) MessageName() string { return "display.stream_create" }

func (*DisplayStreamCreate) fromServer() {}

// Append appends the body.
func (m *DisplayStreamCreate) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *DisplayStreamCreate) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *DisplayStreamCreate) decode(r *Reader) {
	m.Surface, m.Stream = r.Uint32(), r.Uint32()
	m.Flags, m.Codec, m.Stamp = r.Uint8(), VideoCodec(r.Uint8()), r.Uint64()
	m.StreamWidth, m.StreamHeight = r.Uint32(), r.Uint32()
	m.SrcWidth, m.SrcHeight = r.Uint32(), r.Uint32()
	m.Dest = readRect(r)
	m.Clip.decode(r)
}

func (m *DisplayStreamCreate) encode(w *writer) {
	w.u32(m.Surface)
	w.u32(m.Stream)
	w.u8(m.Flags)
	w.u8(uint8(m.Codec))
	w.u64(m.Stamp)
	w.u32(m.StreamWidth)
	w.u32(m.StreamHeight)
	w.u32(m.SrcWidth)
	w.u32(m.SrcHeight)
	w.rect(m.Dest)
	m.Clip.encode(w)
}

// DisplayStreamData is one frame.
type DisplayStreamData struct {
	Stream uint32
	Time   uint32 // multimedia time at which it is to be shown, milliseconds
	Data   []byte // a window into the message
}

// MessageType returns 123.
func (*DisplayStreamData) MessageType() uint16 { return 123 }

// MessageName returns "display.stream_data".
func (*DisplayStreamData) MessageName() string { return "display.stream_data" }

func (*DisplayStreamData) fromServer() {}

// Append appends the body.
func (m *DisplayStreamData) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *DisplayStreamData) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *DisplayStreamData) decode(r *Reader) {
	m.Stream, m.Time = r.Uint32(), r.Uint32()
	m.Data = r.Bytes(uint64(r.Uint32()))
}

func (m *DisplayStreamData) encode(w *writer) {
	w.u32(m.Stream)
	w.u32(m.Time)
	w.u32(uint32(len(m.Data)))
	w.bytes(m.Data)
}

// DisplayStreamClip changes a stream's clip.
type DisplayStreamClip struct {
	Stream uint32
	Clip   Clip
}

// MessageType returns 124.
func (*DisplayStreamClip) MessageType() uint16 { return 124 }

// MessageName returns "display.stream_clip".
func (*DisplayStreamClip) MessageName() string { return "display.stream_clip" }

func (*DisplayStreamClip) fromServer() {}

// Append appends the body.
func (m *DisplayStreamClip) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *DisplayStreamClip) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *DisplayStreamClip) decode(r *Reader) { m.Stream = r.Uint32(); m.Clip.decode(r) }
func (m *DisplayStreamClip) encode(w *writer) { w.u32(m.Stream); m.Clip.encode(w) }

// DisplayStreamDestroy ends a stream.
type DisplayStreamDestroy struct{ Stream uint32 }

// MessageType returns 125.
func (*DisplayStreamDestroy) MessageType() uint16 { return 125 }

// MessageName returns "display.stream_destroy".
func (*DisplayStreamDestroy) MessageName() string { return "display.stream_destroy" }

func (*DisplayStreamDestroy) fromServer() {}

// Append appends the body.
func (m *DisplayStreamDestroy) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *DisplayStreamDestroy) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *DisplayStreamDestroy) decode(r *Reader) { m.Stream = r.Uint32() }
func (m *DisplayStreamDestroy) encode(w *writer) { w.u32(m.Stream) }

// DisplayStreamDestroyAll ends all streams.
type DisplayStreamDestroyAll struct{}

// MessageType returns 126.
func (*DisplayStreamDestroyAll) MessageType() uint16 { return 126 }

// MessageName returns "display.stream_destroy_all".
func (*DisplayStreamDestroyAll) MessageName() string { return "display.stream_destroy_all" }

func (*DisplayStreamDestroyAll) fromServer() {}

// Append appends the body.
func (m *DisplayStreamDestroyAll) Append(b []byte) []byte { return b }

// Decode accepts any body, because the message has none.
func (m *DisplayStreamDestroyAll) Decode([]byte) error { return nil }

// DisplayStreamDataSized is one frame with another size and place than the stream's; needs
// CapDisplaySizedStream.
type DisplayStreamDataSized struct {
	Stream uint32
	Time   uint32 // multimedia time, milliseconds
	Width  uint32 // pixels
	Height uint32
	Dest   Rect
	Data   []byte // a window into the message
}

// MessageType returns 316.
func (*DisplayStreamDataSized) MessageType() uint16 { return 316 }

// MessageName returns "display.stream_data_sized".
func (*DisplayStreamDataSized) MessageName() string { return "display.stream_data_sized" }

func (*DisplayStreamDataSized) fromServer() {}

// Append appends the body.
func (m *DisplayStreamDataSized) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *DisplayStreamDataSized) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *DisplayStreamDataSized) decode(r *Reader) {
	m.Stream, m.Time = r.Uint32(), r.Uint32()
	m.Width, m.Height = r.Uint32(), r.Uint32()
	m.Dest = readRect(r)
	m.Data = r.Bytes(uint64(r.Uint32()))
}

func (m *DisplayStreamDataSized) encode(w *writer) {
	w.u32(m.Stream)
	w.u32(m.Time)
	w.u32(m.Width)
	w.u32(m.Height)
	w.rect(m.Dest)
	w.u32(uint32(len(m.Data)))
	w.bytes(m.Data)
}

// DisplayStreamActivateReport asks for DisplayStreamReport about a stream.
type DisplayStreamActivateReport struct {
	Stream        uint32
	UniqueID      uint32
	MaxWindowSize uint32 // frames
	Timeout       uint32 // milliseconds
}

// MessageType returns 319.
func (*DisplayStreamActivateReport) MessageType() uint16 { return 319 }

// MessageName returns "display.stream_activate_report".
func (*DisplayStreamActivateReport) MessageName() string { return "display.stream_activate_report" }

func (*DisplayStreamActivateReport) fromServer() {}

// Append appends the body.
func (m *DisplayStreamActivateReport) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *DisplayStreamActivateReport) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *DisplayStreamActivateReport) decode(r *Reader) {
	m.Stream, m.UniqueID, m.MaxWindowSize, m.Timeout = r.Uint32(), r.Uint32(), r.Uint32(), r.Uint32()
}

func (m *DisplayStreamActivateReport) encode(w *writer) {
	for _, v := range []uint32{m.Stream, m.UniqueID, m.MaxWindowSize, m.Timeout} {
		w.u32(v)
	}
}

// Special values of DisplayStreamReport.
const (
	// StreamUnsupported is the NumDrops, with NumFrames 0, of a client that
	// cannot decode the stream.
	StreamUnsupported uint32 = 0xffffffff
	// NoAudioDelay is the AudioDelay of a client that plays no sound.
	NoAudioDelay uint32 = 0xffffffff
)

// DisplayStreamReport says how well a stream was played.
type DisplayStreamReport struct {
	Stream         uint32
	UniqueID       uint32
	StartFrameTime uint32 // multimedia time of the first frame reported on
	EndFrameTime   uint32 // and of the last
	NumFrames      uint32 // frames that arrived
	NumDrops       uint32 // of these, dropped because they were late
	LastFrameDelay int32  // milliseconds that the last frame was early
	AudioDelay     uint32 // milliseconds
}

// MessageType returns 102.
func (*DisplayStreamReport) MessageType() uint16 { return 102 }

// MessageName returns "display.stream_report".
func (*DisplayStreamReport) MessageName() string { return "display.stream_report" }

func (*DisplayStreamReport) fromClient() {}

// Append appends the body.
func (m *DisplayStreamReport) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *DisplayStreamReport) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *DisplayStreamReport) decode(r *Reader) {
	m.Stream, m.UniqueID = r.Uint32(), r.Uint32()
	m.StartFrameTime, m.EndFrameTime = r.Uint32(), r.Uint32()
	m.NumFrames, m.NumDrops = r.Uint32(), r.Uint32()
	m.LastFrameDelay, m.AudioDelay = r.Int32(), r.Uint32()
}

func (m *DisplayStreamReport) encode(w *writer) {
	w.u32(m.Stream)
	w.u32(m.UniqueID)
	w.u32(m.StartFrameTime)
	w.u32(m.EndFrameTime)
	w.u32(m.NumFrames)
	w.u32(m.NumDrops)
	w.i32(m.LastFrameDelay)
	w.u32(m.AudioDelay)
}
