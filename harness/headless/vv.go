package headless

import (
	"context"

	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/internal/atomicfile"
	"github.com/spicelane/spicelane/spice/vv"
)

// WriteVV writes f to path, where another reader finds it whole.
func WriteVV(path string, f *vv.File) error {
	b, err := f.MarshalText()
	if err == nil {
		err = atomicfile.Write(path, b, 0o600)
	}
	return verdict.Classify("virt-viewer file", err)
}

// A VVSource makes a virt-viewer file with a token of its own each time.
type VVSource func(ctx context.Context) (*vv.File, error)
