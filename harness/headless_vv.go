package harness

import (
	"net"
	"os"
	"strconv"

	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/internal/atomicfile"
	"github.com/spicelane/spicelane/spice/vv"
)

// VVThrough is f, led to addr (host:port) instead of where it leads.
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

func readVV(path string) (*vv.File, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return vv.Parse(path, b)
}

func writeVV(path string, f *vv.File) error {
	b, err := f.MarshalText()
	if err == nil {
		err = atomicfile.Write(path, b, 0o600)
	}
	return verdict.Classify("virt-viewer file", err)
}
