package wire

// AudioMode says how sound is encoded (SPICE_AUDIO_DATA_MODE_*).
type AudioMode uint16

// The audio modes.
const (
	AudioRaw     AudioMode = 1
	AudioCELT051 AudioMode = 2 // obsolete
	AudioOpus    AudioMode = 3
)

var audioModeNames = map[uint32]string{1: "raw", 2: "celt_0_5_1", 3: "opus"}

// String returns "raw", "celt_0_5_1" or "opus".
func (m AudioMode) String() string { return enumName("audio", uint32(m), audioModeNames) }

// AudioS16 is the only sample format: signed 16 bit, little-endian, channels
// interleaved (SPICE_AUDIO_FMT_S16).
const AudioS16 uint16 = 1

// maxVolumes is the greatest count of a volume message.
const maxVolumes = 255

func readVolumes(r *Reader, old []uint16) []uint16 {
	list := resize(old, r.Count(uint64(r.Uint8()), 2))
	for i := range list {
		list[i] = r.Uint16()
	}
	return list
}

func (w *writer) volumes(list []uint16) {
	list = list[:min(len(list), maxVolumes)]
	w.u8(uint8(len(list)))
	for _, v := range list {
		w.u16(v)
	}
}

// PlaybackData is a piece of sound from the guest.
type PlaybackData struct {
	Time uint32 // multimedia time, milliseconds
	Data []byte // a window into the message
}

// MessageType returns 101.
func (*PlaybackData) MessageType() uint16 { return 101 }

// MessageName returns "playback.data".
func (*PlaybackData) MessageName() string { return "playback.data" }

func (*PlaybackData) fromServer() {}

// Append appends the body.
func (m *PlaybackData) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *PlaybackData) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *PlaybackData) decode(r *Reader) { m.Time, m.Data = r.Uint32(), r.Rest() }
func (m *PlaybackData) encode(w *writer) { w.u32(m.Time); w.bytes(m.Data) }

// PlaybackMode says how PlaybackData is encoded from now on.
type PlaybackMode struct {
	Time uint32
	Mode AudioMode
	Data []byte
}

// MessageType returns 102.
func (*PlaybackMode) MessageType() uint16 { return 102 }

// MessageName returns "playback.mode".
func (*PlaybackMode) MessageName() string { return "playback.mode" }

func (*PlaybackMode) fromServer() {}

// Append appends the body.
func (m *PlaybackMode) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *PlaybackMode) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *PlaybackMode) decode(r *Reader) {
	m.Time, m.Mode, m.Data = r.Uint32(), AudioMode(r.Uint16()), r.Rest()
}
func (m *PlaybackMode) encode(w *writer) { w.u32(m.Time); w.u16(uint16(m.Mode)); w.bytes(m.Data) }

// PlaybackStart begins a sound.
type PlaybackStart struct {
	Channels  uint32
	Format    uint16
	Frequency uint32 // samples per second
	Time      uint32
}

// MessageType returns 103.
func (*PlaybackStart) MessageType() uint16 { return 103 }

// MessageName returns "playback.start".
func (*PlaybackStart) MessageName() string { return "playback.start" }

func (*PlaybackStart) fromServer() {}

// Append appends the body.
func (m *PlaybackStart) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *PlaybackStart) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *PlaybackStart) decode(r *Reader) {
	m.Channels, m.Format, m.Frequency, m.Time = r.Uint32(), r.Uint16(), r.Uint32(), r.Uint32()
}

func (m *PlaybackStart) encode(w *writer) {
	w.u32(m.Channels)
	w.u16(m.Format)
	w.u32(m.Frequency)
	w.u32(m.Time)
}

// PlaybackStop ends a sound.
type PlaybackStop struct{}

// MessageType returns 104.
func (*PlaybackStop) MessageType() uint16 { return 104 }

// MessageName returns "playback.stop".
func (*PlaybackStop) MessageName() string { return "playback.stop" }

func (*PlaybackStop) fromServer() {}

// Append appends the body.
func (m *PlaybackStop) Append(b []byte) []byte { return b }

// Decode accepts any body, because the message has none.
func (m *PlaybackStop) Decode([]byte) error { return nil }

// PlaybackVolume is the guest's volume of each channel, 65535 is full.
type PlaybackVolume struct{ Volumes []uint16 }

// MessageType returns 105.
func (*PlaybackVolume) MessageType() uint16 { return 105 }

// MessageName returns "playback.volume".
func (*PlaybackVolume) MessageName() string { return "playback.volume" }

func (*PlaybackVolume) fromServer() {}

// Append appends the body.
func (m *PlaybackVolume) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *PlaybackVolume) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *PlaybackVolume) decode(r *Reader) { m.Volumes = readVolumes(r, m.Volumes) }
func (m *PlaybackVolume) encode(w *writer) { w.volumes(m.Volumes) }

// PlaybackMute says whether the guest has muted its sound.
type PlaybackMute struct{ Mute bool }

// MessageType returns 106.
func (*PlaybackMute) MessageType() uint16 { return 106 }

// MessageName returns "playback.mute".
func (*PlaybackMute) MessageName() string { return "playback.mute" }

func (*PlaybackMute) fromServer() {}

