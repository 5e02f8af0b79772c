package harness

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/spicelane/spicelane/harness/headless"
	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/control"
)

// A part is a lane's proxy or client: inside this process, a child of this program, or another
// program.
type part struct {
	// pid is 0 for a part inside this process.
	pid  int
	done <-chan struct{}
	// err is why the part ended; valid after it has ended.
	err  func() error
	stop func() error
}

// Done returns a channel that is closed when the part has ended. For a nil part the channel is nil,
// so it is never closed.
func (p *part) Done() <-chan struct{} {
	if p == nil {
		return nil
	}
	return p.done
}
func (p *part) Err() error   { return p.err() }
func (p *part) Close() error { return p.stop() }

// startClient connects the client to the proxy, or to QEMU without one.
func (b *bringUp) startClient(ctx context.Context, detail *string) error {
	if b.cfg.Client == None {
		*detail = "none wanted"
		return nil
	}
	socket := b.run.File("control.sock")
	var err error
	switch {
	case b.cfg.Client.IsCommand():
		err = b.foreignClient(ctx, socket)
	case b.cfg.Processes:
		err = b.childClient(ctx, socket)
	default:
		err = b.innerClient(ctx, socket)
	}
	if err != nil {
		return err
	}
	d, err := b.dialControl(ctx, socket)
	if err != nil {
		return err
	}
	b.driver = d
	b.setState(func(s *registry.State) {
		s.PIDs.Client = b.client.pid
		s.ControlSocket = socket
	})
	*detail = fmt.Sprintf("%s, protocol %s", d.Server().ServerName, d.Server().ProtocolVersion)
	return nil
}

// dialControl connects to the client's control socket as soon as it exists.
func (b *bringUp) dialControl(ctx context.Context, socket string) (*control.Driver, error) {
	ctx, stop := b.whileUp(ctx)
	defer stop()
	d, err := control.DriverConfig{}.DialWait(ctx, socket)
	if err == nil {
		return d, nil
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return nil, &verdict.Error{Verdict: verdict.Product, Op: "control socket", Err: err}
}

// blameVV blames another proxy for a virt-viewer file of its own that no client can use.
func (b *bringUp) blameVV(err error) error {
	var unusable *spice.ConfigError
	if !b.cfg.Proxy.IsCommand() || !errors.As(err, &unusable) {
		return err
	}
	return &verdict.Error{Verdict: verdict.Product, Hop: verdict.HopProxy, Op: "client",
		Err: fmt.Errorf("the proxy's virt-viewer file cannot be used: %w", unusable)}
}

// innerClient runs the client inside this process.
func (b *bringUp) innerClient(ctx context.Context, socket string) error {
	log, closeLog, err := partLog(b.dir, "client")
	if err != nil {
		return err
	}
	c, err := headless.StartClient(ctx, headless.ClientConfig{
		VV: b.consoleVV, Socket: socket, Timeline: b.log.Path(), TimelineStart: b.log.Start(), Logger: log,
		Film: b.filmFile(), Tap: b.clientTap, Fonts: b.guestFonts, Console: b.cfg.defect.console,
	})
	if err != nil {
		return errors.Join(b.blameVV(err), closeLog())
	}
	if b.cfg.Proxy != Builtin {
		b.spice.count(c.Traffic)
	}
	b.client = &part{done: c.Done(), err: c.Wait, stop: sync.OnceValue(func() error {
		return errors.Join(c.Close(), closeLog())
	})}
	return nil
}

// childClient runs the client as a separate process.
func (b *bringUp) childClient(ctx context.Context, socket string) error {
	through := ""
	if b.cfg.Link != nil {
		if _, err := b.consoleVV(ctx); err != nil {
			return err
		}
		through = b.relay.Addr()
	}
	// Use the file that is kept up to date, so that the client can connect again later.
	file := b.State().VV
	var err error
	b.client, _, err = playPart(ctx, b.dir, "client", headless.Role{Client: &headless.ClientRole{
		VV: file, Through: through, Socket: socket, Timeline: b.log.Path(), TimelineStart: b.log.Start(), Film: b.filmFile(),
		Fonts: b.State().Fonts}})
	var known *verdict.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	return &verdict.Error{Verdict: verdict.Product, Op: "client", Err: err}
}
