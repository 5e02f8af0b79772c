package proxy

import (
	"encoding/binary"

	"github.com/spicelane/spicelane/spice/wire"
)

// maxCaptured is how much of a message a scanner collects at most, in bytes. A
// MAIN_INIT has 32, and all else that is watched has less. What later versions of the
// protocol append is passed on like the rest: looking at a message must not limit it.
const maxCaptured = 4096

// scanner finds the messages in a stream that passes by in pieces of any size. It
// changes nothing and, but for the messages that are watched, keeps nothing.
type scanner struct {
	mini     bool
	messages uint64
	serial   uint64 // of the last full header

	// judge says whether a message may pass; nil lets all pass.
	judge func(kind uint16, size uint32) error

	// watched are the types of messages whose bodies are looked at, up to maxCaptured
	// bytes of each, before any byte that follows the body is passed on.
	watched []watch

	left     int64 // bytes of the current message's body that have not passed
	capture  []byte
	captured func(body []byte) error

	// end is where the last message that ends in the piece does so, and lastAt
	// where the one before it did; 0 if there is none.
	end, lastAt int
}

// watch is a function that is called with each message of a type.
type watch struct {
	kind uint16
	see  func(body []byte) error
}

func (s *scanner) headerSize() int {
	if s.mini {
		return wire.MiniHeaderSize
	}
	return wire.FullHeaderSize
}

// feed looks at the next bytes of the stream and returns how many of them may be
// passed on: all but an incomplete header at the end, which must be fed again with
// what follows, or all before the message that the error is about.
func (s *scanner) feed(b []byte) (pass int, err error) {
	s.end, s.lastAt = 0, 0
	size := s.headerSize()
	at, began := 0, 0 // began: where the current message does, in this piece
	for at < len(b) {
		if s.left > 0 {
			n := int(min(s.left, int64(len(b)-at)))
			if s.captured != nil {
				s.capture = append(s.capture, b[at:at+min(n, maxCaptured-len(s.capture))]...)
			}
			at += n
			if s.left -= int64(n); s.left == 0 {
				if err := s.endBody(at); err != nil {
					return began, err
				}
			}
			continue
		}
		if len(b)-at < size {
			return at, nil
		}
		// Where type and size stand: SpiceMiniDataHeader begins with them, in
		// SpiceDataHeader the serial comes first.
		header := b[at : at+size]
		if !s.mini {
			s.serial = binary.LittleEndian.Uint64(header)
			header = header[8:]
		}
		kind, body := binary.LittleEndian.Uint16(header), binary.LittleEndian.Uint32(header[2:])
		if s.judge != nil {
			if err := s.judge(kind, body); err != nil {
				return at, err
			}
		}
		for i := range s.watched {
			if s.watched[i].kind == kind {
				s.captured, s.capture = s.watched[i].see, make([]byte, 0, min(body, maxCaptured))
			}
		}
		began = at
		at += size
		s.messages++
		if s.left = int64(body); s.left == 0 {
			if err := s.endBody(at); err != nil {
				return began, err
			}
		}
	}
	return at, nil
}

// endBody notes that a message ends at a place in the piece, and hands over what
// was captured of it.
func (s *scanner) endBody(at int) error {
	s.end, s.lastAt = at, s.end
	if s.captured == nil {
		return nil
	}
	see, body := s.captured, s.capture
	s.captured, s.capture = nil, nil
	return see(body)
}
