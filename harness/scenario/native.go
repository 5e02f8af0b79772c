package scenario

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"image/draw"
	"image/png"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spicelane/spicelane/fixtures/digest"
	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/coverage"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/serial"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice/control"
)

// Native walks through the guest's native scene, in which a QXL device draws what firmware never
// requests. After each step the client must show the picture that the guest read back from the
// device, and the one that QEMU dumps. The pointer must be the one that the guest set. At the end
// the client must have received everything as often as the guest sent it: each kind of drawing,
// clips, masks, cached images and palettes, an offscreen surface, and each kind of pointer. Then
// the guest is back in its previous scene.
//
// With any other display device the guest must say that the scene is absent.
func Native(tb testing.TB, lane *harness.Lane) {
	r := begin(tb, lane)
	defer r.end()
	s := r.stream()
	before := r.covered()

	line, e := r.nativeKey(s)
	if display := r.machine().Config().Display; display != qemu.QXL {
		want := fmt.Sprintf("native 0/%d absent: the display is not a QXL device", e.Steps)
		r.want(e.State == digest.NativeAbsent && line.text == want,
			"on the display %s the guest says that its native scene is %v: %q, want %q", display, e.State, line.text, want)
		r.complete(s, false)
		return
	}
	r.want(e.State == digest.NativeEntered && e.Step == 0 && e.Steps > 0,
		"the native scene was not entered: %q", line.text)

	walk := nativeWalk{run: r, s: s, serverMode: r.understood().MouseMode == "server"}
	for step := 1; step <= int(e.Steps); step++ {
		walk.step(step, int(e.Steps))
	}
	line, e = r.nativeKey(s)
	r.want(e.State == digest.NativeLeft && e.Step == e.Steps,
		"the native scene was not left: %q", line.text)
	if err := walk.shown(); err != nil {
		walk.failed = append(walk.failed, fmt.Errorf("after the scene: %w", err))
	}
	demands := nativeDemands
	if streams(r.machine().Config()) {
		demands = slices.Concat(demands, streamDemands)
	}
	if err := r.carried(before, demands); err != nil {
		walk.failed = append(walk.failed, fmt.Errorf("the client did not receive all that the guest drew: %w", err))
	}
	r.must(errors.Join(walk.failed...))
	r.understood()
	r.complete(s, false)
}

// NativeInterrupted interrupts the native scene. A client that disconnects and comes back must be
// shown everything. A key and a mode change must end the scene. A machine that is reset in the
// middle of the scene must start again. The guest has then booted once more.
func NativeInterrupted(tb testing.TB, lane *harness.Lane) {
	r := begin(tb, lane)
	defer r.end()
	s := r.stream()
	walk := nativeWalk{run: r, s: s}
	enter := func(steps int) {
		r.Helper()
		line, e := r.nativeKey(s)
		r.want(e.State == digest.NativeEntered, "the native scene was not entered: %q", line.text)
		for step := 1; step <= steps; step++ {
			walk.step(step, int(e.Steps))
		}
		r.must(errors.Join(walk.failed...))
	}
	left := func(why string) {
		r.Helper()
		e := awaitA(r, s, "the end of the native scene", func(digest.Native) bool { return true })
		r.want(e.State == digest.NativeLeft, "%s: the native scene is %v", why, e.State)
	}

	enter(3)
	if r.offers("a client that comes back", control.MethodReconnect) {
		r.must(r.comeBack())
		r.must(walk.shown(), "after the client came back")
	}
	r.tap(s, "Escape")
	left("Escape was pressed")
	r.must(walk.shown(), "after the scene")

	enter(2)
	before := r.primary()
	if r.offers("another mode", control.MethodSetDisplay) && r.agent("another mode") {
		for _, ask := range []image.Point{{X: 800, Y: 600}, {X: before.Width, Y: before.Height}} {
			r.must(r.client.SetDisplay(r.ctx, ask.X, ask.Y))
			if ask.X == 800 {
				left("another mode was asked for")
			}
			r.switched(s, ask)
		}
		enter(2)
	}

	last := s.Last().FrameCounter
	s.Close()
	mark := lane.Serial().Next()
	r.must(r.machine().Reset(r.ctx))
	ctx, cancel := r.within(boot)
	defer cancel()
	_, err := lane.Serial().AwaitFrom(ctx, mark, serial.Contains(r.banner()))
	r.must(err, "boot again")
	s = r.fromBoot(func(d digest.Digest) bool { return d.FrameCounter < last })
	walk.s = s
	enter(1)
}

