package drive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spicelane/spicelane/fixtures/digest"
	"github.com/spicelane/spicelane/fixtures/digest/qrscan"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice/control"
)

// ScanDigest reads the digest of Beacon or Sextant from raw pixels; it is a server.DigestScanner.
// pix has four bytes for each pixel (blue, green, red, any), in rows that are stride bytes apart.
// If there is no code, the error wraps control.ErrNoDigest.
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

// controlDigest converts d to the form of the control socket.
func controlDigest(d *digest.Digest) (control.Digest, error) {
	b, err := json.Marshal(d)
	if err != nil {
		return control.Digest{}, err
	}
	var c control.Digest
	err = json.Unmarshal(b, &c)
	return c, err
}

// AwaitDigest waits until the client's picture shows a digest that f accepts, and returns it. what
// names the awaited digest in the error. If the client does not read digests itself, AwaitDigest
// asks it for pictures.
func AwaitDigest(ctx context.Context, d *control.Driver, what string, f func(digest.Digest) bool) (digest.Digest, error) {
	var last string
	fail := func(err error) (digest.Digest, error) {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		v := verdict.Product
		var e *control.Error
		if ctx.Err() == nil && !errors.As(err, &e) {
			v = verdict.Harness
		}
		return digest.Digest{}, &verdict.Error{Verdict: v, Op: "await digest", Err: &AwaitError{Wanted: what, Last: last, Err: err}}
	}
	events := control.EventDigestUpdated
	if !d.SupportsEvent(events) {
		events = control.EventSurfaceDrawn
	}
	// NB: subscribe before the first look, so that no change is missed.
	sub, err := d.Subscribe(ctx, events)
	if err != nil {
		return fail(err)
	}
	defer sub.Close()
	for {
		got, err := ReadDigest(ctx, d)
		switch {
		case err == nil:
			last = DescribeDigest(got)
			if f(got) {
				return got, nil
			}
		case !NoDigestYet(err):
			return fail(err)
		case last == "":
			last = err.Error()
		}
		// Also check the digests that arrived during the last check.
		for {
			ev, err := sub.Next(ctx)
			if err != nil {
				return fail(err)
			}
			if ev.Name == control.EventDropped {
				continue
			}
			if ev.Name != control.EventDigestUpdated {
				break // a picture changed: look again
			}
			got, err := digestOf(ev.Data)
			if err != nil {
				return fail(err)
			}
			last = DescribeDigest(got)
			if f(got) {
				return got, nil
			}
		}
	}
}

// ReadDigest reads the digest of the client's present picture. Without a digest, the error is a
// *control.Error with CodeNoDigest or CodeNoSuchSurface, or a *qrscan.Error.
func ReadDigest(ctx context.Context, d *control.Driver) (digest.Digest, error) {
	if d.Supports(control.MethodDigest) {
		var raw json.RawMessage
		if err := d.Call(ctx, control.MethodDigest, nil, &raw); err != nil {
			return digest.Digest{}, err
		}
		return digestOf(raw)
	}
	img, err := d.Image(ctx, control.ScreenshotParams{})
	if err != nil {
		return digest.Digest{}, err
	}
	res, err := qrscan.Scan(qrscan.FrameOf(img))
	if err != nil {
		return digest.Digest{}, err
	}
	return *res.Digest, nil
}

// digestOf decodes the data of digest_updated or the result of digest.
func digestOf(raw json.RawMessage) (digest.Digest, error) {
	var d digest.Digest
	if err := json.Unmarshal(raw, &d); err != nil {
		return d, fmt.Errorf("a digest that cannot be read: %w", err)
	}
	return d, nil
}

// NoDigestYet tells whether err only says that there is no digest to read now.
func NoDigestYet(err error) bool {
	var scan *qrscan.Error
	var e *control.Error
	return errors.As(err, &scan) ||
		errors.As(err, &e) && (e.Code == control.CodeNoDigest || e.Code == control.CodeNoSuchSurface)
}

// DescribeDigest returns d in words, for an error.
func DescribeDigest(d digest.Digest) string {
	b, err := json.Marshal(d.Events)
	if err != nil {
		b = []byte(err.Error())
	}
	return fmt.Sprintf("digest frame %d with events %s", d.FrameCounter, b)
}
