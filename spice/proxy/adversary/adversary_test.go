package adversary_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/spicelane/spicelane/internal/need"
	"github.com/spicelane/spicelane/spice/console"
	"github.com/spicelane/spicelane/spice/pki"
	"github.com/spicelane/spicelane/spice/proxy"
	"github.com/spicelane/spicelane/spice/proxy/adversary"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func rsaCertificate() tls.Certificate {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// fails reports whether the relay that permits everything gives a wrong answer.
func fails(t *testing.T, c adversary.Case) adversary.Result {
	t.Helper()
	p := startPermissive(t)
	return adversary.RunCase(t.Context(), p.target(), c)
}

const (
	source   = "source"
	uuid     = "6f4e2c1a-0000-0000-0000-000000000001"
	apiToken = "the-token-of-the-api"
)

// catalog is one console that the pack may lead elsewhere.
type catalog struct {
	mu  sync.Mutex
	one console.Console
	off bool
}

func (c *catalog) Consoles(context.Context) ([]console.Console, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.off {
		return nil, nil
	}
	return []console.Console{c.one}, nil
}

func (c *catalog) Console(_ context.Context, source, uuid string) (console.Console, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.off || c.one.UUID != uuid {
		return console.Console{}, &console.UnknownError{Source: source, UUID: uuid}
	}
	return c.one, nil
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// own is this repository's proxy under attack.
type own struct {
	*proxy.Proxy
	consoles   *catalog
	log, audit *buffer
	tls        *pki.Bundle

	mu      sync.Mutex
	now     time.Time
	tokens  []string
	reasons map[proxy.Reason]int
	foreign string // a token of another proxy
	open    int    // sessions whose end is not in the audit log yet
}

func startOwn(t *testing.T) *own {
	t.Helper()
	bundle, err := pki.New(pki.Config{})
	require.NoError(t, err)
	o := &own{consoles: &catalog{}, log: &buffer{}, audit: &buffer{}, tls: bundle, now: time.Now(), reasons: map[proxy.Reason]int{}}
	o.Proxy, err = proxy.Start(t.Context(), proxy.Config{
		TLS: bundle, Consoles: o.consoles, APIToken: apiToken, Audit: o.audit, ListenWebSocket: proxy.DefaultAddr,
		Logger: slog.New(slog.NewTextHandler(o.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		// Short, for the cases that wait for it; but a good client on a busy host must be in time.
		HandshakeTimeout: 4 * time.Second, DialTimeout: 4 * time.Second, Linger: 50 * time.Millisecond,
		Now: func() time.Time {
			o.mu.Lock()
			defer o.mu.Unlock()
			return o.now
		},
		OnEvent: func(e proxy.Event) {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.reasons[e.Reason]++
			switch e.Kind {
			case proxy.EventSessionOpened:
				o.open++
			case proxy.EventSessionClosed:
				o.open--
			}
		},
	})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, o.Close()) })
	other, err := proxy.Start(t.Context(), proxy.Config{TLS: bundle, Consoles: o.consoles})
	require.NoError(t, err)
	o.consoles.one = console.Console{Source: source, UUID: uuid}
	file, err := other.VV(t.Context(), source, uuid)
	require.NoError(t, err)
	require.NoError(t, other.Close())
	o.foreign = file.Password
	return o
}

func (o *own) target() adversary.Target {
	return adversary.Target{
		TLSAddr: o.TLSAddr(), Addr: o.Addr(), APIAddr: o.APIAddr(), WebSocketAddr: o.WebSocketAddr(),
		TLS: pki.ClientTLS(o.tls.CAPool(), "localhost", ""),
		Token: func(ctx context.Context) (string, error) {
			file, err := o.VV(ctx, source, uuid)
			if err != nil {
				return "", err
			}
			o.mu.Lock()
			defer o.mu.Unlock()
			o.tokens = append(o.tokens, file.Password)
			return file.Password, nil
		},
		OneSession: true, Reads: true, Foreign: o.foreign,
		Lead: func(c console.Console) {
			c.Source, c.UUID, c.Name = source, uuid, "attacked"
			o.consoles.mu.Lock()
			defer o.consoles.mu.Unlock()
			o.consoles.one, o.consoles.off = c, false
		},
		Vanish: func() {
			o.consoles.mu.Lock()
			defer o.consoles.mu.Unlock()
			o.consoles.off = true
		},
		Advance: func(d time.Duration) {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.now = o.now.Add(d)
		},
		EndSessions: func() {
			for _, s := range o.Sessions() {
				o.EndSession(s.ID)
			}
		},
		// Only a case that fails waits for so long. A message of 17 MiB takes 20 s under the race
		// detector on a busy host.
		Patience: time.Minute,
	}
}

// settled waits until nothing of a case is left in the proxy, and the audit log has it all.
func (o *own) settled(t *testing.T) {
	t.Helper()
	logged := func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		return o.open == 0
	}
	require.Eventually(t, func() bool { return len(o.Sessions()) == 0 && o.Handshaking() == 0 && logged() }, time.Minute, 2*time.Millisecond,
		"%d sessions and %d handshakes are left", len(o.Sessions()), o.Handshaking())
}

