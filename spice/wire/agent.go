package wire

import (
	"encoding/binary"
)

// Numbers of the agent's protocol (spice/vd_agent.h).
const (
	// AgentProtocol is the only version (VD_AGENT_PROTOCOL).
	AgentProtocol = 1
	// AgentHeaderSize is the size of VDAgentMessage without its data, in bytes.
	AgentHeaderSize = 20
	// MaxAgentChunk is the most that one MainClientAgentData carries, in bytes
	// (VD_AGENT_MAX_DATA_SIZE).
	MaxAgentChunk = 2048
	// DefaultMaxAgentMessage bounds an agent message that an AgentAssembler
	// puts together: a clipboard of 16 MiB, which is far beyond what agents
	// announce as their own limit.
	DefaultMaxAgentMessage = 16 << 20
)

// AgentType is what an agent message does (VD_AGENT_*).
type AgentType uint32

// The agent messages.
const (
	AgentTypeMouseState           AgentType = 1
	AgentTypeMonitorsConfig       AgentType = 2
	AgentTypeReply                AgentType = 3
	AgentTypeClipboard            AgentType = 4
	AgentTypeDisplayConfig        AgentType = 5
	AgentTypeAnnounceCapabilities AgentType = 6
	AgentTypeClipboardGrab        AgentType = 7
	AgentTypeClipboardRequest     AgentType = 8
	AgentTypeClipboardRelease     AgentType = 9
	AgentTypeFileXferStart        AgentType = 10
	AgentTypeFileXferStatus       AgentType = 11
	AgentTypeFileXferData         AgentType = 12
	AgentTypeClientDisconnected   AgentType = 13
	AgentTypeMaxClipboard         AgentType = 14
	AgentTypeAudioVolumeSync      AgentType = 15
	AgentTypeGraphicsDeviceInfo   AgentType = 16
)

var agentTypeNames = map[uint32]string{1: "mouse_state", 2: "monitors_config", 3: "reply", 4: "clipboard",
	5: "display_config", 6: "announce_capabilities", 7: "clipboard_grab", 8: "clipboard_request",
	9: "clipboard_release", 10: "file_xfer_start", 11: "file_xfer_status", 12: "file_xfer_data",
	13: "client_disconnected", 14: "max_clipboard", 15: "audio_volume_sync", 16: "graphics_device_info"}

// String returns "mouse_state", … or "agent-N".
func (t AgentType) String() string { return enumName("agent", uint32(t), agentTypeNames) }

// Capabilities of agents (VD_AGENT_CAP_*), as AgentAnnounceCapabilities holds
// them.
const (
	AgentCapMouseState               Cap = 0
	AgentCapMonitorsConfig           Cap = 1
	AgentCapReply                    Cap = 2
	AgentCapClipboard                Cap = 3
	AgentCapDisplayConfig            Cap = 4
	AgentCapClipboardByDemand        Cap = 5
	AgentCapClipboardSelection       Cap = 6
	AgentCapSparseMonitorsConfig     Cap = 7
	AgentCapGuestLineEndLF           Cap = 8
	AgentCapGuestLineEndCRLF         Cap = 9
	AgentCapMaxClipboard             Cap = 10
	AgentCapAudioVolumeSync          Cap = 11
	AgentCapMonitorsConfigPosition   Cap = 12
	AgentCapFileXferDisabled         Cap = 13
	AgentCapFileXferDetailedErrors   Cap = 14
	AgentCapGraphicsDeviceInfo       Cap = 15
	AgentCapClipboardNoReleaseOnGrab Cap = 16
	AgentCapClipboardGrabSerial      Cap = 17
)

var agentCapNames = []string{"mouse_state", "monitors_config", "reply", "clipboard", "display_config",
	"clipboard_by_demand", "clipboard_selection", "sparse_monitors_config", "guest_lineend_lf",
	"guest_lineend_crlf", "max_clipboard", "audio_volume_sync", "monitors_config_position",
	"file_xfer_disabled", "file_xfer_detailed_errors", "graphics_device_info",
	"clipboard_no_release_on_regrab", "clipboard_grab_serial"}

