package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coder/websocket"

	"github.com/spicelane/spicelane/internal/ctxio"
	"github.com/spicelane/spicelane/spice/wire"
)

// WebSocketPath is the path on which the WebSocket port accepts clients. It is the path that
// spice-html5 requests.
const WebSocketPath = "/websockify"

const (
	// webSubprotocol is the name that websockify and its clients use for a stream of bytes.
	webSubprotocol = "binary"

	// maxRequest limits the HTTP request of a WebSocket, in bytes.
	maxRequest = 16 << 10

	// maxWebMessage limits a WebSocket message, in bytes. Browser clients send one SPICE message in
	// each.
	maxWebMessage = maxDevice + wire.FullHeaderSize

	// unansweredPings is the number of consecutive pings that a client may leave unanswered while
	// the proxy waits for it. TCP's keepalive uses the same number.
	unansweredPings = 4
)

// transportWebSocket is the transport of channels that came to the WebSocket port.
const transportWebSocket = "websocket"

// serveWebSocket serves one channel that arrives in a WebSocket, until the channel ends.
func (p *Proxy) serveWebSocket(raw net.Conn, mine *place) {
	conn := tls.Server(raw, p.tls.Load().config)
	defer conn.Close()
	ctx, cancel := context.WithTimeout(p.ctx, p.cfg.handshakeTimeout())
	defer cancel()
	refused := Event{Kind: EventLinkRefused, Client: raw.RemoteAddr().String(), Transport: transportWebSocket}
	if err := secure(ctx, conn); err != nil {
		p.malformed(refused, err, mine)
		return
	}
	mine.progress()
	web, err := upgrade(ctx, conn, raw, p.cfg.AllowedOrigins)
	if errors.Is(err, errForeignOrigin) {
		refused.Reason, refused.Err = ReasonForeignOrigin, err
		p.emit(refused)
		return
	}
	if err != nil {
		p.malformed(refused, err, mine)
		return
	}
	defer web.Close()
	web.keepAlive(p.cfg.keepAlive())
	mine.progress()
	p.serveChannel(ctx, cancel, web, transportWebSocket, mine)
}

// errForeignOrigin says that a page of another site asked for a WebSocket.
var errForeignOrigin = errors.New("the page's origin is not allowed")

// upgrade answers the one HTTP request of a connection, and returns its WebSocket. raw is the
// connection below conn. A client that asks for something else gets an HTTP error that says what is
// wrong.
func upgrade(ctx context.Context, conn, raw net.Conn, origins []string) (*webSocket, error) {
	limited := &io.LimitedReader{R: conn, N: maxRequest}
	a := &answer{conn: conn, reader: bufio.NewReader(limited), header: http.Header{}}
	var web *webSocket
	err := ctxio.Do(ctx, conn.SetDeadline, func() error {
		if head, err := a.reader.Peek(4); string(head) == "REDQ" {
			http.Error(a, "this port takes SPICE in WebSockets only", http.StatusBadRequest)
			return errors.Join(errors.New("SPICE without WebSocket, does the client use the wrong port?"), a.send())
		} else if len(head) == 0 {
			return err
		}
		r, err := http.ReadRequest(a.reader)
		if err != nil {
			switch {
			case limited.N == 0:
				err = fmt.Errorf("the request has more than %d bytes", maxRequest)
				http.Error(a, err.Error(), http.StatusRequestHeaderFieldsTooLarge)
			case errors.As(err, new(net.Error)), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
				return err
			default:
				http.Error(a, "this is no HTTP request", http.StatusBadRequest)
			}
			return errors.Join(err, a.send())
		}
		web, err = a.accept(r, raw, origins)
		if err != nil {
			return errors.Join(err, a.send())
		}
		return nil
	})
	return web, err
}

