package wire

// The messages of this file are understood on every channel (BaseChannel in
// spice.proto).

// MigrateFlags say what a migrating server wants (SPICE_MIGRATE_*).
type MigrateFlags uint32

// The flags of Migrate.
const (
	MigrateNeedFlush        MigrateFlags = 1 << 0
	MigrateNeedDataTransfer MigrateFlags = 1 << 1
)

// Migrate asks the client to move this channel to the target server.
type Migrate struct{ Flags MigrateFlags }

// MessageType returns 1.
func (*Migrate) MessageType() uint16 { return 1 }

// MessageName returns "migrate".
func (*Migrate) MessageName() string { return "migrate" }

func (*Migrate) fromServer() {}

// Append appends the body.
func (m *Migrate) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *Migrate) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *Migrate) decode(r *Reader) { m.Flags = MigrateFlags(r.Uint32()) }
func (m *Migrate) encode(w *writer) { w.u32(uint32(m.Flags)) }

// MigrateData is state of the channel. The client does not interpret it, and passes it to the
// target server as ClientMigrateData.
type MigrateData struct{ Data []byte }

// MessageType returns 2.
func (*MigrateData) MessageType() uint16 { return 2 }

// MessageName returns "migrate_data".
func (*MigrateData) MessageName() string { return "migrate_data" }

func (*MigrateData) fromServer() {}

// Append appends the body.
func (m *MigrateData) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *MigrateData) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *MigrateData) decode(r *Reader) { m.Data = r.Rest() }
func (m *MigrateData) encode(w *writer) { w.bytes(m.Data) }

// SetAck starts a new acknowledgement window: the client answers with AckSync
// and from then on sends Ack after every Window messages. Window 0 turns
// acknowledgements off.
type SetAck struct {
	Generation uint32
	Window     uint32 // messages
}

// MessageType returns 3.
func (*SetAck) MessageType() uint16 { return 3 }

// MessageName returns "set_ack".
func (*SetAck) MessageName() string { return "set_ack" }

func (*SetAck) fromServer() {}

// Append appends the body.
func (m *SetAck) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *SetAck) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *SetAck) decode(r *Reader) { m.Generation, m.Window = r.Uint32(), r.Uint32() }
func (m *SetAck) encode(w *writer) { w.u32(m.Generation); w.u32(m.Window) }

// Ping is answered with Pong; Data is padding.
type Ping struct {
	ID        uint32
	Timestamp uint64 // of the server's clock, to be returned
	Data      []byte
}

// MessageType returns 4.
func (*Ping) MessageType() uint16 { return 4 }

// MessageName returns "ping".
func (*Ping) MessageName() string { return "ping" }

func (*Ping) fromServer() {}

// Append appends the body.
func (m *Ping) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *Ping) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *Ping) decode(r *Reader) { m.ID, m.Timestamp, m.Data = r.Uint32(), r.Uint64(), r.Rest() }
func (m *Ping) encode(w *writer) { w.u32(m.ID); w.u64(m.Timestamp); w.bytes(m.Data) }

// WaitForChannel names a message of another channel.
type WaitForChannel struct {
	Channel ChannelID
	Serial  uint64
}

func readWaits(r *Reader, old []WaitForChannel) []WaitForChannel {
	list := resize(old, r.Count(uint64(r.Uint8()), 10))
	for i := range list {
		list[i] = WaitForChannel{ChannelID{ChannelType(r.Uint8()), r.Uint8()}, r.Uint64()}
	}
	return list
}

// maxWaits is the greatest count of a list of WaitForChannel.
const maxWaits = 255

func (w *writer) waits(list []WaitForChannel) {
	list = list[:min(len(list), maxWaits)]
	w.u8(uint8(len(list)))
	for _, wait := range list {
		w.u8(uint8(wait.Channel.Type))
		w.u8(wait.Channel.ID)
		w.u64(wait.Serial)
	}
}

// WaitForChannels makes the channel wait until the named messages of other channels have been
// handled.
type WaitForChannels struct{ Wait []WaitForChannel }

// MessageType returns 5.
func (*WaitForChannels) MessageType() uint16 { return 5 }

// MessageName returns "wait_for_channels".
func (*WaitForChannels) MessageName() string { return "wait_for_channels" }

