package scenario

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/spicelane/spicelane/fixtures/digest"
	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/serial"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice/control"
)

// Full takes a guest through its whole story:
//
//	awaiting → booting → prompt ─a→ cold reset
//	awaiting → booting → prompt ─r→ prompt ─i→ paste (wrong, right) → parked → power off
//
// It compares what happened with both of the guest's reports. The digests must have a rising
// counter, show every event, and have eight hashes that follow from the events. The serial line
// must say the same at the end. The lane must be fresh; afterwards its machine is gone.
func Full(tb testing.TB, lane *harness.Lane) {
	r := begin(tb, lane)
	defer r.end()
	s := r.fromBoot(func(digest.Digest) bool { return true })
	r.beat("awaiting", func() { r.tap(s, "2"); r.switched(s, digitModes[1]); r.tap(s, "3"); r.switched(s, digitModes[2]) })
	r.beat("booting", func() { r.toPrompt(s) })
	last := s.Last().FrameCounter
	r.beat("abort", func() {
		mark := lane.Serial().Next()
		r.must(r.client.SendKey(r.ctx, keyA, control.Down))
		d := awaitA(r, s, "the decision to abort", func(digest.BootloaderDecision) bool { return true })
		r.want(d.Choice == digest.Abort && d.Attempt == 1, "the guest decided to %v at attempt %d", d.Choice, d.Attempt)
		r.must(s.complete(true)) // NB: the guest is about to reset, and nothing else can be looked at
		r.must(r.client.SendKey(r.ctx, keyA, control.Up))
		ctx, cancel := r.within(boot)
		defer cancel()
		_, err := lane.Serial().AwaitFrom(ctx, mark, serial.Contains(r.banner()))
		r.must(err, "boot again")
	})
	s.Close()

	s = r.fromBoot(func(d digest.Digest) bool { return d.FrameCounter < last && d.ChannelHashes == digest.ChannelHashes{} })
	r.beat("awaiting again", func() {
		r.tap(s, "1")
		r.switched(s, digitModes[0])
		r.tap(s, "0")
		awaitA(r, s, "a switch of the mode", func(digest.ModeSwitch) bool { return true })
		r.tap(s, "x")
		awaitA(r, s, "the end of the walk", func(digest.ModeCycle) bool { return true })
		r.tap(s, "3")
		r.switched(s, digitModes[2])
	})
	r.beat("booting again", func() { r.toPrompt(s) })
	r.beat("retry", func() {
		r.tap(s, "r")
		d := awaitA(r, s, "the decision to retry", func(digest.BootloaderDecision) bool { return true })
		r.want(d.Choice == digest.Retry && d.Attempt == 1, "the guest decided to %v at attempt %d", d.Choice, d.Attempt)
		awaitA(r, s, "the prompt again", func(digest.LineRendered) bool { return true })
	})
	r.beat("ignore", func() {
		r.tap(s, "i")
		d := awaitA(r, s, "the decision to ignore", func(digest.BootloaderDecision) bool { return true })
		r.want(d.Choice == digest.Ignore && d.Attempt == 2, "the guest decided to %v at attempt %d", d.Choice, d.Attempt)
		r.rows(s, 3)
	})
	r.beat("wrong paste", func() { r.paste(s, "not this", false); r.rows(s, 2) })
	r.beat("right paste", func() { r.paste(s, r.payload(), true) })
	r.beat("parked", func() {
		t := awaitA(r, s, "the parked scene", func(digest.SceneTransition) bool { return true })
		r.want(t.From == digest.Booting && t.To == digest.Parked, "the guest went from %v to %v", t.From, t.To)
		awaitA(r, s, "its last line", func(digest.LineRendered) bool { return true })
	})
	r.complete(s, true)
	r.must(r.client.SendKey(r.ctx, control.KeySpace, control.Down))
	r.powerOff(s, digest.PowerOffKey)
}

// Countdown gives three wrong answers. It demands that the guest reports them, and switches the
// machine off after its countdown, with a complete final report. The lane must be fresh; afterwards
// its machine is gone.
func Countdown(tb testing.TB, lane *harness.Lane) {
	r := begin(tb, lane)
	defer r.end()
	s := r.fromBoot(func(digest.Digest) bool { return true })
	r.toPrompt(s)
	r.tap(s, "i")
	awaitA(r, s, "the decision to ignore", func(e digest.BootloaderDecision) bool { return e.Choice == digest.Ignore })
	r.rows(s, 3)
	for i := range 3 {
		r.beat(fmt.Sprintf("wrong answer %d", i+1), func() {
			r.paste(s, fmt.Sprint("wrong ", i), false)
			if i < 2 {
				r.rows(s, 2)
			}
		})
	}
	r.beat("countdown", func() {
		awaitA(r, s, "the countdown", func(digest.BootloaderTimeout) bool { return true })
	})
	r.powerOff(s, digest.PowerOffCountdown)
}

const (
	keyA = 0x1e

	// boot is how long a guest may take from a reset to its banner, under KVM.
	boot = 20 * time.Second

	// countdown limits the wait for the guest's own clock: 30 s of countdown and 5 s of last words.
	countdown = 60 * time.Second

	// charDelay is the pause between characters of an answer, in milliseconds. In that time a
	// digest with the character reaches the client.
	charDelay = 250
)

// fromBoot follows the digest from the guest's start on. It returns when nothing more happens by
// itself.
func (r *run) fromBoot(accept func(digest.Digest) bool) *Stream {
	r.Helper()
	ctx, cancel := r.within(patience)
	defer cancel()
	s, err := openStream(ctx, r.lane, accept)
	r.must(err)
	r.later(s.Close)
	if h := s.Last().ChannelHashes; h != (digest.ChannelHashes{}) {
		r.Fatalf("%s fault: this suite wants a guest that nothing has happened to: its hashes are %v", verdict.Harness, h.Map())
	}
	r.settled(s)
	return s
}

