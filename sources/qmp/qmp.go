// Package qmp is a source of consoles for running QEMUs with a QMP socket. Each socket that a glob
// finds, and whose QEMU has a SPICE server, is one console.
//
//   - source: mine
//     type: qmp
//     sockets: /run/guests/*.qmp
//     ca_cert: /etc/pki/qemu/ca-cert.pem # for QEMUs with a TLS port
//
// Nobody needs to know a ticket: each time a console is requested, QEMU gets a new ticket that
// expires soon. It is set while no other channel is being linked, so that each ticket admits one
// channel.
//
// A QMP socket serves one client at a time, so the source connects, asks and disconnects.
package qmp

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spicelane/spicelane/internal/hostport"
	"github.com/spicelane/spicelane/qmp"
	"github.com/spicelane/spicelane/sources"
	"github.com/spicelane/spicelane/spice/console"
	"github.com/spicelane/spicelane/spice/pki"
)

const (
	// ticketLifetime is how long QEMU accepts a ticket.
	ticketLifetime = 30 * time.Second
	// linkTimeout is how long one channel may make others wait for their tickets, if nobody reports
	// that it has been linked.
	linkTimeout = 15 * time.Second
	// relistenTimeout is how long a socket may refuse connections before it counts as dead.
	relistenTimeout = time.Second
	// answerTimeout limits the time that one QEMU may take to answer.
	answerTimeout = 5 * time.Second
)

// Kind opens sources of "type: qmp".
var Kind = sources.Kind{
	Keys:     []string{"sockets"},
	Optional: []string{"ca_cert", "host_subject"},
	Open:     func(d sources.Declared) (sources.Source, error) { return open(d) },
}

// open makes a source from its declaration. The values are those of [Kind].
func open(d sources.Declared) (*Source, error) {
	s, err := New(d.Name, d.Values["sockets"])
	if err != nil {
		return nil, err
	}
	if s.hostSubject = d.Values["host_subject"]; s.hostSubject != "" {
		if err := pki.ValidHostSubject(s.hostSubject); err != nil {
			return nil, fmt.Errorf("host_subject: %w", err)
		}
	}
	if ca := d.Values["ca_cert"]; ca != "" {
		s.caCert = []byte(ca)
	}
	return s, nil
}

// Source has a console for each QEMU with a QMP socket that a glob finds.
type Source struct {
	name, glob string

	// How to verify QEMUs with a TLS port; see [console.Console].
	caCert      []byte
	hostSubject string

	mu    sync.Mutex
	turns map[string]chan struct{} // by socket: full while a channel is being linked
}

var _ sources.Source = (*Source)(nil)

// New makes a source of the sockets that a glob finds, now and later.
func New(name, glob string) (*Source, error) {
	if _, err := filepath.Match(glob, ""); err != nil {
		return nil, fmt.Errorf("sockets: %q: %w", glob, err)
	}
	return &Source{name: name, glob: glob, turns: map[string]chan struct{}{}}, nil
}

// Name returns the source's name.
func (s *Source) Name() string { return s.name }

// Consoles lists the QEMUs that answer and have a SPICE server, without tickets. It omits those
// that do not answer: they may be starting, or another client may be connected.
func (s *Source) Consoles(ctx context.Context) ([]console.Console, error) {
	found, _, _, err := s.scan(ctx, "")
	return found, err
}

// scan asks all sockets at once. at has the sockets of found; failed has the errors of the others.
// If wanted is not empty, scan returns when the QEMU with that UUID has answered, unless that is
// noUUID, which several may have.
func (s *Source) scan(ctx context.Context, wanted string) (found []console.Console, at []string, failed error, _ error) {
	// A QEMU that does not answer must leave the caller some time to use what the others said.
	asking, enough := context.WithCancel(ctx)
	defer enough()
	if deadline, ok := ctx.Deadline(); ok {
		var stop context.CancelFunc
		asking, stop = context.WithTimeout(asking, time.Until(deadline)/2)
		defer stop()
	}
	paths, err := filepath.Glob(s.glob)
	if err != nil {
		return nil, nil, nil, err
	}
	slices.Sort(paths)
	all, failures := make([]*console.Console, len(paths)), make([]error, len(paths))
	var wg sync.WaitGroup
	for i, path := range paths {
		wg.Go(func() {
			if c, err := s.ask(asking, path, ""); err == nil {
				all[i] = &c
				if c.UUID == wanted && wanted != noUUID {
					enough()
				}
			} else {
				failures[i] = fmt.Errorf("%s: %w", path, err)
			}
		})
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return nil, nil, nil, err
	}
	for i, c := range all {
		if c != nil {
			found, at = append(found, *c), append(at, paths[i])
		}
	}
	return found, at, errors.Join(failures...), nil
}

