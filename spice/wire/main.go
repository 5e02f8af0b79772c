package wire

// ChannelMain is the first channel of a session: it names the others and
// carries the guest's agent.

// MouseMode says who moves the pointer (SPICE_MOUSE_MODE_*).
type MouseMode uint32

// The mouse modes; a set of them says what a server supports.
const (
	MouseModeServer MouseMode = 1 << 0 // the client sends relative motion
	MouseModeClient MouseMode = 1 << 1 // the client sends positions
)

// String returns "server", "client" or both.
func (m MouseMode) String() string { return flagNames(uint32(m), []string{"server", "client"}) }

// MigrationTarget is where a migrating guest goes (DstInfo).
type MigrationTarget struct {
	Port        uint16 // 0 for none; QEMU also sends 65535
	SecurePort  uint16 // 0 for none; QEMU also sends 65535
	Host        string
	CertSubject string // the subject that the target's certificate must have, or empty
}

func (t *MigrationTarget) decode(r *Reader) {
	t.Port, t.SecurePort = r.Uint16(), r.Uint16()
	t.Host = r.stringAt(r.Uint32(), true)
	t.CertSubject = r.stringAt(r.Uint32(), false)
}

func (t *MigrationTarget) encode(w *writer) {
	w.u16(t.Port)
	w.u16(t.SecurePort)
	w.stringAt(t.Host, true)
	w.stringAt(t.CertSubject, false)
}

// stringAt reads the offset of a string of size bytes, and the string there.
func (r *Reader) stringAt(size uint32, required bool) string {
	offset := r.Uint32()
	if offset == 0 {
		if required {
			r.Failf("offset 0 for a string that must be there")
		}
		return ""
	}
	sub := r.At(offset)
	s := cString(sub.Bytes(uint64(size)))
	r.Adopt(&sub)
	return s
}

// stringAt writes the size and offset of a string, which follows later with a zero byte.
func (w *writer) stringAt(s string, required bool) {
	if s == "" && !required {
		w.u32(0)
		w.at(nil)
		return
	}
	w.u32(uint32(len(s)) + 1)
	w.at(func(w *writer) { w.string(s); w.u8(0) })
}

// MainMigrateBegin asks the client to connect to the target in advance.
type MainMigrateBegin struct{ Target MigrationTarget }

// MessageType returns 101.
func (*MainMigrateBegin) MessageType() uint16 { return 101 }

// MessageName returns "main.migrate_begin".
func (*MainMigrateBegin) MessageName() string { return "main.migrate_begin" }

func (*MainMigrateBegin) fromServer() {}

// Append appends the body.
func (m *MainMigrateBegin) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *MainMigrateBegin) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *MainMigrateBegin) decode(r *Reader) { m.Target.decode(r) }
func (m *MainMigrateBegin) encode(w *writer) { m.Target.encode(w) }

// MainMigrateCancel cancels a migration.
type MainMigrateCancel struct{}

// MessageType returns 102.
func (*MainMigrateCancel) MessageType() uint16 { return 102 }

// MessageName returns "main.migrate_cancel".
func (*MainMigrateCancel) MessageName() string { return "main.migrate_cancel" }

func (*MainMigrateCancel) fromServer() {}

// Append appends the body.
func (m *MainMigrateCancel) Append(b []byte) []byte { return b }

// Decode accepts any body, because the message has none.
func (m *MainMigrateCancel) Decode([]byte) error { return nil }

// MainInit is the first message of a session.
type MainInit struct {
	SessionID           uint32 // the connection id of the session's other channels
	DisplayChannelsHint uint32
	SupportedMouseModes MouseMode
	CurrentMouseMode    MouseMode
	AgentConnected      uint32 // 0 or 1
	AgentTokens         uint32 // agent data messages that the client may send
	MultiMediaTime      uint32 // milliseconds
	RAMHint             uint32 // bytes of the guest's video memory, or 0
}

// MessageType returns 103.
func (*MainInit) MessageType() uint16 { return 103 }

