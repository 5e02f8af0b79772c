package serial_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spicelane/spicelane/harness/serial"
)

// model is a slow, plain terminal: a table of rows and columns, and one function that takes the
// whole text. It knows nothing of writes, bytes or unfinished lines.
type model struct {
	cells    map[int]map[int]string // by row and column; a tab is "\t" and ""s up to its stop
	row, col int                    // of the cursor; rows below zero are those without a number
	shown    int                    // the row of the open line
	newlines int
	saveRow  int
	saveCol  int
	saved    bool
	last     string
	lines    []string // the lines that have ended
}

const farthest = 1000

func runModel(s string) (lines []string) {
	m := &model{}
	m.newline()
	chars := []rune(s) // invalid UTF-8 becomes U+FFFD, as in the log
	i := 0
	for i < len(chars) {
		c := chars[i]
		i++
		switch {
		case c == '\n':
			m.lines = append(m.lines, m.text())
			m.newline()
		case c == 0x1b:
			i = m.sequence(chars, i)
		default:
			m.char(c)
		}
	}
	return append(m.lines, m.text())
}

func (m *model) newline() {
	m.newlines++
	m.cells = map[int]map[int]string{}
	m.row, m.col = -m.newlines*4*9999, 0
	m.shown = m.row
}

func (m *model) line() map[int]string {
	if m.cells[m.shown] == nil {
		m.cells[m.shown] = map[int]string{}
	}
	return m.cells[m.shown]
}

func width(line map[int]string) int {
	w := 0
	for col := range line {
		w = max(w, col+1)
	}
	return w
}

func (m *model) text() string {
	var b strings.Builder
	line := m.line()
	for col := range width(line) {
		if s, ok := line[col]; ok {
			b.WriteString(s)
		} else {
			b.WriteString(" ")
		}
	}
	return b.String()
}

func (m *model) blank() bool { return strings.Trim(m.text(), " \t") == "" }

// char takes a character outside of sequences.
func (m *model) char(c rune) {
	switch {
	case c == '\r':
		m.move(m.row, 0)
	case c == '\b':
		m.move(m.row, m.col-1)
	case c == '\v' || c == '\f':
		m.move(m.below(1), m.col)
	case c == '\t':
		stop := m.col/8*8 + 8
		if m.row == m.shown && m.col >= width(m.line()) {
			line := m.line()
			for col := width(line); col < m.col; col++ {
				line[col] = " "
			}
			line[m.col] = "\t"
			for col := m.col + 1; col < stop; col++ {
				line[col] = ""
			}
			m.col = stop
			return
		}
		m.move(m.row, stop)
	case c < ' ' || c == 0x7f:
	case c >= 0x80 && c <= 0x9f:
		m.leave()
	default:
		m.leave()
		m.print(string(c))
	}
}

// leave ends the line if the cursor is on another row.
func (m *model) leave() {
	if m.row == m.shown || m.blank() {
		return
	}
	m.lines = append(m.lines, m.text())
	m.cells = map[int]map[int]string{}
	m.shown = m.row
}

func (m *model) print(s string) {
	if m.row != m.shown {
		m.cells = map[int]map[int]string{}
		m.shown = m.row
	}
	m.last = s
	line := m.line()
	if line[m.col] != s {
		m.untab(m.col)
		for col := width(line); col < m.col; col++ {
			line[col] = " "
		}
		line[m.col] = s
	}
	m.col++
}

func (m *model) untab(col int) {
	line := m.line()
	if s, ok := line[col]; !ok || s != "" && s != "\t" {
		return
	}
	for line[col] == "" {
		col--
	}
	line[col] = " "
	for col++; ; col++ {
		if s, ok := line[col]; !ok || s != "" {
			return
		}
		line[col] = " "
	}
}

func (m *model) move(row, col int) {
	m.row, m.col = row, min(max(col, 0), max(farthest, width(m.line())))
}

func (m *model) below(n int) int {
	if m.row > 0 {
		return min(max(m.row+n, 1), 9999)
	}
	middle := -m.newlines * 4 * 9999
	return min(max(m.row+n, middle-9999), middle+9999)
}

