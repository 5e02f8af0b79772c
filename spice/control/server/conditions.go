package server

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spicelane/spicelane/spice/control"
	"github.com/spicelane/spicelane/spice/control/internal/ndjson"
	"github.com/spicelane/spicelane/spice/control/internal/pixels"
)

func (w *wait) surface(c control.SurfaceCondition) (node, error) {
	want := "a surface"
	if c.SurfaceID != nil {
		want = fmt.Sprintf("surface %d", *c.SurfaceID)
	}
	if c.ChannelID != nil {
		want += fmt.Sprintf(" on channel %d", *c.ChannelID)
	}
	if c.Width != 0 || c.Height != 0 {
		want += fmt.Sprintf(" of %dx%d", c.Width, c.Height)
	}
	return w.leaf(want, func() sight {
		sf, err := pickSurface(w.console, c.ChannelID, c.SurfaceID)
		if err != nil {
			return sight{saw: plain(err), blind: true}
		}
		met := (c.Width == 0 || c.Width == sf.Width) && (c.Height == 0 || c.Height == sf.Height)
		return sight{met: met, saw: fmt.Sprintf("surface %d on channel %d of %dx%d", sf.SurfaceID, sf.ChannelID, sf.Width, sf.Height)}
	})
}

// plain returns an error's message without its code.
func plain(err error) string {
	if e := new(control.Error); errors.As(err, &e) {
		return e.Message
	}
	return err.Error()
}

// pixels copies the pixels of an area.
func (w *wait) pixels(a control.Area) (*Picture, error) {
	sf, err := pickSurface(w.console, a.ChannelID, a.SurfaceID)
	if err != nil {
		return nil, err
	}
	return snapshot(w.console, sf, a.Rect)
}

func (w *wait) stable(c control.StableCondition) (node, error) {
	if c.Rect != nil {
		if err := wantPart("stable.rect", *c.Rect); err != nil {
			return nil, err
		}
	}
	quiet := time.Duration(c.MS) * time.Millisecond
	var last []byte
	var since time.Time
	return w.leaf(fmt.Sprintf("%s unchanged for %s", c.Area, quiet), func() sight {
		now := time.Now()
		pic, err := w.pixels(c.Area)
		if err != nil {
			last = nil
			return sight{saw: plain(err), blind: true}
		}
		switch {
		case last == nil && !pic.Drawn.IsZero():
			since = pic.Drawn // nothing has been drawn since then
		case last == nil, !bytes.Equal(last, pic.Pix):
			since = now
		}
		last = pic.Pix
		return sight{
			met: now.Sub(since) >= quiet, saw: fmt.Sprintf("unchanged for %s", now.Sub(since).Round(time.Millisecond)),
			again: since.Add(quiet),
		}
	})
}

func (w *wait) region(c control.RegionCondition) (node, error) {
	if (c.PNG == nil) == (c.SHA256 == "") {
		return nil, errorf(control.CodeBadParams, "region: want either png or sha256")
	}
	if c.SHA256 != "" && (c.Tolerance != 0 || c.MaxPixels != 0 || len(c.Masks) > 0) {
		return nil, errorf(control.CodeBadParams, "region: tolerance, max_pixels and masks are for png only")
	}
	if c.MaxPixels < 0 {
		return nil, errorf(control.CodeBadParams, "region.max_pixels is %d: want at least 0", c.MaxPixels)
	}
	if c.Rect != nil {
		if err := wantPart("region.rect", *c.Rect); err != nil {
			return nil, err
		}
	}
	compare, err := comparer(c)
	if err != nil {
		return nil, err
	}
	verb := "equal to the given picture"
	if c.Differs {
		verb = "other than the given picture"
	}
	return w.leaf(fmt.Sprintf("%s %s", c.Area, verb), func() sight {
		pic, err := w.pixels(c.Area)
		if err != nil {
			return sight{saw: plain(err), blind: true}
		}
		same, saw := compare(pic.intoImage())
		return sight{met: same != c.Differs, saw: saw}
	})
}

