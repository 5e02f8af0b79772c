package drive

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/png"

	"github.com/spicelane/spicelane/fixtures/digest"
	"github.com/spicelane/spicelane/fixtures/digest/qrscan"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/internal/atomicfile"
	"github.com/spicelane/spicelane/spice/control"
)

// FirstDifference describes the first difference of two pictures. It returns "" if they are equal.
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

// AwaitSurface waits until the client has a primary surface that is not all one colour.
func AwaitSurface(ctx context.Context, d *control.Driver) (control.Surface, error) {
	last := "no surface"
	fail := func(err error) (control.Surface, error) {
		v := verdict.Product // of a wait in vain
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		} else {
			v = VerdictOf(err)
		}
		return control.Surface{}, &verdict.Error{Verdict: v, Op: "await picture", Err: &AwaitError{Wanted: "a picture of more than one colour on surface 0", Last: last, Err: err}}
	}
	sub, err := d.Subscribe(ctx, control.EventSurfaceDrawn)
	if err != nil {
		return fail(err)
	}
	defer sub.Close()
	for {
		st, err := d.Status(ctx)
		if err != nil {
			return fail(err)
		}
		if s, ok := st.Primary(); ok {
			img, err := d.Image(ctx, control.ScreenshotParams{})
			if err != nil && !NoDigestYet(err) {
				return fail(err)
			}
			if err == nil && !oneColour(img) {
				return s, nil
			}
			last = fmt.Sprintf("surface 0 with %d×%d pixels of one colour", s.Width, s.Height)
		}
		if _, err := sub.Next(ctx); err != nil {
			return fail(err)
		}
	}
}

func oneColour(img *image.NRGBA) bool {
	if len(img.Pix) < 4 {
		return true
	}
	row := img.Pix[:4*img.Rect.Dx()]
	for x := 4; x < len(row); x += 4 {
		if !bytes.Equal(row[x:x+4], row[:4]) {
			return false
		}
	}
	for y := 1; y < img.Rect.Dy(); y++ {
		if !bytes.Equal(img.Pix[y*img.Stride:y*img.Stride+len(row)], row) {
			return false
		}
	}
	return true
}

// WritePNG writes a picture to path as PNG. Whoever reads the file meanwhile finds the old picture or
// the new one.
func WritePNG(path string, img image.Image) error {
	var b bytes.Buffer
	enc := png.Encoder{CompressionLevel: png.BestSpeed}
	if err := enc.Encode(&b, img); err != nil {
		return verdict.Classify("picture", err)
	}
	if err := atomicfile.WriteTo(path, b.Bytes(), 0o644); err != nil {
		return verdict.Classify("picture", err)
	}
	return nil
}

// ScanPicture reads the digest in a picture. The error is a *qrscan.Error.
func ScanPicture(img image.Image) (digest.Digest, error) {
	res, err := qrscan.Scan(qrscan.FrameOf(img))
	if err != nil {
		return digest.Digest{}, err
	}
	return *res.Digest, nil
}

// FramebufferCRC returns the checksum of a picture as it is in a guest's digest: CRC-32C of all
// pixels outside the digest.
func FramebufferCRC(img *image.NRGBA) uint32 {
	f := qrscan.FrameOf(img)
	stride := f.Stride
	if stride == 0 {
		stride = 4 * f.Width
	}
	return digest.FramebufferCRC(f.Pix, f.Width, f.Height, stride)
}
