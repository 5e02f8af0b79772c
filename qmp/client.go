package qmp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/spicelane/spicelane/internal/ctxio"
)

// Config configures a Client. The zero value works.
type Config struct {
	// Transcript gets every line in both directions as one JSON object
	// {"t_us":…,"dir":"out"|"in","msg":…}, with secrets redacted; t_us is microseconds since the
	// connection was made. Writes are serialised. A failed write ends the transcript, but not the
	// connection. nil means no transcript.
	Transcript io.Writer

	// Logger gets what is odd but not an error, such as a reply that nobody waits for. nil discards
	// it.
	Logger *slog.Logger

	// Timeout limits each command, and in Dial the wait for the greeting, in addition to the
	// caller's context. 0 means DefaultTimeout, negative means no limit. The error is a
	// *NoAnswerError.
	Timeout time.Duration

	// MaxLine limits a line from QEMU, in bytes; 0 means DefaultMaxLine. Set it only if QEMU's
	// output may be hostile.
	MaxLine int
}

// DefaultTimeout is how long QEMU may take for a command. On an idle host it takes milliseconds,
// but writing a large screen to a busy disk has taken seconds.
const DefaultTimeout = time.Minute

// bounded returns ctx with the configured deadline. Its error then says what QEMU has not done.
func (c Config) bounded(ctx context.Context, what string) (context.Context, context.CancelFunc) {
	limit := c.Timeout
	if limit < 0 {
		return context.WithCancel(ctx)
	}
	if limit == 0 {
		limit = DefaultTimeout
	}
	return context.WithTimeoutCause(ctx, limit, &NoAnswerError{What: what, After: limit})
}

func (c Config) logger() *slog.Logger {
	if c.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Logger
}

// A Client is one QMP connection in command mode. Its methods may be called from any goroutine.
// QEMU answers concurrent commands in the order in which they were sent.
type Client struct {
	cfg        Config
	conn       net.Conn
	log        *slog.Logger
	transcript *transcript

	greeting Greeting
	greeted  chan struct{} // closed once greeting is set

	sending chan struct{} // a semaphore of one: who may write

	mu      sync.Mutex
	nextID  uint64
	pending map[string]*call
	subs    map[*Subscription]struct{}
	err     error // set once; why the connection ended

	done     chan struct{} // closed by the reader, last
	finished chan struct{} // closed once err is set
}

type call struct {
	secret   bool // the reply holds a secret: not for the transcript
	answered chan message
}

// Dial connects to QEMU's unix socket at path and negotiates capabilities. It waits for the
// greeting until ctx ends or Config.Timeout has passed, because QEMU serves one connection per
// socket at a time and makes a second one wait.
func Dial(ctx context.Context, path string, cfg Config) (*Client, error) {
	ctx, cancel := cfg.bounded(ctx, "greet")
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if errors.Is(err, syscall.EAGAIN) {
		// QEMU's queue of connections (listen(2)) is full.
		return nil, fmt.Errorf("qmp: %w: %w", ErrTaken, err)
	}
	if err != nil {
		return nil, fmt.Errorf("qmp: %w", err)
	}
	return NewClient(ctx, conn, cfg)
}

// ErrTaken means that another client is connected to the socket, and further ones are waiting.
var ErrTaken = errors.New("another client is connected to this QMP socket")