// comparer returns the function that compares pixels with those of the condition.
func comparer(c control.RegionCondition) (func(*image.NRGBA) (same bool, saw string), error) {
	if c.SHA256 != "" {
		want, err := hex.DecodeString(c.SHA256)
		if err != nil || len(want) != sha256.Size {
			return nil, errorf(control.CodeBadParams, "region.sha256: want %d hex digits", 2*sha256.Size)
		}
		return func(got *image.NRGBA) (bool, string) {
			sum := sha256.Sum256(got.Pix)
			return bytes.Equal(sum[:], want), fmt.Sprintf("%dx%d pixels with sha256 %x", got.Rect.Dx(), got.Rect.Dy(), sum)
		}, nil
	}
	img, err := pixels.DecodePNG(c.PNG)
	if err != nil {
		return nil, errorf(control.CodeBadParams, "region.png: %s", err)
	}
	want := pixels.NRGBA(img)
	if size := want.Rect.Size(); c.Rect != nil && size != c.Rect.Rectangle().Size() {
		return nil, errorf(control.CodeBadParams, "region.png has %dx%d pixels, the region %dx%d",
			size.X, size.Y, c.Rect.Width, c.Rect.Height)
	}
	return func(got *image.NRGBA) (bool, string) {
		if got.Rect.Size() != want.Rect.Size() {
			return false, fmt.Sprintf("%dx%d pixels, the given picture has %dx%d", got.Rect.Dx(), got.Rect.Dy(), want.Rect.Dx(), want.Rect.Dy())
		}
		off, first := comparePixels(want, got, int(c.Tolerance), c.Masks)
		if off == 0 {
			return true, "no pixel differs"
		}
		w, g := want.NRGBAAt(first.X, first.Y), got.NRGBAAt(first.X, first.Y)
		return off <= c.MaxPixels, fmt.Sprintf("%d pixels differ; at (%d,%d) the client has #%02x%02x%02x, the given picture #%02x%02x%02x",
			off, first.X, first.Y, g.R, g.G, g.B, w.R, w.G, w.B)
	}, nil
}

// comparePixels counts the pixels, outside the masks, in which two pictures of the same size differ
// by more than the tolerance in some colour channel.
func comparePixels(want, got *image.NRGBA, tolerance int, masks []control.Rect) (off int, first image.Point) {
	masked := func(x, y int) bool {
		return slices.ContainsFunc(masks, func(m control.Rect) bool {
			return image.Pt(x, y).In(m.Rectangle())
		})
	}
	for y := range want.Rect.Dy() {
		a, b := want.Pix[y*want.Stride:], got.Pix[y*got.Stride:]
		for x := range want.Rect.Dx() {
			for i := 4 * x; i < 4*x+3; i++ {
				if d := int(a[i]) - int(b[i]); d > tolerance || -d > tolerance {
					if !masked(x, y) {
						if off == 0 {
							first = image.Pt(x, y)
						}
						off++
					}
					break
				}
			}
		}
	}
	return off, first
}

func (w *wait) digest(c control.DigestCondition) (node, error) {
	if (c.Fields != nil || c.AfterMS != nil) && c.Event == "" {
		return nil, errorf(control.CodeBadParams, "digest: fields and after_ms are of an event: name it")
	}
	for name, raw := range c.Fields {
		canon, err := canonical(raw)
		if err != nil {
			return nil, errorf(control.CodeBadParams, "digest.fields.%s: %s", name, err)
		}
		c.Fields[name] = canon
	}
	w.looksAtDigests = true
	seq := -1
	saw := ""
	return w.leaf(c.String(), func() sight {
		var ds []control.Digest
		ds, seq = w.digests.since(seq)
		for _, d := range ds {
			var met bool
			if met, saw = matches(c, d); met {
				return sight{met: true, saw: saw}
			}
		}
		if saw == "" {
			return sight{saw: noDigest(w.digests.Counts()), blind: true}
		}
		return sight{saw: saw}
	})
}