// accept checks a request for a WebSocket, and answers it if it is allowed.
func (a *answer) accept(r *http.Request, raw net.Conn, origins []string) (*webSocket, error) {
	if r.URL.Path != WebSocketPath {
		http.Error(a, "WebSockets are at "+WebSocketPath, http.StatusNotFound)
		return nil, fmt.Errorf("path %.80q, want %s", r.URL.Path, WebSocketPath)
	}
	if r.Host == "" {
		http.Error(a, "the request has no Host", http.StatusBadRequest)
		return nil, errors.New("the request has no Host")
	}
	// Clients without a subprotocol are accepted, as websockify does.
	offered := strings.Join(r.Header.Values("Sec-WebSocket-Protocol"), ",")
	if offered != "" && !slices.ContainsFunc(strings.Split(offered, ","), func(s string) bool {
		return strings.EqualFold(strings.TrimSpace(s), webSubprotocol)
	}) {
		http.Error(a, "the subprotocol is "+webSubprotocol, http.StatusBadRequest)
		return nil, fmt.Errorf("subprotocols %.80q, want %s", offered, webSubprotocol)
	}
	web := &webSocket{carrier: &carrier{Conn: a.conn}, raw: raw, closed: make(chan struct{}), done: make(chan struct{})}
	a.carrier = web.carrier
	var err error
	web.ws, err = websocket.Accept(a, r, &websocket.AcceptOptions{Subprotocols: []string{webSubprotocol}, OriginPatterns: origins})
	switch {
	case err != nil && a.status == http.StatusForbidden:
		return nil, fmt.Errorf("%w: %.200q at %.80q", errForeignOrigin, r.Header.Get("Origin"), r.Host)
	case err != nil:
		return nil, err
	}
	web.ws.SetReadLimit(maxWebMessage)
	return web, nil
}

// answer is the [http.ResponseWriter] of a connection's only request.
type answer struct {
	conn    net.Conn
	reader  *bufio.Reader
	carrier *carrier // what the WebSocket gets for conn

	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) { a.status = status }

func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }

// Hijack answers the request and passes the connection to the caller.
func (a *answer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if err := a.send(); err != nil {
		return nil, nil, err
	}
	return a.carrier, bufio.NewReadWriter(a.reader, bufio.NewWriter(a.carrier)), nil
}

// send writes the answer.
func (a *answer) send() error {
	r := http.Response{StatusCode: a.status, ProtoMajor: 1, ProtoMinor: 1, Header: a.header}
	if a.status != http.StatusSwitchingProtocols {
		r.Body, r.ContentLength, r.Close = io.NopCloser(&a.body), int64(a.body.Len()), true
	}
	var out bytes.Buffer
	if err := r.Write(&out); err != nil {
		return err
	}
	_, err := a.conn.Write(out.Bytes())
	return err
}

// carrier is the connection that a WebSocket runs on. It notes how that connection ended, because
// the WebSocket's errors are the same for an ended connection and a broken rule.
type carrier struct {
	net.Conn
	waiting atomic.Bool   // somebody waits in Read
	reads   atomic.Uint64 // that brought something
	ended   atomic.Pointer[error]
}

func (c *carrier) Read(b []byte) (int, error) {
	c.waiting.Store(true)
	n, err := c.Conn.Read(b)
	c.waiting.Store(false)
	if n > 0 {
		c.reads.Add(1)
	}
	c.note(err)
	return n, err
}

func (c *carrier) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.note(err)
	return n, err
}

// note keeps the first error.
func (c *carrier) note(err error) {
	if err != nil {
		c.ended.CompareAndSwap(nil, &err)
	}
}

// why returns how the connection ended, or err if it has not.
func (c *carrier) why(err error) error {
	switch ended := c.ended.Load(); {
	case ended == nil:
		return err
	case errors.Is(*ended, io.EOF):
		// A WebSocket ends with a close frame.
		return io.ErrUnexpectedEOF
	default:
		return *ended
	}
}

// webSocket is a connection whose bytes are in the binary messages of a WebSocket. The boundaries
// of the messages mean nothing.
type webSocket struct {
	*carrier
	raw net.Conn // what carrier runs on
	ws  *websocket.Conn

	message io.Reader // the one that is being read; nil between two
	failed  error     // of Read: the first one stays

	// writing serialises messages and pings. The frames that the library writes itself
	// are one write each, and need no lock.
	writing sync.Mutex

	closing sync.Once
	closed  chan struct{} // the closing handshake is over
	done    chan struct{} // closed by Close
	alive   sync.WaitGroup
	over    sync.Once
}

