package wire

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Sizes of the two message headers, in bytes (SpiceDataHeader and
// SpiceMiniDataHeader in spice/protocol.h).
const (
	FullHeaderSize = 18
	MiniHeaderSize = 6
)

// DefaultMaxBody is the largest message body that a FrameReader accepts by default, in bytes: an
// uncompressed 4096×4096 picture of 32-bit pixels and a MiB for its description.
const DefaultMaxBody = 4096*4096*4 + 1<<20

// Header is the header of a message. With mini headers, Serial and SubList are not on the wire: a
// FrameReader counts the serial from 1, and SubList is 0.
type Header struct {
	Serial  uint64
	Type    uint16
	Size    uint32 // bytes of the body
	SubList uint32 // offset of a SpiceSubMessageList in the body, 0 for none
}

// AppendFull appends the 18 bytes of a SpiceDataHeader.
func (h Header) AppendFull(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, h.Serial)
	b = binary.LittleEndian.AppendUint16(b, h.Type)
	b = binary.LittleEndian.AppendUint32(b, h.Size)
	return binary.LittleEndian.AppendUint32(b, h.SubList)
}

// AppendMini appends the 6 bytes of a SpiceMiniDataHeader.
func (h Header) AppendMini(b []byte) []byte {
	b = binary.LittleEndian.AppendUint16(b, h.Type)
	return binary.LittleEndian.AppendUint32(b, h.Size)
}

// FrameConfig configures one direction of a channel after its link.
type FrameConfig struct {
	// Mini selects the 6-byte header: both ends announced CapMiniHeader.
	Mini bool
	// MaxBody bounds the body of a message in bytes; 0 means DefaultMaxBody.
	MaxBody uint32
	// BufferSize is the read buffer in bytes; 0 means 64 KiB. Bodies larger than
	// the buffer are read directly into their destination.
	BufferSize int
}

func (c FrameConfig) maxBody() uint32 {
	if c.MaxBody == 0 {
		return DefaultMaxBody
	}
	return c.MaxBody
}

func (c FrameConfig) headerSize() int {
	if c.Mini {
		return MiniHeaderSize
	}
	return FullHeaderSize
}

// FrameError says that a message broke the framing of its channel. The stream cannot be read any
// further.
type FrameError struct {
	Header Header
	// At is the number of bytes of the stream before the message's header.
	At     int64
	Reason string
	Err    error // the connection's error, or nil
}

func (e *FrameError) Error() string {
	s := fmt.Sprintf("wire: message type %d at byte %d: %s", e.Header.Type, e.At, e.Reason)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *FrameError) Unwrap() error { return e.Err }

// FrameReader splits a stream into messages without decoding them. It is not safe for concurrent
// use.
type FrameReader struct {
	cfg     FrameConfig
	in      *bufio.Reader
	h       Header
	left    int64 // bytes of the current body that are still in the stream
	at      int64 // stream position of the current header
	pos     int64
	serial  uint64
	err     error
	scratch [FullHeaderSize]byte
}

// NewFrameReader returns a FrameReader of the messages from r. It reads ahead, so r belongs to it
// from now on.
func NewFrameReader(r io.Reader, cfg FrameConfig) *FrameReader {
	size := cfg.BufferSize
	if size <= 0 {
		size = 64 << 10
	}
	return &FrameReader{cfg: cfg, in: bufio.NewReaderSize(r, size)}
}

// Next reads the next header, and skips the rest of the last body. At the end of the stream it
// returns io.EOF between two messages, and otherwise a *FrameError that wraps io.ErrUnexpectedEOF.
func (f *FrameReader) Next() (Header, error) {
	if f.err != nil {
		return Header{}, f.err
	}
	if f.left > 0 {
		if _, err := io.Copy(io.Discard, f.BodyReader()); err != nil {
			return Header{}, err
		}
	}
	f.at = f.pos
	b := f.scratch[:f.cfg.headerSize()]
	n, err := io.ReadFull(f.in, b)
	f.pos += int64(n)
	if err != nil {
		if n > 0 {
			err = &FrameError{At: f.at, Reason: fmt.Sprintf("%d of %d header bytes", n, len(b)), Err: err}
		}
		f.err = err
		return Header{}, err
	}
	if f.cfg.Mini {
		f.serial++
		f.h = Header{Serial: f.serial,
			Type: binary.LittleEndian.Uint16(b), Size: binary.LittleEndian.Uint32(b[2:])}
	} else {
		f.h = Header{Serial: binary.LittleEndian.Uint64(b),
			Type: binary.LittleEndian.Uint16(b[8:]), Size: binary.LittleEndian.Uint32(b[10:]),
			SubList: binary.LittleEndian.Uint32(b[14:])}
	}
	if f.h.Size > f.cfg.maxBody() {
		f.err = &FrameError{Header: f.h, At: f.at,
			Reason: fmt.Sprintf("body of %d bytes, the limit is %d", f.h.Size, f.cfg.maxBody())}
		return Header{}, f.err
	}
	f.left = int64(f.h.Size)
	return f.h, nil
}