// AgentNames returns the names of the set's capabilities, read as those of an agent, joined by
// commas.
func (s Caps) AgentNames() string { return s.names(agentCapNames) }

// RawAgentMessage is an agent message whose data is not decoded.
type RawAgentMessage struct {
	Type   AgentType
	Opaque uint64
	Data   []byte
}

// Append appends VDAgentMessage and data.
func (m RawAgentMessage) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, AgentProtocol)
	b = binary.LittleEndian.AppendUint32(b, uint32(m.Type))
	b = binary.LittleEndian.AppendUint64(b, m.Opaque)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(m.Data)))
	return append(b, m.Data...)
}

// AgentChunks cuts an encoded agent message into the pieces that
// MainClientAgentData and MainAgentData carry. The pieces are windows into b.
func AgentChunks(b []byte) [][]byte {
	chunks := make([][]byte, 0, (len(b)+MaxAgentChunk-1)/MaxAgentChunk)
	for len(b) > MaxAgentChunk {
		chunks = append(chunks, b[:MaxAgentChunk:MaxAgentChunk])
		b = b[MaxAgentChunk:]
	}
	if len(b) > 0 {
		chunks = append(chunks, b)
	}
	return chunks
}

// AgentAssembler puts the agent's messages together from the pieces in which they came. The
// boundaries of the pieces mean nothing: one can hold several messages. The zero value is ready.
// Use one per direction of an agent connection.
type AgentAssembler struct {
	// MaxMessage bounds the data of a message in bytes; 0 means
	// DefaultMaxAgentMessage.
	MaxMessage uint32

	buf []byte
	err error
}

// Write takes the next piece and returns the messages that it completes. They own their data. After
// an error, a *DecodeError, the stream cannot be read any further.
func (a *AgentAssembler) Write(piece []byte) ([]RawAgentMessage, error) {
	if a.err != nil {
		return nil, a.err
	}
	limit := a.MaxMessage
	if limit == 0 {
		limit = DefaultMaxAgentMessage
	}
	a.buf = append(a.buf, piece...)
	var done []RawAgentMessage
	for len(a.buf) >= AgentHeaderSize {
		r := NewReader(a.buf)
		protocol := r.Uint32()
		m := RawAgentMessage{Type: AgentType(r.Uint32()), Opaque: r.Uint64()}
		size := r.Uint32()
		switch {
		case protocol != AgentProtocol:
			r.Failf("agent protocol %d, want %d", protocol, AgentProtocol)
		case size > limit:
			r.Failf("%s of %d bytes, the limit is %d", m.Type, size, limit)
		}
		if a.err = r.finish("agent"); a.err != nil {
			return done, a.err
		}
		if uint64(r.Left()) < uint64(size) {
			break
		}
		m.Data = append([]byte(nil), r.Bytes(uint64(size))...)
		done = append(done, m)
		a.buf = a.buf[AgentHeaderSize+int(size):]
	}
	if len(a.buf) == 0 {
		a.buf = nil
	}
	return done, nil
}

// Reset forgets an incomplete message. Call it when the agent's connection has ended.
func (a *AgentAssembler) Reset() { a.buf, a.err = nil, nil }

// AgentMessage is one modelled agent message. If its layout depends on what both sides announced,
// caps is the set of AgentCap* that both have.
type AgentMessage interface {
	AgentType() AgentType
	// AppendData appends the data that follows VDAgentMessage.
	AppendData(b []byte, caps Caps) []byte
	decode(r *Reader, caps Caps)
}

// AppendAgent appends a whole agent message, header included.
func AppendAgent(b []byte, m AgentMessage, caps Caps) []byte {
	return RawAgentMessage{Type: m.AgentType(), Data: m.AppendData(nil, caps)}.Append(b)
}

