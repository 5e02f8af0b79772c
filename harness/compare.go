package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"path/filepath"
	"time"

	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice/control"
	"github.com/spicelane/spicelane/spice/vv"
)

// Scaled is d, a time that is long enough with KVM, stretched by what this
// lane's accelerator and $SPICELANE_TIMEOUT_SCALE make of it.
func (l *Lane) Scaled(d time.Duration) time.Duration { return scaled(d, l.State().Accel) }

// VV is a virt-viewer file that leads to the lane's console the way its client
// goes, with a token that nobody has used.
func (l *Lane) VV(ctx context.Context) (*vv.File, error) { return l.consoleVV(ctx) }

// Judge adds to a wait that began then and ended in vain what the host did
// meanwhile, and blames the host if it did not let the guest run. Waits of this
// package's are judged already.
func (l *Lane) Judge(began time.Time, err error) error { return l.judgeWait(began, err) }

// samePatience bounds the waits for pictures that agree, on KVM. They do as soon as the guest
// stands still for as long as two pictures take.
const samePatience = 10 * time.Second

// A Shot takes a picture of the lane's screen.
type Shot func(ctx context.Context) (*image.NRGBA, error)

// SamePicture waits until the client shows the same pixels as QEMU. A cursor
// that blinks and a digest that counts make a pair of pictures fall on both
// sides of a change; between two changes every pair is equal. Where pictures take
// longer than the guest stands still, the guest is paused for some of them. If no
// pair ever is equal, the last is left in the lane's directory and the verdict is
// Product.
func (l *Lane) SamePicture(ctx context.Context) error {
	if l.Client == nil {
		return errNoClient
	}
	sub, err := l.Client.Subscribe(ctx, control.EventSurfaceDrawn)
	if err != nil {
		return l.explain(&verdict.Error{Verdict: clientVerdict(err), Op: "compare pictures", Err: err})
	}
	defer sub.Close()
	return l.SamePictureAs(ctx, l.Screenshot, func(ctx context.Context) error {
		_, err := sub.Next(ctx)
		return err
	})
}

// SamePictureAs is SamePicture for a further client: shot takes its picture, and
// next waits until something has been drawn.
func (l *Lane) SamePictureAs(ctx context.Context, shot Shot, next func(context.Context) error) error {
	began := time.Now()
	limit := l.Scaled(samePatience)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not within %v", limit))
	defer cancel()
	ctx, stop := l.whileUp(ctx)
	defer stop()
	c := &comparison{lane: l, shot: shot, next: next}
	for n := 1; ; n++ {
		diff, err := c.once(ctx)
		if diff != "" && err == nil && n%3 == 0 {
			err = l.Still(ctx, func() error {
				diff, err = c.atRest(ctx)
				return err
			})
		}
		if err == nil && diff == "" {
			return nil
		}
		if err == nil {
			err = next(ctx)
		}
		if err != nil {
			if ctx.Err() == nil {
				return l.explain(err)
			}
			return l.judgeWait(began, l.explain(&verdict.Error{Verdict: verdict.Product, Op: "compare pictures", Err: &AwaitError{
				Wanted: "client and QEMU to show the same picture", Last: diff, Err: errors.Join(context.Cause(ctx), l.keepPair(c.client, c.qemu))}}))
		}
	}
}

// A comparison is of pictures of a client and of QEMU.
type comparison struct {
	lane *Lane
	shot Shot
	next func(context.Context) error

	client, qemu *image.NRGBA // the last pair
}

// once asks client and QEMU at the same moment (what then takes time is encoding
// and decoding, and the guest may change its screen meanwhile) and says how they
// differ.
func (c *comparison) once(ctx context.Context) (diff string, err error) {
	var qemuErr error
	dumped := make(chan struct{})
	go func() {
		defer close(dumped)
		c.qemu, qemuErr = c.lane.Screendump(ctx)
	}()
	c.client, err = c.shot(ctx)
	<-dumped
	switch {
	case qemuErr != nil:
		return "", qemuErr
	case err != nil && !noDigestYet(err):
		return "", err
	case err != nil: // a guest that changes its mode has no surface for a moment
		return "the client has no surface", nil
	}
	return FirstDifference(c.client, c.qemu), nil
}

