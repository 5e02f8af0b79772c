package wire

// CursorType is how the pixels of a cursor are coded (SPICE_CURSOR_TYPE_*).
type CursorType uint8

// The cursor types. Mono is two 1-bit masks. The color types are pixels, then a palette for 4 and 8
// bit, then a 1-bit mask.
const (
	CursorAlpha   CursorType = 0
	CursorMono    CursorType = 1
	CursorColor4  CursorType = 2
	CursorColor8  CursorType = 3
	CursorColor16 CursorType = 4
	CursorColor24 CursorType = 5
	CursorColor32 CursorType = 6
)

// String returns "alpha", "mono", "color4", …
func (t CursorType) String() string { return enumName("cursor", uint32(t), cursorTypeNames) }

var cursorTypeNames = map[uint32]string{0: "alpha", 1: "mono", 2: "color4", 3: "color8", 4: "color16", 5: "color24", 6: "color32"}

// CursorFlags say where the shape comes from (SPICE_CURSOR_FLAGS_*).
type CursorFlags uint16

// The cursor flags.
const (
	CursorFlagNone      CursorFlags = 1 << 0 // there is no shape at all
	CursorFlagCacheMe   CursorFlags = 1 << 1
	CursorFlagFromCache CursorFlags = 1 << 2 // Unique names the shape, Data is empty
)

// Cursor is a shape. With CursorFlagNone, only Flags has a meaning.
type Cursor struct {
	Flags    CursorFlags
	Unique   uint64 // the key in the cursor cache
	Type     CursorType
	Width    uint16
	Height   uint16
	HotSpotX uint16
	HotSpotY uint16
	Data     []byte // a window into the message
}

func (c *Cursor) decode(r *Reader) {
	*c = Cursor{Flags: CursorFlags(r.Uint16())}
	if c.Flags&CursorFlagNone == 0 {
		c.Unique = r.Uint64()
		c.Type = CursorType(r.Uint8())
		c.Width, c.Height = r.Uint16(), r.Uint16()
		c.HotSpotX, c.HotSpotY = r.Uint16(), r.Uint16()
	}
	c.Data = r.Rest()
}

func (c *Cursor) encode(w *writer) {
	w.u16(uint16(c.Flags))
	if c.Flags&CursorFlagNone == 0 {
		w.u64(c.Unique)
		w.u8(uint8(c.Type))
		w.u16(c.Width)
		w.u16(c.Height)
		w.u16(c.HotSpotX)
		w.u16(c.HotSpotY)
	}
	w.bytes(c.Data)
}

// CursorInit is the first message of the channel.
type CursorInit struct {
	Position       Point16
	TrailLength    uint16
	TrailFrequency uint16
	Visible        bool
	Cursor         Cursor
}

// MessageType returns 101.
func (*CursorInit) MessageType() uint16 { return 101 }

// MessageName returns "cursor.init".
func (*CursorInit) MessageName() string { return "cursor.init" }

func (*CursorInit) fromServer() {}

// Append appends the body.
func (m *CursorInit) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *CursorInit) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *CursorInit) decode(r *Reader) {
	m.Position = readPoint16(r)
	m.TrailLength, m.TrailFrequency = r.Uint16(), r.Uint16()
	m.Visible = r.Uint8() != 0
	m.Cursor.decode(r)
}

func (m *CursorInit) encode(w *writer) {
	w.point16(m.Position)
	w.u16(m.TrailLength)
	w.u16(m.TrailFrequency)
	w.bool(m.Visible)
	m.Cursor.encode(w)
}

// CursorReset removes the cursor and empties the shape cache.
type CursorReset struct{}

// MessageType returns 102.
func (*CursorReset) MessageType() uint16 { return 102 }

// MessageName returns "cursor.reset".
func (*CursorReset) MessageName() string { return "cursor.reset" }

func (*CursorReset) fromServer() {}

// Append appends the body.
func (m *CursorReset) Append(b []byte) []byte { return b }

// Decode accepts any body, because the message has none.
func (m *CursorReset) Decode([]byte) error { return nil }

