package qemu

import (
	"context"
	"errors"
	"fmt"
	"image"
	"os"
	"sync"
	"time"

	"github.com/spicelane/spicelane/harness/qemu/dbusdisplay"
	"github.com/spicelane/spicelane/qmp"
)

// screen is a machine's D-Bus display. It is open only while it is used. While it is open, QEMU
// draws everything that the guest paints, which costs time and makes a QXL device render more
// often.
type screen struct {
	turn    chan struct{} // a semaphore of one: who may open and close it
	display *dbusdisplay.Display
	users   int
}

func newScreen() screen { return screen{turn: make(chan struct{}, 1)} }

// ErrNoDBusDisplay means that this QEMU has no D-Bus display, or the machine no graphics device.
var ErrNoDBusDisplay = errors.New("this machine has no D-Bus display")

// Display returns the machine's screen as QEMU paints it, with every change, until release is
// called. The error is ErrNoDBusDisplay if QEMU has none; Screenshot always works.
func (m *Machine) Display(ctx context.Context) (d *dbusdisplay.Display, release func(), err error) {
	if !m.cfg.DBusDisplay {
		return nil, nil, ErrNoDBusDisplay
	}
	s := &m.screen
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return nil, nil, fmt.Errorf("D-Bus display: another one is being opened: %w", context.Cause(ctx))
	}
	if s.display == nil {
		if s.display, err = dbusdisplay.Open(ctx, m.qmp); err != nil {
			s.display = nil
			return nil, nil, m.orEnd(err)
		}
		if err = refresh(ctx, m.qmp, s.display); err != nil {
			s.display.Close()
			s.display = nil
			return nil, nil, m.orEnd(err)
		}
	}
	s.users++
	return s.display, sync.OnceFunc(s.release), nil
}

// refresh makes QEMU read its graphics device, with a screendump through QMP. As long as nothing
// reads the device, QEMU reports the previous surface.
func refresh(ctx context.Context, c *qmp.Client, d *dbusdisplay.Display) error {
	if err := c.Do(ctx, "screendump", map[string]any{"filename": os.DevNull}, nil); err != nil {
		return err
	}
	return d.Sync(ctx)
}

func (s *screen) release() {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	if s.users--; s.users == 0 {
		s.display.Close()
		s.display = nil
	}
}

// screenLimit limits how long Screen waits for the D-Bus display, which may have no surface for as
// long as the guest likes.
const screenLimit = 5 * time.Second

// Screen returns the picture of the primary display from QEMU's D-Bus display. If there is none, or
// it shows nothing within 5 s, Screen uses Screenshot. Every pixel is opaque.
func (m *Machine) Screen(ctx context.Context) (*image.NRGBA, error) {
	return m.screenWithin(ctx, screenLimit)
}

func (m *Machine) screenWithin(ctx context.Context, limit time.Duration) (*image.NRGBA, error) {
	within, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("the D-Bus display showed nothing within %v", limit))
	defer cancel()
	img, err := m.displayed(within)
	switch {
	case err == nil:
		return img, nil
	case ctx.Err() != nil:
		return nil, m.orEnd(err)
	}
	// NB: also of a machine that has ended. If QEMU is still there, as after a panic, it can be
	// asked; if not, the error says why.
	return m.Screenshot(ctx)
}

// displayed returns the D-Bus display's picture.
func (m *Machine) displayed(ctx context.Context) (*image.NRGBA, error) {
	d, release, err := m.Display(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	p, err := d.Picture(ctx)
	if err != nil {
		return nil, err
	}
	return p.NRGBA, nil
}

// ScreenVia does what Machine.Screen does, for a machine of another process. It uses that machine's
// QMP socket, which should be Config.ToolSocket. A screendump's file goes through dir.
func ScreenVia(ctx context.Context, socket, dir string) (*image.NRGBA, error) {
	c, err := qmp.Dial(ctx, socket, qmp.Config{Timeout: toolPatience})
	if err != nil {
		return nil, fmt.Errorf("QMP socket %s: %w", socket, err)
	}
	defer c.Close()
	within, cancel := context.WithTimeout(ctx, screenLimit)
	defer cancel()
	if d, err := dbusdisplay.Open(within, c); err == nil {
		defer d.Close()
		if refresh(within, c, d) == nil {
			if p, err := d.Picture(within); err == nil {
				return p.NRGBA, nil
			}
		}
	}
	return screendump(ctx, c, dir)
}
