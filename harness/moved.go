package harness

import (
	"github.com/spicelane/spicelane/harness/timeline"
	"github.com/spicelane/spicelane/harness/verdict"
)

// Names that moved to packages of their own. They stay for one release.

// Deprecated: use the types of package verdict.
type (
	// Deprecated: use verdict.Kind.
	Verdict = verdict.Kind
	// Deprecated: use verdict.Error.
	Fault = verdict.Error
	// Deprecated: use verdict.Report.
	VerdictReport = verdict.Report
	// Deprecated: use verdict.ConsoleError.
	ConsoleError = verdict.ConsoleError
)

// Deprecated: use verdict.Product, verdict.Harness, verdict.Host, verdict.File and timeline.File.
const (
	Product      = verdict.Product
	Harness      = verdict.Harness
	Host         = verdict.Host
	VerdictFile  = verdict.File
	TimelineFile = timeline.File
)

// VerdictOf returns whose fault err is.
//
// Deprecated: use verdict.Of.
func VerdictOf(err error) verdict.Kind { return verdict.Of(err) }
