package main

import (
	"context"
	"fmt"
	"image"
	"net"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/filewatch"
	"github.com/spicelane/spicelane/harness/truth"
	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/control"
)

// truthParts sets cfg's proxy and client from the flags. A proxy or client that is a program runs
// in a lane below dir, whose server is the truth server.
func truthParts(cfg *truth.Config, proxyFlag, clientFlag, dir string) error {
	proxy, err := harness.ParseProgram(proxyFlag).Abs()
	if err != nil {
		return err
	}
	client, err := harness.ParseProgram(clientFlag).Abs()
	if err != nil {
		return err
	}
	n := 0
	lane := func(ctx context.Context, b truth.Backend, client harness.Program) (*harness.Lane, error) {
		n++
		return harness.Start(ctx, harness.Config{
			Name: "truth", Dir: filepath.Join(dir, fmt.Sprintf("lane-%d", n)),
			Server: net.JoinHostPort(b.Host, strconv.Itoa(b.Port)), ServerTicket: b.Ticket, Proxy: proxy, Client: client,
		})
	}
	switch {
	case proxy == harness.None:
		if client.IsCommand() {
			return usage("--client needs a proxy, because it connects through it")
		}
		cfg.NoProxy = true
		return nil
	case proxy.IsCommand():
		cfg.Proxy = func(ctx context.Context, b truth.Backend) (truth.Path, error) {
			l, err := lane(ctx, b, harness.None)
			if err != nil {
				return nil, err
			}
			return &lanePath{lane: l, ticket: b.Ticket}, nil
		}
	}
	if client == harness.None {
		return usage("--client none: without a client there is nothing to compare")
	}
	if client.IsCommand() {
		cfg.Foreign = func(ctx context.Context, b truth.Backend) (truth.Foreign, error) {
			l, err := lane(ctx, b, client)
			if err != nil {
				return nil, err
			}
			d, err := l.Control()
			if err != nil {
				l.Close()
				return nil, err
			}
			return &laneClient{l, d}, nil
		}
	}
	return nil
}

// lanePath is the path through another program's proxy.
type lanePath struct {
	lane   *harness.Lane
	ticket string
	last   string // the token that was used last
}

// freshToken is how long a proxy may take to replace a used token. If the token stays the same, it
// is assumed to be reusable.
const freshToken = 5 * time.Second

// Client returns the configuration of the proxy's virt-viewer file. It waits up to freshToken for a
// new token.
func (w *lanePath) Client(ctx context.Context) (spice.Config, error) {
	limit := time.NewTimer(freshToken)
	defer limit.Stop()
	changed, stop := filewatch.Watch(filepath.Dir(w.lane.State().VV))
	defer stop()
	for {
		f, err := w.lane.VV(ctx)
		if err != nil {
			return spice.Config{}, err
		}
		old := f.Password == w.last && f.Password != w.ticket
		if old {
			select {
			case <-changed:
				continue
			case <-ctx.Done():
				return spice.Config{}, context.Cause(ctx)
			case <-limit.C:
			}
		}
		w.last = f.Password
		return spice.FromVV(f), nil
	}
}

func (w *lanePath) Close() error { return w.lane.Close() }

// laneClient is another program's client, driven through its control socket.
type laneClient struct {
	lane   *harness.Lane
	driver *control.Driver
}

func (c *laneClient) Screenshot(ctx context.Context) (image.Image, error) {
	return c.driver.Image(ctx, control.ScreenshotParams{Format: "png"})
}

func (c *laneClient) Close() error { return c.lane.Close() }
