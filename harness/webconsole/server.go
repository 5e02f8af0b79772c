// Package webconsole shows a lane on a web page: its live picture, with keyboard and mouse. As on
// the page of a lane that has ended (package replay), it also shows the timeline, the logs and the
// screen at any earlier moment.
//
//	v := viewer.Open(viewer.Of(state, nil))
//	defer v.Close()
//	s, err := webconsole.Start(webconsole.Config{Viewer: v})
//	defer s.Close()
//	fmt.Println(s.Link())       // opens once, in one browser
//
// The page is one file, loads nothing from elsewhere, and is served only on the loopback address. A
// link contains a token after the #, which browsers do not send to servers or proxies. The page
// exchanges the token for a cookie, and then the token is invalid. Everything except the page
// itself needs the cookie. The server refuses requests with a host name other than the loopback's,
// so that no other site can reach the console through a name that points here.
//
// The picture is sent losslessly: the canvas has the same pixels as a screenshot.
//
// To see the messages on the WebSocket, use the browser's network tools. Text messages are JSON,
// and binary ones are pictures (see stream.go).
package webconsole

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/subtle"
	_ "embed" // the page
	"encoding/base64"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/spicelane/spicelane/harness/replay"
	"github.com/spicelane/spicelane/harness/viewer"
)

// page is the user interface, except the parts that it shares with a lane's page (package replay):
// the timeline, the logs and earlier screens.
//
//go:embed page.html
var page string

// live is the part of the page with the live screen.
//
//go:embed live.html
var live string

// DefaultLinkLifetime is how long a link may stay unused.
const DefaultLinkLifetime = 10 * time.Minute

// A Config says what to show and where.
type Config struct {
	// Viewer is the connection to the lane. The caller closes it, after the Server.
	Viewer *viewer.Viewer
	// Listen is the loopback address to serve on, host:port. Default: 127.0.0.1:0, any free port.
	Listen string
	// LinkLifetime is how long a link may stay unused. Default: DefaultLinkLifetime.
	LinkLifetime time.Duration
	// Needles is the directory in which the page saves reference images; empty means that the page
	// cannot make any.
	Needles string
	// Logger gets connections and problems; nil means none. The Server never logs tokens or typed
	// text.
	Logger *slog.Logger
}

func (c Config) logger() *slog.Logger {
	if c.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Logger
}

// A Server serves the page.
type Server struct {
	cfg    Config
	ln     net.Listener
	http   *http.Server
	log    *slog.Logger
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	joined sync.WaitGroup
	once   sync.Once

	mu      sync.Mutex
	links   map[string]time.Time // unused tokens and when they expire
	cookies map[string]bool

	making sync.Mutex // held while past reads the lane's directory
}

// NotLoopbackError says that Addr is not a loopback address, so the page would be open to the
// network.
type NotLoopbackError struct{ Addr string }

func (e *NotLoopbackError) Error() string {
	return fmt.Sprintf("webconsole: %s is not a loopback address; a console is served to this computer only (reach it from another one with ssh -L)", e.Addr)
}

// Start serves the page. It returns a *NotLoopbackError if cfg.Listen is not a loopback address.
// Close the Server when done.
func Start(cfg Config) (*Server, error) {
	addr := cfg.Listen
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("webconsole: %w", err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, &NotLoopbackError{Addr: addr}
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("webconsole: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{
		cfg: cfg, ln: ln, log: cfg.logger(), ctx: ctx, cancel: cancel,
		links: map[string]time.Time{}, cookies: map[string]bool{},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.servePage)
	mux.HandleFunc("POST /login", s.login)
	mux.Handle("GET /ws", s.guarded(s.serveSocket))
	mux.Handle("GET /reference", s.guarded(s.referenceDir))
	mux.Handle("POST /reference", s.guarded(s.keepReference))
	mux.Handle("GET /past", s.guarded(s.past))
	mux.Handle("GET /screenshot.png", s.guarded(s.screenshot))
	s.http = &http.Server{
		Handler:           s.onlyHere(mux),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	s.joined.Go(func() {
		if err := s.http.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("the page is not served any more", "err", err)
		}
	})
	return s, nil
}

// Addr returns the page's address, host:port.
func (s *Server) Addr() string { return s.ln.Addr().String() }

// Link returns a new link, which opens the page once. The link is a secret until it has been used.
func (s *Server) Link() string {
	lifetime := s.cfg.LinkLifetime
	if lifetime <= 0 {
		lifetime = DefaultLinkLifetime
	}
	token := newSecret()
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for old, until := range s.links {
		if now.After(until) {
			delete(s.links, old)
		}
	}
	s.links[token] = now.Add(lifetime)
	return "http://" + s.Addr() + "/#" + token
}

// Close ends every connection and waits for all goroutines. It is idempotent.
func (s *Server) Close() error {
	var err error
	s.once.Do(func() {
		s.mu.Lock() // see enter
		s.cancel()
		s.mu.Unlock()
		err = s.http.Close()
		s.joined.Wait()
	})
	return err
}

func newSecret() string {
	var b [20]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// onlyHere refuses requests for another host name, such as one of a foreign site that resolves to
// the loopback address.
func (s *Server) onlyHere(next http.Handler) http.Handler {
	_, port, _ := net.SplitHostPort(s.Addr())
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != s.Addr() && r.Host != "localhost:"+port && r.Host != "127.0.0.1:"+port {
			http.Error(w, "this console is at http://"+s.Addr(), http.StatusMisdirectedRequest)
			return
		}
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		next.ServeHTTP(w, r)
	})
}

