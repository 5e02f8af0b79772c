package serial

import (
	"bytes"
	"context"
	"errors"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// Limits of a Log.
const (
	// DefaultMaxBytes is how much of a console a Log keeps, in bytes. A chatty kernel prints well
	// under a megabyte; a guest in a panic loop prints without end.
	DefaultMaxBytes = 16 << 20

	// maxLine is the length at which a line without an end is split, in bytes.
	maxLine = 64 << 10

	// overlap is how many characters of a split line's end are searched together with its next
	// piece, so that nothing is missed across the split.
	overlap = 1024
)

// Config configures a Log. The zero value works.
type Config struct {
	// Now is the clock that stamps lines; nil means time.Now.
	Now func() time.Time

	// MaxBytes is how much is kept in memory, in bytes; the oldest lines are dropped first. 0 means
	// DefaultMaxBytes. Line numbers keep counting.
	MaxBytes int
}

// A Line is one line of the console, as a terminal shows it. It ends with a newline, or when the
// guest continues in another row.
type Line struct {
	N    int       // number, from 0
	Time time.Time // when its first byte came
	Raw  []byte    // the bytes with their line end; do not change them
	// Text is the final text of the line. Carriage returns, backspaces, cursor movements and
	// erasing have been applied; other control sequences leave no trace.
	Text string
	// Before has the texts that were in the line before they were overwritten, oldest first, such
	// as the steps of a progress display. If there are very many, the oldest are missing.
	Before   []string
	Complete bool // false for the last line while the guest may continue it
	// Still says that the guest has stopped writing an incomplete line, such as a prompt. Only
	// LineReader.Look sets it.
	Still bool
	// Cut says that a very long line continues in the next Line.
	Cut bool

	carry string // the end of the piece before
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
	row     row    // what a terminal makes of open
	carry   string // the end of the previous piece, if open continues a split line
	size    int    // bytes in lines
	total   int64
	ended   bool
	err     error         // why it ended
	changed chan struct{} // closed and replaced at every change
}

// NewLog returns an empty log.
func NewLog(cfg Config) *Log {
	l := &Log{now: cfg.Now, max: cfg.MaxBytes, changed: make(chan struct{}), row: newRow()}
	if l.now == nil {
		l.now = time.Now
	}
	if l.max <= 0 {
		l.max = DefaultMaxBytes
	}
	return l
}

// Write appends the guest's output. It never waits for a reader, and fails only after End, with
// io.ErrClosedPipe.
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
		c := p[0]
		if l.row.begins(c) {
			l.closeLine(false)
		}
		if len(l.open) == 0 {
			l.openAt = now
		}
		n := l.row.plain(p[:min(len(p), maxLine-len(l.open))])
		if n == 0 {
			n = 1
			if c != '\n' {
				l.row.put(c)
			}
		}
		l.open = append(l.open, p[:n]...)
		p = p[n:]
		switch {
		case c == '\n':
			l.endLine()
		case len(l.open) == maxLine:
			l.closeLine(true)
		}
	}
	l.wake()
	return n, nil
}

// endLine completes the open line.
func (l *Log) endLine() {
	l.row.flush()
	l.closeLine(false)
	l.row.newline()
}

// closeLine moves the open line to the complete ones. cut means that it continues.
func (l *Log) closeLine(cut bool) {
	line := l.openLine()
	line.Complete, line.Cut = true, cut
	l.carry = ""
	if cut {
		l.carry = line.lastCharacters(overlap)
	}
	l.lines = append(l.lines, line)
	l.size += len(l.open)
	l.open = nil
	l.row.clear()
	if cut {
		l.row.col = 0
	}
	drop := 0
	for l.size > l.max && drop < len(l.lines)-1 {
		l.size -= len(l.lines[drop].Raw)
		drop++
	}
	if drop > 0 {
		// NB: no copy, which would take longer for each line than the guest takes to print it.
		// append moves the lines that are left when there is no more room behind them.
		clear(l.lines[:drop])
		l.lines = l.lines[drop:]
		l.first += drop
	}
}

func (l *Log) openLine() Line {
	return Line{N: l.first + len(l.lines), Time: l.openAt, Raw: bytes.Clone(l.open), Text: l.row.text(),
		Before: slices.Clone(l.row.before), carry: l.carry}
}

// lastCharacters returns the end of the line's searched text.
func (l Line) lastCharacters(n int) string {
	s := l.whole(l.Text)
	for i := len(s); i > 0; {
		_, size := utf8.DecodeLastRuneInString(s[:i])
		i -= size
		if n--; n == 0 {
			return s[i:]
		}
	}
	return s
}

// whole returns a text of the line together with what precedes it in a split line. The dots in
// front show that the line did not begin there.
func (l Line) whole(text string) string {
	if l.carry == "" {
		return text
	}
	return "…" + l.carry + text
}

// Find returns the text that re matches: the line's text or, if that does not match, the newest
// earlier text. It returns "" if none matches.
func (l Line) Find(re *regexp.Regexp) string {
	if re.MatchString(l.whole(l.Text)) {
		return l.whole(l.Text)
	}
	for _, text := range slices.Backward(l.Before) {
		if re.MatchString(l.whole(text)) {
			return l.whole(text)
		}
	}
	return ""
}

