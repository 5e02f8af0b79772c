// Package verdict says whose fault a failure is: the product's, the harness's or the host's. It has
// the error type with a verdict, the rule that gives any other error a verdict, and the format of
// verdict.json.
//
// It imports only the standard library, so that a program that reads verdicts does not link QEMU's
// package. Errors of other packages take part through their methods, see [Judge].
package verdict

import (
	"errors"
	"fmt"
)

// A Kind says whose fault a failure is. verdict.json, test output, exit statuses and the timeline
// all use these words.
type Kind string

const (
	// Product: what is under test (guest, QEMU as the guest's machine, proxy, client) did not do
	// what was asserted.
	Product Kind = "product"
	// Harness: the harness was used wrongly or broke: usage, sockets, parsing, an internal timeout.
	Harness Kind = "harness"
	// Host: this computer lacks something: QEMU, firmware, KVM, disk, a free port.
	Host Kind = "host"
)

// A Hop is a place on the path of a picture from the guest to the viewer, or of a key the other
// way. It says where a product failed.
type Hop string

const (
	// HopGuest: the software in the machine, firmware included.
	HopGuest Hop = "guest"
	// HopQEMU: the machine itself and its SPICE server.
	HopQEMU Hop = "qemu"
	// HopProxy: the SPICE proxy.
	HopProxy Hop = "proxy"
	// HopClient: the client.
	HopClient Hop = "client"
	// HopPath: somewhere between QEMU's own picture and the client's. It is not known whether the
	// SPICE server, the proxy or the client is at fault.
	HopPath Hop = "path"
)

// ExitCode returns the exit status for k: 1 for Product, 2 for Harness, 3 for Host.
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

// An Error is a failure with its verdict. Every error that package harness returns is one, or wraps
// one.
type Error struct {
	Verdict Kind
	// Hop says where it failed; empty if unknown.
	Hop Hop
	// Op says what was being done, in a few words: "qemu", "await banner".
	Op string
	// Err says what went wrong.
	Err error
	// Hint says what the reader can do about it; may be empty.
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

// Format writes the verdict before the message for %+v, which test assertions use to print an
// error.
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

// plainState is a fmt.State without the plus flag, which would mean quoting for text.
type plainState struct{ fmt.State }

func (p plainState) Flag(c int) bool { return c != '+' && p.State.Flag(c) }

// Of returns whose fault err is. An error without a verdict counts as Harness. A lack of file
// descriptors is Host, whatever failed because of it.
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

// HopOf returns where err says that it failed. It asks the outermost [Error] with a hop, or an
// error with a method Hop. It returns "" if none knows.
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

// Details returns the long form of an error: QEMU's argv, the last lines on the serial console and
// on stderr. It returns "" if there is none.
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
