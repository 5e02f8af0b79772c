// Package timeline writes a lane's timeline.ndjson: everything that happened to the lane, on one
// clock. Several processes may write to one file.
package timeline

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"
)

// File is the name of a lane's timeline.
const File = "timeline.ndjson"

// Kinds of entries that this package writes by itself.
const (
	// KindFrame is a drawing, see AddFrame.
	KindFrame = "frame"
	// KindFull says that the file has reached its limit, and that some kinds of entries are omitted
	// from now on.
	KindFull = "timeline_full"
	// KindLeftOut is a writer's last entry if it omitted any: how many of each kind.
	KindLeftOut = "left_out"
)

// A Writer appends to timeline.ndjson. Each entry is one JSON object on one line with t_us
// (microseconds since the lane's start) and kind. It is written at once, so that a killed run still
// has it.
//
// A Writer may be used by several goroutines. A nil Writer discards entries.
type Writer struct {
	path  string
	start time.Time

	mu     sync.Mutex
	w      *os.File
	err    error
	failed chan struct{}     // closed when a write has failed
	frames map[uint8]*frames // by display channel: its open interval

	limit   int64 // of the file, in bytes
	unseen  int64 // bytes written since the file's size was last checked
	size    int64 // when last checked
	full    bool
	leftOut map[string]int // entries, by kind
}

// MaxBytes is the size in bytes at which a timeline.ndjson is full. After that, only entries such
// as keys, digests and verdicts are written. Left out are frames, serial lines (serial.log has them
// all), pointer moves, screenshots, requests on the control socket, and the host's load.
const MaxBytes = 64 << 20

// spared are the kinds that a full file omits.
var spared = map[string]bool{KindFrame: true, "serial": true, "pointer": true, "cursor": true, "screenshot": true, "load": true, "control": true}

// lookEvery is the number of bytes after which a Writer checks the size of the file again, because
// others also write to it.
const lookEvery = 64 << 10

// Open opens the file at path for appending, with a clock that starts at start. Several processes
// may append to one file with the same start, because each entry is one write.
func Open(path string, start time.Time) (*Writer, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	return &Writer{path: path, start: start, w: f, failed: make(chan struct{}), frames: map[uint8]*frames{}, limit: MaxBytes,
		unseen: lookEvery, leftOut: map[string]int{}}, nil
}

// Add writes one entry now. fields must be marshalable; "t_us" and "kind" are set by the timeline.
func (t *Writer) Add(kind string, fields map[string]any) {
	if t == nil {
		return
	}
	t.AddAt(time.Now(), kind, fields)
}

// AddAt does what Add does, for something that happened at the given moment.
func (t *Writer) AddAt(at time.Time, kind string, fields map[string]any) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if hands[kind] {
		t.flushFrames()
	}
	t.add(at, kind, fields)
}

// add writes one entry, unless the file is full and its kind can be omitted.
func (t *Writer) add(at time.Time, kind string, fields map[string]any) {
	if t.w == nil || t.err != nil {
		return
	}
	if spared[kind] && t.isFull() {
		t.leftOut[kind]++
		return
	}
	entry := make(map[string]any, len(fields)+2)
	for k, v := range fields {
		entry[k] = v
	}
	entry["t_us"] = at.Sub(t.start).Microseconds()
	entry["kind"] = kind
	line, err := json.Marshal(entry)
	if err != nil {
		line, _ = json.Marshal(map[string]any{"t_us": entry["t_us"], "kind": kind, "unprintable": err.Error()})
	}
	line = append(line, '\n')
	t.unseen += int64(len(line))
	// One write per line, so that another reader never sees half of one.
	if _, err := t.w.Write(line); err != nil {
		t.err = fmt.Errorf("timeline: %w", err)
		close(t.failed)
	}
}

// Failed returns a channel that is closed when an entry could not be written; Close returns the
// error. For a nil Writer it is nil, which is never closed.
func (t *Writer) Failed() <-chan struct{} {
	if t == nil {
		return nil
	}
	return t.failed
}

// Err returns the error of the first failed write, or nil.
func (t *Writer) Err() error {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// isFull tells whether the file has reached its limit, and writes that to the file the first time.
func (t *Writer) isFull() bool {
	if t.full || t.size+t.unseen < t.limit && t.unseen < lookEvery {
		return t.full
	}
	if st, err := t.w.Stat(); err == nil {
		t.size, t.unseen = st.Size(), 0
	}
	if t.full = t.size >= t.limit; t.full {
		t.add(time.Now(), KindFull, map[string]any{"limit_bytes": t.limit})
	}
	return t.full
}

// Path returns the file's path.
func (t *Writer) Path() string { return t.path }

// Start returns the moment at which the timeline's clock began.
func (t *Writer) Start() time.Time { return t.start }

// Since returns the time since the timeline's start.
func (t *Writer) Since() time.Duration { return time.Since(t.start) }

// Close closes the file and returns the error of the first failed write.
func (t *Writer) Close() error {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.w != nil {
		t.flushFrames()
		if len(t.leftOut) > 0 {
			t.add(time.Now(), KindLeftOut, map[string]any{"entries": t.leftOut})
		}
		if err := t.w.Close(); err != nil && t.err == nil {
			t.err = fmt.Errorf("timeline: %w", err)
		}
		t.w = nil
	}
	return t.err
}