// NetConn returns the raw connection, for callers that close it at once.
func (c *webSocket) NetConn() net.Conn { return c.raw }

// Read reads the content of binary messages. A close frame ends the stream.
func (c *webSocket) Read(b []byte) (int, error) {
	for c.failed == nil {
		if c.message == nil {
			kind, message, err := c.ws.Reader(context.Background())
			if err != nil {
				c.fail(err)
				break
			}
			if kind != websocket.MessageBinary {
				c.refuse(websocket.StatusUnsupportedData, errors.New("a text message, want binary ones"))
				break
			}
			c.message = message
		}
		n, err := c.message.Read(b)
		switch {
		case err == io.EOF:
			c.message = nil
		case err != nil:
			// NB: what the library (v1.8.15) returns with an error is still masked.
			n = 0
			c.fail(err)
		}
		if n > 0 {
			return n, nil
		}
	}
	return 0, c.failed
}

// fail stores why Read has ended.
func (c *webSocket) fail(err error) {
	switch {
	case websocket.CloseStatus(err) != -1:
		c.failed = io.EOF
	case c.ended.Load() != nil || errors.Is(err, net.ErrClosed):
		c.failed = c.why(err)
	default:
		c.refuse(websocket.StatusProtocolError, err)
	}
}

// refuse sends the reason to a client that broke a rule. It waits a moment for an answer, because
// closing a connection with unread bytes could discard the reason.
func (c *webSocket) refuse(code websocket.StatusCode, err error) {
	const most = 123 // bytes of a reason, RFC 6455 section 5.5
	c.failed = fmt.Errorf("websocket: %w", err)
	_ = c.SetDeadline(time.Now().Add(lastWord))
	// The library has already sent the reason for what it found itself; then this only waits.
	reason := err.Error()
	_ = c.ws.Close(code, reason[:min(len(reason), most)])
}

// Write sends one binary message.
func (c *webSocket) Write(b []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := c.ws.Write(context.Background(), websocket.MessageBinary, b); err != nil {
		return 0, c.why(err)
	}
	return len(b), nil
}

// CloseWrite sends the close frame. Read still returns what the client sends before its close
// frame.
func (c *webSocket) CloseWrite() error {
	c.closing.Do(func() {
		go func() {
			defer close(c.closed)
			_ = c.ws.Close(websocket.StatusNormalClosure, "")
		}()
	})
	return nil
}

// Close ends the WebSocket with a closing handshake, if the client answers within a moment.
func (c *webSocket) Close() error {
	c.over.Do(func() {
		_ = c.SetDeadline(time.Now().Add(lastWord))
		_ = c.CloseWrite()
		<-c.closed
		close(c.done)
		c.alive.Wait()
	})
	return nil
}

// pingFrame is a ping without payload (RFC 6455 section 5.5.2).
var pingFrame = []byte{0x89, 0}

// keepAlive pings the client until Close, because reverse proxies drop silent connections. A client
// that answers no ping is gone. A client whose answers are not read, because the console is slow,
// is not.
func (c *webSocket) keepAlive(every time.Duration) {
	c.alive.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		var heard uint64
		for unanswered := 0; ; unanswered++ {
			select {
			case <-c.done:
				return
			case <-tick.C:
			}
			if now := c.reads.Load(); now != heard || !c.waiting.Load() {
				heard, unanswered = now, 0
			}
			if unanswered == unansweredPings {
				c.note(fmt.Errorf("no answer to %d pings: %w", unanswered, syscall.ETIMEDOUT))
				closeNow(c)
				return
			}
			// NB: do not use the library's Ping: it closes the connection when it cannot write for
			// five seconds. A slow reader is not a dead one.
			c.writing.Lock()
			_, err := c.carrier.Write(pingFrame)
			c.writing.Unlock()
			if err != nil {
				return
			}
		}
	})
}
