// Package wrong has clients and proxies that are wrong on purpose, each in one way. With them,
// tests check that the harness notices the fault and attributes it to the right part.
package wrong

import (
	"encoding/binary"
	"slices"
	"sync"

	"github.com/spicelane/spicelane/spice/wire"
)

// A Client makes a client wrong: it is a spice.Config's Tap that changes messages before they are
// decoded. It must come after any Tap that records what was received.
type Client = func(wire.ChannelID) wire.Tap

// Message types and offsets of the display and cursor channels (spice.proto).
const (
	drawFill      = 302
	drawCopy      = 304
	drawComposite = 318
	cursorSet     = 103
	streamData    = 123

	clipType  = 20 // in a drawing: after surface and box
	clipRects = 25 // after the clip's type and number of rectangles
	fromCache = 103
	frameData = 12 // in a frame of video: after stream, time and size
)

// draws reports whether a display message draws. The types between drawFill+11 and drawComposite
// create and destroy surfaces.
func draws(messageType uint16) bool {
	return messageType >= drawFill && messageType < drawFill+12 || messageType == drawComposite
}

// behindClip returns the offset of the part of a drawing that follows its box and clip.
func behindClip(body []byte) int {
	if body[clipType] == 0 {
		return clipType + 1
	}
	return clipRects + 16*int(binary.LittleEndian.Uint32(body[clipType+1:]))
}

// client makes a client that changes the messages that one kind of channel receives.
func client(channel wire.ChannelType, change func(messageType uint16, body []byte)) Client {
	var mu sync.Mutex
	locked := func(messageType uint16, body []byte) {
		mu.Lock()
		defer mu.Unlock()
		change(messageType, body)
	}
	return func(id wire.ChannelID) wire.Tap {
		if id.Type != channel {
			return nil
		}
		return spoiler(locked)
	}
}

// A spoiler is a Tap that breaks the rule that no Tap changes a body.
type spoiler func(messageType uint16, body []byte)

func (spoiler) Linked(wire.LinkInfo) {}

func (s spoiler) Message(d wire.Direction, h wire.Header, body []byte) {
	if d == wire.FromServer {
		s(h.Type, body)
	}
}

// IgnoresClips returns a client that draws in the whole box of a drawing.
func IgnoresClips() Client {
	return client(wire.ChannelDisplay, func(m uint16, body []byte) {
		if !draws(m) || body[clipType] == 0 {
			return
		}
		for at := clipRects; at < behindClip(body); at += 16 {
			copy(body[at:], []byte{0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0x0f, 0, 0, 0xff, 0x0f, 0, 0})
		}
	})
}

// TakesTheNeighbour returns a client that takes another image of the same size from its cache.
func TakesTheNeighbour() Client {
	type image struct {
		id   uint64
		size [8]byte
	}
	var kept []image
	return client(wire.ChannelDisplay, func(m uint16, body []byte) {
		if m != drawCopy {
			return
		}
		at := int(binary.LittleEndian.Uint32(body[behindClip(body):]))
		im := image{binary.LittleEndian.Uint64(body[at:]), [8]byte(body[at+10:])}
		if body[at+8] != fromCache {
			if body[at+9]&1 != 0 && !slices.Contains(kept, im) {
				kept = append(kept, im)
			}
			return
		}
		for _, other := range kept {
			if other.id != im.id && other.size == im.size {
				binary.LittleEndian.PutUint64(body[at:], other.id)
				return
			}
		}
	})
}

// WrongRop returns a client that draws copies with OR instead of XOR.
func WrongRop() Client {
	return client(wire.ChannelDisplay, func(m uint16, body []byte) {
		if m != drawCopy {
			return
		}
		if rop := behindClip(body) + 4 + 16; body[rop] == 64 {
			body[rop] = 16
		}
	})
}

// Inverts returns a client that draws copies inverted.
func Inverts() Client {
	return client(wire.ChannelDisplay, func(m uint16, body []byte) {
		if m != drawCopy {
			return
		}
		if rop := behindClip(body) + 4 + 16; body[rop] == 8 {
			body[rop] |= 1
		}
	})
}

// WrongOperator returns a client that composes with the operator add instead of over.
func WrongOperator() Client {
	return client(wire.ChannelDisplay, func(m uint16, body []byte) {
		if m != drawComposite {
			return
		}
		if at := behindClip(body); body[at] == 3 {
			body[at] = 12
		}
	})
}

// HotSpotsOff returns a client that has every pointer's hot spot one pixel too far to the right.
func HotSpotsOff() Client {
	return client(wire.ChannelCursor, func(m uint16, body []byte) {
		if m == cursorSet {
			body[20]++
		}
	})
}

// WrongColour returns a client that fills areas of more than one row with a wrong colour.
func WrongColour() Client {
	return client(wire.ChannelDisplay, func(m uint16, body []byte) {
		const solid = 1
		if at := behindClip; m == drawFill && body[at(body)] == solid && body[12]-body[4] > 1 {
			body[at(body)+1] ^= 0xff
		}
	})
}