// CursorSet changes shape, position and visibility.
type CursorSet struct {
	Position Point16
	Visible  bool
	Cursor   Cursor
}

// MessageType returns 103.
func (*CursorSet) MessageType() uint16 { return 103 }

// MessageName returns "cursor.set".
func (*CursorSet) MessageName() string { return "cursor.set" }

func (*CursorSet) fromServer() {}

// Append appends the body.
func (m *CursorSet) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *CursorSet) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *CursorSet) decode(r *Reader) {
	m.Position = readPoint16(r)
	m.Visible = r.Uint8() != 0
	m.Cursor.decode(r)
}

func (m *CursorSet) encode(w *writer) {
	w.point16(m.Position)
	w.bool(m.Visible)
	m.Cursor.encode(w)
}

// CursorMove places the cursor and shows it.
type CursorMove struct{ Position Point16 }

// MessageType returns 104.
func (*CursorMove) MessageType() uint16 { return 104 }

// MessageName returns "cursor.move".
func (*CursorMove) MessageName() string { return "cursor.move" }

func (*CursorMove) fromServer() {}

// Append appends the body.
func (m *CursorMove) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *CursorMove) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *CursorMove) decode(r *Reader) { m.Position = readPoint16(r) }
func (m *CursorMove) encode(w *writer) { w.point16(m.Position) }

// CursorHide hides the cursor.
type CursorHide struct{}

// MessageType returns 105.
func (*CursorHide) MessageType() uint16 { return 105 }

// MessageName returns "cursor.hide".
func (*CursorHide) MessageName() string { return "cursor.hide" }

func (*CursorHide) fromServer() {}

// Append appends the body.
func (m *CursorHide) Append(b []byte) []byte { return b }

// Decode accepts any body, because the message has none.
func (m *CursorHide) Decode([]byte) error { return nil }

// CursorTrail sets the trail.
type CursorTrail struct {
	Length    uint16
	Frequency uint16
}

// MessageType returns 106.
func (*CursorTrail) MessageType() uint16 { return 106 }

// MessageName returns "cursor.trail".
func (*CursorTrail) MessageName() string { return "cursor.trail" }

func (*CursorTrail) fromServer() {}

// Append appends the body.
func (m *CursorTrail) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *CursorTrail) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *CursorTrail) decode(r *Reader) { m.Length, m.Frequency = r.Uint16(), r.Uint16() }
func (m *CursorTrail) encode(w *writer) { w.u16(m.Length); w.u16(m.Frequency) }

// CursorInvalOne removes one shape from the cache.
type CursorInvalOne struct{ ID uint64 }

// MessageType returns 107.
func (*CursorInvalOne) MessageType() uint16 { return 107 }

// MessageName returns "cursor.inval_one".
func (*CursorInvalOne) MessageName() string { return "cursor.inval_one" }

func (*CursorInvalOne) fromServer() {}

// Append appends the body.
func (m *CursorInvalOne) Append(b []byte) []byte {
	w := newWriter(b)
	m.encode(&w)
	return w.finish()
}

// Decode decodes the body; see Message.
func (m *CursorInvalOne) Decode(body []byte) error {
	r := NewReader(body)
	m.decode(&r)
	return r.finish(m.MessageName())
}

func (m *CursorInvalOne) decode(r *Reader) { m.ID = r.Uint64() }
func (m *CursorInvalOne) encode(w *writer) { w.u64(m.ID) }

// CursorInvalAll empties the cache.
type CursorInvalAll struct{}

// MessageType returns 108.
func (*CursorInvalAll) MessageType() uint16 { return 108 }

// MessageName returns "cursor.inval_all".
func (*CursorInvalAll) MessageName() string { return "cursor.inval_all" }

func (*CursorInvalAll) fromServer() {}

// Append appends the body.
func (m *CursorInvalAll) Append(b []byte) []byte { return b }

// Decode accepts any body, because the message has none.
func (m *CursorInvalAll) Decode([]byte) error { return nil }
