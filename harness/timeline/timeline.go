// Package timeline writes a lane's timeline.ndjson: everything that happened to the
// lane on one clock. Several processes may write to one file.
package timeline

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"
)

// File is the timeline's name in a lane's directory.
const File = "timeline.ndjson"

// Kinds of entries that this package writes by itself.
const (
	// KindFrame is what was drawn, see AddFrame.
	KindFrame = "frame"
	// KindFull says that the file has its limit and what can be spared is left out from now on.
	KindFull = "timeline_full"
	// KindLeftOut is a writer's last entry if it left any out: how many of each kind.
	KindLeftOut = "left_out"
)

// A Writer adds to timeline.ndjson: everything that happened to a lane on one
// clock, one JSON object a line with t_us (microseconds since the lane began)
// and kind, written as it happens so that a killed run still has it.
//
// It is safe for use by several goroutines. A nil Writer swallows entries.
type Writer struct {
	path  string
	start time.Time

	mu     sync.Mutex
	w      *os.File
	err    error
	failed chan struct{}     // closed when a write has failed
	frames map[uint8]*frames // by display channel: an interval that is going on

	limit   int64 // of the file, in bytes
	unseen  int64 // written since the file's size was looked at
	size    int64 // then
	full    bool
	leftOut map[string]int // entries, by kind
}

// MaxBytes is how large a timeline.ndjson grows, in bytes, by entries that can be spared: frames,
// lines of the serial console (serial.log has them all) and moves of the pointer. After that only
// the others are written: keys, digests, verdicts and whatever else happens.
const MaxBytes = 64 << 20

// spared are the kinds that are left out of a file that is full.
var spared = map[string]bool{KindFrame: true, "serial": true, "pointer": true}

// lookEvery is after how many bytes a Writer looks at the size of the file, which others
// write to as well.
const lookEvery = 64 << 10

// Open opens the file at path for appending, with a clock that starts at
// start. Several processes may append to one file with the same start: each
// entry is one write.
func Open(path string, start time.Time) (*Writer, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	return &Writer{path: path, start: start, w: f, failed: make(chan struct{}), frames: map[uint8]*frames{}, limit: MaxBytes,
		unseen: lookEvery, leftOut: map[string]int{}}, nil
}

// Add writes one entry now. Fields must be marshalable; "t_us" and "kind" are
// the timeline's own and win.
func (t *Writer) Add(kind string, fields map[string]any) {
	if t == nil {
		return
	}
	t.AddAt(time.Now(), kind, fields)
}

// AddAt is Add for something that happened at the given moment.
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

// add writes one entry, unless it is one to spare and the file is full.
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
	// One write a line: another reader never sees half of one.
	if _, err := t.w.Write(line); err != nil {
		t.err = fmt.Errorf("timeline: %w", err)
		close(t.failed)
	}
}

// Failed is closed when an entry could not be written; Close says why. It is nil, which
// never is, for a nil Writer.
func (t *Writer) Failed() <-chan struct{} {
	if t == nil {
		return nil
	}
	return t.failed
}

// Err returns the first write that failed, nil if none has.
func (t *Writer) Err() error {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// isFull tells whether the file has its limit, and says so in it the first time.
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

// Since is the lane's clock: the time since the timeline began.
func (t *Writer) Since() time.Duration { return time.Since(t.start) }

// Close ends the file and reports the first write that failed.
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