// nativeKeyName is the key that begins the native scene and takes its steps.
const nativeKeyName = "F9"

// A nativeLine is the guest's serial line about a step.
type nativeLine struct {
	text    string
	pointer *pointerLine // nil: the step does not change it
}

// nativeKey presses the native scene's key and waits until the result is on the serial line and in
// the digest.
func (r *run) nativeKey(s *Stream) (nativeLine, digest.Native) {
	r.Helper()
	mark := r.lane.Serial().Next()
	r.tap(s, nativeKeyName)
	e := awaitA(r, s, "the native scene's answer to "+nativeKeyName,
		func(digest.Native) bool { return true })
	ctx, cancel := r.within(patience)
	defer cancel()
	said := serial.Func("the native scene's line", func(l serial.Line) bool {
		return l.Complete && nativeStep.MatchString(l.Text)
	})
	l, err := r.lane.Serial().AwaitFrom(ctx, mark, said)
	r.must(err)
	line := nativeLine{text: l.Text}
	for _, l := range r.lane.Serial().Lines()[mark:] {
		if !strings.HasPrefix(l.Text, pointerPrefix) {
			continue
		}
		p, err := parsePointerLine(l.Text)
		r.must(err)
		line.pointer = &p
	}
	m := nativeStep.FindStringSubmatch(line.text)
	r.want(m[1] == strconv.Itoa(int(e.Step)) && m[2] == strconv.Itoa(int(e.Steps)),
		"the digest is at step %d of %d, and the serial line says %q", e.Step, e.Steps, line.text)
	return line, e
}

var nativeStep = regexp.MustCompile(`^native (\d+)/(\d+) (\w+): .`)

// A nativeWalk is a run through the steps of the native scene.
type nativeWalk struct {
	*run
	s          *Stream
	serverMode bool // the server moves the pointer, and tells where it is
	pointer    *pointerLine
	failed     []error
}

// enoughFailures is the number of failures that ends the walk, because each takes the whole
// patience of a comparison.
const enoughFailures = 3

// step takes one step and checks its result.
func (w *nativeWalk) step(step, of int) {
	w.Helper()
	line, e := w.nativeKey(w.s)
	w.want(e.State == digest.NativeDrawn && int(e.Step) == step && int(e.Steps) == of,
		"step %d of %d: the guest said %q and %v", step, of, line.text, e)
	err := w.shown()
	if err == nil && line.pointer != nil {
		err = w.pointed(*line.pointer)
	}
	if err != nil {
		w.failed = append(w.failed, fmt.Errorf("%s: %w", line.text, err))
		if len(w.failed) == enoughFailures {
			w.must(errors.Join(w.failed...))
		}
	}
}

// shown demands that the client shows what QEMU dumps, and what the guest has read back.
func (w *nativeWalk) shown() error {
	if err := w.lane.AwaitScreensMatch(w.ctx); err != nil {
		return err
	}
	_, _, err := w.lane.AwaitVerifiedScreenshot(w.ctx)
	return err
}

// pointerFrames is the number of further frames of the guest after which the client must also have
// a new pointer.
const pointerFrames = 3

