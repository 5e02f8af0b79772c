package harness

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/spicelane/spicelane/harness/headless"
	"github.com/spicelane/spicelane/harness/impair"
	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/internal/hostport"
	"github.com/spicelane/spicelane/spice/vv"
)

// VV returns a virt-viewer file for the lane's console, on the same path as its client. Its token
// is unused if the built-in proxy made it.
func (l *Lane) VV(ctx context.Context) (*vv.File, error) { return l.consoleVV(ctx) }

// throughRelay returns f with the address of the relay between client and proxy, and starts the
// relay if necessary. Without Config.Link it returns f.
func (l *Lane) throughRelay(ctx context.Context, f *vv.File) (*vv.File, error) {
	if l.cfg.Link == nil {
		return f, nil
	}
	// Callers may be concurrent, and must get the same relay.
	l.relayMu.Lock()
	defer l.relayMu.Unlock()
	if l.relay == nil {
		port := f.Port
		if f.TLSPort != 0 {
			port = f.TLSPort
		}
		cfg := impair.Config{Network: "tcp", Addr: hostport.Join(f.Host, port), Profile: *l.cfg.Link, In: l.cfg.impairMode()}
		if f.UnixPath != "" {
			cfg.Network, cfg.Addr = "unix", f.UnixPath
		}
		r, err := impair.Start(ctx, cfg)
		if err != nil {
			return nil, &verdict.Error{Verdict: verdict.Harness, Op: "link", Err: err}
		}
		l.relay = r
		l.undo.push(r.Close)
		l.log.Add("link", map[string]any{"link": l.cfg.Link.String(), "shaped": r.Shaped()})
	}
	return f.Through(l.relay.Addr())
}

// DirectVV returns a virt-viewer file for QEMU itself, with its ticket, to compare the paths with
// and without the proxy.
func (l *Lane) DirectVV() *vv.File {
	c := l.console()
	host := c.HypervisorIP
	if c.Unix != "" {
		host = ""
	}
	return &vv.File{
		Type: "spice", Host: host, Port: c.InsecurePort, TLSPort: c.SecurePort, UnixPath: c.Unix,
		Password: c.Ticket, CA: string(c.CACert), HostSubject: c.HostSubject, Title: fmt.Sprintf("%s, directly", l.cfg.name()),
	}
}

// consoleVV returns a new virt-viewer file for the lane's console.
func (l *Lane) consoleVV(ctx context.Context) (*vv.File, error) {
	f, err := l.newVV(ctx)
	if err != nil {
		return nil, verdict.Classify("virt-viewer file", err)
	}
	l.secrets.add("token of a session", f.Password)
	return l.throughRelay(ctx, f)
}

// directVV makes the lane's virt-viewer file one for QEMU itself.
func (l *Lane) directVV() error {
	// NB: a new one each time: the ticket may have been changed.
	l.newVV = func(context.Context) (*vv.File, error) { return l.DirectVV(), nil }
	return l.publishVV(l.DirectVV())
}

// publishVV writes f to the file that the lane's state names.
func (l *Lane) publishVV(f *vv.File) error {
	path := l.run.File("console.vv")
	if err := headless.WriteVV(path, f); err != nil {
		return err
	}
	l.setState(func(s *registry.State) { s.VV = path })
	return nil
}

// maxVV limits the size of a virt-viewer file; real ones have 2 KiB.
const maxVV = 64 << 10

// fetchVV gets a virt-viewer file from a proxy's API.
func fetchVV(ctx context.Context, url, token string) (*vv.File, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxVV))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		var e struct {
			Error struct{ Code, Message string }
		}
		_ = json.Unmarshal(b, &e)
		return nil, &verdict.Error{Verdict: verdict.Product, Op: url, Err: fmt.Errorf("%s: %s", resp.Status, e.Error.Message)}
	}
	return vv.Parse(url, b)
}
