package proxy

import (
	"context"

	"github.com/spicelane/spicelane/spice/console"
)

// Console is [console.Console].
type Console = console.Console

// UnknownConsoleError is [console.UnknownError].
type UnknownConsoleError = console.UnknownError

// Catalog has the proxy's consoles. It must be safe for concurrent use.
type Catalog interface {
	// Consoles returns all consoles; their tickets may be missing. With a [*console.PartialError]
	// they are those of the sources that answered. Any other error means that the sources are not
	// loaded (yet), and makes the proxy unhealthy.
	Consoles(ctx context.Context) ([]Console, error)

	// Console returns one console with its ticket. It is called for every channel, so that a
	// changed port or ticket takes effect at once. The error is an [*UnknownConsoleError] if there
	// is no such console.
	Console(ctx context.Context, source, uuid string) (Console, error)
}

// SourceErrors is an optional interface of a [Catalog], for /metrics.
type SourceErrors interface {
	// SourceErrors returns how many errors each source has had.
	SourceErrors() map[string]uint64
}
