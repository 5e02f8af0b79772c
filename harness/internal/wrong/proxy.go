package wrong

import (
	"bytes"
	"encoding/binary"
	"sync"

	"github.com/spicelane/spicelane/harness/witness"
	"github.com/spicelane/spicelane/spice/wire"
)

// A Proxy makes a proxy wrong: it is a witness.Config's Change.
type Proxy = func(wire.ChannelID, witness.Message) []witness.Message

// proxy makes a proxy that replaces each message for which which returns true with the result of
// do. do also gets the message's number among these, from 1.
func proxy(which func(wire.ChannelID, witness.Message) bool, do func(n int, m witness.Message) []witness.Message) Proxy {
	var mu sync.Mutex
	n := 0
	return func(id wire.ChannelID, m witness.Message) []witness.Message {
		mu.Lock()
		defer mu.Unlock()
		if !which(id, m) {
			return []witness.Message{m}
		}
		n++
		return do(n, m)
	}
}

// isDrawing reports whether a message draws more than one row.
func isDrawing(id wire.ChannelID, m witness.Message) bool {
	if id.Type != wire.ChannelDisplay || !draws(m.Header.Type) {
		return false
	}
	top, bottom := binary.LittleEndian.Uint32(m.Body[4:]), binary.LittleEndian.Uint32(m.Body[12:])
	return bottom-top > 1
}

// onDrawing makes a proxy that replaces the n-th drawing with the result of do.
func onDrawing(n int, do func(witness.Message) []witness.Message) Proxy {
	return proxy(isDrawing, func(i int, m witness.Message) []witness.Message {
		if i != n {
			return []witness.Message{m}
		}
		return do(m)
	})
}

// Drops returns a proxy that drops the n-th drawing.
func Drops(n int) Proxy {
	return onDrawing(n, func(witness.Message) []witness.Message { return nil })
}

// Doubles returns a proxy that passes on the n-th drawing twice.
func Doubles(n int) Proxy {
	return onDrawing(n, func(m witness.Message) []witness.Message { return []witness.Message{m, m} })
}

// Swaps returns a proxy that passes on the n-th drawing after the next one.
func Swaps(n int) Proxy {
	var held witness.Message
	return proxy(isDrawing, func(i int, m witness.Message) []witness.Message {
		switch i {
		case n:
			held = m
			return nil
		case n + 1:
			return []witness.Message{m, held}
		}
		return []witness.Message{m}
	})
}

// CutsCursors returns a proxy that leaves out the last byte of messages that set the pointer.
func CutsCursors() Proxy {
	return proxy(func(id wire.ChannelID, m witness.Message) bool {
		return id.Type == wire.ChannelCursor && m.Header.Type == cursorSet
	}, func(_ int, m witness.Message) []witness.Message {
		m.Body = m.Body[:len(m.Body)-1]
		return []witness.Message{m}
	})
}

// flip changes one bit of the byte at an offset of a message.
func flip(m witness.Message, at int) []witness.Message {
	m.Body = bytes.Clone(m.Body)
	m.Body[at] ^= 0x40
	return []witness.Message{m}
}

// Flips returns a proxy that changes a bit in the last byte of the last drawing of each group of
// drawings; every is the size of a group.
func Flips(every int) Proxy {
	return proxy(func(id wire.ChannelID, m witness.Message) bool {
		return id.Type == wire.ChannelDisplay && m.Header.Type >= drawFill
	}, func(n int, m witness.Message) []witness.Message {
		if n%every != every-1 {
			return []witness.Message{m}
		}
		return flip(m, len(m.Body)-1)
	})
}

// SpoilsLarge returns a proxy that changes a bit in the middle of all display messages of more than
// size bytes.
func SpoilsLarge(size int) Proxy {
	return proxy(func(id wire.ChannelID, m witness.Message) bool {
		return id.Type == wire.ChannelDisplay && len(m.Body) > size
	}, func(_ int, m witness.Message) []witness.Message { return flip(m, len(m.Body)/2) })
}

// isFrame reports whether a message is a frame of a video stream.
func isFrame(id wire.ChannelID, m witness.Message) bool {
	return id.Type == wire.ChannelDisplay && m.Header.Type == streamData
}

// LosesFrames returns a proxy that drops the first frame of each group of video frames; every is
// the size of a group.
func LosesFrames(every int) Proxy {
	return proxy(isFrame, func(n int, m witness.Message) []witness.Message {
		if n%every == 0 {
			return nil
		}
		return []witness.Message{m}
	})
}

// SpoilsFrame returns a proxy that replaces the data of the n-th frame of video with bytes that are
// not a picture.
func SpoilsFrame(n int) Proxy {
	return proxy(isFrame, func(i int, m witness.Message) []witness.Message {
		if i != n {
			return []witness.Message{m}
		}
		m.Body = bytes.Clone(m.Body)
		for at := frameData; at < len(m.Body); at++ {
			m.Body[at] = 0x55
		}
		return []witness.Message{m}
	})
}