// sequence handles what follows an escape character, and returns where to continue.
func (m *model) sequence(chars []rune, i int) int {
	body := ""
	for ; i < len(chars); i++ {
		c := chars[i]
		switch {
		case c == '\n' || c == 0x1b:
			return i // cut
		case c == 0x18 || c == 0x1a:
			return i + 1
		case c < ' ':
			m.char(c)
		case c == 0x7f:
		case c > 0x7f:
			return i // no part of it
		case body == "" && strings.ContainsRune("]kPX^_", c):
			return control(chars, i+1, c == ']' || c == 'k')
		case body == "" && c == '[' || strings.HasPrefix(body, "["):
			if body != "" && c >= '@' {
				m.function(body[1:], c)
				return i + 1
			}
			body += string(c)
		case c < '0':
			body += string(c)
		case body == "":
			m.escape(c)
			return i + 1
		default:
			return i + 1 // with an intermediate byte
		}
	}
	return i
}

// control returns the end of a control string.
func control(chars []rune, i int, bell bool) int {
	for ; i < len(chars); i++ {
		switch c := chars[i]; {
		case c == '\n' || c == 0x1b:
			return i
		case c == 0x18 || c == 0x1a || c == '\a' && bell:
			return i + 1
		}
	}
	return i
}

func (m *model) escape(c rune) {
	switch c {
	case '7':
		m.saveRow, m.saveCol, m.saved = m.row, m.col, true
	case '8':
		m.restore()
	case 'D':
		m.move(m.below(1), m.col)
	case 'E':
		m.move(m.below(1), 0)
	case 'M':
		m.move(m.below(-1), m.col)
	case 'c':
		m.erase(0, width(m.line()))
		m.move(1, 0)
	}
}

func (m *model) restore() {
	if m.saved {
		m.move(m.saveRow, m.saveCol)
	} else {
		m.move(1, 0)
	}
}

func (m *model) function(params string, c rune) {
	if strings.Trim(params, "0123456789;:") != "" {
		return
	}
	numbers := strings.FieldsFunc(strings.ReplaceAll(strings.ReplaceAll(params, ":", ";"), ";", " ;"), func(r rune) bool { return r == ';' })
	at := func(i, otherwise int) int {
		if i >= len(numbers) || strings.TrimSpace(numbers[i]) == "" {
			return otherwise
		}
		n, err := strconv.Atoi(strings.TrimSpace(numbers[i]))
		if err != nil || n > 9999 {
			return 9999
		}
		return n
	}
	n := max(at(0, 1), 1)
	line := m.line()
	here := m.row == m.shown
	switch c {
	case 'A':
		m.move(m.below(-n), m.col)
	case 'B', 'e':
		m.move(m.below(n), m.col)
	case 'C', 'a':
		m.move(m.row, m.col+n)
	case 'D':
		m.move(m.row, m.col-n)
	case 'E':
		m.move(m.below(n), 0)
	case 'F':
		m.move(m.below(-n), 0)
	case 'G', '`':
		m.move(m.row, n-1)
	case 'H', 'f':
		m.move(n, at(1, 1)-1)
	case 'd':
		m.move(n, m.col)
	case 'r':
		m.move(1, 0)
	case 's':
		m.saveRow, m.saveCol, m.saved = m.row, m.col, true
	case 'u':
		m.restore()
	case 'J', 'K':
		what := at(0, 0)
		switch {
		case c == 'J' && (what == 2 || what == 3), here && c == 'K' && what == 2:
			m.erase(0, width(line))
		case here && what == 0:
			m.erase(m.col, width(line))
		case here && what == 1:
			m.erase(0, m.col+1)
		}
	case 'X':
		if here {
			m.erase(m.col, m.col+n)
		}
	case 'P', '@':
		if !here || m.col >= width(line) {
			return
		}
		w := width(line)
		var row []string
		for col := range w {
			if col >= m.col {
				m.untab(col)
			}
		}
		for col := range w {
			row = append(row, line[col])
		}
		widest := max(farthest, w)
		if c == 'P' {
			row = slices.Delete(row, m.col, min(m.col+n, w))
		} else {
			row = slices.Insert(row, m.col, slices.Repeat([]string{" "}, n)...)
			row = row[:min(len(row), widest)]
		}
		m.cells[m.shown] = map[int]string{}
		for col, s := range row {
			m.cells[m.shown][col] = s
		}
	case 'b':
		if m.last != "" && (here || m.blank()) {
			for ; n > 0 && m.col < farthest; n-- {
				m.print(m.last)
			}
		}
	}
}