// pointed demands that the client has the pointer that the guest has set.
func (w *nativeWalk) pointed(p pointerLine) error {
	if !w.client.Supports(control.MethodCursor) {
		return nil
	}
	// In client mode the client moves the pointer. The server tells it where the guest wants the
	// pointer when it shows one, but not when it moves a visible one.
	if last := w.pointer; last != nil && last.visible && p.visible && !w.serverMode && p.same(*last) {
		p.at = last.at
	}
	w.pointer = &p
	ctx, cancel := w.within(patience)
	defer cancel()
	for frames := 0; ; frames++ {
		got, err := w.client.Cursor(ctx)
		if err != nil {
			return err
		}
		wrong := p.check(got)
		if wrong == nil {
			return nil
		}
		// The pointer has a separate channel, for which the picture does not wait.
		_, err = w.s.AwaitFrame(ctx, w.s.Last().FrameCounter+1)
		if err == nil && frames < pointerFrames {
			continue
		}
		if hop, known := w.lane.BlamePath(w.ctx); err != nil || hop == verdict.HopClient {
			return &verdict.Error{Verdict: verdict.Product, Hop: hop, Err: fmt.Errorf("%w; %s", errors.Join(wrong, err), known)}
		}
	}
}

// A pointerLine is the pointer as the guest has set it.
type pointerLine struct {
	shape   string
	visible bool
	at, hot image.Point
	size    image.Point
	crc     uint32 // of the shape, as blue, green, red, alpha
}

const pointerPrefix = "native pointer "

// parsePointerLine parses a line about the pointer.
func parsePointerLine(line string) (p pointerLine, err error) {
	rest, ok := strings.CutPrefix(line, pointerPrefix)
	if !ok {
		return p, fmt.Errorf("%q: want it to begin with %q", line, pointerPrefix)
	}
	f, err := split(rest)
	if err != nil {
		return p, err
	}
	p.shape, p.visible = f.take("shape"), f.number("visible", 1) == 1
	p.at = image.Pt(int(f.signed("x", 16)), int(f.signed("y", 16)))
	p.hot = image.Pt(int(f.number("hot_x", 16)), int(f.number("hot_y", 16)))
	p.size = image.Pt(int(f.number("width", 16)), int(f.number("height", 16)))
	p.crc = uint32(f.hex("crc", 32))
	if f.err != nil {
		return p, fmt.Errorf("%q: %w", line, f.err)
	}
	return p, nil
}

// same tells whether both have the same shape.
func (p pointerLine) same(q pointerLine) bool {
	return p.shape == q.shape && p.crc == q.crc && p.hot == q.hot
}

// check returns an error if a client's pointer differs from p.
func (p pointerLine) check(got control.CursorResult) error {
	if got.Visible != p.visible {
		return fmt.Errorf("pointer: visible is %t, the guest has set %t", got.Visible, p.visible)
	}
	for _, f := range []struct {
		what      string
		got, want image.Point
	}{
		{"position", image.Pt(got.X, got.Y), p.at},
		{"hot spot", image.Pt(got.HotX, got.HotY), p.hot},
		{"size", image.Pt(got.Width, got.Height), p.size},
	} {
		if f.got != f.want {
			return fmt.Errorf("pointer: its %s is %v, the guest has set %v", f.what, f.got, f.want)
		}
	}
	shape, err := png.Decode(bytes.NewReader(got.Data))
	if err != nil {
		return fmt.Errorf("pointer: its shape cannot be read: %w", err)
	}
	if crc := shapeCRC(shape); crc != p.crc {
		return fmt.Errorf("pointer: its shape has the checksum %08x, the guest has set %08x (%s)",
			crc, p.crc, p.shape)
	}
	return nil
}

// shapeCRC returns the CRC-32C of a shape's pixels: blue, green, red, alpha, and zero where it is
// transparent.
func shapeCRC(img image.Image) uint32 {
	n := image.NewNRGBA(image.Rectangle{Max: img.Bounds().Size()})
	draw.Draw(n, n.Rect, img, img.Bounds().Min, draw.Src)
	for i := 0; i < len(n.Pix); i += 4 {
		if n.Pix[i+3] == 0 {
			clear(n.Pix[i : i+3])
		}
		n.Pix[i], n.Pix[i+2] = n.Pix[i+2], n.Pix[i]
	}
	return crc32c(n.Pix)
}

func crc32c(p []byte) uint32 { return crc32.Checksum(p, crc32.MakeTable(crc32.Castagnoli)) }