// noDigest says what was seen instead of a digest.
func noDigest(n control.DigestCounts) string {
	if n.Damaged > 0 {
		return fmt.Sprintf("no digest, only a code that could not be read, %d times", n.Damaged)
	}
	return "no digest"
}

// matches reports whether a digest meets the condition, and describes the digest.
func matches(c control.DigestCondition, d control.Digest) (met bool, saw string) {
	saw = fmt.Sprintf("counter %d, framebuffer hash %#x, events %s", d.FrameCounter, d.FramebufferHash, bytes.Join(rawBytes(d.Events), []byte(" ")))
	if c.MinCounter != nil && d.FrameCounter < *c.MinCounter ||
		c.FramebufferHash != nil && d.FramebufferHash != *c.FramebufferHash {
		return false, saw
	}
	for name, want := range c.Hashes {
		if got, ok := d.ChannelHashes[name]; !ok || got != want {
			return false, fmt.Sprintf("%s, hash of %s %#x", saw, name, got)
		}
	}
	return c.Event == "" || slices.ContainsFunc(d.Events, func(raw json.RawMessage) bool { return matchesEvent(c, raw) }), saw
}

func rawBytes(raws []json.RawMessage) [][]byte {
	out := make([][]byte, len(raws))
	for i, r := range raws {
		out[i] = r
	}
	return out
}

func matchesEvent(c control.DigestCondition, raw json.RawMessage) bool {
	var ev map[string]map[string]json.RawMessage
	if json.Unmarshal(raw, &ev) != nil {
		return false
	}
	fields, ok := ev[c.Event]
	if !ok {
		return false
	}
	for name, want := range c.Fields {
		got, err := canonical(fields[name])
		if err != nil || !bytes.Equal(got, want) {
			return false
		}
	}
	if c.AfterMS != nil {
		var at uint64
		if json.Unmarshal(fields["timestamp_ms"], &at) != nil || at <= *c.AfterMS {
			return false
		}
	}
	return true
}

// canonical rewrites a JSON value so that equal values have equal bytes.
func canonical(raw json.RawMessage) ([]byte, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("no value")
		}
		return nil, err
	}
	return ndjson.Marshal(v)
}

func (w *wait) agent(want bool) (node, error) {
	name := map[bool]string{true: "the agent connected", false: "the agent gone"}
	return w.leaf(name[want], func() sight {
		got := w.console.Status().AgentConnected
		return sight{met: got == want, saw: name[got]}
	})
}

func (w *wait) cursor(c control.CursorCondition) (node, error) {
	src, ok := as[CursorSource](w.console)
	if !ok {
		return nil, errorf(control.CodeBadParams, "cursor: this console does not know its pointer")
	}
	var parts []string
	if c.Visible != nil {
		parts = append(parts, map[bool]string{true: "visible", false: "hidden"}[*c.Visible])
	}
	if c.X != nil {
		parts = append(parts, fmt.Sprintf("at x %d", *c.X))
	}
	if c.Y != nil {
		parts = append(parts, fmt.Sprintf("at y %d", *c.Y))
	}
	if len(parts) == 0 {
		return nil, errorf(control.CodeBadParams, "cursor: want visible, x or y")
	}
	return w.leaf("the pointer "+strings.Join(parts, ", "), func() sight {
		cur := src.Cursor()
		saw := "hidden"
		if cur.Visible {
			saw = fmt.Sprintf("visible at %d,%d", cur.X, cur.Y)
		}
		met := (c.Visible == nil || *c.Visible == cur.Visible) && (c.X == nil || *c.X == cur.X) && (c.Y == nil || *c.Y == cur.Y)
		return sight{met: met, saw: saw}
	})
}
