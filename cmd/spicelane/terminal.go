package main

import (
	"io"
	"os"

	"github.com/spicelane/spicelane/harness/termview"
)

// isTerminalWriter tells whether w is a terminal. Only terminals get colour and rewritten lines.
func isTerminalWriter(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && termview.IsTerminal(f)
}
