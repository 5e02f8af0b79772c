package headless

import (
	"bytes"
	"context"
	"encoding/json"
	"image/png"
	"time"

	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/screen/needle"
	"github.com/spicelane/spicelane/harness/timeline"
	"github.com/spicelane/spicelane/internal/fresh"
	"github.com/spicelane/spicelane/spice/control"
	"github.com/spicelane/spicelane/spice/control/server"
	"github.com/spicelane/spicelane/spice/control/spiceconsole"
)

// Kinds of timeline entries about what the client saw.
const (
	// KindDigest is a digest that was read: its frame, and the events that the previous digest did
	// not have.
	KindDigest = "digest"
	// KindCursor is the guest's pointer: where it is, and its shape if that has changed.
	KindCursor = "cursor"
	// KindNeedle is a search for reference images: the tag, whether one matched, which, and whether
	// that depends on what tesseract has read (ocr). again means that the search belongs to a wait
	// that already has an entry. Entries about files that a lane has written do not say whether one
	// matched.
	KindNeedle = "needle"
)

// NoteNeedle writes to a timeline what was searched for and what was found. It writes nothing
// without a result. `spicelane needle list` uses the entries to find reference images that nobody
// needs.
func NoteNeedle(log *timeline.Writer, r *needle.Result, again bool) {
	if r == nil {
		return
	}
	fields := map[string]any{"tag": r.Tag, "matched": r.Matched()}
	if r.Matched() {
		fields["needle"] = r.Match.Needle.Name
	}
	if r.RestsOnOCR() {
		fields["ocr"] = true
	}
	if again {
		fields["again"] = true
	}
	log.Add(KindNeedle, fields)
}

// A digestNote writes each digest that is read to a timeline. It causes no reading: the timeline
// has the digests that somebody asked for.
type digestNote struct {
	log  *timeline.Writer
	any  bool
	last control.Digest
}

// scan does what drive.ScanDigest does, and notes the digest. A [server.DigestReader] calls it from
// one goroutine at a time.
func (n *digestNote) scan(pix []byte, stride, w, h int) (control.Digest, error) {
	d, err := drive.ScanDigest(pix, stride, w, h)
	if err != nil || n.log == nil || n.any && n.last.SameFrame(d) {
		return d, err
	}
	events := fresh.After(n.last.Events, d.Events, func(a, b json.RawMessage) bool { return bytes.Equal(a, b) })
	fields := map[string]any{"frame": d.FrameCounter}
	if len(events) > 0 {
		fields["events"] = events
	}
	n.log.Add(KindDigest, fields)
	n.last, n.any = d, true
	return d, nil
}

// cursorPace is how long moves of the pointer are combined into one entry.
const cursorPace = 30 * time.Millisecond

// startCursor begins to write the guest's pointer to the timeline.
func (c *Client) startCursor() {
	var ctx context.Context
	ctx, c.stopCursor = context.WithCancel(context.Background())
	if c.log == nil {
		return
	}
	c.joined.Add(1)
	go func() {
		defer c.joined.Done()
		noteCursor(ctx, c.console, c.log)
	}()
}

// noteCursor writes the guest's pointer to a timeline whenever it changes, until ctx ends.
func noteCursor(ctx context.Context, console *spiceconsole.Console, log *timeline.Writer) {
	changed := make(chan struct{}, 1)
	changed <- struct{}{} // it may have a shape already
	stop := console.Observe(func(n server.Notice) {
		if _, ok := n.(server.CursorChanged); ok {
			select {
			case changed <- struct{}{}:
			default:
			}
		}
	})
	defer stop()
	pace := time.NewTimer(0)
	defer pace.Stop()
	var last map[string]any
	var shape *byte // where the pixels of the shape are that was written last
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
		at, c := time.Now(), console.Cursor()
		fields := map[string]any{"visible": c.Visible, "x": c.X, "y": c.Y}
		same := last != nil && last["visible"] == c.Visible && last["x"] == c.X && last["y"] == c.Y
		last = map[string]any{"visible": c.Visible, "x": c.X, "y": c.Y}
		if now := firstByte(c.Pix); now != shape {
			shape, same = now, false
			if b := cursorPNG(c); b != nil {
				fields["png"], fields["hot"] = b, [2]int{c.HotX, c.HotY}
			}
		}
		if !same {
			log.AddAt(at, KindCursor, fields)
		}
		pace.Reset(cursorPace)
		select {
		case <-ctx.Done():
			return
		case <-pace.C:
		}
	}
}

func firstByte(b []byte) *byte {
	if len(b) == 0 {
		return nil
	}
	return &b[0]
}

// maxShape limits the size, in bytes of pixels, of a pointer that goes onto the timeline.
const maxShape = 128 * 128 * 4

// cursorPNG returns the pointer's shape, or nil if there is none or it is too large.
func cursorPNG(c server.Cursor) []byte {
	img := c.Image()
	if img == nil || len(img.Pix) > maxShape {
		return nil
	}
	var b bytes.Buffer
	if png.Encode(&b, img) != nil { // fails only for impossible sizes
		return nil
	}
	return b.Bytes()
}
