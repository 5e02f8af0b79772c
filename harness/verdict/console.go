package verdict

import "fmt"

// A ConsoleError says that the guest reported its own failure on its serial console.
type ConsoleError struct {
	// Name is the failure's name: "kernel panic".
	Name string
	// Line is the line that the guest printed.
	Line string
	// Context are the lines before it, oldest first, and the line itself.
	Context []string
}

func (e *ConsoleError) Error() string {
	return fmt.Sprintf("the guest failed: %s: %q on its serial console", e.Name, e.Line)
}

// Verdict returns Product, because the guest itself reported the failure.
func (e *ConsoleError) Verdict() Kind { return Product }

// Hop returns HopGuest.
func (e *ConsoleError) Hop() Hop { return HopGuest }

// Report returns everything that is known, in several lines.
func (e *ConsoleError) Report() string {
	s := e.Error() + "\nthe guest's last lines:\n"
	for _, l := range e.Context {
		s += "\t" + l + "\n"
	}
	return s
}