// DecodeAgent decodes the data of an agent message. A type that is not modelled
// gives *AgentUnknown and no error. An error is a *DecodeError. The messages'
// []byte fields are windows into raw.Data.
func DecodeAgent(raw RawAgentMessage, caps Caps) (AgentMessage, error) {
	m := newAgentMessage(raw.Type)
	r := NewReader(raw.Data)
	m.decode(&r, caps)
	return m, r.finish("agent." + raw.Type.String())
}

func newAgentMessage(t AgentType) AgentMessage {
	switch t {
	case AgentTypeMouseState:
		return new(AgentMouseState)
	case AgentTypeMonitorsConfig:
		return new(AgentMonitorsConfig)
	case AgentTypeReply:
		return new(AgentReply)
	case AgentTypeClipboard:
		return new(AgentClipboard)
	case AgentTypeDisplayConfig:
		return new(AgentDisplayConfig)
	case AgentTypeAnnounceCapabilities:
		return new(AgentAnnounceCapabilities)
	case AgentTypeClipboardGrab:
		return new(AgentClipboardGrab)
	case AgentTypeClipboardRequest:
		return new(AgentClipboardRequest)
	case AgentTypeClipboardRelease:
		return new(AgentClipboardRelease)
	case AgentTypeFileXferStart:
		return new(AgentFileXferStart)
	case AgentTypeFileXferStatus:
		return new(AgentFileXferStatus)
	case AgentTypeFileXferData:
		return new(AgentFileXferData)
	case AgentTypeClientDisconnected:
		return new(AgentClientDisconnected)
	case AgentTypeMaxClipboard:
		return new(AgentMaxClipboard)
	case AgentTypeAudioVolumeSync:
		return new(AgentAudioVolumeSync)
	case AgentTypeGraphicsDeviceInfo:
		return new(AgentGraphicsDeviceInfo)
	}
	return &AgentUnknown{Type: t}
}

// AgentUnknown is an agent message that is not modelled, kept byte for byte.
type AgentUnknown struct {
	Type AgentType
	Data []byte
}

// AgentType returns the type it came with.
func (m *AgentUnknown) AgentType() AgentType { return m.Type }

// AppendData appends the data as it came.
func (m *AgentUnknown) AppendData(b []byte, _ Caps) []byte { return append(b, m.Data...) }
func (m *AgentUnknown) decode(r *Reader, _ Caps)           { m.Data = r.Rest() }

// Bits of AgentMouseState.Buttons (VD_AGENT_*BUTTON_MASK). They are not those
// of MouseButtons.
const (
	AgentButtonLeft   uint32 = 1 << 1
	AgentButtonMiddle uint32 = 1 << 2
	AgentButtonRight  uint32 = 1 << 3
	AgentButtonUp     uint32 = 1 << 4
	AgentButtonDown   uint32 = 1 << 5
	AgentButtonSide   uint32 = 1 << 6
	AgentButtonExtra  uint32 = 1 << 7
)

// AgentMouseState places the pointer; a server sends it to the agent.
type AgentMouseState struct {
	X, Y    uint32 // pixels
	Buttons uint32
	Display uint8
}

// AgentType returns AgentTypeMouseState.
func (*AgentMouseState) AgentType() AgentType { return AgentTypeMouseState }

// AppendData appends VDAgentMouseState.
func (m *AgentMouseState) AppendData(b []byte, _ Caps) []byte {
	w := newWriter(b)
	w.u32(m.X)
	w.u32(m.Y)
	w.u32(m.Buttons)
	w.u8(m.Display)
	return w.b
}

func (m *AgentMouseState) decode(r *Reader, _ Caps) {
	m.X, m.Y, m.Buttons, m.Display = r.Uint32(), r.Uint32(), r.Uint32(), r.Uint8()
}

// Flags of AgentMonitorsConfig (VD_AGENT_CONFIG_MONITORS_FLAG_*).
const (
	AgentMonitorsUsePos       uint32 = 1 << 0
	AgentMonitorsPhysicalSize uint32 = 1 << 1
)