func (m *model) erase(a, b int) {
	line := m.line()
	w := width(line)
	if b = min(b, w); a >= b {
		return
	}
	for col := a; col < b; col++ {
		m.untab(col)
		line[col] = " "
	}
	if b == w {
		for col := a; col < b; col++ {
			delete(line, col)
		}
	}
}

// FuzzLog compares the log with the model, and checks that nothing depends on how the bytes
// were cut into writes, that no byte is lost, and that what a line says stood there did.
func FuzzLog(f *testing.F) {
	for i, s := range []string{
		"\x1b[2J\x1b[01;01HHello from Beacon\r\n", "t=12 type=keypress key=a\r\n\r\n\xff\x1b]0;",
		"loading 10%\rloading 50%\rpanic: no root\r\n", "\x1bP+q544E\x1b\\FATAL: no disk\n", "rooot\b \b\bt\n",
		"one\x1b[Btwo\x1b[A\x1b[5Gx\x1b7\x1b[999;999H\x1b8y", "a\tb\r\x1b[3Cx\x1b[2P\x1b[4@\x1b[3b", "\x1b[3;4Ha\x1b[3;4Hb\x1b[1K\x1b[J",
		"é\xc3\r\xa9\xe2\x82\x1b[K\xc2\x9b", "\x1b[1;\n2Hx\x1b[;5Hy\x1b[0;0Hz\x1b[99999999Gw", "a\x1bMb\x1bDc\x1bEd\x1bce\vf", "\x1b(B\x1b[?25l\x1b[>c\x1bkt\x1b\\x",
		"abc\x1b[2Dx\x1b[X\x1b[2Ky\x1b[sz\x1b[u1\x1b[3J2", "\x1b[\r0mab\x18c\x1a\x1b]0;a\ab",
		"00\r\x1b[0X\x800", "0\f\x1b \x80",
	} {
		f.Add([]byte(s), i)
	}
	f.Fuzz(func(t *testing.T, b []byte, at int) {
		if len(b) > 1024 {
			return
		}
		l, whole := serial.NewLog(serial.Config{}), serial.NewLog(serial.Config{})
		at = min(max(at, 0), len(b))
		l.Write(b[:at])
		l.Write(b[at:])
		whole.Write(b)
		if !slices.EqualFunc(l.Lines(), whole.Lines(), func(a, b serial.Line) bool {
			return a.Text == b.Text && slices.Equal(a.Before, b.Before) && a.Complete == b.Complete && string(a.Raw) == string(b.Raw)
		}) {
			t.Errorf("%q is read otherwise if it is cut at %d", b, at)
		}
		l.End(nil)
		if string(l.Bytes()) != string(b) {
			t.Errorf("%q became %q", b, l.Bytes())
		}
		got := l.Lines()
		want := runModel(string(b))
		// The model always has a line after the last newline; the log has one only if a byte came.
		if len(want) == len(got)+1 && want[len(got)] == "" {
			want = want[:len(got)]
		}
		if !slices.Equal(texts(got), want) {
			t.Errorf("%q\n got %q\nwant %q", b, texts(got), want)
		}
		stood := map[string]bool{}
		const few = 50 // the model is run for each of them
		for i := range b[:min(len(b), few)] {
			lines := runModel(string(b[:i+1]))
			stood[lines[len(lines)-1]] = true
		}
		for _, line := range got {
			if strings.ContainsAny(line.Text, "\x1b\r\n\x00") || !line.Complete || line.Cut {
				t.Errorf("%q", line.Text)
			}
			for _, before := range line.Before {
				if !stood[before] && len(b) <= few {
					t.Errorf("%q: %q never stood there", b, before)
				}
			}
		}
	})
}
