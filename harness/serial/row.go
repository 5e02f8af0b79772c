package serial

import (
	"strings"
	"unicode/utf8"
)

// maxColumn is how far right an escape sequence can move the cursor. No console is wider, and
// without it a guest could make a line of any length with a few bytes.
const maxColumn = 1000

// maxRow limits row numbers and distances for the same reason.
const maxRow = 9999

// maxParams is how many bytes of a control sequence's parameters are kept. A longer sequence, which
// no program prints on purpose, has no effect.
const maxParams = 256

// row is a terminal reduced to one line of a log: one row of cells, and a cursor on it or
// elsewhere. It takes bytes one by one, so it does not matter how they were split into writes.
//
// It implements the control functions that redraw a line (carriage return, backspace, tab, and the
// cursor and erase functions of ECMA-48) and drops all others. Each character takes one cell.
type row struct {
	cells []rune // '\t' is followed by zeros up to its stop
	col   int    // of the cursor

	// Rows of the terminal are numbered from 1 where the guest numbers them (CUP). Where it does
	// not, after a newline, they count from a negative number that is used once.
	here int // where the cursor is
	mine int // the row that cells shows
	used int // how many of those negative numbers

	savedHere, savedCol int
	saved               bool

	before     []string // texts of this row that were overwritten, oldest first
	beforeSize int      // bytes in before
	moved      bool     // the cursor was moved since the last snapshot

	state  state
	params []byte // of a CSI
	utf    []byte // the beginning of a character
	last   rune   // printed, for REP
}

type state int

const (
	ground       state = iota
	escape             // after ESC
	intermediate       // after ESC and 0x20 to 0x2F: ends with the next final byte
	csi                // after ESC [
	text               // inside OSC or a screen title, which BEL ends, too
	opaque             // inside DCS, SOS, PM or APC
)

func newRow() row {
	r := row{}
	r.newline()
	return r
}

// begins tells whether c begins a character on another row than the one with text. Then the line is
// complete before it.
func (r *row) begins(c byte) bool {
	if r.here == r.mine || len(r.utf) > 0 {
		return false
	}
	switch {
	case c >= utf8.RuneSelf: // cuts an escape sequence
		if r.state == text || r.state == opaque {
			return false
		}
	case r.state != ground || c < ' ' || c == 0x7f:
		return false
	}
	return strings.Trim(r.text(), " \t") != ""
}

// newline ends the row, and any control sequence that it interrupts: a guest that dies in the
// middle of one must not swallow what follows.
func (r *row) newline() {
	r.state = ground
	r.params, r.utf = r.params[:0], r.utf[:0]
	r.used++
	r.here = -r.used * 4 * maxRow
	r.col = 0
	r.clear()
}

// clear begins an empty line where the cursor is.
func (r *row) clear() {
	r.cells, r.mine = r.cells[:0], r.here
	r.before, r.beforeSize, r.moved = nil, 0, false
}

// text returns the text of the row.
func (r *row) text() string {
	var b strings.Builder
	b.Grow(len(r.cells))
	for _, c := range r.cells {
		if c != 0 {
			b.WriteRune(c)
		}
	}
	return b.String()
}

// flush prints replacement characters for an incomplete character.
func (r *row) flush() {
	for range r.utf {
		r.print(utf8.RuneError)
	}
	r.utf = r.utf[:0]
}

// plain handles the printable ASCII at the beginning of p if it is appended to the row, as nearly
// everything on a console is. It returns the number of bytes.
func (r *row) plain(p []byte) int {
	if r.state != ground || len(r.utf) > 0 || r.here != r.mine || r.col != len(r.cells) {
		return 0
	}
	n := 0
	for n < len(p) && p[n] >= ' ' && p[n] < 0x7f {
		r.cells = append(r.cells, rune(p[n]))
		n++
	}
	if n > 0 {
		r.col, r.last = len(r.cells), rune(p[n-1])
	}
	return n
}

// put handles one byte, any except a newline.
func (r *row) put(c byte) {
	if c < utf8.RuneSelf {
		r.flush()
	}
	switch {
	case c == 0x1b:
		r.state = escape
	case c == 0x18, c == 0x1a: // CAN, SUB
		r.state = ground
	case r.state == text || r.state == opaque:
		if c == '\a' && r.state == text {
			r.state = ground
		}
	case c < ' ':
		r.control(c)
	case c == 0x7f:
	case c >= utf8.RuneSelf:
		r.state = ground
		r.decode(c)
	case r.state == ground:
		r.print(rune(c))
	case r.state == csi:
		if c < '@' {
			if len(r.params) < maxParams {
				r.params = append(r.params, c)
			}
			return
		}
		r.state = ground
		r.function(c)
	case c < '0':
		r.state = intermediate
	case r.state == intermediate:
		r.state = ground
	default:
		r.state = ground
		r.escaped(c)
	}
}

