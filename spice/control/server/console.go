package server

import (
	"context"
	"errors"
	"image"
	"slices"
	"sync"
	"time"

	"github.com/spicelane/spicelane/spice/control"
)

// A Console is what the server drives: one remote console, whatever protocol
// leads to it. All methods may be called at the same time.
//
// A Console may implement [Counter], [Keyboard], [Pointer], [Clipboard], [Resizer],
// [CursorSource], [Reconnector], [Recorder] and [StatsSource] besides; the verbs that
// need one are offered only if it does, and if [Offerer] does not say otherwise. A
// Console that wraps another one may have a method Unwrap() Console, through which
// these are found.
type Console interface {
	// Status says how things stand. It must not block, and it must be quick: it is
	// asked for each picture, and whenever something happens while somebody waits.
	// What is dear to count is left to [Counter].
	Status() control.Status

	// SendKey presses or releases the key with the AT set 1 make code, the
	// prefix 0xe0 in the high byte. It returns when the key is on its way.
	SendKey(ctx context.Context, code uint16, down bool) error

	// Snapshot copies the part r of a surface; an empty r is all of it. It
	// returns [ErrNoSurface] if there is no such surface. The caller owns the
	// picture.
	Snapshot(channel uint8, surface uint32, r image.Rectangle) (*Picture, error)

	// Observe has fn called with everything that happens from now on, in order,
	// until stop is called; when stop has returned, fn is not running and will
	// not be called again. fn does not block and does not call the Console, so
	// it may be called with the Console's locks held.
	Observe(fn func(Notice)) (stop func())
}

// ErrNoSurface is what a Console answers when asked for a surface it does not have.
var ErrNoSurface = errors.New("control: no such surface")

// Picture is a copy of pixels: 32 bits each, byte order B, G, R, X, rows top down.
type Picture struct {
	Pix           []byte
	Stride        int // bytes from one row to the next
	Width, Height int // of this picture
	// Surface is the size of the surface it was taken from.
	Surface image.Point
	// Drawn is when the surface was last drawn on; zero if unknown.
	Drawn time.Time
}

// Notice is something that happened on a console: [Drawn], [Latency],
// [AgentChanged], [LocksChanged], [CursorChanged] or [Changed].
type Notice interface{ notice() }

// Drawn says that a draw command changed a surface. The pixels are already in
// what Snapshot returns.
type Drawn struct {
	Channel uint8
	Surface uint32
	Rect    image.Rectangle // the pixels that may have changed
	Op      string          // "draw_copy", "draw_fill", "copy_bits", …
	// Received is when the command had arrived, At when it had been carried
	// out; Received may be zero.
	Received, At time.Time
}

// Latency is the interval between two pings of the server.
type Latency struct{ Interval time.Duration }

// AgentChanged says that the guest's agent came or went. Repeating a state is
// harmless.
type AgentChanged struct{ Connected bool }

// Changed says that Status changed in another way: the session began or ended,
// a surface came, went or has another size.
type Changed struct{}

// LocksChanged says that the guest switched a lock key.
type LocksChanged struct{}

// CursorChanged says that the pointer's shape, place or visibility changed.
type CursorChanged struct{}

func (Drawn) notice()         {}
func (Latency) notice()       {}
func (AgentChanged) notice()  {}
func (Changed) notice()       {}
func (LocksChanged) notice()  {}
func (CursorChanged) notice() {}

// Counter is a Console that counts what its session receives.
type Counter interface {
	// Count adds Channels, Messages and Unsupported to a status.
	Count(st *control.Status)
}

// Offerer is a Console with methods of which not all are of use.
type Offerer interface {
	// Offers reports whether the verb may be offered to clients.
	Offers(method string) bool
}

// Keyboard is a Console that knows the guest's keyboard. Without it a text is typed as
// if no key were down and no lock on.
type Keyboard interface {
	// Locks returns the lock keys that the guest has on, as it last said.
	Locks() control.Locks
	// Held returns the make codes of the keys that SendKey has pressed and not
	// released, in the order in which they went down.
	Held() []uint16
}

// Pointer is a Console with a mouse.
type Pointer interface {
	// MouseMove moves the pointer to x, y on the display of that channel, or
	// by x, y if the guest takes relative moves only and relative is set.
	MouseMove(ctx context.Context, channel uint8, x, y int, relative bool) error
	// MouseButton presses or releases a button: 1 left, 2 middle, 3 right,
	// 4 wheel up, 5 wheel down, 6 side, 7 extra.
	MouseButton(ctx context.Context, button int, down bool) error
}

// Clipboard is a Console whose agent carries text.
type Clipboard interface {
	// ClipboardGet returns the text the guest has on its clipboard.
	ClipboardGet(ctx context.Context) (string, error)
	// ClipboardSet offers text to the guest.
	ClipboardSet(ctx context.Context, text string) error
}

// Resizer is a Console that can ask the guest for another resolution.
type Resizer interface {
	SetDisplay(ctx context.Context, width, height int) error
}

// CursorSource is a Console that knows the pointer's shape and place.
type CursorSource interface {
	Cursor() Cursor
}

// Cursor is the pointer: its place and shape.
type Cursor struct {
	Visible bool
	X, Y    int // the hot spot's place on the surface
	HotX    int // the hot spot within the shape
	HotY    int
	Width   int
	Height  int
	// Pix is the shape in the byte order B, G, R, A, rows top down without
	// padding, alpha not premultiplied. Whoever gets it does not change it.
	Pix []byte
	// Xor is nil, or as large as Pix: what is combined by exclusive or with
	// the pixels below where Pix is transparent.
	Xor []byte
}

// Reconnector is a Console that can be cut off and come back.
type Reconnector interface {
	Disconnect(ctx context.Context) error
	Reconnect(ctx context.Context) error
}

// Recorder is a Console that can record its conversation to files. One recording
// runs at a time.
type Recorder interface {
	// RecordStart begins to record into the directory dir. It may end the session
	// and open another, so that the recording has a beginning. It answers what is
	// wrong with dir, or with the moment, as an *[Error], and everything else as
	// the reason for which there is no session any more.
	RecordStart(ctx context.Context, dir string) error
	// RecordStop ends it and says what was written. The error says what could not
	// be; the recording has ended then, too.
	RecordStop(ctx context.Context) (Recorded, error)
}

// Recorded is what a recording has left.
type Recorded struct {
	Dir   string
	Files []string // names in Dir, sorted
	Bytes int64    // in all of them
}

// StatsSource is a Console that counts what it does. What it returns is
// encoded as JSON.
type StatsSource interface {
	Stats() any
}

// as finds an interface on the console or on one that it wraps.
func as[T any](c Console) (T, bool) {
	for {
		if t, ok := c.(T); ok {
			return t, true
		}
		w, ok := c.(interface{ Unwrap() Console })
		if !ok {
			var none T
			return none, false
		}
		c = w.Unwrap()
	}
}

// A HeldKeys notes which keys are down: what a Console needs for [Keyboard]. The zero
// value has none.
type HeldKeys struct {
	mu   sync.Mutex
	down []uint16
}

// Note notes that a key was pressed or released.
func (h *HeldKeys) Note(code uint16, down bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.down = slices.DeleteFunc(h.down, func(c uint16) bool { return c == code })
	if down {
		h.down = append(h.down, code)
	}
}

// Clear notes that all keys are up.
func (h *HeldKeys) Clear() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.down = nil
}

// Held returns the keys that are down, in the order in which they were pressed.
func (h *HeldKeys) Held() []uint16 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.down)
}
