package spice

import (
	"image"
	"time"

	"github.com/spicelane/spicelane/spice/wire"
)

// Event is something that happened in a session: [Drawn], [Latency], [AgentChanged], [SurfaceChanged],
// [CursorChanged], [ClipboardGrabbed], [ModifiersChanged], [MouseModeChanged], [Notified] or [Ended].
type Event interface{ event() }

// Drawn says that an operation changed pixels. They are already in what Snapshot returns.
type Drawn struct {
	Channel uint8
	Surface uint32
	Rect    image.Rectangle // the pixels that may have changed, within the surface
	Op      string          // as in "draw_copy", "copy_bits", "stream_data"
	// Received is when the last byte of the message had been read, At when it had been carried out.
	Received, At time.Time
	Generation   uint64 // of the surface, after the operation
}

// Latency is the interval between two pings of the server on the main channel.
type Latency struct {
	Interval time.Duration
	At       time.Time
}

// AgentChanged says that the guest's agent came or went.
type AgentChanged struct{ Connected bool }

// SurfaceChanged says that a surface was created (Width and Height are its size) or destroyed (both 0).
type SurfaceChanged struct {
	Channel       uint8
	Surface       uint32
	Width, Height int
}

// CursorChanged says that the pointer's shape, place or visibility changed.
type CursorChanged struct{ Channel uint8 }

// ModifiersChanged says which lock keys the guest has on.
type ModifiersChanged struct{ Modifiers Modifiers }

// MouseModeChanged says how mouse events have to be sent.
type MouseModeChanged struct{ Client bool }

// Notified is a message from the server for the user.
type Notified struct {
	Channel  wire.ChannelID
	Severity string // "info", "warn" or "error"
	Text     string
}

// Ended is the last event: the session is over, with the error that Wait returns.
type Ended struct{ Err error }

func (Drawn) event()            {}
func (Latency) event()          {}
func (AgentChanged) event()     {}
func (SurfaceChanged) event()   {}
func (CursorChanged) event()    {}
func (ModifiersChanged) event() {}
func (MouseModeChanged) event() {}
func (Notified) event()         {}
func (Ended) event()            {}