func (*WaitForChannels) fromServer() {}

// Append appends the body.
func (m *WaitForChannels) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *WaitForChannels) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *WaitForChannels) decode(r *Reader) { m.Wait = readWaits(r, m.Wait) }
func (m *WaitForChannels) encode(w *writer) { w.waits(m.Wait) }

// Disconnecting announces the end of the connection.
type Disconnecting struct {
	Time   uint64
	Reason Result
}

// MessageType returns 6.
func (*Disconnecting) MessageType() uint16 { return 6 }

// MessageName returns "disconnecting".
func (*Disconnecting) MessageName() string { return "disconnecting" }

func (*Disconnecting) fromServer() {}

// Append appends the body.
func (m *Disconnecting) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *Disconnecting) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *Disconnecting) decode(r *Reader) { m.Time, m.Reason = r.Uint64(), Result(r.Uint32()) }
func (m *Disconnecting) encode(w *writer) { w.u64(m.Time); w.u32(uint32(m.Reason)) }

// NotifySeverity is how serious a Notify is (SPICE_NOTIFY_SEVERITY_*).
type NotifySeverity uint32

// The severities.
const (
	NotifyInfo  NotifySeverity = 0
	NotifyWarn  NotifySeverity = 1
	NotifyError NotifySeverity = 2
)

// String returns "info", "warn" or "error".
func (s NotifySeverity) String() string { return enumName("severity", uint32(s), notifySeverityNames) }

var notifySeverityNames = map[uint32]string{0: "info", 1: "warn", 2: "error"}

// Notify is a message for the person at the client.
type Notify struct {
	Time       uint64
	Severity   NotifySeverity
	Visibility uint32 // SPICE_NOTIFY_VISIBILITY_*: 0 low, 1 medium, 2 high
	What       uint32 // a warn, info or error code, by severity
	Message    string // without the zero byte that spice-server appends
}

// MessageType returns 7.
func (*Notify) MessageType() uint16 { return 7 }

// MessageName returns "notify".
func (*Notify) MessageName() string { return "notify" }

func (*Notify) fromServer() {}

// Append appends the body.
func (m *Notify) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *Notify) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *Notify) decode(r *Reader) {
	m.Time = r.Uint64()
	m.Severity = NotifySeverity(r.Uint32())
	m.Visibility = r.Uint32()
	m.What = r.Uint32()
	m.Message = cString(r.Bytes(uint64(r.Uint32())))
}

func (m *Notify) encode(w *writer) {
	w.u64(m.Time)
	w.u32(uint32(m.Severity))
	w.u32(m.Visibility)
	w.u32(m.What)
	w.u32(uint32(len(m.Message)))
	w.string(m.Message)
	w.u8(0) // spice-server sends it, and does not count it
}

// List carries other messages, and has no content itself; see SubMessages.
type List struct{ Data []byte }

// MessageType returns 8.
func (*List) MessageType() uint16 { return 8 }

// MessageName returns "list".
func (*List) MessageName() string { return "list" }

func (*List) fromServer() {}

// Append appends the body.
func (m *List) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *List) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *List) decode(r *Reader) { m.Data = r.Rest() }
func (m *List) encode(w *writer) { w.bytes(m.Data) }

// AckSync answers SetAck.
type AckSync struct{ Generation uint32 }

// MessageType returns 1.
func (*AckSync) MessageType() uint16 { return 1 }

// MessageName returns "ack_sync".
func (*AckSync) MessageName() string { return "ack_sync" }

func (*AckSync) fromClient() {}

// Append appends the body.
func (m *AckSync) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *AckSync) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *AckSync) decode(r *Reader) { m.Generation = r.Uint32() }
func (m *AckSync) encode(w *writer) { w.u32(m.Generation) }

// Ack says that another window of messages has been received.
type Ack struct{}

// MessageType returns 2.
func (*Ack) MessageType() uint16 { return 2 }

// MessageName returns "ack".
func (*Ack) MessageName() string { return "ack" }

func (*Ack) fromClient() {}

// Append appends the body.
func (m *Ack) Append(b []byte) []byte { return b }

// Decode accepts any body, because the message has none.
func (m *Ack) Decode([]byte) error { return nil }