// beat runs a beat of the lane with an act that ends the test if it fails.
func (r *run) beat(name string, act func()) {
	r.Helper()
	r.must(r.lane.Beat(r.ctx, name, func(context.Context) error { act(); return nil }))
}

func (r *run) text(name string) string {
	r.Helper()
	fx := r.lane.Fixture()
	if fx == nil || fx.Texts[name] == "" {
		r.Fatalf("%s fault: the fixture has no text %q", verdict.Harness, name)
	}
	return fx.Texts[name]
}

func (r *run) payload() string { r.Helper(); return r.text("payload") }

func (r *run) banner() string {
	r.Helper()
	fx := r.lane.Fixture()
	if fx == nil || fx.Banner == "" {
		r.Fatalf("%s fault: the fixture has no banner", verdict.Harness)
	}
	return fx.Banner
}

// toPrompt goes from the awaiting scene through booting to the prompt.
func (r *run) toPrompt(s *Stream) {
	r.Helper()
	r.tap(s, "b")
	t := awaitA(r, s, "the booting scene", func(digest.SceneTransition) bool { return true })
	r.want(t.From == digest.Awaiting && t.To == digest.Booting, "the guest went from %v to %v", t.From, t.To)
	// The lines come one by one from row 0 on. The guest decides how many there are. The prompt is
	// there when the cursor blinks and nothing more is painted.
	ctx, cancel := r.within(boot)
	defer cancel()
	row, quiet := uint16(0), 0
	for quiet < blinks {
		n := len(s.events)
		_, err := s.AwaitFrame(ctx, s.Last().FrameCounter)
		r.must(err)
		if quiet++; len(s.events) > n || row == 0 {
			quiet = 0
		}
		for ; s.read < len(s.events); s.read++ {
			if e, ok := s.events[s.read].(digest.LineRendered); ok {
				r.want(e.Row == row, "the guest painted row %d, want %d", e.Row, row)
				row++
			}
		}
	}
}

// blinks is a number of cursor blinks, half a second each on the guest's clock. They are longer
// than the pause between two lines of the booting scene.
const blinks = 3

// rows waits until n rows of the paste scene have been painted. Then the guest waits for an answer.
func (r *run) rows(s *Stream, n int) {
	r.Helper()
	for i := range n {
		awaitA(r, s, fmt.Sprintf("row %d of %d of the paste scene", i+1, n), func(digest.LineRendered) bool { return true })
	}
}

// paste types an answer and demands the expected reaction of the guest.
func (r *run) paste(s *Stream, text string, right bool) {
	r.Helper()
	if r.client.Supports(control.MethodType) {
		res, err := r.client.Type(r.ctx, control.TypeParams{Text: text, Confirm: true})
		r.must(err)
		r.want(res.Seen == len(text) && res.Lost+res.Reordered+res.Unexpected == 0, "typed %q, and the guest saw %+v", text, res)
	} else {
		delay := uint32(charDelay)
		_, err := r.client.Paste(r.ctx, control.PasteParams{Text: text, CharDelayMS: &delay})
		r.must(err)
		for _, char := range text {
			awaitA(r, s, fmt.Sprintf("the character %q", char), func(e digest.Keypress) bool { return rune(e.Unicode) == char })
		}
	}
	r.tap(s, "Enter")
	e := awaitA(r, s, "a pasted answer", func(digest.PasteReceived) bool { return true })
	r.want(e.Correct == right && int(e.Len) == len(text), "answered %q, and the guest got %d bytes, correct: %t", text, e.Len, e.Correct)
}

// powerOff waits until the machine has switched itself off, and compares the
// guest's two reports.
func (r *run) powerOff(s *Stream, why digest.PowerOffReason) {
	r.Helper()
	ctx, cancel := r.within(countdown)
	defer cancel()
	for {
		d, err := s.next(ctx)
		if err != nil {
			break // the machine has ended, or the client that lost it
		}
		r.must(s.take(d))
	}
	report := r.finalReport(ctx, why, func() string { return "the last digest has " + describe(s.Last().Events) })
	r.must(s.complete(true))
	if err := report.Follows(s); err != nil {
		r.want(false, "%v", err)
	}
	r.Logf("%d digests and %d lines on the serial line agree; refreshes took %d µs on average, %d at most",
		s.Frames(), len(report.Events), report.Stats["mean_us"], report.Stats["max_us"])
}

// finalReport waits until the guest has switched the machine off, for the reason why, and returns
// its final report on the serial line. If the guest does not switch off, last says in the error
// what was seen last.
func (r *run) finalReport(ctx context.Context, why digest.PowerOffReason, last func() string) *FinalReport {
	r.Helper()
	select {
	case <-r.lane.Done(): // which ends ctx, too
	case <-ctx.Done():
		r.want(r.lane.Err() != nil, "the guest does not switch the machine off: %v; %s", context.Cause(ctx), last())
	}
	var exit *qemu.ExitError
	r.want(errors.As(r.lane.Err(), &exit) && exit.Kind == qemu.KindShutdown, "the machine ended otherwise than by being switched off: %v", r.lane.Err())
	var lines []string
	for _, l := range r.lane.Serial().Lines() {
		lines = append(lines, l.Text)
	}
	report, err := ReadFinalReport(lines)
	if err != nil {
		err = &verdict.Error{Verdict: verdict.Product, Op: "serial line", Err: err}
	}
	r.must(err)
	e, ok := report.Events[len(report.Events)-1].(digest.PowerOff)
	r.want(ok && e.Reason == why, "the last event on the serial line is %s, want power_off because of %v", describe(report.Events[len(report.Events)-1:]), why)
	return report
}