// Append appends the body.
func (m *PlaybackMute) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *PlaybackMute) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *PlaybackMute) decode(r *Reader) { m.Mute = r.Uint8() != 0 }
func (m *PlaybackMute) encode(w *writer) { w.bool(m.Mute) }

// PlaybackLatency is the least that the client shall buffer; needs CapPlaybackLatency.
type PlaybackLatency struct{ Latency uint32 } // milliseconds

// MessageType returns 107.
func (*PlaybackLatency) MessageType() uint16 { return 107 }

// MessageName returns "playback.latency".
func (*PlaybackLatency) MessageName() string { return "playback.latency" }

func (*PlaybackLatency) fromServer() {}

// Append appends the body.
func (m *PlaybackLatency) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *PlaybackLatency) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *PlaybackLatency) decode(r *Reader) { m.Latency = r.Uint32() }
func (m *PlaybackLatency) encode(w *writer) { w.u32(m.Latency) }

// RecordStart asks the client for its microphone.
type RecordStart struct {
	Channels  uint32
	Format    uint16
	Frequency uint32 // samples per second
}

// MessageType returns 101.
func (*RecordStart) MessageType() uint16 { return 101 }

// MessageName returns "record.start".
func (*RecordStart) MessageName() string { return "record.start" }

func (*RecordStart) fromServer() {}

// Append appends the body.
func (m *RecordStart) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *RecordStart) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *RecordStart) decode(r *Reader) {
	m.Channels, m.Format, m.Frequency = r.Uint32(), r.Uint16(), r.Uint32()
}

func (m *RecordStart) encode(w *writer) { w.u32(m.Channels); w.u16(m.Format); w.u32(m.Frequency) }

// RecordStop ends what RecordStart began.
type RecordStop struct{}

// MessageType returns 102.
func (*RecordStop) MessageType() uint16 { return 102 }

// MessageName returns "record.stop".
func (*RecordStop) MessageName() string { return "record.stop" }

func (*RecordStop) fromServer() {}

// Append appends the body.
func (m *RecordStop) Append(b []byte) []byte { return b }

// Decode accepts any body, because the message has none.
func (m *RecordStop) Decode([]byte) error { return nil }

// RecordVolume is the guest's recording volume of each channel.
type RecordVolume struct{ Volumes []uint16 }

// MessageType returns 103.
func (*RecordVolume) MessageType() uint16 { return 103 }

// MessageName returns "record.volume".
func (*RecordVolume) MessageName() string { return "record.volume" }

func (*RecordVolume) fromServer() {}

// Append appends the body.
func (m *RecordVolume) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *RecordVolume) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *RecordVolume) decode(r *Reader) { m.Volumes = readVolumes(r, m.Volumes) }
func (m *RecordVolume) encode(w *writer) { w.volumes(m.Volumes) }

// RecordMute says whether the guest has muted its recording.
type RecordMute struct{ Mute bool }

// MessageType returns 104.
func (*RecordMute) MessageType() uint16 { return 104 }

// MessageName returns "record.mute".
func (*RecordMute) MessageName() string { return "record.mute" }

func (*RecordMute) fromServer() {}

// Append appends the body.
func (m *RecordMute) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *RecordMute) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *RecordMute) decode(r *Reader) { m.Mute = r.Uint8() != 0 }
func (m *RecordMute) encode(w *writer) { w.bool(m.Mute) }

// RecordData is a piece of sound for the guest.
type RecordData struct {
	Time uint32
	Data []byte
}

// MessageType returns 101.
func (*RecordData) MessageType() uint16 { return 101 }

// MessageName returns "record.data".
func (*RecordData) MessageName() string { return "record.data" }

func (*RecordData) fromClient() {}

// Append appends the body.
func (m *RecordData) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *RecordData) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *RecordData) decode(r *Reader) { m.Time, m.Data = r.Uint32(), r.Rest() }
func (m *RecordData) encode(w *writer) { w.u32(m.Time); w.bytes(m.Data) }

// RecordMode says how RecordData is encoded from now on.
type RecordMode struct {
	Time uint32
	Mode AudioMode
	Data []byte
}

// MessageType returns 102.
func (*RecordMode) MessageType() uint16 { return 102 }

// MessageName returns "record.mode".
func (*RecordMode) MessageName() string { return "record.mode" }

func (*RecordMode) fromClient() {}

// Append appends the body.
func (m *RecordMode) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *RecordMode) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *RecordMode) decode(r *Reader) {
	m.Time, m.Mode, m.Data = r.Uint32(), AudioMode(r.Uint16()), r.Rest()
}
func (m *RecordMode) encode(w *writer) { w.u32(m.Time); w.u16(uint16(m.Mode)); w.bytes(m.Data) }

// RecordStartMark is the multimedia time at which recording began.
type RecordStartMark struct{ Time uint32 }

// MessageType returns 103.
func (*RecordStartMark) MessageType() uint16 { return 103 }

// MessageName returns "record.start_mark".
func (*RecordStartMark) MessageName() string { return "record.start_mark" }

func (*RecordStartMark) fromClient() {}

// Append appends the body.
func (m *RecordStartMark) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *RecordStartMark) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *RecordStartMark) decode(r *Reader) { m.Time = r.Uint32() }
func (m *RecordStartMark) encode(w *writer) { w.u32(m.Time) }