func descriptors(t *testing.T) int {
	t.Helper()
	dir, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		if runtime.GOOS == "linux" {
			t.Fatal(err)
		}
		t.Skip("no /proc")
	}
	return len(dir)
}

// hesitant never says where its console is when it is asked for the third time.
type hesitant struct {
	*catalog
	asked atomic.Int32
}

func (h *hesitant) Console(ctx context.Context, source, uuid string) (console.Console, error) {
	if h.asked.Add(1) == 3 {
		<-ctx.Done()
		return console.Console{}, ctx.Err()
	}
	return h.catalog.Console(ctx, source, uuid)
}

// A target may take a forbidden channel's token and never answer.
func TestNoCaseWaitsLongerThanThePatience(t *testing.T) {
	o := startOwn(t)
	slow, err := proxy.Start(t.Context(), proxy.Config{TLS: o.tls, Consoles: &hesitant{catalog: o.consoles},
		Firewall: proxy.Firewall{Mode: proxy.FirewallOff}, DialTimeout: time.Hour, Linger: time.Millisecond})
	require.NoError(t, err)
	defer slow.Close()
	target := o.target()
	target.TLSAddr, target.Patience = slow.TLSAddr(), 3*time.Second
	target.Token = func(ctx context.Context) (string, error) {
		file, err := slow.VV(ctx, source, uuid)
		if err != nil {
			return "", err
		}
		return file.Password, nil
	}
	tried := 0
	for _, c := range adversary.Cases() {
		if c.Name != "channel/type 6, which nobody permitted" {
			continue
		}
		tried++
		done := make(chan adversary.Result, 1)
		go func() { done <- adversary.RunCase(t.Context(), target, c) }()
		select {
		case r := <-done:
			require.Equal(t, "open", r.Got)
			require.NoError(t, r.After)
		case <-time.After(time.Minute):
			require.Fail(t, "it still waits")
		}
	}
	require.Equal(t, 1, tried)
}

