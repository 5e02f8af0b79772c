package main

import (
	"errors"
	"io"
	"os"
	"sync/atomic"
	"syscall"

	"github.com/spicelane/spicelane/harness/termview"
)

// A standardOutput is standard output. It keeps the first error of writing to it, because most
// commands print without looking whether that worked.
type standardOutput struct {
	io.Writer
	failed atomic.Pointer[error]
}

func (o *standardOutput) Write(b []byte) (int, error) {
	n, err := o.Writer.Write(b)
	if err != nil {
		o.failed.CompareAndSwap(nil, &err)
	}
	return n, err
}

// err returns the first error, or nil. A reader that wants no more is none.
func (o *standardOutput) err() error {
	if err := o.failed.Load(); err != nil && !errors.Is(*err, syscall.EPIPE) {
		return *err
	}
	return nil
}

// fileOf returns the file that w writes to, if it is one.
func fileOf(w io.Writer) (*os.File, bool) {
	if o, ok := w.(*standardOutput); ok {
		w = o.Writer
	}
	f, ok := w.(*os.File)
	return f, ok
}

// isTerminalWriter tells whether w is a terminal. Only terminals get colour and rewritten lines.
func isTerminalWriter(w io.Writer) bool {
	f, ok := fileOf(w)
	return ok && termview.IsTerminal(f)
}