// Pong answers Ping with its id and timestamp.
type Pong struct {
	ID        uint32
	Timestamp uint64
}

// MessageType returns 3.
func (*Pong) MessageType() uint16 { return 3 }

// MessageName returns "pong".
func (*Pong) MessageName() string { return "pong" }

func (*Pong) fromClient() {}

// Append appends the body.
func (m *Pong) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *Pong) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *Pong) decode(r *Reader) { m.ID, m.Timestamp = r.Uint32(), r.Uint64() }
func (m *Pong) encode(w *writer) { w.u32(m.ID); w.u64(m.Timestamp) }

// MigrateFlushMark says that the client will send no more on this channel to
// the source server.
type MigrateFlushMark struct{}

// MessageType returns 4.
func (*MigrateFlushMark) MessageType() uint16 { return 4 }

// MessageName returns "migrate_flush_mark".
func (*MigrateFlushMark) MessageName() string { return "migrate_flush_mark" }

func (*MigrateFlushMark) fromClient() {}

// Append appends the body.
func (m *MigrateFlushMark) Append(b []byte) []byte { return b }

// Decode accepts any body, because the message has none.
func (m *MigrateFlushMark) Decode([]byte) error { return nil }

// ClientMigrateData passes MigrateData to the target server.
type ClientMigrateData struct{ Data []byte }

// MessageType returns 5.
func (*ClientMigrateData) MessageType() uint16 { return 5 }

// MessageName returns "migrate_data".
func (*ClientMigrateData) MessageName() string { return "migrate_data" }

func (*ClientMigrateData) fromClient() {}

// Append appends the body.
func (m *ClientMigrateData) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *ClientMigrateData) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *ClientMigrateData) decode(r *Reader) { m.Data = r.Rest() }
func (m *ClientMigrateData) encode(w *writer) { w.bytes(m.Data) }

// ClientDisconnecting announces the end of the connection.
type ClientDisconnecting struct {
	Time   uint64
	Reason Result
}

// MessageType returns 6.
func (*ClientDisconnecting) MessageType() uint16 { return 6 }

// MessageName returns "disconnecting".
func (*ClientDisconnecting) MessageName() string { return "disconnecting" }

func (*ClientDisconnecting) fromClient() {}

// Append appends the body.
func (m *ClientDisconnecting) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *ClientDisconnecting) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *ClientDisconnecting) decode(r *Reader) { m.Time, m.Reason = r.Uint64(), Result(r.Uint32()) }
func (m *ClientDisconnecting) encode(w *writer) { w.u64(m.Time); w.u32(uint32(m.Reason)) }

// SubMessage is a message inside another one.
type SubMessage struct {
	Type uint16
	Body []byte // a window; offsets in it count from its own start
}

// listType is the number of List in every channel.
const listType = 8

// SubMessages returns the messages in the sub-list of a message with a full header, and those of a
// List. They must be handled in order, before the message itself. Without a sub-list the result is
// empty.
func SubMessages(h Header, body []byte) ([]SubMessage, error) {
	if h.SubList == 0 && h.Type != listType {
		return nil, nil
	}
	r := NewReader(body)
	list := r.At(h.SubList)
	subs := make([]SubMessage, list.Count(uint64(list.Uint16()), 4))
	for i := range subs {
		sub := list.At(list.Uint32())
		subs[i] = SubMessage{Type: sub.Uint16()}
		subs[i].Body = sub.Bytes(uint64(sub.Uint32()))
		list.Adopt(&sub)
	}
	r.Adopt(&list)
	if err := r.finish("list"); err != nil {
		return nil, err
	}
	return subs, nil
}

// AppendSubMessages appends a SpiceSubMessageList and the messages it lists to
// a body that begins at b[start], and returns the offset for Header.SubList.
func AppendSubMessages(b []byte, start int, subs []SubMessage) ([]byte, uint32) {
	w := writer{b: b, start: start}
	offset := uint32(len(b) - start)
	w.u16(uint16(len(subs)))
	for _, sub := range subs {
		w.at(func(w *writer) {
			w.u16(sub.Type)
			w.u32(uint32(len(sub.Body)))
			w.bytes(sub.Body)
		})
	}
	return w.finish(), offset
}
