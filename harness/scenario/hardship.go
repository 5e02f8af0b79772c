package scenario

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/spicelane/spicelane/fixtures/digest"
	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/serial"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/control"
	"github.com/spicelane/spicelane/spice/wire"
)

// Bare demands that a guest without an agent's port and a sound device reports that they are
// missing when it needs them, and continues.
func Bare(tb testing.TB, lane *harness.Lane) {
	r := begin(tb, lane)
	defer r.end()
	s := r.stream()
	if mc := r.machine().Config(); mc.Audio || mc.Agent {
		r.Fatalf("%s fault: this machine has an agent's port or a sound device", verdict.Harness)
	}
	r.tap(s, "F5")
	awaitA(r, s, "a tone that nothing can sound", func(e digest.Tone) bool { return e.State == digest.ToneNoSound })
	for _, key := range []string{"F7", "F8"} {
		r.tap(s, key)
		awaitA(r, s, "a clipboard that nothing can carry", func(e digest.Fault) bool {
			return e.Device == digest.AgentFault && e.Code == digest.Refused
		})
	}
	if r.client.Supports(control.MethodClipboardSet) {
		err := r.client.ClipboardSet(r.ctx, "x")
		r.want(isCode(err, control.CodeAgentNotConnected), "a clipboard without an agent was answered %v, want %s", err, control.CodeAgentNotConnected)
	}
	r.complete(s, false)
}

// Reset resets the machine from outside in the middle of a scene. It demands that the guest starts
// again, with a digest that counts from the start, and that the client stays connected.
func Reset(tb testing.TB, lane *harness.Lane) {
	r := begin(tb, lane)
	defer r.end()
	s := r.stream()
	r.tap(s, "b")
	awaitA(r, s, "the booting scene", func(digest.SceneTransition) bool { return true })
	last := s.Last().FrameCounter
	s.Close()

	mark := lane.Serial().Next()
	r.must(r.machine().Reset(r.ctx))
	ctx, cancel := r.within(boot)
	defer cancel()
	_, err := lane.Serial().AwaitFrom(ctx, mark, serial.Contains(r.banner()))
	r.must(err, "boot again")
	s = r.fromBoot(func(d digest.Digest) bool { return d.FrameCounter < last })
	r.tap(s, "Shift")
	r.must(lane.AwaitScreensMatch(r.ctx))
	r.understood()
}

const keyF9 = control.KeyF1 + 8

// flood is how many characters are typed as fast as the socket accepts them: a hundred times what a
// PC's keyboard buffers.
const flood = 20_000

// Flood types far faster than a keyboard can. It demands that afterwards the guest is still there,
// shows what QEMU shows, and accepts keys.
func Flood(tb testing.TB, lane *harness.Lane) {
	r := begin(tb, lane)
	defer r.end()
	s := r.stream()
	r.hold(s)
	account := r.account()
	now := uint32(0)
	sent, err := r.client.Paste(r.ctx, control.PasteParams{Text: strings.Repeat("flood ", flood/6), CharDelayMS: &now})
	r.must(err)
	// A lost make or break leaves a key down. It comes up when it is released once more.
	for _, key := range []string{"f", "l", "o", "d", "Space"} {
		codes, err := control.ParseKey(key)
		r.must(err)
		r.must(r.client.SendKey(r.ctx, codes[0], control.Up))
	}
	r.mark(s)
	keys := 0
	for _, e := range s.Events() {
		if e.Tag() == digest.TagKeypress {
			keys++
		}
	}
	r.Logf("of %d characters %d were seen in digests", sent, keys)
	account.settle()
	r.must(lane.AwaitScreensMatch(r.ctx))
	_, _, err = lane.AwaitVerifiedScreenshot(r.ctx)
	r.must(err)
}

// ForeignClipboard offers the guest data that is not text, or too much of it. It demands that the
// guest reports that, accepts none of the data, and continues.
func ForeignClipboard(tb testing.TB, lane *harness.Lane) {
	r := begin(tb, lane)
	defer r.end()
	if !r.agent("clipboards that are no text") || !r.alone("clipboards that are no text") {
		return
	}
	c := r.dial(nil)
	for _, tt := range []struct {
		what  string
		kind  wire.ClipboardType
		data  []byte
		flags digest.ClipboardFlags
	}{
		{"text", wire.ClipboardUTF8, []byte("text"), 0},
		{"invalid UTF-8", wire.ClipboardUTF8, []byte("\xff\xfe\x80 and \xc3"), digest.ClipboardNotUTF8},
		{"eight megabytes", wire.ClipboardUTF8, bytes.Repeat([]byte("8"), 8<<20), digest.ClipboardTooLarge},
		{"text again", wire.ClipboardUTF8, []byte("text again"), 0},
	} {
		r.must(c.ClipboardSet(r.ctx, wire.SelectionClipboard, map[wire.ClipboardType][]byte{tt.kind: tt.data}), tt.what)
		e := awaitShown(r, c, fmt.Sprintf("a clipboard of %d bytes", len(tt.data)), func(e digest.Clipboard) bool {
			return e.What == digest.DataReceived && int(e.Size) == len(tt.data)
		})
		r.want(e.Flags == tt.flags, "the guest was sent %s, and reports flags %d, want %d", tt.what, e.Flags, tt.flags)
	}
	r.must(c.ClipboardSet(r.ctx, wire.SelectionClipboard, map[wire.ClipboardType][]byte{wire.ClipboardPNG: []byte("a picture")}))
	awaitShown(r, c, "a clipboard without text", func(e digest.Clipboard) bool {
		return e.What == digest.GrabReceived && e.Flags == digest.ClipboardNoText
	})
	r.shift(c)
}

// shift demands that a key from a session of the test reaches the guest. The key drives no scene.
func (r *run) shift(c *spice.Client) {
	r.Helper()
	for _, state := range []digest.KeyState{digest.KeyDown, digest.KeyUp} {
		if err := c.Key(r.ctx, control.KeyShift, state == digest.KeyDown); err != nil {
			r.must(&verdict.Error{Verdict: verdict.Product, Op: "a key of another client", Err: err})
		}
		awaitShown(r, c, "the Shift key", func(e digest.Scancode) bool { return e.Code == control.KeyShift && e.State == state })
	}
}
