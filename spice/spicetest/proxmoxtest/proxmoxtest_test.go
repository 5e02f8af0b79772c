package proxmoxtest_test

// A console behind CONNECT in the shape of Proxmox, reached by the client and by the
// proxy.
//
//	client ─► (proxy ─►) fake ─CONNECT─► TLS console

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/connect"
	"github.com/spicelane/spicelane/spice/console"
	"github.com/spicelane/spicelane/spice/link"
	"github.com/spicelane/spicelane/spice/pki"
	"github.com/spicelane/spicelane/spice/proxy"
	"github.com/spicelane/spicelane/spice/spicetest/proxmoxtest"
	"github.com/spicelane/spicelane/spice/vv"
	"github.com/spicelane/spicelane/spice/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is a SPICE server over TLS whose password changes.
type server struct {
	ln     net.Listener
	bundle *pki.Bundle
	mu     sync.Mutex
	want   string
	names  []string // by which it was called: SNI
}

func start(t *testing.T) *server {
	t.Helper()
	bundle, err := pki.New(pki.Config{CommonName: "node7"})
	require.NoError(t, err)
	s := &server{bundle: bundle}
	cfg := bundle.ServerTLS()
	cfg.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.names = append(s.names, hello.ServerName)
		return nil, nil
	}
	s.ln, err = tls.Listen("tcp", "127.0.0.1:0", cfg)
	require.NoError(t, err)
	key, err := link.GenerateKey()
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := s.ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				defer cancel()
				hs, err := link.Accept(ctx, conn, link.ServerConfig{Key: key})
				if err != nil || hs.Reply(ctx, link.CommonCaps, nil) != nil {
					return
				}
				secret, err := hs.Secret(ctx)
				s.mu.Lock()
				good := err == nil && s.want != "" && secret == s.want
				s.mu.Unlock()
				if !good {
					_ = hs.Finish(ctx, wire.ResultPermissionDenied)
					return
				}
				_ = hs.Finish(ctx, wire.ResultOK)
			})
		}
	})
	t.Cleanup(func() { s.ln.Close(); wg.Wait() })
	return s
}

func (s *server) set(password string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.want = password
}

// links makes the CONNECT and the link that a file asks for.
func (s *server) links(t *testing.T, f *vv.File) error {
	t.Helper()
	conn, err := connect.Dial(t.Context(), f.Proxy, connect.Target(f.Host, f.TLSPort))
	if err != nil {
		return err
	}
	defer conn.Close()
	cfg := pki.ClientTLS(s.bundle.CAPool(), "", s.bundle.HostSubject)
	_, err = link.Client(t.Context(), tls.Client(conn, cfg), link.Config{CommonCaps: link.CommonCaps, Secret: f.Password})
	return err
}

func TestPasswordTicketAndMintEndByTheClock(t *testing.T) {
	s := start(t)
	fake := proxmoxtest.Start(t, s.ln.Addr().String(), s.set)
	first := fake.Mint()
	require.NoError(t, s.links(t, first))
	require.NoError(t, s.links(t, first), "it is no one-time password")
	second := fake.Mint()
	assert.ErrorContains(t, s.links(t, first), "401 invalid ticket", "a second mint revokes the first")
	require.NoError(t, s.links(t, second))
	fake.Advance(proxmoxtest.PasswordLifetime - time.Second)
	require.NoError(t, s.links(t, second))
	fake.Advance(time.Second)
	assert.ErrorContains(t, s.links(t, second), "permission_denied", "the password is dead, the ticket is not")
	fake.Advance(proxmoxtest.TicketLifetime - proxmoxtest.PasswordLifetime)
	var refused *connect.RefusedError
	require.ErrorAs(t, s.links(t, second), &refused)
	assert.Equal(t, "401 invalid ticket", refused.Status)
	assert.NotContains(t, refused.Error(), second.Host)
}