// AgentMonitor is one monitor to set up. With AgentCapSparseMonitorsConfig, a width and height of 0
// disable it.
type AgentMonitor struct {
	Height uint32 // pixels
	Width  uint32
	Depth  uint32 // bits per pixel
	X, Y   int32
	// HeightMM and WidthMM go with AgentMonitorsPhysicalSize; 0 is unknown.
	HeightMM, WidthMM uint16
}

// AgentMonitorsConfig asks the guest to set its monitors up.
type AgentMonitorsConfig struct {
	Flags    uint32
	Monitors []AgentMonitor
}

// AgentType returns AgentTypeMonitorsConfig.
func (*AgentMonitorsConfig) AgentType() AgentType { return AgentTypeMonitorsConfig }

// AppendData appends VDAgentMonitorsConfig.
func (m *AgentMonitorsConfig) AppendData(b []byte, _ Caps) []byte {
	w := newWriter(b)
	w.u32(uint32(len(m.Monitors)))
	w.u32(m.Flags)
	for _, mon := range m.Monitors {
		w.u32(mon.Height)
		w.u32(mon.Width)
		w.u32(mon.Depth)
		w.i32(mon.X)
		w.i32(mon.Y)
	}
	if m.Flags&AgentMonitorsPhysicalSize != 0 {
		for _, mon := range m.Monitors {
			w.u16(mon.HeightMM)
			w.u16(mon.WidthMM)
		}
	}
	return w.b
}

func (m *AgentMonitorsConfig) decode(r *Reader, _ Caps) {
	n := uint64(r.Uint32())
	m.Flags = r.Uint32()
	m.Monitors = resize(m.Monitors, r.Count(n, 20))
	for i := range m.Monitors {
		m.Monitors[i] = AgentMonitor{Height: r.Uint32(), Width: r.Uint32(), Depth: r.Uint32(), X: r.Int32(), Y: r.Int32()}
	}
	if m.Flags&AgentMonitorsPhysicalSize != 0 {
		for i := range m.Monitors {
			m.Monitors[i].HeightMM, m.Monitors[i].WidthMM = r.Uint16(), r.Uint16()
		}
	}
}

// Results of AgentReply.
const (
	AgentSuccess uint32 = 1
	AgentError   uint32 = 2
)

// AgentReply answers a message, of type Type.
type AgentReply struct {
	Type  AgentType
	Error uint32 // AgentSuccess or AgentError
}

// AgentType returns AgentTypeReply.
func (*AgentReply) AgentType() AgentType { return AgentTypeReply }

// AppendData appends VDAgentReply.
func (m *AgentReply) AppendData(b []byte, _ Caps) []byte {
	w := newWriter(b)
	w.u32(uint32(m.Type))
	w.u32(m.Error)
	return w.b
}

func (m *AgentReply) decode(r *Reader, _ Caps) { m.Type, m.Error = AgentType(r.Uint32()), r.Uint32() }

// ClipboardSelection says which clipboard is meant (VD_AGENT_CLIPBOARD_SELECTION_*). It is on the
// wire only if both sides have AgentCapClipboardSelection.
type ClipboardSelection uint8

// The clipboards.
const (
	SelectionClipboard ClipboardSelection = 0
	SelectionPrimary   ClipboardSelection = 1
	SelectionSecondary ClipboardSelection = 2
)

// ClipboardType is how a clipboard's content is coded (VD_AGENT_CLIPBOARD_*).
type ClipboardType uint32

// The clipboard types.
const (
	ClipboardNone     ClipboardType = 0
	ClipboardUTF8     ClipboardType = 1
	ClipboardPNG      ClipboardType = 2
	ClipboardBMP      ClipboardType = 3
	ClipboardTIFF     ClipboardType = 4
	ClipboardJPG      ClipboardType = 5
	ClipboardFileList ClipboardType = 6
)

// selection reads the word that names the clipboard, if both sides support it.
func (r *Reader) selection(caps Caps) ClipboardSelection {
	if !caps.Has(AgentCapClipboardSelection) {
		return SelectionClipboard
	}
	s := ClipboardSelection(r.Uint8())
	r.Bytes(3)
	return s
}