// bodyStep bounds how much memory a header alone can claim: a body grows by at
// most this much (or doubles) before its bytes have arrived.
const bodyStep = 1 << 20

// Body reads the rest of the current message's body into buf, which grows as needed. Pass the last
// body (emptied or not) to reuse its memory, or nil to allocate memory.
func (f *FrameReader) Body(buf []byte) ([]byte, error) {
	if f.err != nil {
		return nil, f.err
	}
	buf = buf[:0]
	for f.left > 0 {
		if len(buf) == cap(buf) {
			grow := min(f.left, max(bodyStep, int64(len(buf))))
			buf = append(make([]byte, 0, int64(len(buf))+grow), buf...)
		}
		part := buf[len(buf):min(int64(cap(buf)), int64(len(buf))+f.left)]
		if _, err := io.ReadFull(f.BodyReader(), part); err != nil {
			if f.err == nil {
				f.err = err
			}
			return nil, f.err
		}
		buf = buf[:len(buf)+len(part)]
	}
	return buf, nil
}

// BodyReader returns a reader of the rest of the current message's body, for callers that relay it
// without holding it in memory. It returns io.EOF at the end of the body, and must not be used
// after the next call of Next.
func (f *FrameReader) BodyReader() io.Reader { return (*bodyReader)(f) }

// Buffered returns the number of bytes that were read ahead.
func (f *FrameReader) Buffered() int { return f.in.Buffered() }

type bodyReader FrameReader

func (b *bodyReader) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if b.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.in.Read(p)
	b.left -= int64(n)
	b.pos += int64(n)
	if err != nil && b.left > 0 {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		b.err = &FrameError{Header: b.h, At: b.at,
			Reason: fmt.Sprintf("%d of %d body bytes", int64(b.h.Size)-b.left, b.h.Size), Err: err}
		return n, b.err
	}
	return n, nil
}

// FrameWriter writes messages to a stream, each with one Write, and counts
// their serials. It is not safe for concurrent use.
type FrameWriter struct {
	cfg    FrameConfig
	out    io.Writer
	serial uint64
	buf    []byte
}

// maxKeptBuffer bounds the buffer that a FrameWriter keeps between messages.
const maxKeptBuffer = 256 << 10

// NewFrameWriter returns a FrameWriter to w. It uses only Mini of cfg.
func NewFrameWriter(w io.Writer, cfg FrameConfig) *FrameWriter {
	return &FrameWriter{cfg: cfg, out: w}
}

// WriteMessage encodes m under the next serial, counted from 1, and writes it.
func (f *FrameWriter) WriteMessage(m Message) error {
	f.serial++
	size := f.cfg.headerSize()
	b := append(f.buf[:0], make([]byte, size)...)
	b = m.Append(b)
	return f.write(b, Header{Serial: f.serial, Type: m.MessageType(), Size: uint32(len(b) - size)})
}

// WriteRaw writes a message that is already encoded. With full headers, it writes h.Serial and
// h.SubList as they are. It sets h.Size to the length of body. The serials of later messages
// continue from h.Serial.
func (f *FrameWriter) WriteRaw(h Header, body []byte) error {
	h.Size = uint32(len(body))
	f.serial = h.Serial
	b := append(f.buf[:0], make([]byte, f.cfg.headerSize())...)
	return f.write(append(b, body...), h)
}

func (f *FrameWriter) write(b []byte, h Header) error {
	if f.cfg.Mini {
		h.AppendMini(b[:0])
	} else {
		h.AppendFull(b[:0])
	}
	if cap(b) <= maxKeptBuffer {
		f.buf = b
	}
	_, err := f.out.Write(b)
	return err
}

// Serial returns the serial of the last message written, 0 before the first.
func (f *FrameWriter) Serial() uint64 { return f.serial }
