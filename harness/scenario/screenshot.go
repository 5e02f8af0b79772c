package scenario

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"testing"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice/control"
)

// Screenshot demands correct pictures in every form. PNG and raw pixels must be equal. A region
// must be a part of the whole. The digest in a picture must have the checksum of its pixels.
// Impossible requests must be refused with the protocol's codes. For a guest without a digest, the
// picture is compared with QEMU's instead.
func Screenshot(tb testing.TB, lane *harness.Lane) {
	r := begin(tb, lane)
	defer r.end()
	compares := r.compares()
	part := control.Rect{X: 3, Y: 5, Width: 64, Height: 33}
	take := func(p control.ScreenshotParams) *image.NRGBA {
		r.Helper()
		img, err := r.client.Image(r.ctx, p)
		r.must(err)
		return img
	}
	// While the guest is paused, only drawings in flight can change the picture.
	r.must(lane.WhilePaused(r.ctx, func() error {
		ctx, cancel := r.within(patience)
		defer cancel()
		for {
			before := take(control.ScreenshotParams{Format: "rgba"})
			png := take(control.ScreenshotParams{Format: "png"})
			region := take(control.ScreenshotParams{Format: "rgba", Region: &part})
			after := take(control.ScreenshotParams{Format: "rgba"})
			if !bytes.Equal(before.Pix, after.Pix) {
				if ctx.Err() != nil && !compares {
					r.left("whether all forms of a picture are equal", "the server draws all the time, and cannot be paused")
					return nil
				}
				if ctx.Err() != nil {
					return &verdict.Error{Verdict: verdict.Product, Op: "screenshot", Err: &drive.AwaitError{
						Wanted: "the same picture twice of a guest that is paused", Last: drive.FirstDifference(after, before), Err: context.Cause(ctx)}}
				}
				continue
			}
			r.want(drive.FirstDifference(png, before) == "", "PNG and raw pixels differ (the PNG being the client's): %s", drive.FirstDifference(png, before))
			if region.Rect.Size() == before.Rect.Size() {
				r.left("a part of the picture", "the client gives the whole")
				return nil
			}
			whole := before.SubImage(part.Rectangle()).(*image.NRGBA)
			r.want(drive.FirstDifference(region, whole) == "", "the region is not that part of the whole: %s", drive.FirstDifference(region, whole))
			return nil
		}
	}))
	if r.digests() {
		_, _, err := lane.AwaitVerifiedScreenshot(r.ctx)
		r.must(err)
		r.fresh()
	} else if compares {
		r.must(lane.AwaitScreensMatch(r.ctx))
	}

	none := uint32(4711)
	_, err := r.client.Screenshot(r.ctx, control.ScreenshotParams{SurfaceID: &none})
	r.want(isCode(err, control.CodeNoSuchSurface), "a picture of surface %d was answered %v, want %s", none, err, control.CodeNoSuchSurface)
	_, err = r.client.Screenshot(r.ctx, control.ScreenshotParams{Format: "bmp"})
	r.want(isCode(err, control.CodeUnsupportedFormat), "a picture as bmp was answered %v, want %s", err, control.CodeUnsupportedFormat)
}

// fresh demands that a picture is not older than the frames that were seen before it. In an idle
// guest nearly all pixels stay the same, so its frame counter decides.
func (r *run) fresh() {
	r.Helper()
	s := r.stream()
	ctx, cancel := r.within(patience)
	defer cancel()
	for {
		seen, err := s.AwaitFrame(ctx, s.Last().FrameCounter)
		r.must(err)
		shown, err := s.look(ctx)
		if drive.NoDigestYet(err) {
			continue // it was being drawn
		}
		r.must(err)
		if shown.FrameCounter < seen.FrameCounter {
			r.must(&verdict.Error{Verdict: verdict.Product, Hop: verdict.HopClient, Op: "screenshot",
				Err: fmt.Errorf("the client had seen frame %d, and its next picture is older: it shows frame %d",
					seen.FrameCounter, shown.FrameCounter)})
		}
		return
	}
}

// quietFrames is how many digests are read of an idle guest; it shows two per second.
const quietFrames = 4

// Digest demands that the digest counts while nothing happens, that its hashes do not change then,
// and that it agrees with the pixels around it.
func Digest(tb testing.TB, lane *harness.Lane) {
	r := begin(tb, lane)
	defer r.end()
	s := r.stream()
	first := s.Last()
	ctx, cancel := r.within(patience)
	defer cancel()
	for s.Frames() < quietFrames {
		_, err := s.AwaitFrame(ctx, s.Last().FrameCounter)
		r.must(err)
	}
	r.complete(s, false)
	r.want(s.Last().ChannelHashes == first.ChannelHashes, "nobody did anything, and the hashes went from %v to %v", first.ChannelHashes.Map(), s.Last().ChannelHashes.Map())
	_, d, err := lane.AwaitVerifiedScreenshot(r.ctx)
	r.must(err)
	r.want(d.FrameCounter > first.FrameCounter, "a picture shows frame %d after frame %d had been seen", d.FrameCounter, first.FrameCounter)
}