// NewClient takes ownership of conn, waits for the greeting and negotiates capabilities. If that
// fails, conn is closed. ctx limits only this call.
func NewClient(ctx context.Context, conn net.Conn, cfg Config) (*Client, error) {
	c := &Client{
		cfg:        cfg,
		conn:       conn,
		log:        cfg.logger(),
		transcript: newTranscript(cfg.Transcript),
		greeted:    make(chan struct{}),
		sending:    make(chan struct{}, 1),
		pending:    make(map[string]*call),
		subs:       make(map[*Subscription]struct{}),
		done:       make(chan struct{}),
		finished:   make(chan struct{}),
	}
	// NB: the reader starts before qmp_capabilities is sent, because QEMU may send events around
	// the handshake's reply.
	go c.read(cfg.MaxLine)

	err := c.handshake(ctx)
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (c *Client) handshake(ctx context.Context) error {
	select {
	case <-c.greeted:
	case <-c.finished:
		return fmt.Errorf("qmp: awaiting the greeting: %w", c.closedErr())
	case <-ctx.Done():
		return fmt.Errorf("qmp: awaiting the greeting (is another client connected to this socket? QEMU serves one at a time): %w", context.Cause(ctx))
	}
	_, err := c.Run(ctx, Command{Execute: "qmp_capabilities"})
	return err
}

// Greeting returns QEMU's first message.
func (c *Client) Greeting() Greeting { return c.greeting }

// Version returns QEMU's version.
func (c *Client) Version() Version { return c.greeting.Version }

// AtLeast reports whether QEMU's version is major.minor or later.
func (c *Client) AtLeast(major, minor int) bool {
	q := c.greeting.Version.QEMU
	return q.Major > major || q.Major == major && q.Minor >= minor
}

// Done returns a channel that is closed when the connection has ended.
func (c *Client) Done() <-chan struct{} { return c.done }

// Wait blocks until the connection has ended and returns why, the same for
// every caller: a *ClosedError.
func (c *Client) Wait() error {
	<-c.done
	return c.closedErr()
}

// Close ends the connection and joins its reader. Pending calls get a *ClosedError. It is
// idempotent and may be called at any time.
func (c *Client) Close() error {
	c.end(ErrClosed)
	<-c.done
	return nil
}

func (c *Client) closedErr() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return &ClosedError{Err: c.err}
}

// end records the first reason and wakes everyone. The reader then returns, because the connection
// is closed.
func (c *Client) end(err error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = err
	close(c.finished)
	for sub := range c.subs {
		sub.end()
	}
	c.mu.Unlock()
	c.conn.Close()
}

// Run sends a command and returns QEMU's answer, a JSON value. The error is an *Error if QEMU
// refuses, a *ClosedError if the connection ends first, or ctx's cause. If ctx ends, QEMU may still
// carry the command out.
func (c *Client) Run(ctx context.Context, cmd Command) (json.RawMessage, error) {
	return c.RunFiles(ctx, cmd)
}

// Do runs a command with Go values, otherwise as Run does. args must encode to a JSON object and
// may be nil. result may be nil if it is not needed.
func (c *Client) Do(ctx context.Context, command string, args, result any) error {
	ret, err := c.Run(ctx, Command{Execute: command, Args: args})
	if err != nil || result == nil {
		return err
	}
	return unmarshal(command, ret, result)
}

// RunFiles does what Run does, and passes open files to QEMU, for getfd and add-fd. It needs a unix
// socket. The caller keeps the files; QEMU gets duplicates.
func (c *Client) RunFiles(ctx context.Context, cmd Command, files ...*os.File) (json.RawMessage, error) {
	if _, unix := c.conn.(*net.UnixConn); len(files) > 0 && !unix {
		return nil, fmt.Errorf("qmp: %s: files can be passed over a unix socket only", cmd.Execute)
	}
	ctx, cancel := c.cfg.bounded(ctx, "answer")
	defer cancel()
	cl := &call{
		secret:   replyIsSecret(cmd),
		answered: make(chan message, 1),
	}
	c.mu.Lock()
	if c.err != nil {
		err := c.err
		c.mu.Unlock()
		return nil, fmt.Errorf("qmp: %s: %w", cmd.Execute, &ClosedError{Err: err})
	}
	c.nextID++
	id := "c" + strconv.FormatUint(c.nextID, 10)
	c.pending[id] = cl
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.pending, id)
		c.mu.Unlock()
	}()

	line, err := json.Marshal(struct {
		Command
		ID string `json:"id"`
	}{cmd, id})
	if err != nil {
		return nil, fmt.Errorf("qmp: %s: cannot encode the arguments: %w", cmd.Execute, err)
	}
	if err := c.send(ctx, append(line, '\n'), files); err != nil {
		return nil, fmt.Errorf("qmp: %s: %w", cmd.Execute, err)
	}

	select {
	case m := <-cl.answered:
		return m.unpack(cmd.Execute)
	case <-ctx.Done():
		return nil, fmt.Errorf("qmp: %s: no reply yet: %w", cmd.Execute, context.Cause(ctx))
	case <-c.finished:
		// The reply may have arrived just before the end.
		select {
		case m := <-cl.answered:
			return m.unpack(cmd.Execute)
		default:
			return nil, fmt.Errorf("qmp: %s: %w", cmd.Execute, c.closedErr())
		}
	}
}

