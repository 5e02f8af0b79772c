package drive

import (
	"context"
	"fmt"
	"image"
	"time"

	"github.com/spicelane/spicelane/harness/verdict"
)

// blameFrames is how many frames must be wrong in QEMU's own picture before the guest is blamed.
// One picture may fall between a drawing and the digest that describes it; several do not.
const blameFrames = 3

// blamePoll is how often QEMU is asked for its picture. It is far more often than a guest that
// counts frames draws one.
const blamePoll = 100 * time.Millisecond

// BlamePixels finds the hop at fault for a picture of the client whose digest does not have the
// checksum of the pixels around it. take returns QEMU's own picture. If one of these matches its
// digest, the pixels were changed on the path; if several frames do not, the guest painted or
// counted wrongly. The hop is empty if neither is seen before ctx ends. The text explains the
// answer.
func BlamePixels(ctx context.Context, take func(context.Context) (*image.NRGBA, error)) (verdict.Hop, string) {
	tick := time.NewTicker(blamePoll)
	defer tick.Stop()
	said := "QEMU's own picture cannot be had"
	wrong := make(map[uint32]bool) // frames that did not match
	for {
		img, err := take(ctx)
		if err != nil {
			if len(wrong) == 0 {
				said = "QEMU's own picture cannot be had: " + err.Error()
			}
			return "", said
		}
		d, err := ScanPicture(img)
		crc := FramebufferCRC(img)
		switch {
		case err != nil:
			said = "QEMU's own picture: " + err.Error()
		case crc == d.FramebufferHash:
			return verdict.HopPath, fmt.Sprintf("QEMU's own picture has the checksum %08x of its digest: "+
				"the pixels were changed between QEMU and the client", d.FramebufferHash)
		default:
			wrong[d.FrameCounter] = true
			said = fmt.Sprintf("QEMU's own picture does not have the checksum of its digest either (%08x, the pixels have %08x)",
				d.FramebufferHash, crc)
			if len(wrong) >= blameFrames {
				return verdict.HopGuest, said + ": the guest painted or counted wrongly"
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return "", said
		}
	}
}
