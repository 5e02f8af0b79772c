package scenario

import (
	"fmt"
	"hash/crc32"
	"image"
	"strings"
	"testing"
	"time"

	"github.com/spicelane/spicelane/fixtures/digest"
	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/spice/control"
)

// agent waits for the guest's agent. If the machine has none, it logs what is left out and returns
// false.
func (r *run) agent(what string) bool {
	r.Helper()
	if !r.machine().Config().Agent {
		r.left(what, "the machine has no agent's port (Config.Agent)")
		return false
	}
	sub, err := r.client.Subscribe(r.ctx, control.EventAgentConnected)
	r.must(err)
	defer sub.Close()
	ctx, cancel := r.within(patience)
	defer cancel()
	for {
		st, err := r.client.Status(ctx)
		r.must(err)
		if st.AgentConnected {
			return true
		}
		_, err = sub.Next(ctx)
		r.must(err, "wait for the guest's agent")
	}
}

// clipboardSizes are the lengths of the texts for both directions, in bytes. A decimal megabyte
// leaves room for the request around it on the control socket.
var clipboardSizes = []int{1, 64 << 10, 1_000_000}

// Clipboard demands that text passes through the agent unchanged in both directions, and that a
// released clipboard is empty.
func Clipboard(tb testing.TB, lane *harness.Lane) {
	r := begin(tb, lane)
	defer r.end()
	if !r.offers("the clipboard", control.MethodClipboardGet, control.MethodClipboardSet) || !r.agent("the clipboard") {
		return
	}
	s := r.stream()
	for _, size := range clipboardSizes {
		text := clipboardText(size)
		crc := crc32.Checksum([]byte(text), crc32.MakeTable(crc32.Castagnoli))
		r.must(r.client.ClipboardSet(r.ctx, text))
		e := awaitA(r, s, fmt.Sprintf("the clipboard's %d bytes", size), func(e digest.Clipboard) bool { return e.What == digest.DataReceived })
		r.want(e.Flags == 0 && int(e.Size) == size && e.CRC == crc, "the guest got %d bytes with checksum %08x and flags %d, want %d bytes with %08x", e.Size, e.CRC, e.Flags, size, crc)

		r.tap(s, "F7")
		r.await(s, "the guest's offer of the clipboard", func(e digest.Event) bool {
			c, ok := e.(digest.Clipboard)
			return ok && c.What == digest.GrabSent && int(c.Size) == size && c.CRC == crc
		})
		got := r.clipboardBecomes(text)
		r.want(got == text, "the guest has %d bytes on its clipboard, and %d came, equal in the first %d", size, len(got), common(got, text))

		r.tap(s, "F8")
		awaitA(r, s, "the guest's release of the clipboard", func(e digest.Clipboard) bool { return e.What == digest.ReleaseSent })
		r.want(r.clipboardBecomes("") == "", "the guest released the clipboard, and there still is something on it")
	}
}

// clipboardPoll is how often the client is asked for the guest's clipboard: no event reports its
// changes.
const clipboardPoll = 100 * time.Millisecond

// clipboardBecomes reads the guest's text until it is the wanted one, and returns the last one
// read. The picture shows that the guest has offered or released the text. It comes on another
// channel, so the client may learn of the offer later.
func (r *run) clipboardBecomes(text string) (got string) {
	r.Helper()
	ctx, cancel := r.within(patience)
	defer cancel()
	tick := time.NewTicker(clipboardPoll)
	defer tick.Stop()
	for {
		if got = r.clipboard(); got == text {
			return got
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return got
		}
	}
}

// clipboard returns the guest's text.
func (r *run) clipboard() string {
	r.Helper()
	ms := uint32(r.lane.Scaled(patience).Milliseconds())
	var got control.ClipboardText
	r.must(r.client.Call(r.ctx, control.MethodClipboardGet, control.ClipboardGetParams{TimeoutMS: &ms}, &got))
	return got.Text
}

// clipboardText returns a text of n bytes that does not repeat itself soon, with
// characters of two, three and four bytes.
func clipboardText(n int) string {
	var b strings.Builder
	for i := 0; ; i++ {
		piece := fmt.Sprintf("%d äöü €uro 🗼 line\n", i)
		if b.Len()+len(piece) > n {
			break
		}
		b.WriteString(piece)
	}
	return b.String() + strings.Repeat("~", n-b.Len())
}

