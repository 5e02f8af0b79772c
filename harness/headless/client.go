// Package headless has the two daemons of a lane: the client with its control socket
// ([StartClient]), and the proxy with a virt-viewer file that always works ([StartProxy]).
package headless

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spicelane/spicelane/harness/coverage"
	"github.com/spicelane/spicelane/harness/film"
	"github.com/spicelane/spicelane/harness/screen/text"
	"github.com/spicelane/spicelane/harness/timeline"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/control/server"
	"github.com/spicelane/spicelane/spice/control/spiceconsole"
	"github.com/spicelane/spicelane/spice/wire"
)

// A ClientConfig says which console a headless client connects to, and where to drive it.
type ClientConfig struct {
	// VV returns the virt-viewer file of the console. It is called for each session, because a
	// token opens only one.
	VV VVSource
	// Socket is the path of the control socket.
	Socket string
	// Timeline, if not empty, is a file to which keys, pointer moves and frames are appended. Its
	// clock started at TimelineStart.
	Timeline      string
	TimelineStart time.Time
	// Film, if not empty, is the file to which the client films what the console shows, on the same
	// clock; see package film.
	Film string
	// ConnectTimeout limits connecting, in addition to the context. Default: only the context
	// limits it.
	ConnectTimeout time.Duration
	// Tap, if not nil, returns a tap for each channel of each session.
	Tap func(wire.ChannelID) wire.Tap
	// Fonts returns the fonts that the guest may write in, besides those of package text. It is
	// called once, when text is first looked for. If it is nil, there are no others.
	Fonts func() ([]*text.Font, error)
	// Console, if not nil, replaces the console that the control socket drives. Tests use it to
	// make a client that shows wrong pictures.
	Console func(server.Console) server.Console
	// Logger gets the client's log messages; nil discards them.
	Logger *slog.Logger
}

// A Client is a running headless client with its control socket.
type Client struct {
	cfg     ClientConfig
	console *spiceconsole.Console
	srv     *server.Server
	log     *timeline.Writer
	film    *film.Recorder // nil without a film
	// stopCursor stops writing the pointer to the timeline.
	stopCursor context.CancelFunc
	// moved is where the guest has migrated to; nil before that.
	moved atomic.Pointer[spice.Config]

	joined sync.WaitGroup
	failed chan failure // why a session ended by itself, or the socket
	once   sync.Once
	close  chan struct{}
	done   chan struct{}
	err    error // why it ended by itself; valid after done
	// closeErr is the error of ending the client; valid after done.
	closeErr error
}

// A failure says why a session or the socket ended by itself, and has the session's configuration.
type failure struct {
	err error
	cfg spice.Config
}

// StartClient connects to the console and opens the control socket. ctx limits only connecting. The
// client runs until its SPICE session ends by itself (the verb disconnect does not count) or Close
// is called. If the guest migrates to another QEMU, the client opens a session there, with the same
// password and CA.
func StartClient(ctx context.Context, cfg ClientConfig) (_ *Client, err error) {
	c := &Client{cfg: cfg, failed: make(chan failure, 1), close: make(chan struct{}), done: make(chan struct{})}
	// Open the socket first: if that fails, nothing has been dialled. A client that connects early
	// waits for the session.
	ln, err := server.Listen(cfg.Socket)
	if err != nil {
		return nil, verdict.Classify("control socket", err)
	}
	if cfg.Timeline != "" {
		if c.log, err = timeline.Open(cfg.Timeline, cfg.TimelineStart); err != nil {
			return nil, errors.Join(verdict.Classify("timeline", err), ln.Close())
		}
	}
	if cfg.ConnectTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, cfg.ConnectTimeout)
		defer cancel()
	}
	if c.console, err = spiceconsole.Dial(ctx, c.dial); err != nil {
		return nil, errors.Join(&verdict.Error{Verdict: Blame(err), Op: "client", Err: err}, ln.Close(), c.log.Close())
	}
	record(c.console, c.log)
	if err := c.startFilm(); err != nil {
		return nil, errors.Join(verdict.Classify("film", err), ln.Close(), c.console.Close(), c.log.Close())
	}
	var driven server.Console = notedConsole{c.console, c.log, c.film}
	if cfg.Console != nil {
		driven = cfg.Console(driven)
	}
	c.srv = server.New(server.Config{Console: driven, Scan: (&digestNote{log: c.log}).scan, Finder: newFinder(cfg.Fonts, c.log), Logger: cfg.Logger})
	c.startCursor()
	c.joined.Add(1)
	go c.serve(notedListener{ln, c.log})
	go c.run()
	return c, nil
}

// dial opens a session and watches it. tape sets up recording for the verb record_start.
func (c *Client) dial(ctx context.Context, tape func(*spice.Config)) (*spice.Client, error) {
	var cfg spice.Config
	if there := c.moved.Load(); there != nil {
		cfg = *there
	} else {
		f, err := c.cfg.VV(ctx)
		if err != nil {
			return nil, err
		}
		cfg = spice.FromVV(f)
		cfg.Logger = c.cfg.Logger
	}
	untaped := cfg
	tape(&cfg)
	if own, taped := c.cfg.Tap, cfg.Tap; own != nil {
		cfg.Tap = func(id wire.ChannelID) wire.Tap {
			if taped == nil {
				return own(id)
			}
			return wire.JoinTaps(own(id), taped(id))
		}
	}
	session, err := spice.Dial(ctx, cfg)
	if err != nil {
		return nil, err
	}
	c.joined.Add(1)
	go func() {
		defer c.joined.Done()
		err := session.Wait()
		c.log.Add(coverage.Kind, coverage.Entry(session.Stats()))
		if err != nil {
			c.fail(failure{err, untaped})
		}
	}()
	return session, nil
}