// lag is how long what a paused machine has drawn may be on its way to the client.
const lag = 500 * time.Millisecond

// atRest compares while the guest stands still: until the pictures are equal, or
// nothing comes any more. Then the pause has fallen into a change that QEMU
// carries out when the machine runs on.
func (c *comparison) atRest(ctx context.Context) (diff string, err error) {
	past, cancel := context.WithCancel(ctx)
	cancel()
	for {
		for c.next(past) == nil { // what has been drawn before
		}
		if diff, err = c.once(ctx); diff == "" || err != nil {
			return diff, err
		}
		soon, cancel := context.WithTimeout(ctx, lag)
		err = c.next(soon)
		cancel()
		if err != nil {
			if ctx.Err() != nil || soon.Err() == nil {
				return diff, err
			}
			return diff, nil
		}
	}
}

// Still pauses the guest while f runs.
func (l *Lane) Still(ctx context.Context, f func() error) (err error) {
	if err := l.machine().Pause(ctx); err != nil {
		return verdict.Classify("pause", err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopGrace)
		defer cancel()
		if rerr := l.machine().Resume(ctx); rerr != nil && err == nil {
			err = verdict.Classify("resume", rerr)
		}
	}()
	return f()
}

// keepPair leaves two pictures that differ in the lane's directory.
func (l *Lane) keepPair(client, qemu *image.NRGBA) error {
	var errs []error
	for name, img := range map[string]*image.NRGBA{"differs-client.png": client, "differs-qemu.png": qemu} {
		if img != nil {
			errs = append(errs, WritePNG(filepath.Join(l.dir, name), img))
		}
	}
	return errors.Join(errs...)
}

// ProvenPicture waits for a picture of the client's whose digest has the checksum
// of the pixels around it, and returns both.
func (l *Lane) ProvenPicture(ctx context.Context) (*image.NRGBA, Digest, error) {
	began := time.Now()
	limit := l.Scaled(samePatience)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not within %v", limit))
	defer cancel()
	if l.Client == nil {
		return nil, Digest{}, errNoClient
	}
	ctx, stop := l.whileUp(ctx)
	defer stop()
	sub, err := l.Client.Subscribe(ctx, control.EventSurfaceDrawn)
	if err != nil {
		return nil, Digest{}, l.explain(&verdict.Error{Verdict: clientVerdict(err), Op: "prove a picture", Err: err})
	}
	defer sub.Close()
	for {
		img, err := l.Screenshot(ctx)
		if err != nil && !noDigestYet(err) {
			return nil, Digest{}, err
		}
		var last string
		if err == nil {
			var d Digest
			if d, err = ScanPicture(img); err == nil {
				crc := FramebufferCRC(img)
				if crc == d.FramebufferHash {
					return img, d, nil
				}
				last = fmt.Sprintf("%s and checksum %08x, the pixels have %08x", describeDigest(d), d.FramebufferHash, crc)
			}
		}
		if err != nil {
			last = err.Error()
		}
		if _, err := sub.Next(ctx); err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return nil, Digest{}, l.judgeWait(began, l.explain(&verdict.Error{Verdict: verdict.Product, Op: "prove a picture", Err: &AwaitError{
				Wanted: "a digest with the checksum of the pixels around it", Last: last, Err: err}}))
		}
	}
}

// FirstDifference says where two pictures differ first, or nothing if they are
// equal.
func FirstDifference(got, want *image.NRGBA) string {
	if got.Rect.Size() != want.Rect.Size() {
		return fmt.Sprintf("the client's picture is %v, QEMU's is %v", got.Rect.Size(), want.Rect.Size())
	}
	for y := range want.Rect.Dy() {
		a, b := got.Pix[y*got.Stride:][:4*got.Rect.Dx()], want.Pix[y*want.Stride:][:4*want.Rect.Dx()]
		if bytes.Equal(a, b) {
			continue
		}
		for i := range a {
			if a[i] != b[i] {
				x := i / 4
				return fmt.Sprintf("at (%d,%d) the client has % x, QEMU has % x (RGBA)", x, y, a[4*x:4*x+4], b[4*x:4*x+4])
			}
		}
	}
	return ""
}
