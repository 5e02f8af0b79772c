package serial

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Limits of a Log.
const (
	// DefaultMaxBytes is how much of a console a Log keeps: a chatty kernel
	// prints well under a megabyte, a guest in a panic loop prints for ever.
	DefaultMaxBytes = 16 << 20

	// maxLine is where a line without an end is broken, in bytes.
	maxLine = 64 << 10
)

// Config configures a Log. The zero value works.
type Config struct {
	// Now is the clock that stamps lines; nil means time.Now.
	Now func() time.Time

	// MaxBytes is how much is kept in memory, in bytes; the oldest lines go
	// first. 0 means DefaultMaxBytes. Line numbers keep counting.
	MaxBytes int
}

// A Line is one line of the console.
type Line struct {
	N        int       // number, from 0
	Time     time.Time // when its first byte came
	Raw      []byte    // the bytes with their line end; do not change them
	Text     string    // without line end and terminal control sequences
	Complete bool      // false for the last line while the guest may go on with it
}

// A Log is an append-only console log. All methods may be called from any
// goroutine.
type Log struct {
	now func() time.Time
	max int

	mu      sync.Mutex
	lines   []Line // complete ones; lines[0].N == first
	first   int
	open    []byte // the last, unfinished line
	openAt  time.Time
	size    int // bytes in lines
	total   int64
	ended   bool
	err     error         // why it ended
	changed chan struct{} // closed and replaced at every change
}

// NewLog returns an empty log.
func NewLog(cfg Config) *Log {
	l := &Log{now: cfg.Now, max: cfg.MaxBytes, changed: make(chan struct{})}
	if l.now == nil {
		l.now = time.Now
	}
	if l.max <= 0 {
		l.max = DefaultMaxBytes
	}
	return l
}

// Write appends what the guest sent. It never waits for a reader, and fails
// only after End, with io.ErrClosedPipe.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return 0, io.ErrClosedPipe
	}
	if len(p) == 0 {
		return 0, nil
	}
	n := len(p)
	l.total += int64(n)
	now := l.now()
	for len(p) > 0 {
		if len(l.open) == 0 {
			l.openAt = now
		}
		end := bytes.IndexByte(p, '\n') + 1
		complete := end > 0
		if !complete {
			end = len(p)
		}
		if room := maxLine - len(l.open); end > room {
			end, complete = room, true
		}
		l.open = append(l.open, p[:end]...)
		p = p[end:]
		if complete {
			l.closeLine()
		}
	}
	l.wake()
	return n, nil
}

// closeLine moves the open line to the complete ones.
func (l *Log) closeLine() {
	l.lines = append(l.lines, l.openLine(true))
	l.size += len(l.open)
	l.open = nil
	drop := 0
	for l.size > l.max && drop < len(l.lines)-1 {
		l.size -= len(l.lines[drop].Raw)
		drop++
	}
	if drop > 0 {
		l.lines = append([]Line(nil), l.lines[drop:]...)
		l.first += drop
	}
}

func (l *Log) openLine(complete bool) Line {
	raw := bytes.Clone(l.open)
	return Line{N: l.first + len(l.lines), Time: l.openAt, Raw: raw, Text: clean(raw), Complete: complete}
}

// End says that no more will come and why; nil means the console simply
// ended. Every waiter is woken. Only the first call counts.
func (l *Log) End(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return
	}
	if len(l.open) > 0 {
		l.closeLine()
	}
	l.ended, l.err = true, err
	l.wake()
}

func (l *Log) wake() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// Len returns how many bytes came so far.
func (l *Log) Len() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total
}

// Next returns the number that the next line to begin will have: a mark for
// AwaitFrom, to wait for something new.
func (l *Log) Next() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.first + len(l.lines)
	if len(l.open) > 0 {
		n++
	}
	return n
}

// Lines returns the lines kept, the unfinished one included.
func (l *Log) Lines() []Line {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.linesFrom(l.first)
}

// Tail returns the text of the last n lines that are not blank, oldest first.
func (l *Log) Tail(n int) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tail(n)
}

// Bytes returns the console's bytes as they came, as far as they are kept.
func (l *Log) Bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := make([]byte, 0, l.size+len(l.open))
	for _, line := range l.lines {
		b = append(b, line.Raw...)
	}
	return append(b, l.open...)
}

