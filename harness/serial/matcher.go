package serial

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
)

// A Matcher selects a line of a console.
type Matcher struct {
	what  string
	match func(Line) bool
}

// IsZero reports whether m is the zero Matcher, which matches nothing.
func (m Matcher) IsZero() bool { return m.match == nil }

// Match reports whether the line matches.
func (m Matcher) Match(l Line) bool { return m.match != nil && m.match(l) }

// String describes the wanted line.
func (m Matcher) String() string { return m.what }

// Contains matches a line with the substring in its text as soon as it is there. The line need not
// be complete, and may be redrawn later.
func Contains(sub string) Matcher {
	return Matcher{fmt.Sprintf("%q", sub), func(l Line) bool {
		return l.any(func(text string) bool { return strings.Contains(text, sub) })
	}}
}

// Matches matches a complete line by a regular expression, so that a number at its end is never cut
// short.
func Matches(re *regexp.Regexp) Matcher {
	looksAtEnd := looksAtEnd(re)
	return Matcher{"a line matching /" + re.String() + "/", func(l Line) bool {
		return l.Complete && !(looksAtEnd && l.Cut) && l.any(re.MatchString)
	}}
}

// Prompt matches by a regular expression a line that may be incomplete, such
// as one that ends in "login: ".
func Prompt(re *regexp.Regexp) Matcher {
	return Matcher{"a prompt matching /" + re.String() + "/", func(l Line) bool { return l.any(re.MatchString) }}
}

// Pattern matches by a regular expression a line that may be incomplete, as soon as no further text
// can undo the match. An expression that depends on the end of its text (as "$" and "\b" do)
// matches a line that is complete or Still.
func Pattern(re *regexp.Regexp) Matcher {
	looksAtEnd := looksAtEnd(re)
	return Matcher{"a line matching /" + re.String() + "/", func(l Line) bool {
		if looksAtEnd && (!l.Complete && !l.Still || l.Cut) {
			return false
		}
		return l.any(re.MatchString)
	}}
}

// looksAtEnd tells whether more text after a match of re can undo it.
func looksAtEnd(re *regexp.Regexp) bool {
	tree, err := syntax.Parse(re.String(), syntax.Perl)
	if err != nil {
		return true // an expression of another dialect
	}
	return endOps(tree)
}

func endOps(re *syntax.Regexp) bool {
	switch re.Op {
	case syntax.OpEndLine, syntax.OpEndText, syntax.OpWordBoundary, syntax.OpNoWordBoundary:
		return true
	}
	return slices.ContainsFunc(re.Sub, endOps)
}

// Func matches a line if f returns true. what describes the wanted line in errors. f is called
// again for an incomplete line that has grown.
func Func(what string, f func(Line) bool) Matcher { return Matcher{what, f} }