func common(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// Monitors sends monitors configs. It demands that the guest sets the size in each, or the nearest
// one that it has, and that the client then shows it. Of a virtio display it demands that the guest's
// agent hears of none, because the device takes them.
func Monitors(tb testing.TB, lane *harness.Lane) {
	r := begin(tb, lane)
	defer r.end()
	if !r.offers("monitors config", control.MethodSetDisplay) || !r.agent("monitors config") {
		return
	}
	if r.machine().Config().Display == qemu.Virtio {
		r.deviceTakesMonitors()
		return
	}
	s := r.stream()
	before := r.primary()
	for _, ask := range []image.Point{{X: 800, Y: 600}, {X: 1001, Y: 701}, {X: before.Width, Y: before.Height}} {
		r.must(r.client.SetDisplay(r.ctx, ask.X, ask.Y))
		m := awaitA(r, s, fmt.Sprintf("a monitors config of %v", ask), func(digest.Monitors) bool { return true })
		r.want(m.Count == 1 && image.Pt(int(m.Width), int(m.Height)) == ask, "asked for one monitor of %v, the guest heard of %d, the first of %dx%d", ask, m.Count, m.Width, m.Height)
		applied := r.switched(s, ask)
		if ask.X%8 == 0 {
			r.want(applied == ask, "asked for %v, which the guest has, and got %v", ask, applied)
		} else {
			far := max(applied.X-ask.X, ask.X-applied.X, applied.Y-ask.Y, ask.Y-applied.Y)
			r.want(applied != ask && far <= 100, "asked for %v, which no guest has, and got %v, which is not near", ask, applied)
		}
	}
}

// deviceTakesMonitors sends a monitors config and demands that the guest's agent does not hear of it.
// spice-server gives a config to the display device instead of the agent if the device takes sizes from
// outside. virtio does, for the guest's driver, and the firmware's driver does not ask (QEMU,
// interface_client_monitors_config in ui/spice-display.c).
func (r *run) deviceTakesMonitors() {
	r.Helper()
	if !r.offers("monitors config", control.MethodClipboardSet) {
		return
	}
	s := r.stream()
	before := r.primary()
	r.must(r.client.SetDisplay(r.ctx, 800, 600))
	// The agent's messages arrive in order, so a text that is offered now comes after the config.
	heard := false
	r.must(r.client.ClipboardSet(r.ctx, "after the monitors config"))
	r.await(s, "a text after a monitors config", func(e digest.Event) bool {
		_, config := e.(digest.Monitors)
		heard = heard || config
		c, ok := e.(digest.Clipboard)
		return ok && c.What == digest.DataReceived
	})
	r.want(!heard, "the guest's agent heard of a monitors config, which is the virtio device's")
	r.must(r.client.SetDisplay(r.ctx, before.Width, before.Height))
	r.left("the change of the size", "the virtio device takes monitors configs, and the firmware's driver does not ask for them")
}

// switched waits for a mode switch and demands that client and QEMU show it. It returns the new
// size.
func (r *run) switched(s *Stream, ask image.Point) image.Point {
	r.Helper()
	e := awaitA(r, s, fmt.Sprintf("a switch to %v", ask), func(digest.ModeSwitch) bool { return true })
	r.want(image.Pt(int(e.RequestedW), int(e.RequestedH)) == ask, "asked for %v, the guest says that it was asked for %dx%d", ask, e.RequestedW, e.RequestedH)
	applied := image.Pt(int(e.AppliedW), int(e.AppliedH))
	r.must(r.lane.AwaitScreensMatch(r.ctx), applied)
	img, _, err := r.lane.AwaitVerifiedScreenshot(r.ctx)
	r.must(err, applied)
	r.want(img.Rect.Size() == applied, "the guest has set %v, and the picture has %v", applied, img.Rect.Size())
	p := r.primary()
	r.want(image.Pt(p.Width, p.Height) == applied, "the guest has set %v, and surface 0 has %dx%d", applied, p.Width, p.Height)
	return applied
}
