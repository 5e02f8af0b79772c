package main

import (
	"io"

	"github.com/spicelane/spicelane/internal/inert"
)

// inertText returns s with its control characters shown as text.
func inertText(s string) string { return inert.Text(s) }

// forPeople returns a writer for output of a guest or another program: inert if w is a terminal,
// otherwise w itself.
func forPeople(w io.Writer) io.Writer {
	if isTerminalWriter(w) {
		return &inert.Writer{W: w}
	}
	return w
}
