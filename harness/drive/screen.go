package drive

import (
	"context"
	"image"

	"github.com/spicelane/spicelane/harness/screen"
	"github.com/spicelane/spicelane/harness/screen/pixmap"
	"github.com/spicelane/spicelane/spice/control"
)

// A Screen is a [screen.Source] of a client's screen.
type Screen struct {
	driver *control.Driver
	sub    *control.Subscription
}

var _ screen.PointerSource = (*Screen)(nil)

// WatchScreen subscribes to what the client draws. Close ends the subscription.
func WatchScreen(ctx context.Context, d *control.Driver) (*Screen, error) {
	sub, err := d.Subscribe(ctx, control.EventSurfaceDrawn)
	if err != nil {
		return nil, err
	}
	return &Screen{driver: d, sub: sub}, nil
}

// Picture implements [screen.Source].
func (s *Screen) Picture(ctx context.Context) (*pixmap.Picture, error) {
	past, cancel := context.WithCancel(ctx)
	cancel()
	for { // what has been drawn before is on the picture
		if _, err := s.sub.Next(past); err != nil {
			break
		}
	}
	img, err := s.driver.Image(ctx, control.ScreenshotParams{Format: "rgba"})
	if err != nil && NoDigestYet(err) {
		return nil, screen.ErrNoPicture
	}
	if err != nil {
		return nil, err
	}
	return pixmap.Of(img), nil
}

// Pointer implements [screen.PointerSource].
func (s *Screen) Pointer(ctx context.Context) *image.Point { return Pointer(ctx, s.driver) }

// Pointer returns where the mouse pointer was moved last, if the guest draws it. It returns nil if
// that is not known, or if the client draws the pointer.
func Pointer(ctx context.Context, d *control.Driver) *image.Point {
	c, err := d.Cursor(ctx)
	if err != nil || c.Visible || c.MovedTo == nil {
		return nil
	}
	return &image.Point{X: c.MovedTo.X, Y: c.MovedTo.Y}
}

// Changed implements [screen.Source].
func (s *Screen) Changed(ctx context.Context) error {
	_, err := s.sub.Next(ctx)
	return err
}

// Close ends the subscription.
func (s *Screen) Close() { s.sub.Close() }
