package controltest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/spicelane/spicelane/spice/control"
	"github.com/spicelane/spicelane/spice/control/server"
)

// Full is a [Console] that implements everything that a console can. Deeds returns what it was
// asked to do, except for keys and the clipboard.
type Full struct {
	*Console

	mu     sync.Mutex
	deeds  []string
	cursor server.Cursor
	text   string
	hasTxt chan struct{} // closed when there is text

	recorded string // the directory of the recording that runs, "" if none does
}

// NewFull makes a Full as [New] makes a Console, with a connected agent.
func NewFull(w, h int) *Full {
	f := &Full{Console: New(w, h), hasTxt: make(chan struct{})}
	f.SetAgent(true)
	return f
}

// Deeds returns what the console was asked to do, one line each, except for keys and the clipboard.
func (f *Full) Deeds() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.deeds...)
}

func (f *Full) did(format string, args ...any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.deeds = append(f.deeds, fmt.Sprintf(format, args...))
	return nil
}

// SetMouseMode changes the mouse mode, "server" or "client".
func (f *Full) SetMouseMode(mode string) {
	f.Console.mu.Lock()
	f.status.MouseMode = mode
	f.Console.mu.Unlock()
	f.Notify(server.Changed{})
}

// SetCursor changes the pointer.
func (f *Full) SetCursor(c server.Cursor) {
	f.mu.Lock()
	f.cursor = c
	f.mu.Unlock()
	f.Notify(server.CursorChanged{})
}

// SetConnected ends the session for a reason, or begins it.
func (f *Full) SetConnected(on bool, reason string) {
	f.Console.mu.Lock()
	f.status.SPICEConnected, f.status.Error = on, reason
	f.Console.mu.Unlock()
	f.Notify(server.Changed{})
}

// MouseMove implements [server.Pointer].
func (f *Full) MouseMove(_ context.Context, channel uint8, x, y int, relative bool) error {
	return f.did("move %d %d,%d relative=%v", channel, x, y, relative)
}

// MouseButton implements [server.Pointer].
func (f *Full) MouseButton(_ context.Context, button int, down bool) error {
	return f.did("button %d %v", button, down)
}

// ClipboardGet implements [server.Clipboard]. It waits for the first ClipboardSet.
func (f *Full) ClipboardGet(ctx context.Context) (string, error) {
	select {
	case <-f.hasTxt:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.text, nil
}

// ClipboardSet implements [server.Clipboard].
func (f *Full) ClipboardSet(_ context.Context, text string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.text = text
	select {
	case <-f.hasTxt:
	default:
		close(f.hasTxt)
	}
	return nil
}

// SetDisplay implements [server.Resizer]: the primary surface gets that size.
func (f *Full) SetDisplay(_ context.Context, w, h int) error {
	f.AddSurface(0, 0, w, h)
	return f.did("display %dx%d", w, h)
}

// Cursor implements [server.CursorSource].
func (f *Full) Cursor() server.Cursor {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.cursor
}

// Stats implements [server.StatsSource].
func (f *Full) Stats() any { return map[string]int{"deeds": len(f.Deeds())} }

// RecordStart implements [server.Recorder]. Nothing is written.
func (f *Full) RecordStart(_ context.Context, dir string) error {
	f.mu.Lock()
	before := f.recorded
	if before == "" {
		f.recorded = dir
	}
	f.mu.Unlock()
	if before != "" {
		return &control.Error{Code: control.CodeRecording, Message: "a recording into " + before + " is running"}
	}
	return f.did("record %s", dir)
}

// RecordStop implements [server.Recorder].
func (f *Full) RecordStop(context.Context) (server.Recorded, error) {
	f.mu.Lock()
	dir := f.recorded
	f.recorded = ""
	f.mu.Unlock()
	if dir == "" {
		return server.Recorded{}, &control.Error{Code: control.CodeRecording, Message: "no recording is running"}
	}
	return server.Recorded{Dir: dir, Files: []string{"main-0.txt"}, Bytes: 4711}, f.did("record stop")
}

// Disconnect implements [server.Reconnector].
func (f *Full) Disconnect(context.Context) error {
	f.SetConnected(false, "closed")
	return f.did("disconnect")
}

// Reconnect implements [server.Reconnector]. It fails while the clipboard contains the text
// "refuse".
func (f *Full) Reconnect(context.Context) error {
	f.mu.Lock()
	refuse := f.text == "refuse"
	f.mu.Unlock()
	if refuse {
		return errors.New("link: permission denied")
	}
	f.SetConnected(true, "")
	return f.did("reconnect")
}

// A compile error here means that Full lacks an interface.
var (
	_ server.Console      = (*Full)(nil)
	_ server.Pointer      = (*Full)(nil)
	_ server.Clipboard    = (*Full)(nil)
	_ server.Resizer      = (*Full)(nil)
	_ server.CursorSource = (*Full)(nil)
	_ server.StatsSource  = (*Full)(nil)
	_ server.Recorder     = (*Full)(nil)
	_ server.Reconnector  = (*Full)(nil)
)