// MessageName returns "main.init".
func (*MainInit) MessageName() string { return "main.init" }

func (*MainInit) fromServer() {}

// Append appends the body.
func (m *MainInit) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *MainInit) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *MainInit) decode(r *Reader) {
	m.SessionID = r.Uint32()
	m.DisplayChannelsHint = r.Uint32()
	m.SupportedMouseModes = MouseMode(r.Uint32())
	m.CurrentMouseMode = MouseMode(r.Uint32())
	m.AgentConnected = r.Uint32()
	m.AgentTokens = r.Uint32()
	m.MultiMediaTime = r.Uint32()
	m.RAMHint = r.Uint32()
}

func (m *MainInit) encode(w *writer) {
	w.u32(m.SessionID)
	w.u32(m.DisplayChannelsHint)
	w.u32(uint32(m.SupportedMouseModes))
	w.u32(uint32(m.CurrentMouseMode))
	w.u32(m.AgentConnected)
	w.u32(m.AgentTokens)
	w.u32(m.MultiMediaTime)
	w.u32(m.RAMHint)
}

// MainChannelsList says which channels the client may link.
type MainChannelsList struct{ Channels []ChannelID }

// MessageType returns 104.
func (*MainChannelsList) MessageType() uint16 { return 104 }

// MessageName returns "main.channels_list".
func (*MainChannelsList) MessageName() string { return "main.channels_list" }

func (*MainChannelsList) fromServer() {}

// Append appends the body.
func (m *MainChannelsList) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *MainChannelsList) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *MainChannelsList) decode(r *Reader) {
	m.Channels = resize(m.Channels, r.Count(uint64(r.Uint32()), 2))
	for i := range m.Channels {
		m.Channels[i] = ChannelID{ChannelType(r.Uint8()), r.Uint8()}
	}
}

func (m *MainChannelsList) encode(w *writer) {
	w.u32(uint32(len(m.Channels)))
	for _, c := range m.Channels {
		w.u8(uint8(c.Type))
		w.u8(c.ID)
	}
}

// MainMouseMode says which mouse modes are supported, and which is current.
type MainMouseMode struct {
	Supported MouseMode
	Current   MouseMode
}

// MessageType returns 105.
func (*MainMouseMode) MessageType() uint16 { return 105 }

// MessageName returns "main.mouse_mode".
func (*MainMouseMode) MessageName() string { return "main.mouse_mode" }

func (*MainMouseMode) fromServer() {}

// Append appends the body.
func (m *MainMouseMode) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *MainMouseMode) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *MainMouseMode) decode(r *Reader) {
	m.Supported, m.Current = MouseMode(r.Uint16()), MouseMode(r.Uint16())
}

func (m *MainMouseMode) encode(w *writer) {
	w.u16(uint16(m.Supported))
	w.u16(uint16(m.Current))
}

// MainMultiMediaTime sets the clock of sound and video, in milliseconds.
type MainMultiMediaTime struct{ Time uint32 }

// MessageType returns 106.
func (*MainMultiMediaTime) MessageType() uint16 { return 106 }

// MessageName returns "main.multi_media_time".
func (*MainMultiMediaTime) MessageName() string { return "main.multi_media_time" }

func (*MainMultiMediaTime) fromServer() {}

// Append appends the body.
func (m *MainMultiMediaTime) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *MainMultiMediaTime) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *MainMultiMediaTime) decode(r *Reader) { m.Time = r.Uint32() }
func (m *MainMultiMediaTime) encode(w *writer) { w.u32(m.Time) }

// MainAgentConnected says that the guest's agent is connected, to a client without
// CapMainAgentConnectedTokens.
type MainAgentConnected struct{}

// MessageType returns 107.
func (*MainAgentConnected) MessageType() uint16 { return 107 }

// MessageName returns "main.agent_connected".
func (*MainAgentConnected) MessageName() string { return "main.agent_connected" }

func (*MainAgentConnected) fromServer() {}

