// Package libvirt is a source of the consoles of a libvirtd's domains. It has a console for each
// running domain with SPICE graphics.
//
//   - source: kvm7
//     type: libvirt
//     uri: qemu:///system
//     ca_cert: /etc/pki/libvirt-spice/ca-cert.pem # for domains with a TLS port
//
// The source follows libvirtd's events, so domains appear and disappear at once. Ports and
// addresses come from the domain's XML. So does the password, which the source reads again for each
// session. When the connection to libvirtd ends, the source connects again.
//
// The source uses unix sockets only, and trusts libvirtd, which knows the passwords. To see why a
// console is missing, look at <graphics> in the output of "virsh dumpxml DOMAIN", and for "sources"
// in the log.
package libvirt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"
	"github.com/google/uuid"

	"github.com/spicelane/spicelane/sources"
	"github.com/spicelane/spicelane/spice/console"
	"github.com/spicelane/spicelane/spice/pki"
)

var (
	// answerTimeout limits the wait for each answer of libvirtd.
	answerTimeout = 5 * time.Second
	// heartbeat is the interval at which the source asks a silent libvirtd whether it is alive.
	heartbeat = 15 * time.Second
)

// The source connects again after a pause that doubles with each failure.
const (
	shortestPause = 50 * time.Millisecond
	longestPause  = 2 * time.Second
)

// Kind makes sources of "type: libvirt".
var Kind = sources.Kind{
	Keys:     []string{"uri"},
	Optional: []string{"ca_cert", "host_subject", "hypervisor_ip"},
	Open:     func(d sources.Declared) (sources.Source, error) { return Open(d) },
}

// Source has a console for each running domain of a libvirtd that has SPICE graphics.
type Source struct {
	name   string
	at     location
	about  about
	report func(error)

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	asked  chan struct{} // closed when libvirtd has been asked once, with or without success

	mu       sync.Mutex
	consoles map[string]console.Console // by UUID, without tickets; nil if there is no connection
	err      error                      // why not
}

var _ sources.Source = (*Source)(nil)

// Open returns a source, which connects to its libvirtd by itself. The values are those of [Kind].
// The caller must close it.
func Open(d sources.Declared) (*Source, error) {
	at, err := parseURI(d.Values["uri"])
	if err != nil {
		return nil, fmt.Errorf("uri: %w", err)
	}
	if subject := d.Values["host_subject"]; subject != "" {
		if err := pki.ValidHostSubject(subject); err != nil {
			return nil, fmt.Errorf("host_subject: %w", err)
		}
	}
	s := &Source{name: d.Name, at: at, report: d.Report, asked: make(chan struct{}),
		about: about{source: d.Name, hostSubject: d.Values["host_subject"], everywhere: d.Values["hypervisor_ip"]}}
	if ca := d.Values["ca_cert"]; ca != "" {
		s.about.caCert = []byte(ca)
	}
	if s.report == nil {
		s.report = func(error) {}
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.wg.Go(s.run)
	return s, nil
}

// Close ends the source and its connections.
func (s *Source) Close() error {
	s.cancel()
	s.wg.Wait()
	return nil
}

// Name returns the source's name.
func (s *Source) Name() string { return s.name }

// Consoles returns the running domains that clients can reach, sorted by name and without their
// passwords. The error says why there is no connection to libvirtd.
func (s *Source) Consoles(ctx context.Context) ([]console.Console, error) {
	select {
	case <-s.asked:
	case <-ctx.Done():
		return nil, s.at.wrap(fmt.Errorf("it has not answered yet: %w", context.Cause(ctx)))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return nil, s.err
	}
	list := slices.Collect(maps.Values(s.consoles))
	slices.SortFunc(list, func(a, b console.Console) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.UUID, b.UUID))
	})
	return list, nil
}

