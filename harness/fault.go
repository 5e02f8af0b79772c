package harness

import (
	"errors"
	"fmt"
)

// A Verdict says whose fault a failure is. The words are those of the
// contract and the same everywhere: test output, exit codes, timeline.
type Verdict string

const (
	// Product: what is under test (guest, QEMU as the guest's machine,
	// proxy, client) did not do what was asserted.
	Product Verdict = "product"
	// Harness: the harness was used wrongly or broke: usage, sockets,
	// parsing, a timeout of its own machinery.
	Harness Verdict = "harness"
	// Host: this computer lacks something: QEMU, firmware, KVM, disk, a
	// free port.
	Host Verdict = "host"
)

// ExitCode is the exit status that stands for v on a command line: 1 for
// Product, 2 for Harness, 3 for Host (contract section 1).
func (v Verdict) ExitCode() int {
	switch v {
	case Product:
		return 1
	case Host:
		return 3
	default:
		return 2
	}
}

// A Fault is a failure with its verdict. Every error that leaves this package
// is one, or wraps one.
type Fault struct {
	Verdict Verdict
	// Op is what was being done, a few words: "qemu", "await banner".
	Op string
	// Err is what went wrong.
	Err error
	// Hint is what the reader can do about it; may be empty.
	Hint string
}

func (f *Fault) Error() string {
	s := f.Err.Error()
	if f.Op != "" {
		s = f.Op + ": " + s
	}
	if f.Hint != "" {
		s += "; " + f.Hint
	}
	return s
}

func (f *Fault) Unwrap() error { return f.Err }

// Format writes the verdict before the message for %+v, which is how assertions
// of tests print an error.
func (f *Fault) Format(s fmt.State, verb rune) {
	if verb == 'v' && s.Flag('+') {
		fmt.Fprintf(s, "%s fault: ", f.Verdict)
	}
	fmt.Fprintf(s, fmt.FormatString(plainState{s}, verb), f.Error())
}

// plainState is a fmt.State without the plus flag, which means quoting for text.
type plainState struct{ fmt.State }

func (p plainState) Flag(c int) bool { return c != '+' && p.State.Flag(c) }

// VerdictOf tells whose fault err is. An error without a verdict of its own
// is the harness's: it should have known.
func VerdictOf(err error) Verdict {
	var f *Fault
	if errors.As(err, &f) {
		return f.Verdict
	}
	return Harness
}