// Append appends the body.
func (m *MainAgentConnected) Append(b []byte) []byte { return b }

// Decode accepts any body, because the message has none.
func (m *MainAgentConnected) Decode([]byte) error { return nil }

// MainAgentDisconnected says that the guest's agent has disconnected.
type MainAgentDisconnected struct{ Reason Result }

// MessageType returns 108.
func (*MainAgentDisconnected) MessageType() uint16 { return 108 }

// MessageName returns "main.agent_disconnected".
func (*MainAgentDisconnected) MessageName() string { return "main.agent_disconnected" }

func (*MainAgentDisconnected) fromServer() {}

// Append appends the body.
func (m *MainAgentDisconnected) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *MainAgentDisconnected) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *MainAgentDisconnected) decode(r *Reader) { m.Reason = Result(r.Uint32()) }
func (m *MainAgentDisconnected) encode(w *writer) { w.u32(uint32(m.Reason)) }

// MainAgentData is the next piece of the agent's stream; see AgentAssembler.
type MainAgentData struct{ Data []byte }

// MessageType returns 109.
func (*MainAgentData) MessageType() uint16 { return 109 }

// MessageName returns "main.agent_data".
func (*MainAgentData) MessageName() string { return "main.agent_data" }

func (*MainAgentData) fromServer() {}

// Append appends the body.
func (m *MainAgentData) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *MainAgentData) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *MainAgentData) decode(r *Reader) { m.Data = r.Rest() }
func (m *MainAgentData) encode(w *writer) { w.bytes(m.Data) }

// MainAgentToken allows the client to send Tokens more agent data messages.
type MainAgentToken struct{ Tokens uint32 }

// MessageType returns 110.
func (*MainAgentToken) MessageType() uint16 { return 110 }

// MessageName returns "main.agent_token".
func (*MainAgentToken) MessageName() string { return "main.agent_token" }

func (*MainAgentToken) fromServer() {}

// Append appends the body.
func (m *MainAgentToken) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *MainAgentToken) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *MainAgentToken) decode(r *Reader) { m.Tokens = r.Uint32() }
func (m *MainAgentToken) encode(w *writer) { w.u32(m.Tokens) }

// MainMigrateSwitchHost asks the client to disconnect and to open a new session with the target.
type MainMigrateSwitchHost struct{ Target MigrationTarget }

// MessageType returns 111.
func (*MainMigrateSwitchHost) MessageType() uint16 { return 111 }

// MessageName returns "main.migrate_switch_host".
func (*MainMigrateSwitchHost) MessageName() string { return "main.migrate_switch_host" }

func (*MainMigrateSwitchHost) fromServer() {}

// Append appends the body.
func (m *MainMigrateSwitchHost) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *MainMigrateSwitchHost) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *MainMigrateSwitchHost) decode(r *Reader) { m.Target.decode(r) }
func (m *MainMigrateSwitchHost) encode(w *writer) { m.Target.encode(w) }

// MainMigrateEnd says that the guest has moved.
type MainMigrateEnd struct{}

// MessageType returns 112.
func (*MainMigrateEnd) MessageType() uint16 { return 112 }

// MessageName returns "main.migrate_end".
func (*MainMigrateEnd) MessageName() string { return "main.migrate_end" }

func (*MainMigrateEnd) fromServer() {}

// Append appends the body.
func (m *MainMigrateEnd) Append(b []byte) []byte { return b }

// Decode accepts any body, because the message has none.
func (m *MainMigrateEnd) Decode([]byte) error { return nil }

// MainName is the guest's name.
type MainName struct{ Name string }

// MessageType returns 113.
func (*MainName) MessageType() uint16 { return 113 }

// MessageName returns "main.name".
func (*MainName) MessageName() string { return "main.name" }

func (*MainName) fromServer() {}

// Append appends the body.
func (m *MainName) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *MainName) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *MainName) decode(r *Reader) { m.Name = cString(r.Bytes(uint64(r.Uint32()))) }