// Each case must be red against a relay that permits everything, and green against our
// proxy. After it a good client is served, nothing is left, the audit log has the
// reason, and no log has a secret.
func TestThePack(t *testing.T) {
	need.Long(t)
	cases := adversary.Cases()
	names := map[string]bool{}
	for _, c := range cases {
		require.False(t, names[c.Name], "%q stands twice", c.Name)
		names[c.Name] = true
	}
	t.Logf("the pack has %d cases", len(cases))
	require.GreaterOrEqual(t, len(cases), 80)

	t.Run("can fail", func(t *testing.T) {
		gate := make(chan struct{}, 16)
		for _, c := range cases {
			t.Run(c.Name, func(t *testing.T) {
				t.Parallel()
				gate <- struct{}{}
				defer func() { <-gate }()
				// What is wrong may come after the case has looked, if the host is busy: that
				// it can be seen is what is shown here.
				r := fails(t, c)
				for try := 1; r.Got == c.Want && try < 5; try++ {
					r = fails(t, c)
				}
				assert.Empty(t, r.Skipped)
				t.Logf("%q, want %q", r.Got, c.Want)
				assert.NotEqual(t, c.Want, r.Got, "a relay that permits everything passes this case")
			})
		}
	})

	// What a first session sets up stays.
	first := startOwn(t)
	require.NoError(t, adversary.Serves(t.Context(), first.target()))
	first.settled(t)
	goroutines, open := runtime.NumGoroutine(), descriptors(t)
	// Each proxy is attacked by one case after the other. There are several, since some cases wait for
	// a time limit.
	const proxies = 16
	t.Run("is passed", func(t *testing.T) {
		for i := range proxies {
			t.Run(fmt.Sprintf("proxy %d", i), func(t *testing.T) {
				t.Parallel()
				var some []adversary.Case
				for n := i; n < len(cases); n += proxies {
					some = append(some, cases[n])
				}
				passes(t, startOwn(t), some)
			})
		}
	})
	// The condition has a goroutine of its own.
	if !assert.Eventually(t, func() bool { return runtime.NumGoroutine() <= goroutines+1 && descriptors(t) <= open }, time.Minute, 10*time.Millisecond) {
		stacks := make([]byte, 1<<20)
		t.Fatalf("%d goroutines, were %d; %d descriptors, were %d\n%s", runtime.NumGoroutine(), goroutines, descriptors(t), open, stacks[:runtime.Stack(stacks, true)])
	}
}

// passes runs cases against our proxy, which must answer all of them rightly.
func passes(t *testing.T, o *own, cases []adversary.Case) {
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			o.mu.Lock()
			clear(o.reasons)
			o.mu.Unlock()
			r := adversary.RunCase(t.Context(), o.target(), c)
			assert.Empty(t, r.Skipped)
			assert.Equal(t, c.Want, r.Got)
			assert.NoError(t, r.After, "a good client is served afterwards")
			o.settled(t)
			if c.Reason != "" {
				o.mu.Lock()
				assert.Positive(t, o.reasons[proxy.Reason(c.Reason)], "the audit log has no %s, but %v", c.Reason, o.reasons)
				o.mu.Unlock()
			}
		})
	}
	logs := o.log.String() + o.audit.String()
	require.NotEmpty(t, logs)
	for _, secret := range append(o.tokens, adversary.Ticket, apiToken) {
		assert.NotContains(t, logs, secret)
	}
	assert.NotContains(t, logs, "PRIVATE KEY")
}

func TestACaseThatLacksASeamIsSkippedAndSaysWhich(t *testing.T) {
	o := startOwn(t)
	target := o.target()
	target.Lead, target.APIAddr = nil, ""
	for _, c := range adversary.Cases() {
		if strings.HasPrefix(c.Name, "api/") {
			r := adversary.RunCase(t.Context(), target, c)
			assert.Equal(t, "SKIP "+c.Name+": needs an HTTP API", r.String())
			assert.False(t, r.Failed())
		}
	}
}

func TestAResultSaysWhatWasWrong(t *testing.T) {
	c := adversary.Case{Name: "token/random", Want: "permission_denied"}
	for want, r := range map[string]adversary.Result{
		`PASS token/random: permission_denied`:                                                                 {Case: c, Got: "permission_denied"},
		`FAIL token/random: got "ok", want "permission_denied"`:                                                {Case: c, Got: "ok"},
		"FAIL token/random: answered \"permission_denied\", but a good client was not served afterwards: dial": {Case: c, Got: "permission_denied", After: fmt.Errorf("dial")},
	} {
		assert.Equal(t, want, r.String())
		assert.Equal(t, strings.HasPrefix(want, "FAIL"), r.Failed())
	}
}