func (w *writer) selection(s ClipboardSelection, caps Caps) {
	if caps.Has(AgentCapClipboardSelection) {
		w.u32(uint32(s))
	}
}

// AgentClipboard is the content of a clipboard.
type AgentClipboard struct {
	Selection ClipboardSelection
	Type      ClipboardType
	Data      []byte
}

// AgentType returns AgentTypeClipboard.
func (*AgentClipboard) AgentType() AgentType { return AgentTypeClipboard }

// AppendData appends VDAgentClipboard.
func (m *AgentClipboard) AppendData(b []byte, caps Caps) []byte {
	w := newWriter(b)
	w.selection(m.Selection, caps)
	w.u32(uint32(m.Type))
	w.bytes(m.Data)
	return w.b
}

func (m *AgentClipboard) decode(r *Reader, caps Caps) {
	m.Selection, m.Type, m.Data = r.selection(caps), ClipboardType(r.Uint32()), r.Rest()
}

// AgentDisplayConfig asks the guest to switch off effects that cost bandwidth.
type AgentDisplayConfig struct {
	Flags uint32 // VD_AGENT_DISPLAY_CONFIG_FLAG_*
	Depth uint32 // bits per pixel
}

// AgentType returns AgentTypeDisplayConfig.
func (*AgentDisplayConfig) AgentType() AgentType { return AgentTypeDisplayConfig }

// AppendData appends VDAgentDisplayConfig.
func (m *AgentDisplayConfig) AppendData(b []byte, _ Caps) []byte {
	w := newWriter(b)
	w.u32(m.Flags)
	w.u32(m.Depth)
	return w.b
}

func (m *AgentDisplayConfig) decode(r *Reader, _ Caps) { m.Flags, m.Depth = r.Uint32(), r.Uint32() }

// AgentAnnounceCapabilities announces the capabilities of its sender.
type AgentAnnounceCapabilities struct {
	Request bool // the receiver shall announce too
	Caps    Caps // AgentCap*
}

// AgentType returns AgentTypeAnnounceCapabilities.
func (*AgentAnnounceCapabilities) AgentType() AgentType { return AgentTypeAnnounceCapabilities }

// AppendData appends VDAgentAnnounceCapabilities.
func (m *AgentAnnounceCapabilities) AppendData(b []byte, _ Caps) []byte {
	w := newWriter(b)
	var request uint32
	if m.Request {
		request = 1
	}
	w.u32(request)
	for _, word := range m.Caps {
		w.u32(word)
	}
	return w.b
}

func (m *AgentAnnounceCapabilities) decode(r *Reader, _ Caps) {
	m.Request = r.Uint32() != 0
	// Bytes after the last whole word are ignored, as spice-common does.
	words := r.Left() / 4
	if words > MaxCapWords {
		r.Failf("%d capability words, the limit is %d", words, MaxCapWords)
		return
	}
	m.Caps = make(Caps, words)
	for i := range m.Caps {
		m.Caps[i] = r.Uint32()
	}
}

// AgentClipboardGrab says that its sender has put something on a clipboard.
type AgentClipboardGrab struct {
	Selection ClipboardSelection
	Serial    uint32 // with AgentCapClipboardGrabSerial
	Types     []ClipboardType
}

// AgentType returns AgentTypeClipboardGrab.
func (*AgentClipboardGrab) AgentType() AgentType { return AgentTypeClipboardGrab }

// AppendData appends VDAgentClipboardGrab.
func (m *AgentClipboardGrab) AppendData(b []byte, caps Caps) []byte {
	w := newWriter(b)
	w.selection(m.Selection, caps)
	if caps.Has(AgentCapClipboardGrabSerial) {
		w.u32(m.Serial)
	}
	for _, t := range m.Types {
		w.u32(uint32(t))
	}
	return w.b
}

func (m *AgentClipboardGrab) decode(r *Reader, caps Caps) {
	*m = AgentClipboardGrab{Selection: r.selection(caps), Types: m.Types}
	if caps.Has(AgentCapClipboardGrabSerial) {
		m.Serial = r.Uint32()
	}
	m.Types = resize(m.Types, r.Left()/4)
	for i := range m.Types {
		m.Types[i] = ClipboardType(r.Uint32())
	}
}