func (m *MainName) encode(w *writer) {
	w.u32(uint32(len(m.Name)) + 1)
	w.string(m.Name)
	w.u8(0)
}

// MainUUID is the guest's UUID.
type MainUUID struct{ UUID [16]byte }

// MessageType returns 114.
func (*MainUUID) MessageType() uint16 { return 114 }

// MessageName returns "main.uuid".
func (*MainUUID) MessageName() string { return "main.uuid" }

func (*MainUUID) fromServer() {}

// Append appends the body.
func (m *MainUUID) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *MainUUID) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *MainUUID) decode(r *Reader) { copy(m.UUID[:], r.Bytes(16)) }
func (m *MainUUID) encode(w *writer) { w.bytes(m.UUID[:]) }

// MainAgentConnectedTokens says that the guest's agent is connected, and how many agent data
// messages the client may send.
type MainAgentConnectedTokens struct{ Tokens uint32 }

// MessageType returns 115.
func (*MainAgentConnectedTokens) MessageType() uint16 { return 115 }

// MessageName returns "main.agent_connected_tokens".
func (*MainAgentConnectedTokens) MessageName() string { return "main.agent_connected_tokens" }

func (*MainAgentConnectedTokens) fromServer() {}

// Append appends the body.
func (m *MainAgentConnectedTokens) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *MainAgentConnectedTokens) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *MainAgentConnectedTokens) decode(r *Reader) { m.Tokens = r.Uint32() }
func (m *MainAgentConnectedTokens) encode(w *writer) { w.u32(m.Tokens) }

// MainMigrateBeginSeamless asks the client to connect to the target in advance and to keep its
// state.
type MainMigrateBeginSeamless struct {
	Target        MigrationTarget
	SourceVersion uint32
}

// MessageType returns 116.
func (*MainMigrateBeginSeamless) MessageType() uint16 { return 116 }

// MessageName returns "main.migrate_begin_seamless".
func (*MainMigrateBeginSeamless) MessageName() string { return "main.migrate_begin_seamless" }

func (*MainMigrateBeginSeamless) fromServer() {}

// Append appends the body.
func (m *MainMigrateBeginSeamless) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *MainMigrateBeginSeamless) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *MainMigrateBeginSeamless) decode(r *Reader) {
	m.Target.decode(r)
	m.SourceVersion = r.Uint32()
}

func (m *MainMigrateBeginSeamless) encode(w *writer) {
	m.Target.encode(w)
	w.u32(m.SourceVersion)
}

// MainMigrateDstSeamlessAck accepts MainMigrateDstDoSeamless.
type MainMigrateDstSeamlessAck struct{}

// MessageType returns 117.
func (*MainMigrateDstSeamlessAck) MessageType() uint16 { return 117 }

// MessageName returns "main.migrate_dst_seamless_ack".
func (*MainMigrateDstSeamlessAck) MessageName() string { return "main.migrate_dst_seamless_ack" }

func (*MainMigrateDstSeamlessAck) fromServer() {}

// Append appends the body.
func (m *MainMigrateDstSeamlessAck) Append(b []byte) []byte { return b }

// Decode accepts any body, because the message has none.
func (m *MainMigrateDstSeamlessAck) Decode([]byte) error { return nil }

// MainMigrateDstSeamlessNack declines MainMigrateDstDoSeamless.
type MainMigrateDstSeamlessNack struct{}

// MessageType returns 118.
func (*MainMigrateDstSeamlessNack) MessageType() uint16 { return 118 }

// MessageName returns "main.migrate_dst_seamless_nack".
func (*MainMigrateDstSeamlessNack) MessageName() string { return "main.migrate_dst_seamless_nack" }

func (*MainMigrateDstSeamlessNack) fromServer() {}

// Append appends the body.
func (m *MainMigrateDstSeamlessNack) Append(b []byte) []byte { return b }

// Decode accepts any body, because the message has none.
func (m *MainMigrateDstSeamlessNack) Decode([]byte) error { return nil }

// MainClientInfo tells the size of the client's cache.
type MainClientInfo struct{ CacheSize uint64 }

