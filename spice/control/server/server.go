package server

import (
	"context"
	"errors"
	"fmt"
	"image"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spicelane/spicelane/spice/control"
	"github.com/spicelane/spicelane/spice/control/internal/ndjson"
)

const (
	// busyGrace is how long a new connection waits for the previous client's connection to end
	// before it is answered busy. A driver that closes and dials again at once is not a second
	// client.
	busyGrace = 100 * time.Millisecond

	// lingerFor is how long the server waits for the other end to close after its own last line.
	// Closing with unread bytes in the socket would show the client a reset instead of the end.
	lingerFor = 250 * time.Millisecond

	// closeWait is how long Close waits before it logs what it waits for.
	closeWait = 5 * time.Second
)

// Config configures a [Server]. Only Console must be set.
type Config struct {
	// Console is the console to drive.
	Console Console

	// Scan reads the digest. If it is nil, digest_updated and digest are not offered.
	Scan DigestScanner

	// Finder finds reference images and text. If it is nil, match and the conditions screen and text
	// are not offered.
	Finder Finder

	// DigestRegion returns the place of the digest on a primary surface of w×h pixels. Nil means
	// [DefaultDigestRegion]; set it only if your guest draws its code elsewhere.
	DigestRegion func(w, h int) image.Rectangle

	// Name is the server_name of the hello answer. Empty means "spicelane".
	Name string

	// Logger gets connections and problems; nil means none. Typed and pasted text is never logged.
	Logger *slog.Logger
}

func (c *Config) name() string {
	if c.Name == "" {
		return "spicelane"
	}
	return c.Name
}

func (c *Config) logger() *slog.Logger {
	if c.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Logger
}

// Server is the server side of the control socket. It serves one client at a time and never makes
// the console wait for it.
type Server struct {
	cfg     Config
	start   time.Time
	methods []string
	events  []string

	digests *DigestReader // nil without a scanner

	// pointer is where the last absolute mouse_move moved the pointer; nil before it, and after a
	// relative one.
	pointer atomic.Pointer[image.Point]

	ctx    context.Context // ends when Close is called
	cancel context.CancelFunc
	slot   chan struct{} // holds a value while a client is served

	mu        sync.Mutex
	listeners map[net.Listener]bool
	conns     map[net.Conn]bool
	closed    bool
	wg        sync.WaitGroup
}

// New makes a server for the console. Close it when done.
func New(cfg Config) *Server {
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{
		cfg: cfg, start: time.Now(),
		ctx: ctx, cancel: cancel,
		slot:      make(chan struct{}, 1),
		listeners: map[net.Listener]bool{},
		conns:     map[net.Conn]bool{},
	}
	offerer, picky := as[Offerer](cfg.Console)
	for _, v := range verbs {
		if (v.offered == nil || v.offered(&s.cfg)) && (!picky || offerer.Offers(v.name)) {
			s.methods = append(s.methods, v.name)
		}
	}
	s.events = append(s.events, control.EventLatency, control.EventAgentConnected, control.EventPasteCompleted,
		control.EventPasteFailed, control.EventDropped, control.EventSurfaceDrawn)
	if cfg.Scan != nil {
		s.digests = &DigestReader{Console: cfg.Console, Scan: cfg.Scan, Region: cfg.DigestRegion}
		s.events = append(s.events, control.EventDigestUpdated)
	}
	return s
}

// Open serves the console on a Unix socket at path until the server is closed. [Listen] documents
// the errors about the path.
func Open(path string, cfg Config) (*Server, error) {
	l, err := Listen(path)
	if err != nil {
		return nil, err
	}
	s := New(cfg)
	if !s.add(l) {
		panic("control: the server was closed before it was opened")
	}
	go func() {
		defer s.wg.Done()
		if err := s.accept(l); err != nil {
			s.cfg.logger().Error("control socket ended", "path", path, "err", err)
		}
	}()
	return s, nil
}

// ErrClosed is Serve's error after Close.
var ErrClosed = errors.New("control: server closed")

// Serve accepts clients from l until the server is closed or accepting fails.
// It closes l.
func (s *Server) Serve(l net.Listener) error {
	if !s.add(l) {
		l.Close()
		return ErrClosed
	}
	defer s.wg.Done()
	if err := s.accept(l); err != nil {
		return err
	}
	return ErrClosed
}

// add registers the listener and its user.
func (s *Server) add(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.listeners[l] = true
	s.wg.Add(1)
	return true
}

// accept accepts connections until the listener ends. It returns nil if Close ended it.
func (s *Server) accept(l net.Listener) error {
	defer func() {
		s.mu.Lock()
		delete(s.listeners, l)
		s.mu.Unlock()
		l.Close()
	}()
	for {
		conn, err := l.Accept()
		if err != nil {
			if s.ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("control: accept: %w", err)
		}
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			conn.Close()
			return nil
		}
		s.conns[conn] = true
		s.wg.Add(1)
		s.mu.Unlock()
		go s.handle(conn)
	}
}

// handle serves one connection, or answers busy.
func (s *Server) handle(conn net.Conn) {
	defer s.wg.Done()
	defer func() {
		conn.Close()
		s.mu.Lock()
		delete(s.conns, conn)
		s.mu.Unlock()
	}()
	grace := time.NewTimer(busyGrace)
	defer grace.Stop()
	select {
	case s.slot <- struct{}{}:
	case <-s.ctx.Done():
		return
	case <-grace.C:
		s.cfg.logger().Warn("control client refused: another is connected")
		line, err := ndjson.Marshal(control.Response{Error: errorf(control.CodeBusy, "another client is connected")})
		if err == nil {
			_ = conn.SetWriteDeadline(time.Now().Add(lingerFor))
			_, _ = conn.Write(append(line, '\n'))
			linger(conn)
		}
		return
	}
	defer func() { <-s.slot }()
	newConnection(s, conn).serve()
}

// linger closes the sending direction and waits a little for the other end to close, so that it
// sees the end and not a reset.
func linger(conn net.Conn) {
	if c, ok := conn.(interface{ CloseWrite() error }); ok && c.CloseWrite() == nil {
		_ = conn.SetReadDeadline(time.Now().Add(lingerFor))
		var sink [4096]byte
		for {
			if _, err := conn.Read(sink[:]); err != nil {
				return
			}
		}
	}
}

// Close stops listening, removes the socket file, disconnects the client, cancels its pastes, and
// waits for all that.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	s.cancel()
	for l := range s.listeners {
		l.Close()
	}
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	done := make(chan struct{})
	go func() { s.wg.Wait(); close(done) }()
	t := time.NewTimer(closeWait)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
		s.cfg.logger().Warn("control socket: still waiting for the client's requests to end")
		<-done
	}
	return nil
}
