package wire

import (
	"encoding/binary"
	"fmt"
)

// DecodeError is a message that does not hold what its type promises.
type DecodeError struct {
	// Channel the message came on; 0 where only the message is known.
	Channel ChannelType
	// Message is its name, such as "display.draw_copy".
	Message string
	// Offset is where in the body the trouble begins, in bytes.
	Offset int
	// Reason is what was wanted and what was there.
	Reason string
}

func (e *DecodeError) Error() string {
	return fmt.Sprintf("wire: %s: at byte %d of the body: %s", e.Message, e.Offset, e.Reason)
}

// Reader reads one message body, field by field. It remembers the first error; after
// it every read gives zero and moves nothing, so a decoder checks once, at its
// end. The zero value is an empty body.
type Reader struct {
	body []byte
	pos  int
	err  *DecodeError
}

// NewReader reads body from its first byte.
func NewReader(body []byte) Reader { return Reader{body: body} }

// Err returns the first thing that went wrong, as a *DecodeError without the
// message's name, or nil.
func (r *Reader) Err() error {
	if r.err == nil {
		return nil
	}
	return r.err
}

// Offset returns the position of the next field in the body.
func (r *Reader) Offset() int { return r.pos }

// Left returns the number of bytes from the cursor to the end of the body.
func (r *Reader) Left() int { return len(r.body) - r.pos }

// Failf records an error at the cursor, unless there is one already.
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

// Rest returns everything up to the end of the body, as a window into it; empty, not
// nil, at the end.
func (r *Reader) Rest() []byte {
	if r.err != nil {
		return nil
	}
	return r.take(r.Left())
}

// Count checks a number of elements, as it came from the wire, against the
// bytes that are left when each takes at least size bytes, and returns it as an
// int that is safe to take memory for.
func (r *Reader) Count(n uint64, size int) int {
	if r.err == nil && n > uint64(r.Left()/size) {
		r.Failf("%d elements of %d bytes or more, %d bytes are left", n, size, r.Left())
	}
	if r.err != nil {
		return 0
	}
	return int(n)
}

// At returns a second cursor over the same body at an absolute offset, as messages
// use them to refer to images, palettes and paths. An error there must be
// handed back with Adopt.
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

// Adopt takes over the error of a cursor made by At.
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
