// Package verdict says whose fault a failure is: the product's, the harness's or
// the host's. It has the error that carries the verdict, the rule that gives one to
// any other error, and the file that a lane leaves behind.
//
// It needs nothing but the standard library, so that a program that reads verdicts
// links no QEMU. An error of another package takes part by having a method, see
// [Judge].
package verdict

import (
	"errors"
	"fmt"
)

// A Kind says whose fault a failure is. The words are those of verdict.json and the
// same everywhere: test output, exit codes, timeline.
type Kind string

const (
	// Product: what is under test (guest, QEMU as the guest's machine,
	// proxy, client) did not do what was asserted.
	Product Kind = "product"
	// Harness: the harness was used wrongly or broke: usage, sockets,
	// parsing, a timeout of its own machinery.
	Harness Kind = "harness"
	// Host: this computer lacks something: QEMU, firmware, KVM, disk, a
	// free port.
	Host Kind = "host"
)

// A Hop is a place on the way of a picture from the guest to whoever looks, or of a key
// the other way. It says where a product failed.
type Hop string

const (
	// HopGuest: what runs in the machine, its firmware included.
	HopGuest Hop = "guest"
	// HopQEMU: the machine itself and its SPICE server.
	HopQEMU Hop = "qemu"
	// HopProxy: the SPICE proxy.
	HopProxy Hop = "proxy"
	// HopClient: the client.
	HopClient Hop = "client"
	// HopPath: somewhere between QEMU's own picture and the client's; which of SPICE
	// server, proxy and client it was is not known.
	HopPath Hop = "path"
)

// ExitCode returns the exit status that stands for k on a command line: 1 for
// Product, 2 for Harness, 3 for Host.
func (k Kind) ExitCode() int {
	switch k {
	case Product:
		return 1
	case Host:
		return 3
	default:
		return 2
	}
}

// An Error is a failure with its verdict. Every error that leaves package harness is
// one, or wraps one.
type Error struct {
	Verdict Kind
	// Hop says where it failed; empty if that is not known.
	Hop Hop
	// Op is what was being done, a few words: "qemu", "await banner".
	Op string
	// Err is what went wrong.
	Err error
	// Hint is what the reader can do about it; may be empty.
	Hint string
}

func (e *Error) Error() string {
	s := e.Err.Error()
	if e.Op != "" {
		s = e.Op + ": " + s
	}
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// Format writes the verdict before the message for %+v, which is how assertions
// of tests print an error.
func (e *Error) Format(s fmt.State, verb rune) {
	if verb == 'v' && s.Flag('+') {
		fmt.Fprintf(s, "%s fault", e.Verdict)
		if hop := HopOf(e); hop != "" {
			fmt.Fprintf(s, " (%s)", hop)
		}
		fmt.Fprint(s, ": ")
	}
	fmt.Fprintf(s, fmt.FormatString(plainState{s}, verb), e.Error())
}

// plainState is a fmt.State without the plus flag, which means quoting for text.
type plainState struct{ fmt.State }

func (p plainState) Flag(c int) bool { return c != '+' && p.State.Flag(c) }

// Of returns whose fault err is. An error that no [Error] wraps counts as the
// harness's: it should have been classified. A lack of descriptors is the host's,
// whatever failed by it.
func Of(err error) Kind {
	if outOfDescriptors(err) {
		return Host
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Verdict
	}
	return Harness
}

// HopOf returns where err says that it failed: by the outermost [Error] that knows, or
// by an error with a method of that name. It is empty if nobody knows.
func HopOf(err error) Hop {
	for {
		var e *Error
		if !errors.As(err, &e) {
			break
		}
		if e.Hop != "" {
			return e.Hop
		}
		err = e.Err
	}
	var knows interface{ Hop() Hop }
	if errors.As(err, &knows) {
		return knows.Hop()
	}
	return ""
}

// Details returns the long form of what stands behind an error: QEMU's argv, the last
// lines on the serial console and on its stderr. It is empty if there is none.
func (e *Error) Details() string {
	var r interface{ Report() string }
	if errors.As(e.Err, &r) {
		return r.Report()
	}
	var d interface{ Details() string }
	if errors.As(e.Err, &d) {
		return d.Details()
	}
	return ""
}