// MessageType returns 101.
func (*MainClientInfo) MessageType() uint16 { return 101 }

// MessageName returns "main.client_info".
func (*MainClientInfo) MessageName() string { return "main.client_info" }

func (*MainClientInfo) fromClient() {}

// Append appends the body.
func (m *MainClientInfo) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *MainClientInfo) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *MainClientInfo) decode(r *Reader) { m.CacheSize = r.Uint64() }
func (m *MainClientInfo) encode(w *writer) { w.u64(m.CacheSize) }

// MainMigrateConnected says that the client is connected to the target.
type MainMigrateConnected struct{}

// MessageType returns 102.
func (*MainMigrateConnected) MessageType() uint16 { return 102 }

// MessageName returns "main.migrate_connected".
func (*MainMigrateConnected) MessageName() string { return "main.migrate_connected" }

func (*MainMigrateConnected) fromClient() {}

// Append appends the body.
func (m *MainMigrateConnected) Append(b []byte) []byte { return b }

// Decode accepts any body, because the message has none.
func (m *MainMigrateConnected) Decode([]byte) error { return nil }

// MainMigrateConnectError says that the client could not connect to the target.
type MainMigrateConnectError struct{}

// MessageType returns 103.
func (*MainMigrateConnectError) MessageType() uint16 { return 103 }

// MessageName returns "main.migrate_connect_error".
func (*MainMigrateConnectError) MessageName() string { return "main.migrate_connect_error" }

func (*MainMigrateConnectError) fromClient() {}

// Append appends the body.
func (m *MainMigrateConnectError) Append(b []byte) []byte { return b }

// Decode accepts any body, because the message has none.
func (m *MainMigrateConnectError) Decode([]byte) error { return nil }

// MainAttachChannels asks for MainChannelsList.
type MainAttachChannels struct{}

// MessageType returns 104.
func (*MainAttachChannels) MessageType() uint16 { return 104 }

// MessageName returns "main.attach_channels".
func (*MainAttachChannels) MessageName() string { return "main.attach_channels" }

func (*MainAttachChannels) fromClient() {}

// Append appends the body.
func (m *MainAttachChannels) Append(b []byte) []byte { return b }

// Decode accepts any body, because the message has none.
func (m *MainAttachChannels) Decode([]byte) error { return nil }

// MainMouseModeRequest asks for a mouse mode.
type MainMouseModeRequest struct{ Mode MouseMode }

// MessageType returns 105.
func (*MainMouseModeRequest) MessageType() uint16 { return 105 }

// MessageName returns "main.mouse_mode_request".
func (*MainMouseModeRequest) MessageName() string { return "main.mouse_mode_request" }

func (*MainMouseModeRequest) fromClient() {}

// Append appends the body.
func (m *MainMouseModeRequest) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *MainMouseModeRequest) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *MainMouseModeRequest) decode(r *Reader) { m.Mode = MouseMode(r.Uint16()) }
func (m *MainMouseModeRequest) encode(w *writer) { w.u16(uint16(m.Mode)) }

// MainAgentStart begins the conversation with the agent, and allows it to send Tokens data
// messages.
type MainAgentStart struct{ Tokens uint32 }

// MessageType returns 106.
func (*MainAgentStart) MessageType() uint16 { return 106 }

// MessageName returns "main.agent_start".
func (*MainAgentStart) MessageName() string { return "main.agent_start" }

func (*MainAgentStart) fromClient() {}

// Append appends the body.
func (m *MainAgentStart) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *MainAgentStart) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *MainAgentStart) decode(r *Reader) { m.Tokens = r.Uint32() }
func (m *MainAgentStart) encode(w *writer) { w.u32(m.Tokens) }

// MainClientAgentData is the next piece, at most MaxAgentChunk bytes, of the
// stream to the agent. Each costs a token.
type MainClientAgentData struct{ Data []byte }

// MessageType returns 107.
func (*MainClientAgentData) MessageType() uint16 { return 107 }

