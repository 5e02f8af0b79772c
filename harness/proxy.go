package harness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/sources"
	"github.com/spicelane/spicelane/spice/pki"
	"github.com/spicelane/spicelane/spice/proxy"
	"github.com/spicelane/spicelane/spice/vv"
)

// laneSource is the name of the source that a lane's console belongs to.
const laneSource = "spicelane"

// EnvAPIToken is where the proxy's API token may come from.
const EnvAPIToken = "SPICELANE_API_TOKEN"

// unixBackend tells whether QEMU's SPICE server can be on a unix socket: our own
// proxy takes one, other programs may not.
func (l *Lane) unixBackend() bool {
	return l.cfg.proxyKind() == Builtin && !l.cfg.BackendTLS
}

// console describes QEMU's SPICE server as a source does.
func (l *Lane) console() proxy.Console {
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

// sourcesYAML is console as a sources.yaml (contract section 2).
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

// startProxy puts the proxy in front of QEMU's SPICE server.
func (l *Lane) startProxy(ctx context.Context, detail *string) error {
	var err error
	switch {
	case l.cfg.proxyKind() == None:
		*detail = "none wanted"
		return l.directVV()
	case l.cfg.proxyKind() != Builtin:
		err = l.foreignProxy(ctx)
	case l.cfg.Executable != "" || l.cfg.Processes:
		err = l.childProxy(ctx)
	default:
		err = l.innerProxy(ctx)
	}
	if err != nil {
		return err
	}
	s := l.State()
	*detail = "tls on " + s.Proxy.TLSAddr
	return nil
}

// A vvSource makes a virt-viewer file with a token of its own each time.
type vvSource func(ctx context.Context) (*vv.File, error)

// consoleVV is a fresh virt-viewer file for the lane's console.
func (l *Lane) consoleVV(ctx context.Context) (*vv.File, error) {
	f, err := l.newVV(ctx)
	if err != nil {
		return nil, verdict.Classify("virt-viewer file", err)
	}
	return l.throughRelay(ctx, f)
}

// directVV leads straight to QEMU.
func (l *Lane) directVV() error {
	f := l.DirectVV()
	l.newVV = func(context.Context) (*vv.File, error) { return f, nil }
	return l.publishVV(f)
}

// publishVV writes f to where the lane's state says.
func (l *Lane) publishVV(f *vv.File) error {
	path := l.run.file("console.vv")
	if err := writeVV(path, f); err != nil {
		return err
	}
	l.setState(func(s *State) { s.VV = path })
	return nil
}

func writeVV(path string, f *vv.File) error {
	b, err := f.MarshalText()
	if err == nil {
		err = writeFileAtomic(path, b, 0o600)
	}
	return verdict.Classify("virt-viewer file", err)
}

// A ProxyConfig sets up the built-in proxy as a daemon of its own.
type ProxyConfig struct {
	proxy.Config
	// KeepVV, if not empty, is a file that always holds a virt-viewer file with
	// a token that can still be used, for the console KeepSource and KeepUUID.
	KeepVV, KeepSource, KeepUUID string
}

// A Proxy is a running proxy, and the keeper of its virt-viewer file.
type Proxy struct {
	*proxy.Proxy
	keeper *vvKeeper
	once   sync.Once
	err    error
}

// StartProxy starts the proxy.
func StartProxy(cfg ProxyConfig) (*Proxy, error) {
	var k *vvKeeper
	if cfg.KeepVV != "" {
		k = &vvKeeper{
			path: cfg.KeepVV, lifetime: cfg.TokenLifetime,
			wake: make(chan struct{}, 1), stop: make(chan struct{}), stopped: make(chan struct{}),
		}
		if k.lifetime == 0 {
			k.lifetime = proxy.DefaultTokenLifetime
		}
		next := cfg.OnEvent
		cfg.OnEvent = func(e proxy.Event) {
			if e.Kind == proxy.SessionOpened {
				k.spent()
			}
			if next != nil {
				next(e)
			}
		}
	}
	p, err := proxy.Start(cfg.Config)
	if err != nil {
		return nil, verdict.Classify("proxy", err)
	}
	if k != nil {
		k.make = func(ctx context.Context) (*vv.File, error) { return p.VV(ctx, cfg.KeepSource, cfg.KeepUUID) }
		if err := k.renew(); err != nil {
			return nil, errors.Join(err, p.Close())
		}
		go k.run()
	}
	return &Proxy{Proxy: p, keeper: k}, nil
}

// Close ends every session and the keeper. It is idempotent.
func (p *Proxy) Close() error {
	p.once.Do(func() {
		if p.keeper != nil {
			close(p.keeper.stop)
			<-p.keeper.stopped
		}
		p.err = p.Proxy.Close()
	})
	return p.err
}

// A vvKeeper renews a virt-viewer file when its token may have been spent and
// before it expires, so that whoever opens it finds one that works.
type vvKeeper struct {
	path     string
	make     vvSource
	lifetime time.Duration
	wake     chan struct{}
	stop     chan struct{}
	stopped  chan struct{}
}

func (k *vvKeeper) spent() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

func (k *vvKeeper) renew() error {
	ctx, cancel := context.WithTimeout(context.Background(), proxy.DefaultDialTimeout)
	defer cancel()
	f, err := k.make(ctx)
	if err != nil {
		return verdict.Classify("virt-viewer file", err)
	}
	return writeVV(k.path, f)
}

func (k *vvKeeper) run() {
	defer close(k.stopped)
	// Half a lifetime: what is read from the file can be used for as long again.
	tick := time.NewTicker(k.lifetime / 2)
	defer tick.Stop()
	for {
		select {
		case <-k.stop:
			_ = os.Remove(k.path)
			return
		case <-k.wake:
		case <-tick.C:
		}
		// A console that cannot be had now may be back for the next one.
		_ = k.renew()
	}
}

// currentTicket is QEMU's ticket now: the first one until ChangeTicket.
func (l *Lane) currentTicket(first string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return or(l.ticket, first)
}

// laneConsole is a source of one console that can be told a new ticket.
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
func (l *Lane) innerProxy(context.Context) error {
	bundle, err := pki.New(pki.Config{})
	if err != nil {
		return verdict.Classify("proxy certificate", err)
	}
	src := &laneConsole{}
	if err := src.set(l.console()); err != nil {
		return err
	}
	catalog, err := sources.NewCatalog(src)
	if err != nil {
		return verdict.Classify("sources", err)
	}
	l.source = src
	log, closeLog, err := l.partLog("proxy")
	if err != nil {
		return errors.Join(err, catalog.Close())
	}
	l.apiToken = newSecret()
	p, err := StartProxy(ProxyConfig{
		Config: proxy.Config{TLS: bundle, Consoles: catalog, APIToken: l.apiToken, Logger: log, OnEvent: l.proxyEvent},
		KeepVV: l.run.file("console.vv"), KeepSource: laneSource, KeepUUID: l.uuid,
	})
	if err != nil {
		return errors.Join(err, closeLog(), catalog.Close())
	}
	done := make(chan struct{})
	l.proxy = &part{done: done, err: func() error { return nil }, stop: sync.OnceValue(func() error {
		defer close(done)
		return errors.Join(p.Close(), catalog.Close(), closeLog())
	})}
	l.Proxy = p
	l.newVV = func(ctx context.Context) (*vv.File, error) { return p.VV(ctx, laneSource, l.uuid) }
	l.proxyIsAt(Ready{Addr: p.Addr(), TLSAddr: p.TLSAddr(), API: "http://" + p.APIAddr()}, 0)
	return nil
}

// proxyEvent notes the proxy's audit on the timeline.
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

func (l *Lane) proxyIsAt(r Ready, pid int) {
	l.setState(func(s *State) {
		s.PIDs.Proxy = pid
		s.Proxy = ProxyAddrs{Addr: r.Addr, TLSAddr: r.TLSAddr, API: r.API}
		s.VV = l.run.file("console.vv")
	})
}

// childProxy runs the proxy as a process of its own. It gets its sources on its
// standard input and the API's token in its environment, so that no file ever
// holds them.
func (l *Lane) childProxy(ctx context.Context) error {
	list, err := sourcesYAML(l.console())
	if err != nil {
		return verdict.Classify("sources", err)
	}
	l.apiToken = newSecret()
	var ready Ready
	if l.cfg.Executable != "" {
		l.proxy, ready, err = l.readyChild(ctx, child{
			name: "proxy",
			argv: []string{l.cfg.Executable, "proxy", "--sources", "-", "--ready-fd", "3",
				"--keep-vv", l.run.file("console.vv"), "--keep-console", laneSource + "/" + l.uuid},
			env:   []string{EnvAPIToken + "=" + l.apiToken},
			stdin: list,
		})
	} else {
		l.proxy, ready, err = l.playedPart(ctx, PartProxy, partScript{Sources: string(list), APIToken: l.apiToken,
			VV: l.run.file("console.vv"), KeepUUID: l.uuid})
	}
	var known *verdict.Error
	if err != nil && !errors.As(err, &known) {
		return &verdict.Error{Verdict: verdict.Harness, Op: "proxy", Err: err}
	} else if err != nil {
		return err
	}
	l.newVV = func(ctx context.Context) (*vv.File, error) {
		return fetchVV(ctx, fmt.Sprintf("%s/console/proxy/%s/%s/console.vv", ready.API, laneSource, l.uuid), l.apiToken)
	}
	l.proxyIsAt(ready, l.proxy.pid)
	return nil
}

// maxVV bounds what is read as a virt-viewer file; real ones have 2 KiB.
const maxVV = 64 << 10

// fetchVV asks a proxy's API for a virt-viewer file.
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

// spiceFor says where QEMU's SPICE server has to be for this lane's proxy.
func (l *Lane) spiceFor(s qemu.Spice) (qemu.Spice, error) {
	switch {
	case l.cfg.BackendTLS:
		b, err := pki.New(pki.Config{CommonName: "qemu"})
		if err != nil {
			return s, verdict.Classify("backend certificate", err)
		}
		x509 := l.run.file("x509")
		if err := b.WriteDir(x509); err != nil {
			return s, verdict.Classify("backend certificate", err)
		}
		l.backendPKI = b
		s.TLSPort, s.X509Dir = qemu.AnyPort, x509
	case l.unixBackend():
		s.Unix = l.run.file("spice.sock")
	default:
		s.Port = qemu.AnyPort
	}
	return s, nil
}

func hostPort(host string, port int) string {
	return net.JoinHostPort(host, fmt.Sprint(port))
}
