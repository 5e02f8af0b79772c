// Package inert makes the output of guests and other programs harmless: control characters, and
// characters that change the direction of text, become visible text.
package inert

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A Writer shows control characters as text. So a guest's output cannot move the cursor of the
// user's terminal, change its window title or make it type answers. Line breaks and tabs stay; an
// escape is shown as ^[.
type Writer struct {
	// W gets the harmless text.
	W io.Writer

	left []byte // a carriage return, or the beginning of a character, that waits for the rest
}

// Write implements [io.Writer].
func (t *Writer) Write(p []byte) (int, error) {
	in := append(t.left, p...)
	t.left = nil
	out := make([]byte, 0, len(in)+len(in)/8)
	for len(in) > 0 {
		if !utf8.FullRune(in) || len(in) == 1 && in[0] == '\r' {
			t.left = append([]byte(nil), in...)
			break
		}
		r, n := utf8.DecodeRune(in)
		switch {
		case r == utf8.RuneError && n == 1:
			out = fmt.Appendf(out, `\x%02x`, in[0])
		case r == '\r' && len(in) > 1 && in[1] == '\n':
			// A line break of two characters, as serial consoles print it.
		case r == '\n' || r == '\t':
			out = append(out, byte(r))
		case r < 0x20:
			out = append(out, '^', byte(r)+'@')
		case r == 0x7f:
			out = append(out, "^?"...)
		case r >= 0x80 && r < 0xa0 || r == 0x2028 || r == 0x2029 || unicode.Is(unicode.Bidi_Control, r):
			// C1 controls, and characters that change the direction of text.
			out = fmt.Appendf(out, "<U+%04X>", r)
		default:
			out = append(out, in[:n]...)
		}
		in = in[n:]
	}
	if _, err := t.W.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Text returns s with its control characters shown as text.
func Text(s string) string {
	var b strings.Builder
	t := &Writer{W: &b}
	_, _ = t.Write([]byte(s)) // a Builder never fails
	switch {
	case len(t.left) == 0:
	case t.left[0] == '\r':
		b.WriteString("^M") // what waited for a line feed
	default:
		b.WriteString("\uFFFD")
	}
	return b.String()
}
