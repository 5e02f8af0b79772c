package replay

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxLine limits a line on the page, in bytes. The files have the whole line.
const maxLine = 4 << 10

// Plain returns one line of text in the readable form that it has on a page: see [Event].
func Plain(s string) string { return plain(s) }

// plain returns one line of text in readable form. It omits terminal escapes, replaces control
// characters by symbols, shows bytes that are not UTF-8 by their numbers, and cuts a very long
// line.
func plain(s string) string {
	cut := 0
	if len(s) > maxLine {
		cut = len(s) - maxLine
		s = s[:maxLine]
	}
	if !isPlain(s) {
		s = inert(s)
	}
	if cut > 0 {
		s += fmt.Sprintf("… (%d more bytes)", cut)
	}
	return s
}

func isPlain(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

func inert(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		if n := escapeLength(s[i:]); n > 0 {
			i += n
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, "‹%02x›", s[i])
		case r == '\t':
			b.WriteString("    ")
		case r == '\n' || r == '\r':
			b.WriteByte(' ')
		case r < 0x20:
			b.WriteRune(0x2400 + r) // ␀ and the like
		case r == 0x7f:
			b.WriteRune('␡')
		case unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Cc, r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r):
			// Among others, these characters change the direction of text.
			fmt.Fprintf(&b, "‹U+%04X›", r)
		default:
			b.WriteRune(r)
		}
		i += n
	}
	return b.String()
}

// escapeLength returns the length of the terminal escape at the start of s, or 0 if there is none
// (ECMA-48: CSI parameters, intermediates and a final byte; strings up to BEL or ST; two bytes
// otherwise).
func escapeLength(s string) int {
	if len(s) < 2 || s[0] != 0x1b {
		return 0
	}
	switch s[1] {
	case '[':
		for i := 2; i < len(s); i++ {
			if s[i] >= 0x40 && s[i] <= 0x7e {
				return i + 1
			}
			if s[i] < 0x20 || s[i] > 0x3f {
				return i
			}
		}
		return len(s)
	case ']', 'P', 'X', '^', '_':
		for i := 2; i < len(s); i++ {
			if s[i] == 0x07 {
				return i + 1
			}
			if s[i] == 0x1b && i+1 < len(s) && s[i+1] == '\\' {
				return i + 2
			}
		}
		return len(s)
	}
	for i := 1; i < len(s); i++ { // intermediates and a final byte
		if s[i] >= 0x30 && s[i] <= 0x7e {
			return i + 1
		}
		if s[i] < 0x20 || s[i] > 0x2f {
			break
		}
	}
	return 0
}
