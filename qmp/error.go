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

// ClosedError says that the connection has ended. Every pending or later call gets it. Err says
// why: ErrClosed after Close, io.EOF if QEMU closed it.
type ClosedError struct {
	Err error
}

func (e *ClosedError) Error() string { return fmt.Sprintf("qmp: connection ended: %v", e.Err) }
func (e *ClosedError) Unwrap() error { return e.Err }

// ErrClosed means that the connection's owner closed it.
var ErrClosed = errors.New("closed by this side")

// NoAnswerError says that QEMU did not answer before Config.Timeout. Its main loop may be stuck, or
// its process stopped.
type NoAnswerError struct {
	What  string // what QEMU did not do: "answer" or "greet"
	After time.Duration
}

func (e *NoAnswerError) Error() string {
	return fmt.Sprintf("QEMU did not %s within %v", e.What, e.After)
}
