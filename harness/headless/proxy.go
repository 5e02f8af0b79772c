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

// EnvAPIToken is where the proxy's API token may come from.
const EnvAPIToken = "SPICELANE_API_TOKEN"

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

// StartProxy starts the proxy; ctx bounds only the start.
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
			if e.Kind == proxy.EventSessionOpened {
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
