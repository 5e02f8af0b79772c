package qmp

import (
	"errors"
	"fmt"
	"time"
)

// Classes of errors, from QEMU's qapi/error.json.
const (
	ClassGeneric         = "GenericError"
	ClassCommandNotFound = "CommandNotFound"
	ClassDeviceNotFound  = "DeviceNotFound"
	ClassKVMMissingCap   = "KVMMissingCap"
)

// Error is QEMU's refusal of a command.
type Error struct {
	Command string // the command refused
	Class   string // such as ClassGeneric
	Desc    string // QEMU's sentence
}

func (e *Error) Error() string {
	s := "qmp: "
	if e.Command != "" {
		s += e.Command + ": "
	}
	s += e.Desc
	if e.Class != "" && e.Class != ClassGeneric {
		s += " (" + e.Class + ")"
	}
	return s
}

// ClosedError is the end of a connection. Every call under way or made later
// gets it; Err says why it ended and is ErrClosed after Close, io.EOF when
// QEMU closed.
type ClosedError struct {
	Err error
}

func (e *ClosedError) Error() string { return fmt.Sprintf("qmp: connection ended: %v", e.Err) }
func (e *ClosedError) Unwrap() error { return e.Err }

// ErrClosed is why a connection ended that its owner closed.
var ErrClosed = errors.New("closed by this side")

// NoAnswerError says that QEMU was connected and silent: Config.Timeout has passed.
// Its main loop may be stuck, or its process stopped.
type NoAnswerError struct {
	What  string // what QEMU did not do: "answer" or "greet"
	After time.Duration
}

func (e *NoAnswerError) Error() string {
	return fmt.Sprintf("QEMU did not %s within %v", e.What, e.After)
}
