package wire

import (
	"encoding/binary"
	"fmt"
)

// DecodeError says that a message is malformed.
type DecodeError struct {
	// Channel is the channel of the message; 0 if it is not known.
	Channel ChannelType
	// Message is the message's name, such as "display.draw_copy".
	Message string
	// Offset is the position of the error in the body, in bytes.
	Offset int
	// Reason says what was wanted and what was there.
	Reason string
}

func (e *DecodeError) Error() string {
	return fmt.Sprintf("wire: %s: at byte %d of the body: %s", e.Message, e.Offset, e.Reason)
}

// Reader reads one message body, field by field. It remembers the first error. After that every
// read returns zero and does not advance, so a decoder checks for an error once, at its end. The
// zero value is an empty body.
type Reader struct {
	body []byte
	pos  int
	err  *DecodeError
}

// NewReader returns a Reader of body, from its first byte.
func NewReader(body []byte) Reader { return Reader{body: body} }

// Err returns the first error, as a *DecodeError without the message's name, or nil.
func (r *Reader) Err() error {
	if r.err == nil {
		return nil
	}
	return r.err
}

// Offset returns the position of the next field in the body.
func (r *Reader) Offset() int { return r.pos }

// Left returns the number of bytes from the next field to the end of the body.
func (r *Reader) Left() int { return len(r.body) - r.pos }

// Failf records an error at the next field, unless there is one already.
func (r *Reader) Failf(format string, args ...any) {
	if r.err == nil {
		r.err = &DecodeError{Offset: r.pos, Reason: fmt.Sprintf(format, args...)}
	}
}

// take returns the next n bytes, or nil after an error.
func (r *Reader) take(n int) []byte {
	if r.err != nil {
		return nil
	}
	if n < 0 || n > len(r.body)-r.pos {
		r.Failf("want %d bytes, %d are left", n, len(r.body)-r.pos)
		return nil
	}
	b := r.body[r.pos : r.pos+n : r.pos+n]
	r.pos += n
	return b
}

// Uint8 reads one byte.
func (r *Reader) Uint8() uint8 {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

// Uint16 reads two bytes.
func (r *Reader) Uint16() uint16 {
	if b := r.take(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

// Uint32 reads four bytes.
func (r *Reader) Uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

// Uint64 reads eight bytes.
func (r *Reader) Uint64() uint64 {
	if b := r.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// Int16 reads two bytes as a signed number.
func (r *Reader) Int16() int16 { return int16(r.Uint16()) }

// Int32 reads four bytes as a signed number.
func (r *Reader) Int32() int32 { return int32(r.Uint32()) }

// Bytes returns the next n bytes as a window into the body. n may come straight
// from the wire.
func (r *Reader) Bytes(n uint64) []byte {
	if r.err == nil && n > uint64(r.Left()) {
		r.Failf("want %d bytes, %d are left", n, r.Left())
	}
	if r.err != nil {
		return nil
	}
	return r.take(int(n))
}

// Rest returns everything up to the end of the body, as a window into it. At the end it is empty,
// not nil.
func (r *Reader) Rest() []byte {
	if r.err != nil {
		return nil
	}
	return r.take(r.Left())
}

// Count checks a number of elements from the wire against the bytes that are left if each element
// takes at least size bytes. It returns the number as an int, for which memory can safely be
// allocated.
func (r *Reader) Count(n uint64, size int) int {
	if r.err == nil && n > uint64(r.Left()/size) {
		r.Failf("%d elements of %d bytes or more, %d bytes are left", n, size, r.Left())
	}
	if r.err != nil {
		return 0
	}
	return int(n)
}

// At returns a second Reader of the same body at an absolute offset. Messages use such offsets to
// refer to images, palettes and paths. The caller must pass an error there back with Adopt.
func (r *Reader) At(offset uint32) Reader {
	sub := Reader{body: r.body, err: r.err}
	if r.err == nil && uint64(offset) >= uint64(len(r.body)) {
		r.Failf("offset %d lies outside the body of %d bytes", offset, len(r.body))
		sub.err = r.err
		return sub
	}
	if r.err == nil {
		sub.pos = int(offset)
	}
	return sub
}

// Adopt takes over the error of a Reader made by At.
func (r *Reader) Adopt(sub *Reader) {
	if r.err == nil {
		r.err = sub.err
	}
}

// finish names the message in the error, if there is one.
func (r *Reader) finish(message string) error {
	if r.err == nil {
		return nil
	}
	e := *r.err
	e.Message = message
	return &e
}