// MessageName returns "main.agent_data".
func (*MainClientAgentData) MessageName() string { return "main.agent_data" }

func (*MainClientAgentData) fromClient() {}

// Append appends the body.
func (m *MainClientAgentData) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *MainClientAgentData) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *MainClientAgentData) decode(r *Reader) { m.Data = r.Rest() }
func (m *MainClientAgentData) encode(w *writer) { w.bytes(m.Data) }

// MainClientAgentToken allows the server to send Tokens more agent data messages.
type MainClientAgentToken struct{ Tokens uint32 }

// MessageType returns 108.
func (*MainClientAgentToken) MessageType() uint16 { return 108 }

// MessageName returns "main.agent_token".
func (*MainClientAgentToken) MessageName() string { return "main.agent_token" }

func (*MainClientAgentToken) fromClient() {}

// Append appends the body.
func (m *MainClientAgentToken) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *MainClientAgentToken) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *MainClientAgentToken) decode(r *Reader) { m.Tokens = r.Uint32() }
func (m *MainClientAgentToken) encode(w *writer) { w.u32(m.Tokens) }

// MainClientMigrateEnd says that the client has switched to the target.
type MainClientMigrateEnd struct{}

// MessageType returns 109.
func (*MainClientMigrateEnd) MessageType() uint16 { return 109 }

// MessageName returns "main.migrate_end".
func (*MainClientMigrateEnd) MessageName() string { return "main.migrate_end" }

func (*MainClientMigrateEnd) fromClient() {}

// Append appends the body.
func (m *MainClientMigrateEnd) Append(b []byte) []byte { return b }

// Decode accepts any body, because the message has none.
func (m *MainClientMigrateEnd) Decode([]byte) error { return nil }

// MainMigrateDstDoSeamless asks the target for a seamless migration.
type MainMigrateDstDoSeamless struct{ SourceVersion uint32 }

// MessageType returns 110.
func (*MainMigrateDstDoSeamless) MessageType() uint16 { return 110 }

// MessageName returns "main.migrate_dst_do_seamless".
func (*MainMigrateDstDoSeamless) MessageName() string { return "main.migrate_dst_do_seamless" }

func (*MainMigrateDstDoSeamless) fromClient() {}

// Append appends the body.
func (m *MainMigrateDstDoSeamless) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *MainMigrateDstDoSeamless) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *MainMigrateDstDoSeamless) decode(r *Reader) { m.SourceVersion = r.Uint32() }
func (m *MainMigrateDstDoSeamless) encode(w *writer) { w.u32(m.SourceVersion) }

// MainMigrateConnectedSeamless says that the client is connected to the target, and that the target
// has accepted a seamless migration.
type MainMigrateConnectedSeamless struct{}

// MessageType returns 111.
func (*MainMigrateConnectedSeamless) MessageType() uint16 { return 111 }

// MessageName returns "main.migrate_connected_seamless".
func (*MainMigrateConnectedSeamless) MessageName() string { return "main.migrate_connected_seamless" }

func (*MainMigrateConnectedSeamless) fromClient() {}

// Append appends the body.
func (m *MainMigrateConnectedSeamless) Append(b []byte) []byte { return b }

// Decode accepts any body, because the message has none.
func (m *MainMigrateConnectedSeamless) Decode([]byte) error { return nil }

// MainQualityIndicator is a client's assessment of the connection; servers ignore it.
type MainQualityIndicator struct{ Data []byte }

// MessageType returns 112.
func (*MainQualityIndicator) MessageType() uint16 { return 112 }

// MessageName returns "main.quality_indicator".
func (*MainQualityIndicator) MessageName() string { return "main.quality_indicator" }

func (*MainQualityIndicator) fromClient() {}

// Append appends the body.
func (m *MainQualityIndicator) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *MainQualityIndicator) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *MainQualityIndicator) decode(r *Reader) { m.Data = r.Rest() }
func (m *MainQualityIndicator) encode(w *writer) { w.bytes(m.Data) }
