package proxy

import (
	"cmp"
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spicelane/spicelane/spice/link"
	"github.com/spicelane/spicelane/spice/pki"
)

// patience is how long Close waits before it logs what it waits for.
const patience = 5 * time.Second

// Proxy is a running proxy.
type Proxy struct {
	cfg      Config
	log      *slog.Logger
	key      *rsa.PrivateKey // decrypts the clients' secrets: one per process, as in spice-server
	tls      atomic.Pointer[certificate]
	caps     knownCaps
	tokens   *tokens
	sessions *sessions
	metrics  *metrics
	audit    *auditLog
	draining atomic.Bool

	// The connections that are not admitted yet, by port, and all connections.
	plainHandshakes, tlsHandshakes, webHandshakes *handshakes
	addresses                                     *addresses
	recordings                                    *recordings // nil if nothing is recorded

	plain, secure, api net.Listener
	web                net.Listener // nil if there is no WebSocket port
	http               *http.Server
	answering          sync.RWMutex // read-held by each API request
	answered           bool         // no more are accepted

	ctx    context.Context
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup
	ended  chan struct{} // closed when nothing of the proxy runs any more
}

// generateKey makes the key that tickets are encrypted to.
var generateKey = link.GenerateKey

// Start opens the listeners and serves until Close. ctx limits only the start. When Start returns
// without an error, clients can connect.
func Start(ctx context.Context, cfg Config) (_ *Proxy, err error) {
	p := &Proxy{
		cfg: cfg, log: cfg.logger(),
		plain: cfg.Listener, secure: cfg.TLSListener, api: cfg.APIListener, web: cfg.WebSocketListener,
		tokens: newTokens(cfg.tokenLifetime()),
		sessions: &sessions{limit: cfg.maxSessions(), channelLimit: cfg.maxChannels(), typeLimit: cfg.maxChannelsOfType(), takeover: cfg.takeover(),
			byID: map[string]*session{}, byToken: map[tokenHash]*session{}},
		ended: make(chan struct{}),

		plainHandshakes: newHandshakes(cfg.maxHandshakes()),
		tlsHandshakes:   newHandshakes(cfg.maxHandshakes()),
		webHandshakes:   newHandshakes(cfg.maxHandshakes()),
		addresses:       &addresses{limit: cfg.maxConnectionsPerAddress(), n: map[netip.Addr]int{}},
	}
	defer func() {
		if err != nil {
			p.closeListeners()
		}
	}()
	if cfg.TLSDir != "" && cfg.TLS == nil {
		if cfg.TLS, err = pki.LoadDir(cfg.TLSDir); err != nil {
			return nil, err
		}
		p.cfg.TLS = cfg.TLS
	}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if p.key, err = generateKey(); err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	if p.recordings, err = newRecordings(&cfg); err != nil {
		return nil, err
	}
	p.SetTLS(cfg.TLS)
	var listening net.ListenConfig
	for _, l := range []struct {
		what string
		ln   *net.Listener
		addr string
	}{
		{"plaintext", &p.plain, cmp.Or(cfg.Listen, DefaultAddr)}, {"TLS", &p.secure, cmp.Or(cfg.ListenTLS, DefaultAddr)},
		{"API", &p.api, cmp.Or(cfg.ListenAPI, DefaultAddr)}, {"WebSocket", &p.web, cfg.ListenWebSocket},
	} {
		if *l.ln == nil {
			if l.addr == "" {
				continue
			}
			if *l.ln, err = listening.Listen(ctx, "tcp", l.addr); err != nil {
				return nil, fmt.Errorf("proxy: %s port: %w", l.what, err)
			}
		}
		if _, ok := (*l.ln).Addr().(*net.TCPAddr); !ok {
			return nil, fmt.Errorf("proxy: %s port: listens on %s, want TCP", l.what, (*l.ln).Addr().Network())
		}
	}
	p.ctx, p.cancel = context.WithCancelCause(context.Background())
	p.metrics = newMetrics(p)
	p.audit = &auditLog{out: cfg.Audit, log: p.log, lost: p.metrics.lost}
	p.http = &http.Server{
		Handler: p.handler(),
		// Requests have no body, and answers are small.
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
	}
	if cfg.TLSDir != "" {
		if err := p.watchCertificate(cfg.TLSDir); err != nil {
			p.cancel(nil)
			return nil, err
		}
	}
	p.wg.Go(func() { p.acceptLoop(p.plain, p.plainHandshakes, p.servePlain) })
	p.wg.Go(func() { p.acceptLoop(p.secure, p.tlsHandshakes, p.serveTLS) })
	p.wg.Go(p.serveAPI)
	if p.recordings != nil {
		p.wg.Go(func() { p.recordings.keepSweeping(p.ctx) })
	}
	if p.web != nil {
		p.wg.Go(func() { p.acceptLoop(p.web, p.webHandshakes, p.serveWebSocket) })
	}
	go p.finish()
	p.log.Info("proxy: listening", "addr", p.Addr(), "tls_addr", p.TLSAddr(), "api", p.APIAddr(), "websocket", p.WebSocketAddr())
	return p, nil
}

// Addr returns the address of the plaintext port, such as "127.0.0.1:5900".
func (p *Proxy) Addr() string { return p.plain.Addr().String() }

// TLSAddr returns the address of the TLS port.
func (p *Proxy) TLSAddr() string { return p.secure.Addr().String() }

