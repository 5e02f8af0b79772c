// Package ndjson reads and writes the lines of the control socket: one JSON value
// each.
package ndjson

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
)

// A Reader reads lines. Make it with [NewReader].
type Reader struct {
	r *bufio.Reader
	// last is the length of the last line that did not fit into r's buffer. The next such line
	// probably has the same length, so reading into a buffer of that size saves copying.
	last int
}

// NewReader returns a reader of lines from r.
func NewReader(r io.Reader) *Reader {
	const usual = 64 << 10 // most lines are shorter
	return &Reader{r: bufio.NewReaderSize(r, usual)}
}

// Read reads up to a newline and returns the line without it and without surrounding white space.
// If the line is longer than limit, it skips the rest and returns the first limit bytes and
// tooLong. A last line without a newline does not count: the client disconnected in the middle of
// it.
func (r *Reader) Read(limit int) (text []byte, tooLong bool, err error) {
	for {
		part, err := r.r.ReadSlice('\n')
		complete := err == nil
		if complete {
			part = part[:len(part)-1]
		} else if !errors.Is(err, bufio.ErrBufferFull) {
			return nil, false, err
		}
		if room := limit - len(text); len(part) > room {
			part, tooLong = part[:room], true
		}
		if text == nil && !complete {
			text = make([]byte, 0, max(r.last, len(part)))
		}
		text = append(text, part...)
		if complete {
			if len(text) > r.r.Size() {
				r.last = len(text)
			}
			return trimSpace(text), tooLong, nil
		}
	}
}

// trimSpace removes JSON's white space at both ends.
func trimSpace(b []byte) []byte {
	isSpace := func(c byte) bool { return c == ' ' || c == '\t' || c == '\r' }
	for len(b) > 0 && isSpace(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && isSpace(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

// Marshal encodes one line without its newline. Unlike json.Marshal it leaves
// <, > and & readable.
func Marshal(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	b := buf.Bytes()
	return b[:len(b)-1], nil
}

// Abbreviate shortens a JSON value for a message.
func Abbreviate(raw []byte) string {
	const most = 40
	s := strings.ToValidUTF8(string(raw), "�")
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	if s == "" {
		return "empty"
	}
	return s
}
