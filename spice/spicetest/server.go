package spicetest

import (
	"context"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spicelane/spicelane/spice/link"
	"github.com/spicelane/spicelane/spice/wire"
)

// Config configures a Server. The zero value accepts any ticket and offers no channel.
type Config struct {
	// Ticket is the only accepted ticket; empty accepts any.
	Ticket string
	// SessionID is the required connection id of all channels except the first; 0 accepts any. A
	// script should send the same one in its MainInit.
	SessionID uint32
	// CommonCaps are offered on every channel; nil means link.CommonCaps, empty means none.
	CommonCaps wire.Caps
	// Scripts are the offered channels. A script runs again for every connection to its channel.
	Scripts map[wire.ChannelID]Script
	// TLS, if set, is used on every connection.
	TLS *tls.Config
	// Key decrypts tickets; nil generates one for the server.
	Key *rsa.PrivateKey
	// Timeout limits every step, and the link; 0 means 10 s.
	Timeout time.Duration
}

func (c Config) timeout() time.Duration {
	if c.Timeout == 0 {
		return 10 * time.Second
	}
	return c.Timeout
}

func (c Config) commonCaps() wire.Caps {
	if c.CommonCaps == nil {
		return link.CommonCaps
	}
	return c.CommonCaps
}

// Script is what one channel does.
type Script struct {
	// Refuse, if not wire.ResultOK, is the answer to the link, instead of a key.
	Refuse wire.Result
	// Deny, if not wire.ResultOK, is the answer even to a correct ticket.
	Deny wire.Result
	// Caps are the channel's capabilities.
	Caps wire.Caps
	// MayHangUp allows the client to close the connection before the last step, as it does on
	// malformed messages.
	MayHangUp bool
	// Steps run one after the other after the link. After the last one the channel is read until
	// the client disconnects.
	Steps []Step
}

// Server plays scripts. Each connection has a goroutine, which Close joins.
type Server struct {
	cfg    Config
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	errs     []error
	channels []*Channel
	started  int // scripts
	ended    int // scripts whose last step is done, or that failed
	changed  chan struct{}
}

// NewServer returns a server without connections. Close it when done.
func NewServer(cfg Config) (*Server, error) {
	if cfg.Key == nil {
		key, err := link.GenerateKey()
		if err != nil {
			return nil, err
		}
		cfg.Key = key
	}
	s := &Server{cfg: cfg, changed: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// Start makes a server for a test: it closes the server at the end of the test, and errors of
// scripts fail the test.
func Start(tb testing.TB, cfg Config) *Server {
	tb.Helper()
	s, err := NewServer(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

// Dial connects to the server through a Pipe, whatever the address. It fits
// spice.Config.DialFunc.
func (s *Server) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	client, server := Pipe()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fmt.Errorf("spicetest: dial: %w", net.ErrClosed)
	}
	s.wg.Add(1)
	go s.serveAndRelease(server)
	return client, nil
}

// ServeListener accepts connections from l until l or the server is closed. It returns at once;
// Close closes l.
func (s *Server) ServeListener(l net.Listener) {
	s.wg.Add(1)
	context.AfterFunc(s.ctx, func() { _ = l.Close() })
	go s.acceptLoop(l)
}

func (s *Server) acceptLoop(l net.Listener) {
	defer s.wg.Done()
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		s.wg.Add(1)
		go s.serveAndRelease(conn)
	}
}

func (s *Server) serveAndRelease(conn net.Conn) {
	defer s.wg.Done()
	s.keep(s.serve(conn))
}

// keep records an error, unless it comes from closing the server.
func (s *Server) keep(err error) {
	if err == nil || s.ctx.Err() != nil && (errors.Is(err, net.ErrClosed) || errors.Is(err, context.Canceled)) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.errs = append(s.errs, err)
	s.announce()
}

// serve runs the script of one connection.
func (s *Server) serve(conn net.Conn) error {
	defer conn.Close()
	defer context.AfterFunc(s.ctx, func() { _ = conn.Close() })()
	if s.cfg.TLS != nil {
		conn = tls.Server(conn, s.cfg.TLS)
		defer conn.Close()
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.timeout())
	defer cancel()
	hs, err := link.Accept(ctx, conn, link.ServerConfig{Key: s.cfg.Key})
	if err != nil {
		return fmt.Errorf("spicetest: %w", err)
	}
	id := hs.Request.Channel
	script, known := s.cfg.Scripts[id]
	refuse := script.Refuse
	switch {
	case !known:
		refuse = wire.ResultChannelNotAvailable
	case s.cfg.SessionID != 0 && hs.Request.ConnectionID != 0 && hs.Request.ConnectionID != s.cfg.SessionID:
		refuse = wire.ResultBadConnectionID
	}
	if refuse != wire.ResultOK {
		return hs.Refuse(ctx, refuse)
	}
	if err := hs.Reply(ctx, s.cfg.commonCaps(), script.Caps); err != nil {
		return fmt.Errorf("spicetest: %s: %w", id, err)
	}
	ticket, err := hs.Secret(ctx)
	if err != nil {
		return fmt.Errorf("spicetest: %s: %w", id, err)
	}
	result := script.Deny
	if s.cfg.Ticket != "" && ticket != s.cfg.Ticket {
		result = wire.ResultPermissionDenied
	}
	if err := hs.Finish(ctx, result); err != nil || result != wire.ResultOK {
		return err
	}
	frame := wire.FrameConfig{Mini: hs.Mini()}
	c := &Channel{
		Request: hs.Request, server: s, conn: conn,
		in: wire.NewFrameReader(conn, frame), out: wire.NewFrameWriter(conn, frame), mini: hs.Mini(),
	}
	s.mu.Lock()
	s.channels = append(s.channels, c)
	s.mu.Unlock()
	s.count(&s.started)
	err = c.play(script.Steps)
	if script.MayHangUp && hungUp(err) {
		err = nil
	}
	s.keep(err)
	s.count(&s.ended)
	if err == nil {
		c.drain()
	}
	return nil
}

func (s *Server) count(n *int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*n++
	s.announce()
}

// announce wakes waiters; the caller holds s.mu.
func (s *Server) announce() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// hungUp reports whether err means that the client closed the connection.
func hungUp(err error) bool {
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.ErrClosedPipe) ||
		errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
}

// AwaitScripts waits until n scripts have ended or one has failed, and returns their errors.
func (s *Server) AwaitScripts(ctx context.Context, n int) error {
	for {
		s.mu.Lock()
		ended, started, changed := s.ended, s.started, s.changed
		err := errors.Join(s.errs...)
		s.mu.Unlock()
		if err != nil {
			return err
		}
		if ended >= n {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("spicetest: %d of %d scripts ended, %d began: %w", ended, n, started, context.Cause(ctx))
		}
	}
}

// Received returns the messages received so far on a channel's connections, in order, Acks
// included.
func (s *Server) Received(id wire.ChannelID) []wire.ClientMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []wire.ClientMessage
	for _, c := range s.channels {
		if c.Request.Channel == id {
			all = append(all, c.received...)
		}
	}
	return all
}

// Close closes all connections, joins the scripts and returns their errors. A script that Close
// interrupts has not failed.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.wg.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(s.errs...)
}