// Console returns one console with the password that its domain has now. It uses a
// separate connection, so that a libvirtd that hangs delays no other caller.
func (s *Source) Console(ctx context.Context, id string) (console.Console, error) {
	// Only the canonical spelling is accepted, because callers compare UUIDs as text.
	parsed, err := uuid.Parse(id)
	if err != nil || parsed.String() != console.CanonicalUUID(id) {
		return console.Console{}, &console.UnknownError{Source: s.name, UUID: id}
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	c, err := s.at.connect(ctx)
	if err != nil {
		return console.Console{}, err
	}
	defer c.close()
	var text, host string
	err = c.call(ctx, "read the domain", func() error {
		domain, err := c.rpc.DomainLookupByUUID(golibvirt.UUID(parsed))
		if err != nil {
			return err
		}
		if host, err = c.rpc.ConnectGetHostname(); err != nil {
			return err
		}
		text, err = c.rpc.DomainGetXMLDesc(domain, golibvirt.DomainXMLSecure)
		return err
	})
	if golibvirt.IsNotFound(err) {
		return console.Console{}, &console.UnknownError{Source: s.name, UUID: id}
	}
	if err != nil {
		return console.Console{}, err
	}
	d, err := parseDomain(text)
	if err != nil {
		return console.Console{}, s.at.wrap(fmt.Errorf("domain %s: %w", id, err))
	}
	found, why := d.console(s.about, host)
	switch {
	case !d.running() || d.spice() == nil:
		return console.Console{}, &console.UnknownError{Source: s.name, UUID: id}
	case why == "":
		why = d.spice().locked(time.Now())
	}
	if why != "" {
		return console.Console{}, &console.UnusableError{Source: s.name, UUID: found.UUID, Name: found.Name, Why: why}
	}
	found.Ticket = d.spice().ticket()
	return found, nil
}

// run keeps a connection to libvirtd and follows its events, until Close.
func (s *Source) run() {
	pause := shortestPause
	for s.ctx.Err() == nil {
		began := time.Now()
		err := s.follow()
		if s.ctx.Err() != nil {
			return
		}
		s.lost(err)
		if time.Since(began) > longestPause {
			pause = shortestPause
		}
		select {
		case <-time.After(pause):
		case <-s.ctx.Done():
		}
		pause = min(2*pause, longestPause)
	}
}

// lost notes why there is no connection.
func (s *Source) lost(err error) {
	s.mu.Lock()
	s.consoles, s.err = nil, err
	s.mu.Unlock()
	s.hasAsked()
	s.report(err)
}

func (s *Source) hasAsked() {
	select {
	case <-s.asked:
	default:
		close(s.asked)
	}
}

// follow connects to libvirtd and follows its domains' events, until the connection ends.
func (s *Source) follow() error {
	c, err := s.at.connect(s.ctx)
	if err != nil {
		return err
	}
	defer c.close()
	// Subscribe first, then list: a change in between is then seen twice, but never missed.
	events, err := c.events(s.ctx)
	if err != nil {
		return err
	}
	var host string
	var running []golibvirt.Domain
	err = c.call(s.ctx, "list the domains", func() (err error) {
		if host, err = c.rpc.ConnectGetHostname(); err == nil {
			running, _, err = c.rpc.ConnectListAllDomains(1, golibvirt.ConnectListDomainsActive)
		}
		return err
	})
	if err != nil {
		return err
	}
	consoles := map[string]console.Console{}
	for _, domain := range running {
		if err := s.look(c, host, domain, consoles); err != nil {
			return err
		}
	}
	s.mu.Lock()
	s.consoles, s.err = consoles, nil
	s.mu.Unlock()
	s.hasAsked()
	s.report(nil)
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		select {
		case <-beat.C:
			err := c.call(s.ctx, "ask whether it is alive", func() error {
				_, err := c.rpc.ConnectGetLibVersion()
				return err
			})
			if err != nil {
				return err
			}
		case event, ok := <-events:
			if !ok {
				return s.at.wrap(c.ended())
			}
			changed := map[string]console.Console{}
			if err := s.look(c, host, event.Dom, changed); err != nil {
				return err
			}
			s.mu.Lock()
			delete(s.consoles, uuid.UUID(event.Dom.UUID).String())
			maps.Copy(s.consoles, changed)
			s.mu.Unlock()
		case <-s.ctx.Done():
			return s.ctx.Err()
		}
	}
}

// look reads a domain and adds its console, if there is one. The error is about the connection. A
// domain that has gone, or whose XML cannot be parsed, has no console.
func (s *Source) look(c *conn, host string, domain golibvirt.Domain, consoles map[string]console.Console) error {
	var text string
	err := c.call(s.ctx, "read a domain", func() (err error) {
		text, err = c.rpc.DomainGetXMLDesc(domain, 0)
		return err
	})
	var refused golibvirt.Error
	switch {
	case errors.As(err, &refused):
		return nil
	case err != nil:
		return err
	}
	d, err := parseDomain(text)
	if err != nil || !d.running() || d.spice() == nil {
		return nil
	}
	if found, why := d.console(s.about, host); why == "" {
		consoles[found.UUID] = found
	}
	return nil
}
