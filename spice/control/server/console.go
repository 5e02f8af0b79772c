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

// A Console is what the server drives: one remote console, of any protocol. All methods may be
// called concurrently.
//
// A Console may also implement [Counter], [Keyboard], [Pointer], [Clipboard], [Resizer],
// [CursorSource], [Reconnector], [Recorder] and [StatsSource]. The verbs that need one of these are
// offered only if the Console implements it, and if [Offerer] does not disagree. A Console that
// wraps another one may have a method Unwrap() Console, through which the others are found.
type Console interface {
	// Status returns the present state. It must be quick and must not block: it is called for each
	// picture, and on each event during an await. [Counter] does what is expensive.
	Status() control.Status

	// SendKey presses or releases the key with the AT set 1 make code, the prefix 0xe0 in the high
	// byte. It returns when the key has been sent.
	SendKey(ctx context.Context, code uint16, down bool) error

	// Snapshot copies the part r of a surface; an empty r means all of it. It returns
	// [ErrNoSurface] if there is no such surface. The caller owns the picture.
	Snapshot(channel uint8, surface uint32, r image.Rectangle) (*Picture, error)

	// Observe calls fn for everything that happens from now on, in order, until stop is called.
	// After stop has returned, fn is not running and will not be called again. fn does not block
	// and does not call the Console, so it may be called with the Console's locks held.
	Observe(fn func(Notice)) (stop func())
}

// ErrNoSurface is a Console's error for a surface that does not exist.
var ErrNoSurface = errors.New("control: no such surface")

// A Picture is a copy of pixels: 32 bits each, byte order B, G, R, X, rows top down.
type Picture struct {
	Pix           []byte
	Stride        int // bytes from one row to the next
	Width, Height int // of this picture
	// Surface is the size of the surface from which it was taken.
	Surface image.Point
	// Drawn is when the surface was last drawn on; zero if unknown.
	Drawn time.Time
}

// A Notice is something that happened on a console: [Drawn], [Latency], [AgentChanged],
// [LocksChanged], [CursorChanged] or [Changed].
type Notice interface{ notice() }

// Drawn says that a draw command changed a surface. Snapshot already returns the new pixels.
type Drawn struct {
	Channel uint8
	Surface uint32
	Rect    image.Rectangle // the pixels that may have changed
	Op      string          // "draw_copy", "draw_fill", "copy_bits", …
	// Received is when the command had arrived, At when it had been carried out. Received may be
	// zero.
	Received, At time.Time
}

// Latency is the interval between two pings of the server.
type Latency struct{ Interval time.Duration }

// AgentChanged says that the guest's agent connected or disconnected. It may repeat a state.
type AgentChanged struct{ Connected bool }

// Changed says that Status changed in another way: the session began or ended, or a surface was
// created, destroyed or resized.
type Changed struct{}

// LocksChanged says that the guest's lock keys changed.
type LocksChanged struct{}

// CursorChanged says that the pointer's shape, position or visibility changed.
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

// Offerer is a Console on which some of its verbs cannot be used.
type Offerer interface {
	// Offers reports whether the verb may be offered to clients.
	Offers(method string) bool
}

// Keyboard is a Console that knows the guest's keyboard. Without it, text is typed as if no key
// were down and no lock on.
type Keyboard interface {
	// Locks returns the lock keys that are on in the guest, from its last report.
	Locks() control.Locks
	// Held returns the make codes of the keys that SendKey has pressed and not
	// released, in the order in which they went down.
	Held() []uint16
}

// Pointer is a Console with a mouse.
type Pointer interface {
	// MouseMove moves the pointer to x, y on the display of that channel. If relative is set, which
	// only a guest with relative moves accepts, it moves by x, y.
	MouseMove(ctx context.Context, channel uint8, x, y int, relative bool) error
	// MouseButton presses or releases a button: 1 left, 2 middle, 3 right,
	// 4 wheel up, 5 wheel down, 6 side, 7 extra.
	MouseButton(ctx context.Context, button int, down bool) error
}

// Clipboard is a Console whose agent transfers text.
type Clipboard interface {
	// ClipboardGet returns the text on the guest's clipboard.
	ClipboardGet(ctx context.Context) (string, error)
	// ClipboardSet offers text to the guest.
	ClipboardSet(ctx context.Context, text string) error
}

// Resizer is a Console that can ask the guest for another resolution.
type Resizer interface {
	SetDisplay(ctx context.Context, width, height int) error
}

// CursorSource is a Console that knows the pointer's shape and position.
type CursorSource interface {
	Cursor() Cursor
}

// A Cursor is the pointer's position and shape.
type Cursor struct {
	Visible bool
	X, Y    int // the hot spot's position on the surface
	HotX    int // the hot spot's position in the shape
	HotY    int
	Width   int
	Height  int
	// Pix is the shape in the byte order B, G, R, A, rows top down without padding, alpha not
	// premultiplied. Callers must not change it.
	Pix []byte
	// Xor is nil, or as large as Pix: where Pix is transparent, the pixels below are combined with
	// it by exclusive or.
	Xor []byte
}

// Reconnector is a Console whose session can be ended and opened again.
type Reconnector interface {
	Disconnect(ctx context.Context) error
	Reconnect(ctx context.Context) error
}

// Recorder is a Console that can record its conversation to files. One recording
// runs at a time.
type Recorder interface {
	// RecordStart starts to record into the directory dir. It may end the session and open another,
	// so that the recording contains a session's beginning. If dir or the moment is wrong, it
	// returns a *control.Error. Any other error says why there is no session any more.
	RecordStart(ctx context.Context, dir string) error
	// RecordStop ends the recording and returns what was written. The error says what could not be
	// written; the recording has ended then, too.
	RecordStop(ctx context.Context) (Recorded, error)
}

// Recorded is the result of a recording.
type Recorded struct {
	Dir   string
	Files []string // names in Dir, sorted
	Bytes int64    // in all of them
}

// StatsSource is a Console with counters. Stats's result is encoded as JSON.
type StatsSource interface {
	Stats() any
}

// as returns the console as a T, or else a console that it wraps; false if none is one.
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

// HeldKeys records which keys are down, for implementations of [Keyboard]. The zero value has none.
type HeldKeys struct {
	mu   sync.Mutex
	down []uint16
}

// Note records that a key was pressed or released.
func (h *HeldKeys) Note(code uint16, down bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.down = slices.DeleteFunc(h.down, func(c uint16) bool { return c == code })
	if down {
		h.down = append(h.down, code)
	}
}

// Clear records that all keys are up.
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
