package harness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/spicelane/spicelane/fixtures/digest"
	"github.com/spicelane/spicelane/fixtures/digest/qrscan"
	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/control"
	"github.com/spicelane/spicelane/spice/vv"
)

// A ClientConfig says which console a headless client connects to and where it
// is driven from.
type ClientConfig struct {
	// VV is the virt-viewer file that leads to the console.
	VV *vv.File
	// Socket is where the control socket goes.
	Socket string
	// Timeline, if not empty, is a file to which keys, frames and digests are
	// added, on the clock that started at TimelineStart.
	Timeline      string
	TimelineStart time.Time
	// Logger gets the client's news; nil discards them.
	Logger *slog.Logger
}

// A Client is a running headless client with its control socket.
type Client struct {
	spice *spice.Client
	srv   *control.Server
	log   *Timeline
	done  chan struct{}
	err   error
}

// StartClient connects to the console and opens the control socket. ctx bounds
// connecting only. The client lives until its SPICE session ends or Close.
func StartClient(ctx context.Context, cfg ClientConfig) (_ *Client, err error) {
	c := &Client{done: make(chan struct{})}
	defer func() {
		if err != nil {
			_ = c.log.Close()
		}
	}()
	if cfg.Timeline != "" {
		if c.log, err = newTimeline(cfg.Timeline, cfg.TimelineStart); err != nil {
			return nil, classify("timeline", err)
		}
	}
	// The socket first: that it cannot be had is said before anything is dialled,
	// and who connects early waits for the session.
	ln, err := control.Listen(cfg.Socket)
	if err != nil {
		return nil, classify("control socket", err)
	}
	sc := spice.FromVV(cfg.VV)
	sc.Logger = cfg.Logger
	if c.spice, err = spice.Dial(ctx, sc); err != nil {
		return nil, errors.Join(&Fault{Verdict: Product, Op: "client", Err: err}, ln.Close())
	}
	console := control.NewSpiceConsole(c.spice)
	record(console, c.log)
	c.srv = control.NewServer(control.Config{Console: console, Scan: ScanDigest, Logger: cfg.Logger})
	go c.serve(ln)
	go c.run()
	return c, nil
}

// serve answers on the control socket until it is closed. A socket that fails
// by itself ends the session, too: nobody could drive it.
func (c *Client) serve(ln net.Listener) {
	if err := c.srv.Serve(ln); err != nil && !errors.Is(err, control.ErrServerClosed) {
		_ = c.spice.Close()
	}
}

// run ends the control socket with the session.
func (c *Client) run() {
	defer close(c.done)
	err := c.spice.Wait()
	c.err = errors.Join(err, c.srv.Close(), c.log.Close())
}

// Done is closed when the client has ended and its socket is gone.
func (c *Client) Done() <-chan struct{} { return c.done }

// Wait returns why the client ended; nil after Close.
func (c *Client) Wait() error {
	<-c.done
	return c.err
}

// Close ends the session and joins everything. It is idempotent.
func (c *Client) Close() error {
	err := c.spice.Close()
	<-c.done
	return err
}

// ScanDigest is the control.DigestScanner of Beacon's and Sextant's digest.
func ScanDigest(pix []byte, stride, w, h int) (control.Digest, error) {
	res, err := qrscan.Scan(qrscan.Frame{Pix: pix, Width: w, Height: h, Stride: stride})
	if err != nil {
		var e *qrscan.Error
		if errors.As(err, &e) && e.Kind == qrscan.NoCode {
			return control.Digest{}, fmt.Errorf("%w: %w", control.ErrNoDigest, err)
		}
		return control.Digest{}, err
	}
	return controlDigest(res.Digest)
}

// record notes on log what a console shows.
func record(c control.Console, log *Timeline) {
	if log == nil {
		return
	}
	c.Observe(func(n control.Notice) {
		switch n := n.(type) {
		case control.Drawn:
			log.AddAt(n.At, "frame", map[string]any{"channel": n.Channel, "surface": n.Surface, "op": n.Op,
				"rect": []int{n.Rect.Min.X, n.Rect.Min.Y, n.Rect.Dx(), n.Rect.Dy()}})
		case control.AgentChanged:
			log.Add("agent", map[string]any{"connected": n.Connected})
		}
	})
}

// controlDigest is d in the words of the control socket.
func controlDigest(d *digest.Digest) (control.Digest, error) {
	b, err := json.Marshal(d)
	if err != nil {
		return control.Digest{}, err
	}
	var c control.Digest
	err = json.Unmarshal(b, &c)
	return c, err
}
