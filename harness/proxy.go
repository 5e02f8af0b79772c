package harness

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"gopkg.in/yaml.v3"

	"github.com/spicelane/spicelane/harness/headless"
	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/sources"
	"github.com/spicelane/spicelane/spice/pki"
	"github.com/spicelane/spicelane/spice/proxy"
	"github.com/spicelane/spicelane/spice/vv"
)

// laneSource is the name of the source of a lane's console.
const laneSource = "spicelane"

// unixBackend tells whether QEMU's SPICE server uses a unix socket: our own proxy supports that,
// other programs may not. A lane that asks for a compression has a TCP port: on a unix socket
// spice-server sends bitmaps as they are, whatever its configuration asks for.
func (l *Lane) unixBackend() bool {
	return l.cfg.Proxy == Builtin && !l.cfg.BackendTLS && l.cfg.Compression == ""
}

// console describes QEMU's SPICE server in the form of a source.
func (l *Lane) console() proxy.Console {
	if l.standIn != nil {
		return l.standIn.console
	}
	mc := l.machine().Config()
	c := proxy.Console{
		Source: laneSource, UUID: l.uuid, Name: l.cfg.name(), Hypervisor: "localhost",
		Ticket: l.currentTicket(mc.Spice.Ticket),
	}
	addr := l.machine().Spice()
	if addr.Unix != "" {
		c.Unix = addr.Unix
		return c
	}
	c.HypervisorIP, c.InsecurePort, c.SecurePort = addr.Host, addr.Port, addr.TLSPort
	if l.backendPKI != nil {
		c.CACert, c.HostSubject = l.backendPKI.CACert, l.backendPKI.HostSubject
	}
	return c
}

// proxiedConsole returns the console for the proxy: that of the witness, if there is one.
func (l *Lane) proxiedConsole() proxy.Console {
	c := l.console()
	if l.witness != nil {
		c.Unix, c.HypervisorIP, c.InsecurePort = "", "127.0.0.1", l.witness.relay.Port()
	}
	return c
}

// sourcesYAML returns the console as a sources.yaml.
func sourcesYAML(c proxy.Console) ([]byte, error) {
	type entry struct {
		UUID         string `yaml:"uuid"`
		Name         string `yaml:"name"`
		Hypervisor   string `yaml:"hypervisor"`
		HypervisorIP string `yaml:"hypervisor_ip,omitempty"`
		InsecurePort int    `yaml:"insecure_port,omitempty"`
		SecurePort   int    `yaml:"secure_port,omitempty"`
		Unix         string `yaml:"unix,omitempty"`
		Ticket       string `yaml:"ticket"`
		HostSubject  string `yaml:"host_subject,omitempty"`
		CACert       string `yaml:"ca_cert,omitempty"`
	}
	type source struct {
		Source   string  `yaml:"source"`
		Type     string  `yaml:"type"`
		Consoles []entry `yaml:"consoles"`
	}
	return yaml.Marshal([]source{{Source: c.Source, Type: "static", Consoles: []entry{{
		UUID: c.UUID, Name: c.Name, Hypervisor: c.Hypervisor, HypervisorIP: c.HypervisorIP,
		InsecurePort: c.InsecurePort, SecurePort: c.SecurePort, Unix: c.Unix,
		Ticket: c.Ticket, HostSubject: c.HostSubject, CACert: string(c.CACert),
	}}}})
}

// startProxy starts the proxy in front of QEMU's SPICE server.
func (b *bringUp) startProxy(ctx context.Context, detail *string) error {
	var err error
	switch {
	case b.cfg.Proxy == None:
		*detail = "none wanted"
		return b.directVV()
	case b.cfg.Proxy.IsCommand():
		err = b.foreignProxy(ctx)
	case b.cfg.Processes:
		err = b.childProxy(ctx)
	default:
		err = b.innerProxy(ctx)
	}
	if err != nil {
		return err
	}
	s := b.State()
	*detail = "tls on " + s.Proxy.TLSAddr
	return nil
}

// currentTicket returns QEMU's present ticket, which is first until ChangeTicket.
func (l *Lane) currentTicket(first string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return or(l.ticket, first)
}

// A laneConsole is a source of one console, whose ticket can be changed.
type laneConsole struct {
	now atomic.Pointer[sources.Static]
}

func (s *laneConsole) set(c proxy.Console) error {
	static, err := sources.NewStatic(laneSource, c)
	if err != nil {
		return verdict.Classify("sources", err)
	}
	s.now.Store(static)
	return nil
}