func TestTheOpaqueHostIsSentAsItStands(t *testing.T) {
	s := start(t)
	fake := proxmoxtest.Start(t, s.ln.Addr().String(), s.set)
	f := fake.Mint()
	require.NoError(t, s.links(t, f))
	want := f.Host + ":61000"
	assert.Equal(t, []string{want, want}, fake.Asked(), "as the target and in the Host header, without brackets")
	assert.Greater(t, strings.Count(want, ":"), 4)
}

func TestTheClientGoesThroughTheHTTPProxyThatItsFileNames(t *testing.T) {
	s := start(t)
	fake := proxmoxtest.Start(t, s.ln.Addr().String(), s.set)
	f := fake.Mint()
	f.CA = string(s.bundle.CACert)
	_, err := spice.Dial(t.Context(), spice.FromVV(f))
	assert.ErrorContains(t, err, "HostSubject", "the pin is obligatory")
	assert.Empty(t, fake.Asked())
	f.HostSubject = "O=Spicelane,CN=node8"
	_, err = spice.Dial(t.Context(), spice.FromVV(f))
	assert.ErrorContains(t, err, "node8")
	f.HostSubject = s.bundle.HostSubject
	_, err = spice.Dial(t.Context(), spice.FromVV(f))
	// This server hangs up after the link, which is far enough.
	require.Error(t, err)
	assert.NotContains(t, err.Error(), "permission")
	assert.NotContains(t, err.Error(), "pvespiceproxy", "the host holds a ticket")
	assert.Equal(t, f.Host+":61000", fake.Asked()[len(fake.Asked())-1])
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range s.names {
		assert.Empty(t, name, "no SNI")
	}
}

// one is a catalog of one console.
type one struct{ c console.Console }

func (o one) Consoles(context.Context) ([]console.Console, error) { return []console.Console{o.c}, nil }
func (o one) Console(context.Context, string, string) (console.Console, error) {
	return o.c, nil
}

func TestTheProxyReachesAConsoleBehindAnotherOne(t *testing.T) {
	s := start(t)
	fake := proxmoxtest.Start(t, s.ln.Addr().String(), s.set)
	f := fake.Mint()
	bundle, err := pki.New(pki.Config{})
	require.NoError(t, err)
	try := func(change func(c *console.Console)) (proxy.Event, error) {
		c := console.Console{Source: "pve", UUID: "1", Name: "vm100", HypervisorIP: f.Host, SecurePort: f.TLSPort, Proxy: f.Proxy,
			CACert: s.bundle.CACert, HostSubject: s.bundle.HostSubject, Ticket: f.Password}
		if change != nil {
			change(&c)
		}
		events := make(chan proxy.Event, 100)
		p, err := proxy.Start(t.Context(), proxy.Config{TLS: bundle, Consoles: one{c}, OnEvent: func(e proxy.Event) { events <- e }})
		require.NoError(t, err)
		defer p.Close()
		file, err := p.VV(t.Context(), "pve", "1")
		require.NoError(t, err)
		conn, err := tls.Dial("tcp", p.TLSAddr(), pki.ClientTLS(bundle.CAPool(), "localhost", ""))
		require.NoError(t, err)
		defer conn.Close()
		_, err = link.Client(t.Context(), conn, link.Config{CommonCaps: link.CommonCaps, Secret: file.Password})
		for e := range events {
			if e.Kind == proxy.EventBackendFailed || e.Kind == proxy.EventSessionOpened {
				return e, err
			}
		}
		return proxy.Event{}, nil
	}
	_, err = try(nil)
	require.NoError(t, err)
	for want, change := range map[string]func(c *console.Console){
		"needs a TLS port and a host subject": func(c *console.Console) { c.HostSubject = "" },
		"node8":                               func(c *console.Console) { c.HostSubject = "O=Spicelane,CN=node8" },
		"401 invalid ticket":                  func(c *console.Console) { c.HypervisorIP += "x" },
		"permission_denied":                   func(c *console.Console) { c.Ticket = "old" },
	} {
		e, err := try(change)
		require.Error(t, err)
		assert.ErrorContains(t, e.Err, want)
		assert.NotContains(t, e.Err.Error(), "pvespiceproxy", "the host holds a ticket")
	}
}
