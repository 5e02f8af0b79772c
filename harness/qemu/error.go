package qemu

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spicelane/spicelane/harness/verdict"
)

// HostError says what the host lacks and how to fix that. A command that ends with one exits 3; a
// test skips or fails according to its Policy.
type HostError struct {
	What string // a sentence without its full stop
	Hint string // what to do, often a command; may be empty
	Err  error  // the cause; may be nil
}

func (e *HostError) Error() string { return withHint(e.What, e.Hint) }
func (e *HostError) Unwrap() error { return e.Err }

// Verdict returns Host.
func (e *HostError) Verdict() verdict.Kind { return verdict.Host }

// ConfigError says what is wrong with the configuration of a machine, or with a file that it names.
// A command that ends with one exits 2.
type ConfigError struct {
	What string // a sentence without its full stop
	Hint string // what to do; may be empty
	Err  error  // the cause; may be nil
}

func (e *ConfigError) Error() string { return withHint(e.What, e.Hint) }
func (e *ConfigError) Unwrap() error { return e.Err }

// Verdict returns Harness: the author of the configuration can fix it.
func (e *ConfigError) Verdict() verdict.Kind { return verdict.Harness }

func withHint(what, hint string) string {
	if hint == "" {
		return what
	}
	return what + "; " + hint
}

// Kind says how a machine ended.
type Kind string

const (
	KindShutdown      Kind = "shutdown"       // the guest switched itself off
	KindPanicked      Kind = "panicked"       // the guest reported a panic
	KindResetLoop     Kind = "reset-loop"     // the guest resets itself over and over
	KindInternalError Kind = "internal-error" // the accelerator gave up
	KindDiskFull      Kind = "disk-full"      // the host's disk is full
	KindIOError       Kind = "io-error"       // the host failed to read or write the disk image
	KindSignal        Kind = "signal"         // QEMU was ended by a signal from outside
	KindCrash         Kind = "crash"          // QEMU crashed: a segmentation fault, a failed assertion
	KindExit          Kind = "exit"           // QEMU exited by itself
	KindKilled        Kind = "killed"         // Machine.Kill
	KindClosed        Kind = "closed"         // Machine.Close
)

// ExitError is the end of a machine. Everyone who waits for the machine gets it at once.
type ExitError struct {
	Kind   Kind
	Reason string   // one sentence without its full stop
	Argv   []string // to run it again; without any secret
	Stderr []string // what QEMU printed last
	Serial []string // what the guest said last
}

// Error returns one line.
func (e *ExitError) Error() string {
	s := "the machine ended: " + e.Reason
	if line := errorLine(e.Stderr); line != "" && (e.Kind == KindExit || e.Kind == KindSignal || e.Kind == KindCrash || e.Kind == KindInternalError) {
		s += fmt.Sprintf("; QEMU said: %q", line)
	}
	return s
}

// Hop returns HopGuest if the guest ended the machine, otherwise HopQEMU.
func (e *ExitError) Hop() verdict.Hop {
	switch e.Kind {
	case KindShutdown, KindPanicked, KindResetLoop:
		return verdict.HopGuest
	}
	return verdict.HopQEMU
}

// Verdict returns whose fault the end of the machine is.
func (e *ExitError) Verdict() verdict.Kind {
	switch e.Kind {
	case KindShutdown, KindPanicked, KindResetLoop, KindCrash:
		return verdict.Product
	case KindInternalError, KindDiskFull, KindIOError, KindSignal:
		// The harness sends QEMU no signal by itself; the kernel does (out of memory), or a person.
		return verdict.Host
	default:
		return verdict.Harness
	}
}

// errorLine returns the most useful line of QEMU's output: the first that mentions an error,
// otherwise the last. It returns "" if QEMU printed only what was requested.
func errorLine(lines []string) string {
	lines = slices.DeleteFunc(slices.Clone(lines), func(l string) bool {
		return strings.Contains(l, "allowing multiple client connections")
	})
	if len(lines) == 0 {
		return ""
	}
	for _, l := range lines {
		low := strings.ToLower(l)
		if strings.Contains(low, "error") || strings.Contains(low, "failed") || strings.Contains(low, "could not") {
			return l
		}
	}
	return lines[len(lines)-1]
}

// Report returns everything known, over several lines.
func (e *ExitError) Report() string {
	var b strings.Builder
	b.WriteString(e.Error() + "\n")
	section(&b, "the guest's last lines", e.Serial)
	section(&b, "QEMU's last lines", e.Stderr)
	b.WriteString("command line:\n" + CommandLine(e.Argv) + "\n")
	return b.String()
}

func section(b *strings.Builder, title string, lines []string) {
	if len(lines) == 0 {
		b.WriteString(title + ": none\n")
		return
	}
	b.WriteString(title + ":\n")
	for _, l := range lines {
		b.WriteString("\t" + l + "\n")
	}
}

// StateError says that a machine could not be restored from a saved state, because the state is
// damaged or belongs to another machine. The machine can still boot.
type StateError struct {
	Path string // the state's file
	Said string // what QEMU says about it; may be empty
	Err  error
}

// Error returns one line.
func (e *StateError) Error() string {
	s := fmt.Sprintf("restore the state in %s: %v", e.Path, e.Err)
	if e.Said != "" {
		s += fmt.Sprintf("; QEMU said: %q", e.Said)
	}
	return s
}

func (e *StateError) Unwrap() error { return e.Err }

// BootError says that the machine ran, but its guest did not print what shows that it has booted.
type BootError struct {
	Wanted string        // what was awaited on the console
	Resets int           // how often the machine was reset meanwhile
	After  time.Duration // since the machine's start
	Argv   []string
	Stderr []string
	Serial []string // the console's last lines
	Err    error    // why waiting ended
}

// Error returns one line.
func (e *BootError) Error() string {
	s := fmt.Sprintf("the guest did not boot: awaited %s on its serial console for %.1f s: %v", e.Wanted, e.After.Seconds(), e.Err)
	if e.Resets > 0 {
		s += fmt.Sprintf("; it was reset %d times meanwhile", e.Resets)
	}
	if n := len(e.Serial); n > 0 {
		return s + fmt.Sprintf("; it said last: %q", e.Serial[n-1])
	}
	return s + "; it said nothing"
}

func (e *BootError) Unwrap() error { return e.Err }

// Awaited returns what was awaited.
func (e *BootError) Awaited() string { return e.Wanted }

// Hop returns HopGuest: the machine ran.
func (e *BootError) Hop() verdict.Hop { return verdict.HopGuest }

// Verdict returns Product: the machine ran, and its guest did not boot.
func (e *BootError) Verdict() verdict.Kind { return verdict.Product }

// Report returns everything known, over several lines.
func (e *BootError) Report() string {
	var b strings.Builder
	b.WriteString(e.Error() + "\n")
	section(&b, "the guest's last lines", e.Serial)
	section(&b, "QEMU's last lines", e.Stderr)
	b.WriteString("command line:\n" + CommandLine(e.Argv) + "\n")
	return b.String()
}
