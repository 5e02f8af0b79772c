package harness

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kballard/go-shellquote"

	"github.com/spicelane/spicelane/harness/verdict"
)

// A Program is the proxy or the client of a lane: Builtin, None or Command(line). The zero Program
// is Builtin.
type Program struct {
	kind programKind
	line string // of a command
}

type programKind uint8

const (
	builtinProgram programKind = iota
	noProgram
	commandProgram
)

// The programs that are not commands.
var (
	// Builtin is this module's own proxy or client.
	Builtin = Program{}
	// None leaves out the proxy or the client.
	None = Program{kind: noProgram}
)

// Command returns a Program that runs another program. Its command line is split as a shell does,
// without expanding anything. It may contain placeholders such as {tls_port} and {vv}; see
// docs/foreign-parts.md.
func Command(line string) Program { return Program{kind: commandProgram, line: line} }

// The words of a command line for Builtin and None. MarshalText marks a command, so that no command
// is taken for one of these words.
const (
	builtinWord = "builtin"
	noneWord    = "none"
	commandMark = "command: "
)

// ParseProgram parses a program as people write it: builtin, none, or a command line. An empty text
// is Builtin.
func ParseProgram(s string) Program {
	switch s {
	case "", builtinWord:
		return Builtin
	case noneWord:
		return None
	}
	return Command(s)
}

// IsCommand tells whether p is another program.
func (p Program) IsCommand() bool { return p.kind == commandProgram }

// String returns p as people write it.
func (p Program) String() string {
	switch p.kind {
	case noProgram:
		return noneWord
	case commandProgram:
		return p.line
	}
	return builtinWord
}

// MarshalText returns p in a form for UnmarshalText.
func (p Program) MarshalText() ([]byte, error) {
	if p.kind == commandProgram {
		return []byte(commandMark + p.line), nil
	}
	return []byte(p.String()), nil
}

// UnmarshalText parses the output of MarshalText, and what ParseProgram accepts.
func (p *Program) UnmarshalText(b []byte) error {
	if line, ok := strings.CutPrefix(string(b), commandMark); ok {
		*p = Command(line)
		return nil
	}
	*p = ParseProgram(string(b))
	return nil
}

// Abs returns p with the relative paths of its command made absolute: the program itself, if it is
// a path, and those in {file:…}. The programs of a lane run in the lane's directory.
func (p Program) Abs() (Program, error) {
	if p.kind != commandProgram {
		return p, nil
	}
	words, err := shellquote.Split(p.line)
	if err != nil || len(words) == 0 {
		return p, nil // Config.Check reports it
	}
	line := p.line // with its quotes as they are
	if first := words[0]; strings.ContainsRune(first, filepath.Separator) && !filepath.IsAbs(first) {
		if words[0], err = filepath.Abs(first); err != nil {
			return p, verdict.Classify("command", err)
		}
		line = strings.Replace(line, first, words[0], 1)
	}
	for i, word := range words {
		for _, name := range placeholders(word) {
			path, ok := strings.CutPrefix(name, filePlaceholder)
			if !ok || filepath.IsAbs(path) {
				continue
			}
			abs, err := filepath.Abs(path)
			if err != nil {
				return p, verdict.Classify("command", err)
			}
			was, is := "{"+name+"}", "{"+filePlaceholder+abs+"}"
			words[i] = strings.ReplaceAll(words[i], was, is)
			line = strings.ReplaceAll(line, was, is)
		}
	}
	if split, err := shellquote.Split(line); err != nil || !slices.Equal(split, words) {
		line = shellquote.Join(words...) // a path needs quotes
	}
	return Command(line), nil
}

// template parses the command line of p, which may contain the known placeholders.
func (p Program) template(known []string) (*template, error) {
	words, err := shellquote.Split(p.line)
	if err == nil && len(words) == 0 {
		err = errors.New("it is empty")
	}
	if err != nil {
		return nil, fmt.Errorf("command %q: %w", p.line, err)
	}
	t := &template{words: words, files: map[string]string{}}
	for _, w := range words {
		for _, name := range placeholders(w) {
			path, isFile := strings.CutPrefix(name, filePlaceholder)
			if !isFile {
				// Other words in braces belong to the program: ${HOME}, a bit of JSON.
				if near := nearly(name, known); near != "" {
					return nil, fmt.Errorf("command %q: there is no placeholder {%s}; did you mean {%s}?", p.line, name, near)
				}
				continue
			}
			b, err := os.ReadFile(path)
			if err != nil {
				return nil, fmt.Errorf("command %q: %w; a path in {file:…} is taken from the directory of the command that brings the lane up", p.line, err)
			}
			t.files[path] = string(b)
		}
	}
	return t, nil
}
