// Package ndjson reads and writes the lines of the control socket: one JSON value
// each.
package ndjson

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"strings"
)

// Read reads up to a newline and returns the line without it and without
// surrounding white space. Of a line longer than limit it returns the first
// limit bytes and tooLong, having read it to its end. A last line without a
// newline is no line: the client went in the middle of it.
func Read(r *bufio.Reader, limit int) (text []byte, tooLong bool, err error) {
	for {
		part, err := r.ReadSlice('\n')
		complete := err == nil
		if complete {
			part = part[:len(part)-1]
		} else if !errors.Is(err, bufio.ErrBufferFull) {
			return nil, false, err
		}
		if room := limit - len(text); len(part) > room {
			part, tooLong = part[:room], true
		}
		text = append(text, part...)
		if complete {
			return trimSpace(text), tooLong, nil
		}
	}
}

// trimSpace cuts JSON's white space off both ends.
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
