package serial

import (
	"fmt"
	"regexp"
	"strings"
)

// A Matcher picks a line of a console.
type Matcher struct {
	what  string
	match func(Line) bool
}

// IsZero reports whether m is the zero Matcher, which matches nothing.
func (m Matcher) IsZero() bool { return m.match == nil }

// Match reports whether the line is the one.
func (m Matcher) Match(l Line) bool { return m.match != nil && m.match(l) }

// String says what is looked for.
func (m Matcher) String() string { return m.what }

// Contains matches a line with the substring in its text, as soon as it is
// there: the line need not be complete.
func Contains(sub string) Matcher {
	return Matcher{fmt.Sprintf("%q", sub), func(l Line) bool { return strings.Contains(l.Text, sub) }}
}

// Matches matches a complete line by a regular expression, so that a number
// at its end is never cut short.
func Matches(re *regexp.Regexp) Matcher {
	return Matcher{"a line matching /" + re.String() + "/", func(l Line) bool { return l.Complete && re.MatchString(l.Text) }}
}

// Prompt matches by a regular expression a line that may be incomplete, such
// as one that ends in "login: ".
func Prompt(re *regexp.Regexp) Matcher {
	return Matcher{"a prompt matching /" + re.String() + "/", func(l Line) bool { return re.MatchString(l.Text) }}
}

// Func matches by f; what says in an error what was looked for. f is called
// again for an incomplete line that has grown.
func Func(what string, f func(Line) bool) Matcher { return Matcher{what, f} }

// control matches the terminal control sequences that firmware and kernels
// send on a serial console (ECMA-48 CSI, OSC, and two-byte escapes).
var control = regexp.MustCompile("\x1b(?:\\[[0-?]*[ -/]*[@-~]|\\][^\x07\x1b]*(?:\x07|\x1b\\\\)|[ -/]*[0-Z\\\\^-~])")

// clean returns the text of a line for people and matchers.
func clean(raw []byte) string {
	s := strings.ToValidUTF8(string(raw), "\uFFFD")
	s = strings.TrimRight(s, "\r\n")
	if strings.IndexByte(s, '\x1b') >= 0 {
		s = control.ReplaceAllString(s, "")
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f {
			return -1
		}
		return r
	}, s)
}
