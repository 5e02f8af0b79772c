package headless

import (
	"context"
	"net"
	"os"
	"strconv"

	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/internal/atomicfile"
	"github.com/spicelane/spicelane/spice/vv"
)

// VVThrough returns a copy of f that connects to addr (host:port) instead.
func VVThrough(f *vv.File, addr string) (*vv.File, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, &verdict.Error{Verdict: verdict.Harness, Op: "address " + addr, Err: err}
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return nil, &verdict.Error{Verdict: verdict.Harness, Op: "address " + addr, Err: err}
	}
	g := *f
	g.Host, g.UnixPath = host, ""
	if f.TLSPort != 0 {
		g.Port, g.TLSPort = 0, n
	} else {
		g.Port = n
	}
	return &g, nil
}

// ReadVV reads the virt-viewer file at path.
func ReadVV(path string) (*vv.File, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return vv.Parse(path, b)
}

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