func (l *Log) linesFrom(n int) []Line {
	from := min(max(n-l.first, 0), len(l.lines))
	out := append([]Line(nil), l.lines[from:]...)
	if len(l.open) > 0 && n <= l.first+len(l.lines) {
		out = append(out, l.openLine(false))
	}
	return out
}

func (l *Log) tail(n int) []string {
	var out []string
	add := func(text string) {
		if strings.TrimSpace(text) != "" {
			out = append(out, text)
		}
	}
	if len(l.open) > 0 && n > 0 {
		add(clean(l.open))
	}
	for i := len(l.lines) - 1; i >= 0 && len(out) < n; i-- {
		add(l.lines[i].Text)
	}
	for i, j := 0, len(out)-1; i < j; i, j = i+1, j-1 {
		out[i], out[j] = out[j], out[i]
	}
	return out
}

// tailLines is how many lines an AwaitError carries.
const tailLines = 10

// Await returns the first line of the console that matches, be it there
// already or still to come. Otherwise it returns an *AwaitError that wraps
// ctx's cause or the reason why the console ended.
func (l *Log) Await(ctx context.Context, m Matcher) (Line, error) {
	return l.AwaitFrom(ctx, 0, m)
}

// AwaitFrom is Await for lines number n and later.
func (l *Log) AwaitFrom(ctx context.Context, n int, m Matcher) (Line, error) {
	var gaveUp error
	for {
		l.mu.Lock()
		lines, changed, ended, err := l.linesFrom(n), l.changed, l.ended, l.err
		l.mu.Unlock()
		for _, line := range lines {
			if m.Match(line) {
				return line, nil
			}
			if line.Complete {
				n = line.N + 1
			}
		}
		if ended {
			if err == nil {
				err = ErrEnded
			}
			return Line{}, l.awaitError(m, err)
		}
		if gaveUp != nil {
			return Line{}, l.awaitError(m, gaveUp)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			// What came at the same moment counts: look once more.
			gaveUp = context.Cause(ctx)
		}
	}
}

func (l *Log) awaitError(m Matcher, err error) error {
	return &AwaitError{Wanted: m.String(), Tail: l.Tail(tailLines), Err: err}
}

// A Cursor reads a log line by line at its own pace. It holds a place in the
// log, not a queue: it never holds the writer up, and needs no closing. Lines
// that the log had to let go before they were read are counted in Missed.
type Cursor struct {
	l      *Log
	n      int
	missed int
}

// Cursor returns a cursor before line number n.
func (l *Log) Cursor(n int) *Cursor { return &Cursor{l: l, n: max(n, 0)} }

// Missed returns how many lines were gone before they could be read.
func (c *Cursor) Missed() int { return c.missed }

// Next returns the next complete line, waiting for it. At the end it returns
// the reason given to End, io.EOF for nil.
func (c *Cursor) Next(ctx context.Context) (Line, error) {
	for {
		c.l.mu.Lock()
		if c.n < c.l.first {
			c.missed += c.l.first - c.n
			c.n = c.l.first
		}
		if i := c.n - c.l.first; i < len(c.l.lines) {
			line := c.l.lines[i]
			c.l.mu.Unlock()
			c.n++
			return line, nil
		}
		changed, ended, err := c.l.changed, c.l.ended, c.l.err
		c.l.mu.Unlock()
		if ended {
			if err == nil {
				err = io.EOF
			}
			return Line{}, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Line{}, context.Cause(ctx)
		}
	}
}

// ErrEnded is why an Await failed on a console that ended without a reason.
var ErrEnded = errors.New("the console ended")

// AwaitError says that a line did not come.
type AwaitError struct {
	Wanted string   // what was awaited
	Tail   []string // the last lines seen, oldest first
	Err    error    // why waiting ended
}

// Error returns one line, with the last few lines seen.
func (e *AwaitError) Error() string {
	s := "serial console: awaited " + e.Wanted + ": " + e.Err.Error()
	if len(e.Tail) == 0 {
		return s + "; the guest has said nothing"
	}
	const few = 3
	var last []string
	for _, line := range e.Tail[max(0, len(e.Tail)-few):] {
		last = append(last, strconv.Quote(line))
	}
	return s + "; it said last: " + strings.Join(last, ", ")
}

func (e *AwaitError) Unwrap() error { return e.Err }