// decode handles one byte of a multi-byte character.
func (r *row) decode(c byte) {
	r.utf = append(r.utf, c)
	for len(r.utf) > 0 && utf8.FullRune(r.utf) {
		char, n := utf8.DecodeRune(r.utf)
		r.utf = append(r.utf[:0], r.utf[n:]...)
		if char < 0x80 || char > 0x9f { // C1 controls
			r.print(char)
		}
	}
}

// control carries out one of the C0 controls.
func (r *row) control(c byte) {
	switch c {
	case '\r':
		r.moveTo(r.here, 0)
	case '\b':
		r.moveTo(r.here, r.col-1)
	case '\v', '\f':
		r.moveTo(r.down(1), r.col)
	case '\t':
		r.tab()
	}
}

// escaped handles the byte after ESC.
func (r *row) escaped(c byte) {
	switch c {
	case '[':
		r.state, r.params = csi, r.params[:0]
	case ']', 'k': // OSC; k is the window title of screen and tmux
		r.state = text
	case 'P', 'X', '^', '_': // DCS, SOS, PM, APC
		r.state = opaque
	case '7': // DECSC
		r.save()
	case '8': // DECRC
		r.restore()
	case 'D': // IND
		r.moveTo(r.down(1), r.col)
	case 'E': // NEL
		r.moveTo(r.down(1), 0)
	case 'M': // RI
		r.moveTo(r.down(-1), r.col)
	case 'c': // RIS
		r.erase(0, len(r.cells))
		r.moveTo(1, 0)
	}
}

// function carries out a CSI function with the parameters read.
func (r *row) function(c byte) {
	p, ok := r.parameters()
	if !ok {
		return // private, or with an intermediate byte
	}
	on := r.here == r.mine
	switch c {
	case 'A':
		r.moveTo(r.down(-p.count()), r.col)
	case 'B', 'e':
		r.moveTo(r.down(p.count()), r.col)
	case 'C', 'a':
		r.moveTo(r.here, r.col+p.count())
	case 'D':
		r.moveTo(r.here, r.col-p.count())
	case 'E':
		r.moveTo(r.down(p.count()), 0)
	case 'F':
		r.moveTo(r.down(-p.count()), 0)
	case 'G', '`':
		r.moveTo(r.here, p.count()-1)
	case 'H', 'f':
		r.moveTo(p.count(), p.at(1, 1)-1)
	case 'd':
		r.moveTo(p.count(), r.col)
	case 'r': // DECSTBM puts the cursor home
		r.moveTo(1, 0)
	case 's':
		r.save()
	case 'u':
		r.restore()
	case 'J':
		if n := p.at(0, 0); n == 2 || n == 3 {
			r.erase(0, len(r.cells)) // the whole screen, wherever the cursor is
		} else if on {
			r.eraseLine(n)
		}
	case 'K':
		if on {
			r.eraseLine(p.at(0, 0))
		}
	case 'X':
		if on {
			r.erase(r.col, r.col+p.count())
		}
	case 'P':
		if on {
			r.remove(p.count())
		}
	case '@':
		if on {
			r.insert(p.count())
		}
	case 'b':
		if r.last != 0 && (on || strings.Trim(r.text(), " \t") == "") {
			for n := p.count(); n > 0 && r.col < maxColumn; n-- {
				r.print(r.last)
			}
		}
	}
}

// down returns the row n below the cursor's.
func (r *row) down(n int) int {
	if r.here > 0 {
		return min(max(r.here+n, 1), maxRow)
	}
	// NB: the numbers of two newlines are further apart than the cursor can move.
	middle := -r.used * 4 * maxRow
	return min(max(r.here+n, middle-maxRow), middle+maxRow)
}

func (r *row) moveTo(here, col int) {
	r.here, r.col = here, min(max(col, 0), max(maxColumn, len(r.cells)))
	r.moved = true
}

func (r *row) save() { r.savedHere, r.savedCol, r.saved = r.here, r.col, true }

func (r *row) restore() {
	if !r.saved {
		r.savedHere, r.savedCol = 1, 0
	}
	r.moveTo(r.savedHere, r.savedCol)
}

