package wire

// The channels usbredir, port and webdav share the messages of this file (SpicevmcChannel and
// PortChannel in spice.proto). This package does not interpret their content.

// SpicevmcData is the next piece of a stream, in either direction.
type SpicevmcData struct{ Data []byte } // a window into the message

// MessageType returns 101.
func (*SpicevmcData) MessageType() uint16 { return 101 }

// MessageName returns "spicevmc.data".
func (*SpicevmcData) MessageName() string { return "spicevmc.data" }

func (*SpicevmcData) fromServer() {}
func (*SpicevmcData) fromClient() {}

// Append appends the body.
func (m *SpicevmcData) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *SpicevmcData) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *SpicevmcData) decode(r *Reader) { m.Data = r.Rest() }
func (m *SpicevmcData) encode(w *writer) { w.bytes(m.Data) }

// DataCompression says how SpicevmcCompressedData is encoded (SPICE_DATA_COMPRESSION_TYPE_*).
type DataCompression uint8

// The compressions of data.
const (
	DataUncompressed DataCompression = 0
	DataLZ4          DataCompression = 1
)

// SpicevmcCompressedData is the next piece of a stream, compressed; needs
// CapSpicevmcDataCompressLZ4.
type SpicevmcCompressedData struct {
	Type DataCompression
	Size uint32 // bytes after decompression; not on the wire for DataUncompressed
	Data []byte // a window into the message
}

// MessageType returns 102.
func (*SpicevmcCompressedData) MessageType() uint16 { return 102 }

// MessageName returns "spicevmc.compressed_data".
func (*SpicevmcCompressedData) MessageName() string { return "spicevmc.compressed_data" }

func (*SpicevmcCompressedData) fromServer() {}
func (*SpicevmcCompressedData) fromClient() {}

// Append appends the body.
func (m *SpicevmcCompressedData) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *SpicevmcCompressedData) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *SpicevmcCompressedData) decode(r *Reader) {
	*m = SpicevmcCompressedData{Type: DataCompression(r.Uint8())}
	if m.Type != DataUncompressed {
		m.Size = r.Uint32()
	}
	m.Data = r.Rest()
}

func (m *SpicevmcCompressedData) encode(w *writer) {
	w.u8(uint8(m.Type))
	if m.Type != DataUncompressed {
		w.u32(m.Size)
	}
	w.bytes(m.Data)
}

// PortEventKind says what happened to a port (SPICE_PORT_EVENT_*).
type PortEventKind uint8

// The events of a port.
const (
	PortOpened PortEventKind = 0
	PortClosed PortEventKind = 1
	PortBreak  PortEventKind = 2
)

// PortInit is the first message of a port or webdav channel.
type PortInit struct {
	Name   string // such as "org.spice-space.webdav.0"
	Opened bool
}

// MessageType returns 201.
func (*PortInit) MessageType() uint16 { return 201 }

// MessageName returns "port.init".
func (*PortInit) MessageName() string { return "port.init" }

func (*PortInit) fromServer() {}

// Append appends the body.
func (m *PortInit) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *PortInit) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *PortInit) decode(r *Reader) {
	m.Name = r.stringAt(r.Uint32(), true)
	m.Opened = r.Uint8() != 0
}

func (m *PortInit) encode(w *writer) { w.stringAt(m.Name, true); w.bool(m.Opened) }

// PortEvent says that the guest's end changed.
type PortEvent struct{ Event PortEventKind }

// MessageType returns 202.
func (*PortEvent) MessageType() uint16 { return 202 }

// MessageName returns "port.event".
func (*PortEvent) MessageName() string { return "port.event" }

func (*PortEvent) fromServer() {}

// Append appends the body.
func (m *PortEvent) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *PortEvent) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *PortEvent) decode(r *Reader) { m.Event = PortEventKind(r.Uint8()) }
func (m *PortEvent) encode(w *writer) { w.u8(uint8(m.Event)) }

// PortClientEvent says that the client's end changed.
type PortClientEvent struct{ Event PortEventKind }

// MessageType returns 201.
func (*PortClientEvent) MessageType() uint16 { return 201 }

// MessageName returns "port.event".
func (*PortClientEvent) MessageName() string { return "port.event" }

func (*PortClientEvent) fromClient() {}

// Append appends the body.
func (m *PortClientEvent) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *PortClientEvent) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *PortClientEvent) decode(r *Reader) { m.Event = PortEventKind(r.Uint8()) }
func (m *PortClientEvent) encode(w *writer) { w.u8(uint8(m.Event)) }