func (m message) unpack(command string) (json.RawMessage, error) {
	if m.Error != nil {
		return nil, &Error{Command: command, Class: m.Error.Class, Desc: m.Error.Desc}
	}
	return m.Return, nil
}

// send writes one line. If ctx ends in the middle of it, the connection ends, because the rest
// could not be told from the next command.
func (c *Client) send(ctx context.Context, line []byte, files []*os.File) error {
	select {
	case c.sending <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-c.finished:
		return c.closedErr()
	}
	defer func() { <-c.sending }()
	n := 0
	err := ctxio.Do(ctx, c.conn.SetWriteDeadline, func() (err error) {
		c.transcript.out(line)
		n, err = c.write(line, files)
		return err
	})
	switch {
	case err == nil:
		return nil
	case n == 0 && ctx.Err() != nil:
		return context.Cause(ctx)
	}
	c.end(fmt.Errorf("writing a command: %w", err))
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return c.closedErr()
}

func (c *Client) write(line []byte, files []*os.File) (int, error) {
	if len(files) == 0 {
		return c.conn.Write(line)
	}
	uc := c.conn.(*net.UnixConn) // RunFiles has checked this
	n, err := writeFiles(uc, line, files)
	if err != nil || n == len(line) {
		return n, err
	}
	m, err := uc.Write(line[n:])
	return n + m, err
}

// read owns the receiving side until the connection ends.
func (c *Client) read(maxLine int) {
	defer close(c.done)
	d := newDecoder(c.conn, maxLine)
	for {
		line, err := d.line()
		if err != nil {
			c.end(err)
			return
		}
		m, err := parseMessage(line)
		if err != nil {
			c.transcript.in(line, false)
			c.end(err)
			return
		}
		if err := c.dispatch(m, line); err != nil {
			c.end(err)
			return
		}
	}
}

func (c *Client) dispatch(m message, line []byte) error {
	switch {
	case m.Greeting != nil:
		c.transcript.in(line, false)
		select {
		case <-c.greeted:
			return errors.New("QEMU sent a second greeting")
		default:
		}
		c.greeting = *m.Greeting
		close(c.greeted)
		return nil
	case m.Event != nil:
		c.transcript.in(line, false)
		c.mu.Lock()
		for sub := range c.subs {
			sub.offer(*m.Event)
		}
		c.mu.Unlock()
		return nil
	}

	c.mu.Lock()
	cl := c.pending[m.ID]
	delete(c.pending, m.ID)
	c.mu.Unlock()
	c.transcript.in(line, cl == nil || cl.secret)
	switch {
	case cl != nil:
		cl.answered <- m // at most one reply per call: it is no longer in pending
	case m.ID == "" && m.Error != nil:
		return fmt.Errorf("QEMU did not understand a command: %w", m.Error)
	default:
		// The caller's context ended before the answer came.
		c.log.Debug("qmp: reply nobody waits for", "id", m.ID)
	}
	return nil
}

func unmarshal(command string, b json.RawMessage, v any) error {
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("qmp: %s: cannot read the reply: %w", command, err)
	}
	return nil
}
