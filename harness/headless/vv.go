package headless

import (
	"context"

	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/internal/atomicfile"
	"github.com/spicelane/spicelane/spice/vv"
)

// WriteVV writes f to path atomically, so that a reader finds a complete file.
func WriteVV(path string, f *vv.File) error {
	b, err := f.MarshalText()
	if err == nil {
		err = atomicfile.Write(path, b, 0o600)
	}
	return verdict.Classify("virt-viewer file", err)
}

// A VVSource returns a virt-viewer file, each time with a new token.
type VVSource func(ctx context.Context) (*vv.File, error)