// APIAddr returns the address of the HTTP API.
func (p *Proxy) APIAddr() string { return p.api.Addr().String() }

// WebSocketAddr returns the address of the WebSocket port, or "" if there is none.
func (p *Proxy) WebSocketAddr() string {
	if p.web == nil {
		return ""
	}
	return p.web.Addr().String()
}

// Close ends all sessions and closes the listeners. It returns when nothing of the proxy runs any
// more. It may be called more than once.
func (p *Proxy) Close() error {
	p.draining.Store(true)
	p.sessions.terminateAll(ReasonShutdown, byProxy)
	p.cancel(nil)
	waiting := time.AfterFunc(patience, func() {
		p.log.Warn("proxy: close still waits", "sessions", p.Sessions(), "handshakes", p.Handshaking())
	})
	defer waiting.Stop()
	<-p.ended
	return nil
}

// Shutdown ends the proxy gracefully: it accepts no more connections, sends each viewer a notice,
// ends the sessions, and returns when all have ended. Until then /healthz answers 503. If ctx ends
// first, it cuts the remaining sessions and returns an error. In all cases nothing runs afterwards.
func (p *Proxy) Shutdown(ctx context.Context) error {
	p.draining.Store(true)
	p.plain.Close()
	p.secure.Close()
	if p.web != nil {
		p.web.Close()
	}
	p.sessions.terminateAll(ReasonShutdown, byProxy)
	var err error
	select {
	case <-p.sessions.empty():
	case <-ctx.Done():
		err = fmt.Errorf("proxy: sessions that were cut: %d: %w", p.sessions.len(), context.Cause(ctx))
	}
	return errors.Join(err, p.Close())
}

// Wait blocks until the proxy has ended and returns why: nil after Close, otherwise the error of
// the listener that broke.
func (p *Proxy) Wait() error {
	<-p.ended
	if err := context.Cause(p.ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// Sessions returns the sessions that are alive, oldest first.
func (p *Proxy) Sessions() []SessionInfo { return p.sessions.list(p.cfg.now()) }

// EndSession cuts every channel of a session and admits no more. It reports whether there was such
// a session.
func (p *Proxy) EndSession(id string) bool {
	s := p.sessions.get(id)
	return s != nil && p.sessions.terminate(s, ReasonDeleted, byOperator)
}

// finish ends everything once ctx is done, because of Close or a broken listener.
func (p *Proxy) finish() {
	defer close(p.ended)
	<-p.ctx.Done()
	p.closeListeners()
	p.http.Close()
	// This cancels the requests' contexts, but does not wait for them.
	p.answering.Lock()
	p.answered = true
	p.answering.Unlock()
	p.wg.Wait()
}

func (p *Proxy) closeListeners() {
	for _, ln := range []net.Listener{p.plain, p.secure, p.api, p.web} {
		if ln != nil {
			ln.Close()
		}
	}
}

// Handshaking returns how many connections have not been admitted yet.
func (p *Proxy) Handshaking() int {
	return p.plainHandshakes.len() + p.tlsHandshakes.len() + p.webHandshakes.len()
}

// neverAccepts reports whether a listener can never accept again: it is closed, shut down, or no
// longer a listener. After any other error, such as a lack of file descriptors, it can.
func neverAccepts(err error) bool {
	return errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.EINVAL) ||
		errors.Is(err, syscall.EBADF) || errors.Is(err, syscall.ENOTSOCK)
}

// acceptLoop passes each connection to serve, on a new goroutine, with a place among the
// handshakes. serve frees the place.
func (p *Proxy) acceptLoop(ln net.Listener, waiting *handshakes, serve func(conn net.Conn, mine *place)) {
	const shortest, longest = 5 * time.Millisecond, time.Second
	pause := shortest
	for {
		conn, err := ln.Accept()
		switch {
		case p.ctx.Err() != nil || p.draining.Load():
			if err == nil {
				conn.Close()
			}
			return
		case neverAccepts(err):
			p.cancel(fmt.Errorf("proxy: accept on %s: %w", ln.Addr(), err))
			return
		case err != nil:
			// Usually a lack of file descriptors; nothing notifies when there are some again.
			p.log.Error("proxy: accept", "addr", ln.Addr().String(), "error", err, "retry_in", pause)
			select {
			case <-time.After(pause):
			case <-p.ctx.Done():
			}
			pause = min(2*pause, longest)
			continue
		}
		pause = shortest
		keepAlive(conn, p.cfg.keepAlive())
		addr := addressOf(conn)
		counted := waiting != p.plainHandshakes
		if counted && !p.addresses.enter(addr) {
			p.emit(Event{Kind: EventLinkRefused, Reason: ReasonTooManyConnections, Client: conn.RemoteAddr().String()})
			turnAway(conn)
			continue
		}
		mine, evicted := waiting.enter(p.ctx, conn)
		if evicted != nil {
			p.emit(Event{Kind: EventLinkRefused, Reason: ReasonTooManyHandshakes, Client: evicted.conn.RemoteAddr().String()})
		}
		if mine == nil {
			conn.Close()
			return
		}
		p.wg.Go(func() {
			if counted {
				defer p.addresses.leave(addr)
			}
			defer mine.leave()
			serve(conn, mine)
		})
	}
}

func (p *Proxy) serveAPI() {
	if err := p.http.Serve(p.api); p.ctx.Err() == nil {
		p.cancel(fmt.Errorf("proxy: API on %s: %w", p.api.Addr(), err))
	}
}
