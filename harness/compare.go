package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"path/filepath"
	"time"

	"github.com/spicelane/spicelane/spice/control"
	"github.com/spicelane/spicelane/spice/vv"
)

// Scaled is d, a time that is long enough with KVM, stretched by what this
// lane's accelerator and $SPICELANE_TIMEOUT_SCALE make of it.
func (l *Lane) Scaled(d time.Duration) time.Duration { return scaled(d, l.State().Accel) }

// VV is a virt-viewer file that leads to the lane's console the way its client
// goes, with a token that nobody has used.
func (l *Lane) VV(ctx context.Context) (*vv.File, error) { return l.consoleVV(ctx) }

// samePatience bounds the waits for pictures that agree, on KVM. They do as soon as the guest
// stands still for as long as two pictures take.
const samePatience = 10 * time.Second

// SamePicture waits until the client shows the same pixels as QEMU. A cursor
// that blinks and a digest that counts make a pair of pictures fall on both
// sides of a change; between two changes every pair is equal. If none ever is,
// both pictures are left in the lane's directory and the verdict is Product.
func (l *Lane) SamePicture(ctx context.Context) error {
	if l.Client == nil {
		return errNoClient
	}
	limit := l.Scaled(samePatience)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not within %v", limit))
	defer cancel()
	ctx, stop := l.whileUp(ctx)
	defer stop()
	sub, err := l.Client.Subscribe(ctx, control.EventSurfaceDrawn)
	if err != nil {
		return l.explain(&Fault{Verdict: clientVerdict(err), Op: "compare pictures", Err: err})
	}
	defer sub.Close()
	for {
		got, want, err := l.bothPictures(ctx)
		if err != nil && !noDigestYet(err) { // a guest that changes its mode has no surface for a moment
			return err
		}
		diff := "the client has no surface"
		if err == nil {
			diff = FirstDifference(got, want)
		}
		if diff == "" {
			return nil
		}
		if _, err := sub.Next(ctx); err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			left := l.keepPair(got, want)
			return l.explain(&Fault{Verdict: Product, Op: "compare pictures", Err: &AwaitError{
				Wanted: "client and QEMU to show the same picture", Last: diff, Err: errors.Join(err, left)}})
		}
	}
}

// bothPictures asks client and QEMU at the same moment: what then takes time is
// encoding and decoding, and the guest may change its screen meanwhile.
func (l *Lane) bothPictures(ctx context.Context) (client, qemu *image.NRGBA, err error) {
	var qemuErr error
	dumped := make(chan struct{})
	go func() {
		defer close(dumped)
		qemu, qemuErr = l.Screendump(ctx)
	}()
	client, err = l.Screenshot(ctx)
	<-dumped
	if qemuErr != nil {
		return client, qemu, l.explain(qemuErr)
	}
	return client, qemu, err
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
		return nil, Digest{}, l.explain(&Fault{Verdict: clientVerdict(err), Op: "prove a picture", Err: err})
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
			return nil, Digest{}, l.explain(&Fault{Verdict: Product, Op: "prove a picture", Err: &AwaitError{
				Wanted: "a digest with the checksum of the pixels around it", Last: last, Err: err}})
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