func (r *row) tab() {
	stop := (r.col/8 + 1) * 8
	if r.here != r.mine || r.col < len(r.cells) {
		r.moveTo(r.here, stop)
		return
	}
	r.pad()
	r.cells = append(r.cells, '\t')
	for len(r.cells) < stop {
		r.cells = append(r.cells, 0)
	}
	r.col = stop
}

// pad fills the row with blanks up to the cursor.
func (r *row) pad() {
	for len(r.cells) < r.col {
		r.cells = append(r.cells, ' ')
	}
}

func (r *row) print(c rune) {
	if r.here != r.mine {
		// NB: the row has no text that would be lost, see begins.
		r.cells, r.mine = r.cells[:0], r.here
	}
	r.last = c
	r.pad()
	if r.col == len(r.cells) {
		r.cells = append(r.cells, c)
	} else if r.cells[r.col] != c {
		r.overwrite(r.col, c)
	}
	r.col++
}

// overwrite writes c over an existing character.
func (r *row) overwrite(col int, c rune) {
	r.snapshot()
	r.untab(col)
	r.cells[col] = c
}

// untab turns the tab of a cell into blanks.
func (r *row) untab(col int) {
	if r.cells[col] != '\t' && r.cells[col] != 0 {
		return
	}
	for r.cells[col] == 0 {
		col--
	}
	r.cells[col] = ' '
	for col++; col < len(r.cells) && r.cells[col] == 0; col++ {
		r.cells[col] = ' '
	}
}

// snapshot saves the row's text before the first change after the cursor went back.
func (r *row) snapshot() {
	if !r.moved {
		return
	}
	r.moved = false
	s := r.text()
	if strings.Trim(s, " \t") == "" {
		return
	}
	r.before, r.beforeSize = append(r.before, s), r.beforeSize+len(s)
	for r.beforeSize > maxLine && len(r.before) > 1 {
		r.beforeSize -= len(r.before[0])
		r.before = r.before[1:]
	}
}

// erase clears the cells from a up to b, without b.
func (r *row) erase(a, b int) {
	b = min(b, len(r.cells))
	if a >= b {
		return
	}
	r.moved = true
	r.snapshot()
	for i := a; i < b; i++ {
		r.untab(i)
		r.cells[i] = ' '
	}
	if b == len(r.cells) {
		r.cells = r.cells[:a]
	}
	r.moved = true
}

// eraseLine carries out EL with parameter n.
func (r *row) eraseLine(n int) {
	switch n {
	case 0:
		r.erase(r.col, len(r.cells))
	case 1:
		r.erase(0, r.col+1)
	case 2:
		r.erase(0, len(r.cells))
	}
}

// remove carries out DCH: the cells to the right move left.
func (r *row) remove(n int) {
	if r.col >= len(r.cells) {
		return
	}
	r.moved = true
	r.snapshot()
	for i := r.col; i < len(r.cells); i++ {
		r.untab(i)
	}
	r.cells = append(r.cells[:r.col], r.cells[min(r.col+n, len(r.cells)):]...)
	r.moved = true
}

// insert carries out ICH: the cells to the right move right.
func (r *row) insert(n int) {
	if r.col >= len(r.cells) {
		return
	}
	r.moved = true
	r.snapshot()
	for i := r.col; i < len(r.cells); i++ {
		r.untab(i)
	}
	widest := max(maxColumn, len(r.cells))
	n = min(n, widest-r.col)
	tail := append([]rune(nil), r.cells[r.col:]...)
	r.cells = r.cells[:r.col]
	for range n {
		r.cells = append(r.cells, ' ')
	}
	r.cells = append(r.cells, tail...)
	r.cells = r.cells[:min(len(r.cells), widest)]
	r.moved = true
}

// parameters are the numbers of a CSI function; -1 for one that was left out.
type parameters []int

// parameters parses them. ok is false if there is anything except numbers, or too much.
func (r *row) parameters() (p parameters, ok bool) {
	if len(r.params) == maxParams {
		return nil, false
	}
	n := -1
	for _, c := range r.params {
		switch {
		case c >= '0' && c <= '9':
			n = min(max(n, 0)*10+int(c-'0'), maxRow)
		case c == ';' || c == ':':
			p, n = append(p, n), -1
		default:
			return nil, false
		}
	}
	return append(p, n), true
}

// at returns parameter i, or the value of otherwise if it was omitted.
func (p parameters) at(i, otherwise int) int {
	if i >= len(p) || p[i] < 0 {
		return otherwise
	}
	return p[i]
}

// count returns the first parameter as a count: 0 means 1.
func (p parameters) count() int { return max(p.at(0, 1), 1) }