// streamDemands are the demands for the scene's video if spice-server makes streams. It makes one
// only after twenty pictures.
var streamDemands = []coverage.Demand{
	{Kind: "message", Name: "server display.stream_create", Count: 1},
	{Kind: "message", Name: "server display.stream_data", Count: 10},
	{Kind: "message", Name: "server display.stream_destroy", Count: 1},
}

// streams tells whether spice-server makes streams of fast changes.
func streams(cfg qemu.Config) bool {
	all := append(slices.Clone(cfg.Args), "streaming-video="+cfg.Spice.Streaming)
	return slices.ContainsFunc(all, func(arg string) bool {
		_, how, _ := strings.Cut(arg, "streaming-video=")
		return strings.HasPrefix(how, "all") || strings.HasPrefix(how, "filter")
	})
}

// nativeDemands are the demands for the native scene. Nothing in it is covered before it is drawn,
// so everything reaches the client.
var nativeDemands = []coverage.Demand{
	{Kind: "operation", Name: "copy_bits", Count: 5},
	{Kind: "operation", Name: "draw_alpha_blend", Count: 9},
	{Kind: "operation", Name: "draw_blackness", Count: 2},
	{Kind: "operation", Name: "draw_blend", Count: 4},
	{Kind: "operation", Name: "draw_composite", Count: 15},
	{Kind: "operation", Name: "draw_copy", Count: 100},
	{Kind: "operation", Name: "draw_fill", Count: 21},
	{Kind: "operation", Name: "draw_invers", Count: 4},
	{Kind: "operation", Name: "draw_opaque", Count: 8},
	{Kind: "operation", Name: "draw_rop3", Count: 8},
	{Kind: "operation", Name: "draw_stroke", Count: 10},
	{Kind: "operation", Name: "draw_text", Count: 8},
	{Kind: "operation", Name: "draw_transparent", Count: 4},
	{Kind: "operation", Name: "draw_whiteness", Count: 2},
	{Kind: "feature", Name: "brush pattern", Count: 16},
	{Kind: "feature", Name: "clip rects", Count: 11},
	{Kind: "feature", Name: "composite mask", Count: 1},
	{Kind: "feature", Name: "composite transform", Count: 5},
	{Kind: "feature", Name: "image cache_me", Count: 2},
	{Kind: "feature", Name: "mask", Count: 15},
	{Kind: "feature", Name: "mask inverted", Count: 5},
	{Kind: "feature", Name: "palette cache_me", Count: 1},
	{Kind: "feature", Name: "palette from_cache", Count: 2},
	{Kind: "feature", Name: "scaled interpolate", Count: 2},
	{Kind: "feature", Name: "scaled nearest", Count: 13},
	{Kind: "feature", Name: "stroke dashed", Count: 2},
	{Kind: "feature", Name: "text 1", Count: 4},
	{Kind: "feature", Name: "text 4", Count: 4},
	{Kind: "image", Name: "from_cache", Count: 4},
	{Kind: "image", Name: "surface", Count: 11},
	{Kind: "message", Name: "server display.surface_create", Count: 3}, // VGA's, made again; the guest's; the offscreen one
	{Kind: "message", Name: "server display.surface_destroy", Count: 3},
	{Kind: "feature", Name: "cursor alpha", Count: 1},
	{Kind: "feature", Name: "cursor mono", Count: 1},
	{Kind: "feature", Name: "cursor color4", Count: 1},
	{Kind: "feature", Name: "cursor color8", Count: 1},
	{Kind: "feature", Name: "cursor color16", Count: 1},
	{Kind: "feature", Name: "cursor color24", Count: 1},
	{Kind: "feature", Name: "cursor color32", Count: 1},
	{Kind: "feature", Name: "cursor from_cache", Count: 1},
	{Kind: "message", Name: "server cursor.hide", Count: 2},
	{Kind: "message", Name: "server cursor.move", Count: 1},
	{Kind: "message", Name: "server cursor.set", Count: 8},
	{Kind: "message", Name: "server cursor.trail", Count: 1},
}
