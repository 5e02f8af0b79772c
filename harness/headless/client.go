// Package headless is the two daemons of a lane: the client with its control socket
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

	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/timeline"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/control/server"
	"github.com/spicelane/spicelane/spice/control/spiceconsole"
	"github.com/spicelane/spicelane/spice/wire"
)

// A ClientConfig says which console a headless client connects to and where it
// is driven from.
type ClientConfig struct {
	// VV gives the virt-viewer file that leads to the console. It is called for
	// each session: the token in a file opens one only.
	VV VVSource
	// Socket is where the control socket goes.
	Socket string
	// Timeline, if not empty, is a file to which keys, the pointer and frames are
	// added, on the clock that started at TimelineStart.
	Timeline      string
	TimelineStart time.Time
	// ConnectTimeout bounds connecting, besides the context. Default: only the context does.
	ConnectTimeout time.Duration
	// Tap, if not nil, is asked for a tap of each channel of each session.
	Tap func(wire.ChannelID) wire.Tap
	// Console, if not nil, replaces what the control socket drives. Tests make a client with it
	// that shows something else than it has.
	Console func(server.Console) server.Console
	// Logger gets the client's news; nil discards them.
	Logger *slog.Logger
}

// A Client is a running headless client with its control socket.
type Client struct {
	cfg     ClientConfig
	console *spiceconsole.Console
	srv     *server.Server
	log     *timeline.Writer
	// moved is where the guest has gone; nil as long as it is where it was.
	moved atomic.Pointer[spice.Config]

	joined sync.WaitGroup
	failed chan failure // why a session ended by itself, or the socket
	once   sync.Once
	close  chan struct{}
	done   chan struct{}
	err    error // why it ended by itself; valid after done
	// closeErr is what went wrong with ending it; valid after done.
	closeErr error
}

// A failure is why a session ended by itself, and what had led to it, or why the
// socket did.
type failure struct {
	err error
	cfg spice.Config
}

// StartClient connects to the console and opens the control socket. ctx bounds
// connecting only. The client lives until its SPICE session ends by itself (the
// verb disconnect does not count) or Close. When the guest moves to another QEMU the
// client goes along, with the same password and CA: it opens a session there.
func StartClient(ctx context.Context, cfg ClientConfig) (_ *Client, err error) {
	c := &Client{cfg: cfg, failed: make(chan failure, 1), close: make(chan struct{}), done: make(chan struct{})}
	// The socket first: that it cannot be had is said before anything is dialled,
	// and who connects early waits for the session.
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
	var driven server.Console = notedConsole{c.console, c.log}
	if cfg.Console != nil {
		driven = cfg.Console(driven)
	}
	c.srv = server.New(server.Config{Console: driven, Scan: drive.ScanDigest, Logger: cfg.Logger})
	c.joined.Add(1)
	go c.serve(ln)
	go c.run()
	return c, nil
}

// dial opens a session and watches it. Tape is for the verb record_start.
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
		if err := session.Wait(); err != nil {
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

// serve answers on the control socket until it is closed. A socket that fails
// by itself ends the client: nobody could drive it.
func (c *Client) serve(ln net.Listener) {
	defer c.joined.Done()
	if err := c.srv.Serve(ln); err != nil && !errors.Is(err, server.ErrClosed) {
		c.fail(failure{err: err})
	}
}

// run follows the guest, and owns the client's end.
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
	c.closeErr = errors.Join(c.srv.Close(), ignore(c.console.Close(), c.err), c.log.Close())
	c.joined.Wait()
}

// followTime bounds the connection to where the guest has moved.
const followTime = 30 * time.Second

// follow opens a session where the guest is now, if the last one ended because it
// has moved. Otherwise it returns why that ended. It does not fall back to where the
// guest was: what is there is only what it left behind.
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

// Blame says whose fault it is that a session cannot be opened: the product's, unless nobody
// could open one of that configuration.
func Blame(err error) verdict.Kind {
	var bad *spice.ConfigError
	if errors.As(err, &bad) {
		return verdict.Harness
	}
	return verdict.Product
}

// ignore is err, unless it only says known again.
func ignore(err, known error) error {
	if errors.Is(err, known) {
		return nil
	}
	return err
}

// Done is closed when the client has ended and its socket is gone.
func (c *Client) Done() <-chan struct{} { return c.done }

// Wait returns why the client ended; nil after Close.
func (c *Client) Wait() error {
	<-c.done
	return c.err
}

// Close ends the session and joins everything. It is idempotent. The error says
// what went wrong with that, not why the client ended before.
func (c *Client) Close() error {
	c.once.Do(func() { close(c.close) })
	<-c.done
	return c.closeErr
}

// record notes on log what a console shows.
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

// A notedConsole notes on a timeline what is done to it.
type notedConsole struct {
	*spiceconsole.Console
	log *timeline.Writer
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

// note says what was done at the given moment, and what came of it if that was
// an error.
func (c notedConsole) note(at time.Time, err error, kind string, fields map[string]any) {
	if err != nil {
		fields["error"] = err.Error()
	}
	c.log.AddAt(at, kind, fields)
}