// any tells whether match accepts the line's text, or an earlier one.
func (l Line) any(match func(string) bool) bool {
	if match(l.whole(l.Text)) {
		return true
	}
	return slices.ContainsFunc(l.Before, func(text string) bool { return match(l.whole(text)) })
}

// End marks the end of the console; err is the reason, or nil if it simply ended. It wakes every
// waiter. Only the first call counts.
func (l *Log) End(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return
	}
	if len(l.open) > 0 {
		l.endLine()
	}
	l.ended, l.err = true, err
	l.wake()
}

func (l *Log) wake() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// Len returns the number of bytes so far.
func (l *Log) Len() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total
}

// Next returns the number of the next line to begin. Pass it to AwaitFrom to wait for something
// new.
func (l *Log) Next() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.first + len(l.lines)
	if len(l.open) > 0 {
		n++
	}
	return n
}

// Lines returns the lines that are still kept, including the unfinished one.
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

// Bytes returns the bytes of the console that are still kept, unchanged.
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
		out = append(out, l.openLine())
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
		add(l.row.text())
	}
	for i := len(l.lines) - 1; i >= 0 && len(out) < n; i-- {
		add(l.lines[i].Text)
	}
	for i, j := 0, len(out)-1; i < j; i, j = i+1, j-1 {
		out[i], out[j] = out[j], out[i]
	}
	return out
}

// tailLines is how many lines an AwaitError contains.
const tailLines = 10

// Await returns the first line of the console that matches, now or later. Otherwise it returns an
// *AwaitError that wraps ctx's cause or the reason why the console ended.
func (l *Log) Await(ctx context.Context, m Matcher) (Line, error) {
	return l.AwaitFrom(ctx, 0, m)
}

// AwaitFrom does what Await does, for lines number n and later.
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
			// Check once more, to include what came at the same moment.
			gaveUp = context.Cause(ctx)
		}
	}
}

func (l *Log) awaitError(m Matcher, err error) error {
	return &AwaitError{Wanted: m.String(), Tail: l.Tail(tailLines), Err: err}
}

// A LineReader reads a log line by line at its own pace. It is a position in the log, not a queue:
// it never delays the writer, and need not be closed. Lines that the log dropped before they were
// read are counted in Missed.
type LineReader struct {
	l      *Log
	n      int
	missed int
	looked int64 // length of the log at the last incomplete line that Look returned
	still  bool  // and whether it was still
}

// Reader returns a reader that begins with line number n.
func (l *Log) Reader(n int) *LineReader { return &LineReader{l: l, n: max(n, 0)} }

// Missed returns how many lines were dropped before they could be read.
func (r *LineReader) Missed() int { return r.missed }

// Next returns the next complete line, waiting for it. At the end it returns the reason given to
// End, or io.EOF for nil.
func (r *LineReader) Next(ctx context.Context) (Line, error) { return r.next(ctx, false) }

// stillAfter is how long a guest must write nothing before its unfinished line counts as a prompt.
const stillAfter = 3 * time.Second

// Look does what Next does, but also returns the unfinished line: each time it has grown, and once
// more when it is Still.
func (r *LineReader) Look(ctx context.Context) (Line, error) { return r.next(ctx, true) }

func (r *LineReader) next(ctx context.Context, wantUnfinished bool) (Line, error) {
	for {
		r.l.mu.Lock()
		if r.n < r.l.first {
			r.missed += r.l.first - r.n
			r.n = r.l.first
		}
		if i := r.n - r.l.first; i < len(r.l.lines) {
			line := r.l.lines[i]
			r.l.mu.Unlock()
			r.n++
			return line, nil
		}
		unfinished := wantUnfinished && len(r.l.open) > 0 && r.n == r.l.first+len(r.l.lines)
		if unfinished && r.looked != r.l.total {
			line := r.l.openLine()
			r.looked, r.still = r.l.total, false
			r.l.mu.Unlock()
			return line, nil
		}
		changed, ended, err := r.l.changed, r.l.ended, r.l.err
		r.l.mu.Unlock()
		if ended {
			if err == nil {
				err = io.EOF
			}
			return Line{}, err
		}
		var settled <-chan time.Time
		if unfinished && !r.still {
			settled = time.After(stillAfter)
		}
		select {
		case <-changed:
		case <-settled:
			if line, ok := r.stillLine(); ok {
				return line, nil
			}
		case <-ctx.Done():
			return Line{}, context.Cause(ctx)
		}
	}
}

// stillLine returns the unfinished line if it is the one that Look returned last.
func (r *LineReader) stillLine() (Line, bool) {
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	if r.looked != r.l.total || len(r.l.open) == 0 {
		return Line{}, false
	}
	r.still = true
	line := r.l.openLine()
	line.Still = true
	return line, true
}

// ErrEnded is the error of an Await on a console that ended without a reason.
var ErrEnded = errors.New("the console ended")

// AwaitError says that an awaited line did not come.
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

// Awaited returns what was awaited.
func (e *AwaitError) Awaited() string { return e.Wanted }
