package wire

import "encoding/binary"

// writer appends one message body. Parts that a message refers to by offset are queued by at, and
// appended after the fixed part in the order in which they were referred to, as spice-common's
// marshaller does.
type writer struct {
	b     []byte
	start int // of the body in b: offsets count from here
	later []reference
}

// reference is an offset field to fill in, and the part to which it shall point.
type reference struct {
	field int
	part  func(*writer)
}

func newWriter(b []byte) writer { return writer{b: b, start: len(b)} }

func (w *writer) u8(v uint8)   { w.b = append(w.b, v) }
func (w *writer) u16(v uint16) { w.b = binary.LittleEndian.AppendUint16(w.b, v) }
func (w *writer) u32(v uint32) { w.b = binary.LittleEndian.AppendUint32(w.b, v) }
func (w *writer) u64(v uint64) { w.b = binary.LittleEndian.AppendUint64(w.b, v) }
func (w *writer) i16(v int16)  { w.u16(uint16(v)) }
func (w *writer) i32(v int32)  { w.u32(uint32(v)) }

func (w *writer) bytes(b []byte)  { w.b = append(w.b, b...) }
func (w *writer) string(s string) { w.b = append(w.b, s...) }

// at writes an offset to part, which follows later; 0 if part is nil.
func (w *writer) at(part func(*writer)) {
	if part != nil {
		w.later = append(w.later, reference{len(w.b), part})
	}
	w.u32(0)
}

// finish appends the queued parts, and the parts that those queue.
func (w *writer) finish() []byte {
	for i := 0; i < len(w.later); i++ {
		ref := w.later[i]
		binary.LittleEndian.PutUint32(w.b[ref.field:], uint32(len(w.b)-w.start))
		ref.part(w)
	}
	return w.b
}
