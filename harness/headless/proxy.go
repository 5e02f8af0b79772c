package headless

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice/proxy"
	"github.com/spicelane/spicelane/spice/vv"
)

// EnvAPIToken is the environment variable for the proxy's API token.
const EnvAPIToken = "SPICELANE_API_TOKEN"

// A ProxyConfig configures the built-in proxy as a daemon.
type ProxyConfig struct {
	proxy.Config
	// KeepVV, if not empty, is the path of a virt-viewer file for the console KeepSource and
	// KeepUUID. Its token is always kept valid.
	KeepVV, KeepSource, KeepUUID string
}

// A Proxy is a running proxy with the keeper of its virt-viewer file.
type Proxy struct {
	*proxy.Proxy
	keeper *vvKeeper
	once   sync.Once
	err    error
}

// StartProxy starts the proxy. ctx limits only the start.
func StartProxy(ctx context.Context, cfg ProxyConfig) (*Proxy, error) {
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
			if spends(e) {
				k.spent()
			}
			if next != nil {
				next(e)
			}
		}
	}
	p, err := proxy.Start(ctx, cfg.Config)
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

// spends reports whether an event may mean that a token was used up. That happens before the proxy
// knows whether it can reach the console.
func spends(e proxy.Event) bool {
	switch e.Kind {
	case proxy.EventSessionOpened, proxy.EventBackendFailed:
		return true
	case proxy.EventLinkRefused:
		return e.Reason == proxy.ReasonConsoleUnknown || e.Reason == proxy.ReasonSessionOver
	}
	return false
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

// A vvKeeper replaces a virt-viewer file when its token may have been used and before it expires.
// So a reader always finds a working file.
type vvKeeper struct {
	path     string
	make     VVSource
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
	return WriteVV(k.path, f)
}

// renewPause is the time between two attempts to replace a file while its console is unavailable.
const renewPause = time.Second

func (k *vvKeeper) run() {
	defer close(k.stopped)
	// Renew after half a lifetime, so that a token read from the file lasts at least the other
	// half.
	tick := time.NewTicker(k.lifetime / 2)
	defer tick.Stop()
	var again <-chan time.Time // nil unless the last attempt failed
	for {
		select {
		case <-k.stop:
			_ = os.Remove(k.path)
			return
		case <-k.wake:
		case <-tick.C:
		case <-again:
		}
		again = nil
		if k.renew() != nil {
			// A console that is unavailable now may be back at the next attempt.
			again = time.After(renewPause)
		}
	}
}
