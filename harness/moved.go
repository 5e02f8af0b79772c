package harness

import (
	"github.com/spicelane/spicelane/harness/host"
	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/timeline"
	"github.com/spicelane/spicelane/harness/verdict"
)

// Names that moved to packages of their own. They stay for one release.

// Deprecated: use the types of packages verdict and registry.
type (
	// Deprecated: use verdict.Kind.
	Verdict = verdict.Kind
	// Deprecated: use verdict.Error.
	Fault = verdict.Error
	// Deprecated: use verdict.Report.
	VerdictReport = verdict.Report
	// Deprecated: use verdict.ConsoleError.
	ConsoleError = verdict.ConsoleError
	// Deprecated: use registry.State.
	State = registry.State
	// Deprecated: use registry.Step.
	Step = registry.Step
)

// Deprecated: use the constants of packages verdict, timeline, registry and host.
const (
	Product         = verdict.Product
	Harness         = verdict.Harness
	Host            = verdict.Host
	VerdictFile     = verdict.File
	TimelineFile    = timeline.File
	StateStarting   = registry.StateStarting
	StateReady      = registry.StateReady
	StateFailed     = registry.StateFailed
	StateStopped    = registry.StateStopped
	EnvTimeoutScale = host.EnvTimeoutScale
)

// VerdictOf returns whose fault err is.
//
// Deprecated: use verdict.Of.
func VerdictOf(err error) verdict.Kind { return verdict.Of(err) }

// CacheDir returns where lanes keep what they can use again.
//
// Deprecated: use host.CacheDir.
func CacheDir() string { return host.CacheDir() }