// AgentClipboardRequest asks for the content of a clipboard.
type AgentClipboardRequest struct {
	Selection ClipboardSelection
	Type      ClipboardType
}

// AgentType returns AgentTypeClipboardRequest.
func (*AgentClipboardRequest) AgentType() AgentType { return AgentTypeClipboardRequest }

// AppendData appends VDAgentClipboardRequest.
func (m *AgentClipboardRequest) AppendData(b []byte, caps Caps) []byte {
	w := newWriter(b)
	w.selection(m.Selection, caps)
	w.u32(uint32(m.Type))
	return w.b
}

func (m *AgentClipboardRequest) decode(r *Reader, caps Caps) {
	m.Selection, m.Type = r.selection(caps), ClipboardType(r.Uint32())
}

// AgentClipboardRelease withdraws a grab.
type AgentClipboardRelease struct{ Selection ClipboardSelection }

// AgentType returns AgentTypeClipboardRelease.
func (*AgentClipboardRelease) AgentType() AgentType { return AgentTypeClipboardRelease }

// AppendData appends VDAgentClipboardRelease.
func (m *AgentClipboardRelease) AppendData(b []byte, caps Caps) []byte {
	w := newWriter(b)
	w.selection(m.Selection, caps)
	return w.b
}

func (m *AgentClipboardRelease) decode(r *Reader, caps Caps) { m.Selection = r.selection(caps) }

// AgentFileXferStart offers a file; Data is a key file in text.
type AgentFileXferStart struct {
	ID   uint32
	Data []byte
}

// AgentType returns AgentTypeFileXferStart.
func (*AgentFileXferStart) AgentType() AgentType { return AgentTypeFileXferStart }

// AppendData appends VDAgentFileXferStartMessage.
func (m *AgentFileXferStart) AppendData(b []byte, _ Caps) []byte {
	w := newWriter(b)
	w.u32(m.ID)
	w.bytes(m.Data)
	return w.b
}

func (m *AgentFileXferStart) decode(r *Reader, _ Caps) { m.ID, m.Data = r.Uint32(), r.Rest() }

// Results of AgentFileXferStatus (VD_AGENT_FILE_XFER_STATUS_*).
const (
	FileXferCanSendData      uint32 = 0
	FileXferCancelled        uint32 = 1
	FileXferError            uint32 = 2
	FileXferSuccess          uint32 = 3
	FileXferNotEnoughSpace   uint32 = 4
	FileXferSessionLocked    uint32 = 5
	FileXferAgentNotRunning  uint32 = 6
	FileXferTransferDisabled uint32 = 7
)

// AgentFileXferStatus says how a transfer proceeds. With AgentCapFileXferDetailedErrors, Data has
// details of some results.
type AgentFileXferStatus struct {
	ID     uint32
	Result uint32
	Data   []byte
}

// AgentType returns AgentTypeFileXferStatus.
func (*AgentFileXferStatus) AgentType() AgentType { return AgentTypeFileXferStatus }

// AppendData appends VDAgentFileXferStatusMessage.
func (m *AgentFileXferStatus) AppendData(b []byte, _ Caps) []byte {
	w := newWriter(b)
	w.u32(m.ID)
	w.u32(m.Result)
	w.bytes(m.Data)
	return w.b
}

func (m *AgentFileXferStatus) decode(r *Reader, _ Caps) {
	m.ID, m.Result, m.Data = r.Uint32(), r.Uint32(), r.Rest()
}

// AgentFileXferData is a piece of a file. The size on the wire is that of the piece.
type AgentFileXferData struct {
	ID   uint32
	Data []byte
}

// AgentType returns AgentTypeFileXferData.
func (*AgentFileXferData) AgentType() AgentType { return AgentTypeFileXferData }

