package qemu

import (
	"context"
	"errors"
	"fmt"
	"image"
	"os"
	"sync"

	"github.com/spicelane/spicelane/harness/qemu/dbusdisplay"
)

// screen is a machine's D-Bus display. It is open only while it is used. For a listener QEMU draws
// everything that the guest paints, which costs time and makes a QXL device render more often.
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
		if err = m.refresh(ctx, s.display); err != nil {
			s.display.Close()
			s.display = nil
			return nil, nil, m.orEnd(err)
		}
	}
	s.users++
	return s.display, sync.OnceFunc(s.release), nil
}

// refresh makes QEMU read its graphics device. As long as nothing reads it, QEMU reports the
// previous surface. With QMP, a screendump does that.
func (m *Machine) refresh(ctx context.Context, d *dbusdisplay.Display) error {
	if err := m.qmp.Do(ctx, "screendump", map[string]any{"filename": os.DevNull}, nil); err != nil {
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

// Screen returns the primary display's picture, from QEMU's D-Bus display or else by Screenshot.
// Every pixel is opaque.
func (m *Machine) Screen(ctx context.Context) (*image.NRGBA, error) {
	d, release, err := m.Display(ctx)
	if err == nil {
		defer release()
		var p dbusdisplay.Picture
		if p, err = d.Picture(ctx); err == nil {
			return p.NRGBA, nil
		}
	}
	if ctx.Err() != nil || m.Err() != nil {
		return nil, m.orEnd(err)
	}
	return m.Screenshot(ctx)
}