// servePage serves the page. Without the cookie, the page gets no data.
func (s *Server) servePage(w http.ResponseWriter, _ *http.Request) {
	nonce := newSecret()
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", fmt.Sprintf("default-src 'none'; script-src 'nonce-%s'; style-src 'nonce-%s'; "+
		"img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'", nonce, nonce))
	_, _ = strings.NewReplacer("{{nonce}}", nonce, "{{style}}", replay.Style(), "{{main}}", replay.Main(live), "{{script}}", replay.Script()).
		WriteString(w, withReference(page))
}

// cookieName returns the cookie's name. It contains the port, because all ports of a host share
// cookies.
func (s *Server) cookieName() string {
	_, port, _ := net.SplitHostPort(s.Addr())
	return "spicelane-console-" + port
}

// maxToken limits the size of a token in bytes.
const maxToken = 128

// login exchanges a link's token for the cookie.
func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(io.LimitReader(r.Body, maxToken))
	if err != nil {
		http.Error(w, "no token", http.StatusBadRequest)
		return
	}
	if !s.spend(string(b)) {
		s.log.Warn("a link was refused", "from", r.RemoteAddr)
		http.Error(w, "this link has been used, or is too old: run `spicelane console` again", http.StatusForbidden)
		return
	}
	value := newSecret()
	s.mu.Lock()
	s.cookies[value] = true
	s.mu.Unlock()
	s.log.Info("a link was used", "from", r.RemoteAddr)
	http.SetCookie(w, &http.Cookie{Name: s.cookieName(), Value: value, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
	w.WriteHeader(http.StatusNoContent)
}

// spend removes a token and reports whether it was valid.
func (s *Server) spend(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, good := "", false
	for t, until := range s.links {
		// Comparing with all tokens in constant time reveals nothing about any of them.
		if subtle.ConstantTimeCompare([]byte(t), []byte(token)) == 1 {
			found, good = t, time.Now().Before(until)
		}
	}
	delete(s.links, found)
	return good
}

// guarded passes only requests with the cookie to next.
func (s *Server) guarded(next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := r.Cookie(s.cookieName())
		s.mu.Lock()
		ok := err == nil && s.cookies[c.Value]
		s.mu.Unlock()
		if !ok {
			http.Error(w, "open the link that `spicelane console` printed", http.StatusUnauthorized)
			return
		}
		next(w, r)
	})
}

// past serves the lane's timeline, logs and screens up to now. It makes the data for each request,
// so it serves one request at a time.
func (s *Server) past(w http.ResponseWriter, _ *http.Request) {
	s.making.Lock()
	defer s.making.Unlock()
	var b bytes.Buffer
	if err := replay.Past(&b, s.cfg.Viewer.Dir()); err != nil {
		// Nothing is recorded. That is not an error, because browsers log errors.
		w.WriteHeader(http.StatusNoContent)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write(b.Bytes())
}

// screenshot serves the picture as a PNG file.
func (s *Server) screenshot(w http.ResponseWriter, _ *http.Request) {
	pic, err := s.cfg.Viewer.Picture(image.Rectangle{})
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	img := &image.NRGBA{Pix: appendRGBA(nil, pic), Stride: 4 * pic.Width, Rect: image.Rect(0, 0, pic.Width, pic.Height)}
	w.Header().Set("Content-Type", "image/png")
	_ = (&png.Encoder{CompressionLevel: png.BestSpeed}).Encode(w, img)
}
