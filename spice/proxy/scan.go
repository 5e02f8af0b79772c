package proxy

import (
	"encoding/binary"
	"fmt"

	"github.com/spicelane/spicelane/spice/wire"
)

// maxCaptured bounds the message that a scanner may collect, in bytes. A
// MAIN_INIT has 32; later versions of the protocol may append to it.
const maxCaptured = 4096

// scanner finds the messages in a stream that passes by in pieces of any size.
// It changes nothing and, but for the one message that it looks for, keeps
// nothing.
type scanner struct {
	mini     bool
	messages uint64

	// find is the type of the message whose body goes to found, which is
	// called once, before any byte that follows that body is passed on. 0
	// finds none.
	find  uint16
	found func(body []byte) error

	header  [wire.FullHeaderSize]byte
	have    int   // bytes of the header that have passed
	left    int64 // bytes of the body that have not
	capture []byte

	// end is where the last message that ends in the piece does so, and lastAt
	// where the one before it did; 0 if there is none.
	end, lastAt int
}

// feed takes the next piece.
func (s *scanner) feed(b []byte) error {
	piece := len(b)
	s.end, s.lastAt = 0, 0
	size := wire.FullHeaderSize
	if s.mini {
		size = wire.MiniHeaderSize
	}
	for len(b) > 0 {
		if s.left > 0 {
			n := int(min(s.left, int64(len(b))))
			if s.capture != nil {
				s.capture = append(s.capture, b[:n]...)
			}
			s.left -= int64(n)
			b = b[n:]
			if err := s.endBody(piece - len(b)); err != nil {
				return err
			}
			continue
		}
		n := copy(s.header[s.have:size], b)
		s.have += n
		b = b[n:]
		if s.have < size {
			return nil
		}
		s.have = 0
		s.messages++
		// Where type and size stand: SpiceMiniDataHeader begins with them, in
		// SpiceDataHeader the serial comes first.
		at := 0
		if !s.mini {
			at = 8
		}
		kind := binary.LittleEndian.Uint16(s.header[at:])
		s.left = int64(binary.LittleEndian.Uint32(s.header[at+2:]))
		if s.find != 0 && kind == s.find {
			if s.left > maxCaptured {
				return fmt.Errorf("message type %d has %d bytes, want at most %d", kind, s.left, maxCaptured)
			}
			s.capture = make([]byte, 0, s.left)
		}
		if err := s.endBody(piece - len(b)); err != nil {
			return err
		}
	}
	return nil
}

// endBody, at a place in the piece, hands over what was captured if the body is
// complete there.
func (s *scanner) endBody(at int) error {
	if s.left > 0 {
		return nil
	}
	s.end, s.lastAt = at, s.end
	if s.capture == nil {
		return nil
	}
	body := s.capture
	s.find, s.capture = 0, nil
	return s.found(body)
}