// Console returns one console with a new ticket. The caller must call its Release once it has been
// linked.
func (s *Source) Console(ctx context.Context, uuid string) (console.Console, error) {
	uuid = console.CanonicalUUID(uuid)
	found, at, failed, err := s.scan(ctx, uuid)
	if err != nil {
		return console.Console{}, err
	}
	var with []string // the sockets of the QEMUs with this UUID
	for i, c := range found {
		if c.UUID == uuid {
			with = append(with, at[i])
		}
	}
	switch len(with) {
	case 0:
	case 1:
		release, err := s.turn(ctx, with[0])
		if err != nil {
			return console.Console{}, err
		}
		c, err := s.ask(ctx, with[0], rand.Text()+rand.Text())
		if err != nil {
			release()
			return console.Console{}, err
		}
		c.Done = release
		return c, nil
	default:
		first, second := filepath.Base(with[0]), filepath.Base(with[1])
		return console.Console{}, &console.UnusableError{Source: s.name, UUID: uuid, Name: first,
			Why: first + " and " + second + " have the same UUID: give each QEMU its own with -uuid"}
	}
	if failed != nil {
		// The console may be one of those that failed.
		return console.Console{}, fmt.Errorf("sources: %s: %w", s.name, failed)
	}
	return console.Console{}, &console.UnknownError{Source: s.name, UUID: uuid}
}

// turn waits until no other channel of a QEMU is being linked.
func (s *Source) turn(ctx context.Context, path string) (release func(), err error) {
	s.mu.Lock()
	turn := s.turns[path]
	if turn == nil {
		turn = make(chan struct{}, 1)
		s.turns[path] = turn
	}
	s.mu.Unlock()
	select {
	case turn <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for another channel of %s to be linked: %w", path, context.Cause(ctx))
	}
	give := sync.OnceFunc(func() { <-turn })
	forgotten := time.AfterFunc(linkTimeout, give)
	return func() {
		forgotten.Stop()
		give()
	}, nil
}

// ask describes one QEMU, and sets its ticket if one is given. QEMU listens again only some time
// after its last client has disconnected, and nothing announces that. Until then it refuses or
// disconnects.
func (s *Source) ask(ctx context.Context, path, ticket string) (c console.Console, err error) {
	const pause = 10 * time.Millisecond
	for deadline := time.Now().Add(relistenTimeout); ; {
		c, err = s.askOnce(ctx, path, ticket)
		if err == nil || errors.Is(err, errNoSPICE) || time.Now().After(deadline) {
			return c, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return c, err
		}
	}
}

// noUUID is the UUID of a QEMU that was started without one.
const noUUID = "00000000-0000-0000-0000-000000000000"

var errNoSPICE = errors.New("this QEMU has no SPICE server")

func (s *Source) askOnce(ctx context.Context, path, ticket string) (c console.Console, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	client, err := qmp.Dial(ctx, path, qmp.Config{})
	if err != nil {
		return c, err
	}
	defer client.Close()
	info, err := client.QuerySPICE(ctx)
	if err != nil {
		return c, err
	}
	if !info.Enabled {
		return c, fmt.Errorf("%s: %w", path, errNoSPICE)
	}
	var id struct{ UUID string }
	if err := client.Do(ctx, "query-uuid", nil, &id); err != nil {
		return c, err
	}
	var name struct{ Name string }
	if err := client.Do(ctx, "query-name", nil, &name); err != nil {
		return c, err
	}
	c = console.Console{Source: s.name, UUID: console.CanonicalUUID(id.UUID), Name: name.Name, Hypervisor: "localhost", Ticket: ticket}
	if c.Name == "" {
		c.Name = strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
	}
	switch {
	case strings.HasPrefix(info.Host, "/"):
		c.Unix = info.Host
	default:
		c.HypervisorIP, c.InsecurePort, c.SecurePort = info.Host, info.Port, info.TLSPort
		if address, all := hostport.Loopback(info.Host); all {
			c.HypervisorIP = address
		}
		if c.SecurePort != 0 {
			c.CACert, c.HostSubject = s.caCert, s.hostSubject
		}
	}
	if ticket == "" {
		return c, nil
	}
	if err := client.SetSPICETicket(ctx, ticket); err != nil {
		return c, err
	}
	return c, client.ExpireSPICETicket(ctx, "+"+strconv.Itoa(int(ticketLifetime.Seconds())))
}