// AppendData appends VDAgentFileXferDataMessage.
func (m *AgentFileXferData) AppendData(b []byte, _ Caps) []byte {
	w := newWriter(b)
	w.u32(m.ID)
	w.u64(uint64(len(m.Data)))
	w.bytes(m.Data)
	return w.b
}

func (m *AgentFileXferData) decode(r *Reader, _ Caps) {
	m.ID = r.Uint32()
	m.Data = r.Bytes(r.Uint64())
}

// AgentClientDisconnected tells the agent that the client has disconnected.
type AgentClientDisconnected struct{}

// AgentType returns AgentTypeClientDisconnected.
func (*AgentClientDisconnected) AgentType() AgentType { return AgentTypeClientDisconnected }

// AppendData appends nothing.
func (*AgentClientDisconnected) AppendData(b []byte, _ Caps) []byte { return b }
func (*AgentClientDisconnected) decode(*Reader, Caps)               {}

// AgentMaxClipboard limits the clipboard content that its sender accepts; -1 means no limit.
type AgentMaxClipboard struct{ Max int32 } // bytes

// AgentType returns AgentTypeMaxClipboard.
func (*AgentMaxClipboard) AgentType() AgentType { return AgentTypeMaxClipboard }

// AppendData appends VDAgentMaxClipboard.
func (m *AgentMaxClipboard) AppendData(b []byte, _ Caps) []byte {
	return binary.LittleEndian.AppendUint32(b, uint32(m.Max))
}

func (m *AgentMaxClipboard) decode(r *Reader, _ Caps) { m.Max = r.Int32() }

// AgentAudioVolumeSync sets the guest's volume of each channel, 65535 is full.
type AgentAudioVolumeSync struct {
	Playback bool // otherwise record
	Mute     bool
	Volumes  []uint16
}

// AgentType returns AgentTypeAudioVolumeSync.
func (*AgentAudioVolumeSync) AgentType() AgentType { return AgentTypeAudioVolumeSync }

// AppendData appends VDAgentAudioVolumeSync.
func (m *AgentAudioVolumeSync) AppendData(b []byte, _ Caps) []byte {
	w := newWriter(b)
	w.bool(m.Playback)
	w.bool(m.Mute)
	w.volumes(m.Volumes)
	return w.b
}

func (m *AgentAudioVolumeSync) decode(r *Reader, _ Caps) {
	m.Playback, m.Mute = r.Uint8() != 0, r.Uint8() != 0
	m.Volumes = readVolumes(r, m.Volumes)
}

// AgentDevice says which device of the guest a display is.
type AgentDevice struct {
	Channel         uint32 // a display channel
	Monitor         uint32
	DeviceDisplayID uint32
	Address         string // such as "pci/0000/02.0"
}

// AgentGraphicsDeviceInfo tells the agent what the displays are.
type AgentGraphicsDeviceInfo struct{ Devices []AgentDevice }

// AgentType returns AgentTypeGraphicsDeviceInfo.
func (*AgentGraphicsDeviceInfo) AgentType() AgentType { return AgentTypeGraphicsDeviceInfo }

// AppendData appends VDAgentGraphicsDeviceInfo.
func (m *AgentGraphicsDeviceInfo) AppendData(b []byte, _ Caps) []byte {
	w := newWriter(b)
	w.u32(uint32(len(m.Devices)))
	for _, d := range m.Devices {
		w.u32(d.Channel)
		w.u32(d.Monitor)
		w.u32(d.DeviceDisplayID)
		w.u32(uint32(len(d.Address)) + 1)
		w.string(d.Address)
		w.u8(0)
	}
	return w.b
}

func (m *AgentGraphicsDeviceInfo) decode(r *Reader, _ Caps) {
	m.Devices = resize(m.Devices, r.Count(uint64(r.Uint32()), 16))
	for i := range m.Devices {
		m.Devices[i] = AgentDevice{Channel: r.Uint32(), Monitor: r.Uint32(), DeviceDisplayID: r.Uint32(),
			Address: cString(r.Bytes(uint64(r.Uint32())))}
	}
}
