package proxy

import (
	"encoding/binary"

	"github.com/spicelane/spicelane/spice/wire"
)

// maxCaptured is how much of a message a scanner captures, in bytes. A MAIN_INIT has 32, and all
// other watched messages have less. What later versions of the protocol append is passed on like
// the rest, because watching a message must not limit it.
const maxCaptured = 4096

// scanner finds the messages in a stream that comes in pieces of any size. It changes nothing, and
// keeps nothing except the bodies of watched messages.
type scanner struct {
	mini     bool
	messages uint64
	serial   uint64 // of the last full header

	// judge returns an error for a message that is not allowed; nil allows all.
	judge func(kind uint16, size uint32) error

	// watched are the types of messages whose bodies are captured, up to maxCaptured bytes of each,
	// before any byte after the body is passed on.
	watched []watch

	left     int64 // bytes of the current message's body that have not passed yet
	capture  []byte
	captured func(body []byte) error

	// end is the offset after the last message that ends in the piece, and lastAt that after the
	// message before it; 0 if there is none.
	end, lastAt int
}

// watch is a function that is called for each message of a type.
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

// feed scans the next bytes of the stream and returns how many of them may be passed on. That is
// all of them except an incomplete header at the end, which must be fed again with the bytes that
// follow. With an error, it is all before the message that the error is about.
func (s *scanner) feed(b []byte) (pass int, err error) {
	s.end, s.lastAt = 0, 0
	size := s.headerSize()
	at, began := 0, 0 // began: where the current message begins, in this piece
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
		// The offsets of type and size: SpiceMiniDataHeader begins with them, and in
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

// endBody records that a message ends at an offset of the piece, and passes its captured body to
// the watchers.
func (s *scanner) endBody(at int) error {
	s.end, s.lastAt = at, s.end
	if s.captured == nil {
		return nil
	}
	see, body := s.captured, s.capture
	s.captured, s.capture = nil, nil
	return see(body)
}
