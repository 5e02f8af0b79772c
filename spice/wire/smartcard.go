package wire

// SmartcardType says what a SmartcardData does (SPICE_VSC_MESSAGE_TYPE_*).
type SmartcardType uint32

// The types of smartcard messages.
const (
	SmartcardInit          SmartcardType = 1
	SmartcardError         SmartcardType = 2
	SmartcardReaderAdd     SmartcardType = 3
	SmartcardReaderRemove  SmartcardType = 4
	SmartcardATR           SmartcardType = 5
	SmartcardCardRemove    SmartcardType = 6
	SmartcardAPDU          SmartcardType = 7
	SmartcardFlush         SmartcardType = 8
	SmartcardFlushComplete SmartcardType = 9
)

var smartcardTypeNames = map[uint32]string{1: "init", 2: "error", 3: "reader_add", 4: "reader_remove", 5: "atr",
	6: "card_remove", 7: "apdu", 8: "flush", 9: "flush_complete"}

// String returns "init", "error", …
func (t SmartcardType) String() string { return enumName("smartcard", uint32(t), smartcardTypeNames) }

// SmartcardData is the only message of the channel, in either direction. This package does not
// interpret its content.
type SmartcardData struct {
	Type   SmartcardType
	Reader uint32
	Data   []byte // a window into the message
}

// MessageType returns 101.
func (*SmartcardData) MessageType() uint16 { return 101 }

// MessageName returns "smartcard.data".
func (*SmartcardData) MessageName() string { return "smartcard.data" }

func (*SmartcardData) fromServer() {}
func (*SmartcardData) fromClient() {}

// Append appends the body.
func (m *SmartcardData) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *SmartcardData) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *SmartcardData) decode(r *Reader) {
	m.Type, m.Reader = SmartcardType(r.Uint32()), r.Uint32()
	m.Data = r.Bytes(uint64(r.Uint32()))
}

func (m *SmartcardData) encode(w *writer) {
	w.u32(uint32(m.Type))
	w.u32(m.Reader)
	w.u32(uint32(len(m.Data)))
	w.bytes(m.Data)
}