func (c *Client) fail(f failure) {
	select {
	case c.failed <- f:
	default: // one reason is enough
	}
}

// serve answers on the control socket until it is closed. If the socket fails by itself, the client
// ends, because nobody could drive it.
func (c *Client) serve(ln net.Listener) {
	defer c.joined.Done()
	if err := c.srv.Serve(ln); err != nil && !errors.Is(err, server.ErrClosed) {
		c.fail(failure{err: err})
	}
}

// run follows the guest through migrations, and ends the client.
func (c *Client) run() {
	defer close(c.done)
	for over := false; !over; {
		select {
		case f := <-c.failed:
			c.err = c.follow(f)
			over = c.err != nil
		case <-c.close:
			over = true
		}
	}
	// End the film first: its last picture needs a session that is still there.
	c.endFilm()
	c.stopCursor()
	c.closeErr = errors.Join(c.srv.Close(), ignore(c.console.Close(), c.err))
	c.joined.Wait() // what a session was sent is noted at its end
	c.closeErr = errors.Join(c.closeErr, c.log.Close())
}

// followTime limits connecting to the place to which the guest has migrated.
const followTime = 30 * time.Second

// follow opens a session where the guest is now, if the last session ended because of migration.
// Otherwise it returns why the session ended. It never returns to the old place, which has only
// what the migrated guest left.
func (c *Client) follow(f failure) error {
	var moved *spice.MigratedError
	if !errors.As(f.err, &moved) {
		return f.err
	}
	ctx, cancel := context.WithTimeout(context.Background(), followTime)
	defer cancel()
	go func() {
		select {
		case <-c.close:
			cancel()
		case <-ctx.Done():
		}
	}()
	there := moved.Config(f.cfg)
	c.moved.Store(&there)
	c.log.Add("migrated", map[string]any{"host": moved.Host, "port": moved.Port, "tls_port": moved.TLSPort})
	if err := c.console.Reconnect(ctx); err != nil {
		return fmt.Errorf("%w, and no session could be had there: %w", f.err, err)
	}
	return nil
}

// Blame returns whose fault it is that a session cannot be opened: Product, unless err has a verdict
// already, or no client could open a session with that configuration.
func Blame(err error) verdict.Kind {
	var known *verdict.Error
	var bad *spice.ConfigError
	switch {
	case errors.As(err, &known):
		return known.Verdict
	case errors.As(err, &bad):
		return verdict.Harness
	}
	return verdict.Product
}

// ignore returns err, or nil if err only repeats known.
func ignore(err, known error) error {
	if errors.Is(err, known) {
		return nil
	}
	return err
}

// Traffic returns the bytes of the present session: sent to the server, and received from it.
func (c *Client) Traffic() (sent, received uint64) {
	for _, ch := range c.console.Client().Stats().Channels {
		sent += ch.BytesOut
		received += ch.BytesIn
	}
	return sent, received
}

// Done returns a channel that is closed when the client has ended and its socket is removed.
func (c *Client) Done() <-chan struct{} { return c.done }

// Wait returns why the client ended; nil after Close.
func (c *Client) Wait() error {
	<-c.done
	return c.err
}

// Close ends the session and waits for all goroutines. It is idempotent. Its error reports problems
// of ending, not why the client ended before.
func (c *Client) Close() error {
	c.once.Do(func() { close(c.close) })
	<-c.done
	return c.closeErr
}

// record writes what a console shows to log.
func record(c server.Console, log *timeline.Writer) {
	if log == nil {
		return
	}
	c.Observe(func(n server.Notice) {
		switch n := n.(type) {
		case server.Drawn:
			log.AddFrame(timeline.Frame{At: n.At, Channel: n.Channel, Surface: n.Surface, Op: n.Op, Rect: n.Rect})
		case server.AgentChanged:
			log.Add("agent", map[string]any{"connected": n.Connected})
		}
	})
}

// A notedConsole writes what is done to it to a timeline.
type notedConsole struct {
	*spiceconsole.Console
	log  *timeline.Writer
	film *film.Recorder
}

func (c notedConsole) SendKey(ctx context.Context, code uint16, down bool) error {
	at := time.Now()
	err := c.Console.SendKey(ctx, code, down)
	c.note(at, err, "key", map[string]any{"code": code, "down": down})
	return err
}

func (c notedConsole) MouseMove(ctx context.Context, channel uint8, x, y int, relative bool) error {
	at := time.Now()
	err := c.Console.MouseMove(ctx, channel, x, y, relative)
	c.note(at, err, "pointer", map[string]any{"channel": channel, "x": x, "y": y, "relative": relative})
	return err
}

func (c notedConsole) MouseButton(ctx context.Context, button int, down bool) error {
	at := time.Now()
	err := c.Console.MouseButton(ctx, button, down)
	c.note(at, err, "button", map[string]any{"button": button, "down": down})
	return err
}

// note records what was done at the given moment, and its error, if any.
func (c notedConsole) note(at time.Time, err error, kind string, fields map[string]any) {
	if err != nil {
		fields["error"] = err.Error()
	}
	c.log.AddAt(at, kind, fields)
}