func (s *laneConsole) Name() string { return laneSource }

func (s *laneConsole) Consoles(ctx context.Context) ([]sources.Console, error) {
	return s.now.Load().Consoles(ctx)
}

func (s *laneConsole) Console(ctx context.Context, uuid string) (sources.Console, error) {
	return s.now.Load().Console(ctx, uuid)
}

// innerProxy runs the proxy inside this process.
func (b *bringUp) innerProxy(ctx context.Context) error {
	bundle, err := pki.New(pki.Config{})
	if err != nil {
		return verdict.Classify("proxy certificate", err)
	}
	b.secrets.addKey("key of the proxy's certificate", bundle.ServerKey)
	b.secrets.addKey("key of the proxy's CA", bundle.CAKey)
	src := &laneConsole{}
	if err := src.set(b.proxiedConsole()); err != nil {
		return err
	}
	catalog, err := sources.NewCatalog(src)
	if err != nil {
		return verdict.Classify("sources", err)
	}
	b.source = src
	log, closeLog, err := partLog(b.dir, "proxy")
	if err != nil {
		return errors.Join(err, catalog.Close())
	}
	b.apiToken = b.newSecret("token of the proxy's API")
	p, err := headless.StartProxy(ctx, headless.ProxyConfig{
		Config: proxy.Config{TLS: bundle, Consoles: catalog, APIToken: b.apiToken, Logger: log, OnEvent: b.proxyEvent, Takeover: b.cfg.Takeover},
		KeepVV: b.run.File("console.vv"), KeepSource: laneSource, KeepUUID: b.uuid,
	})
	if err != nil {
		return errors.Join(err, closeLog(), catalog.Close())
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = p.Wait() // err has it, too
	}()
	b.proxy = &part{done: done, err: p.Wait, stop: sync.OnceValue(func() error {
		err := p.Close()
		<-done
		return errors.Join(err, catalog.Close(), closeLog())
	})}
	b.ownProxy = p
	b.spice.count(func() (in, out uint64) {
		r := p.Relayed()
		return r.FromClient, r.FromServer
	})
	b.newVV = func(ctx context.Context) (*vv.File, error) { return p.VV(ctx, laneSource, b.uuid) }
	b.proxyIsAt(headless.Ready{Addr: p.Addr(), TLSAddr: p.TLSAddr(), API: "http://" + p.APIAddr()}, 0)
	return nil
}

// proxyEvent writes the proxy's audit events to the timeline.
func (l *Lane) proxyEvent(e proxy.Event) {
	f := map[string]any{"event": e.Kind}
	if e.Channel != "" {
		f["channel"] = e.Channel
	}
	if e.Reason != "" {
		f["reason"] = e.Reason
	}
	if e.Err != nil {
		f["error"] = e.Err.Error()
	}
	l.log.AddAt(e.Time, "proxy", f)
}

func (b *bringUp) proxyIsAt(r headless.Ready, pid int) {
	b.setState(func(s *registry.State) {
		s.PIDs.Proxy = pid
		s.Proxy = registry.ProxyAddrs{Addr: r.Addr, TLSAddr: r.TLSAddr, API: r.API}
		s.VV = b.run.File("console.vv")
	})
}

// childProxy runs the proxy as a separate process. It passes sources and API token through a pipe,
// so that no file ever contains them.
func (b *bringUp) childProxy(ctx context.Context) error {
	list, err := sourcesYAML(b.proxiedConsole())
	if err != nil {
		return verdict.Classify("sources", err)
	}
	b.apiToken = b.newSecret("token of the proxy's API")
	var ready headless.Ready
	b.proxy, ready, err = playPart(ctx, b.dir, "proxy", headless.Role{Proxy: &headless.ProxyRole{
		Sources: string(list), APIToken: b.apiToken, Takeover: b.cfg.Takeover,
		KeepVV: b.run.File("console.vv"), KeepSource: laneSource, KeepUUID: b.uuid}})
	var known *verdict.Error
	if err != nil && !errors.As(err, &known) {
		return &verdict.Error{Verdict: verdict.Harness, Op: "proxy", Err: err}
	} else if err != nil {
		return err
	}
	b.newVV = func(ctx context.Context) (*vv.File, error) {
		return fetchVV(ctx, fmt.Sprintf("%s/console/proxy/%s/%s/console.vv", ready.API, laneSource, b.uuid), b.apiToken)
	}
	b.countRelayed(ready.API)
	b.proxyIsAt(ready, b.proxy.pid)
	return nil
}
