package scenario

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/spicelane/spicelane/fixtures/digest"
	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/spice/control"
)

// typedText returns n characters: all those of a US keyboard, in changing orders, with the last one
// of each order twice.
func typedText(n int) string {
	const first, count = ' ', '~' - ' ' + 1
	var b strings.Builder
	for step := 1; b.Len() < n; step++ {
		if step%5 == 0 || step%19 == 0 { // would not reach all of them: count is 5 times 19
			continue
		}
		for i := 1; i <= count; i++ {
			b.WriteByte(byte(first + i*step%count))
		}
		b.WriteByte(first)
	}
	return b.String()[:n]
}

// Typing returns a suite that types n characters with Confirm. It demands that the guest got every
// character once and in order, according to its digests and its final report. Then it types the
// same text as fast as the socket accepts it, which no keyboard can keep up with. It logs how much
// of that was lost, and demands that the guest accepts keys as before. Afterwards the machine is
// switched off.
func Typing(n int) func(testing.TB, *harness.Lane) {
	return func(tb testing.TB, lane *harness.Lane) { typing(tb, lane, typedText(n)) }
}

func typing(tb testing.TB, lane *harness.Lane, text string) {
	r := begin(tb, lane)
	defer r.end()
	if !r.offers("closed-loop typing", control.MethodType) {
		return
	}
	s := r.stream()
	r.holding(s, true)
	s.Close()

	r.confirmed(text)
	s = r.stream()
	r.mark(s)
	s.Close()

	now := uint32(0)
	began := time.Now()
	sent, err := r.client.Paste(r.ctx, control.PasteParams{Text: text, CharDelayMS: &now})
	took := time.Since(began)
	r.must(err)
	r.want(sent == len(text), "pasted %d characters, and the client says %d", len(text), sent)
	// A lost make or break leaves a key down. It comes up when it is released once more.
	s = r.stream()
	r.mark(s)
	r.up(s, control.KeyShift)
	for _, k := range keyboard104 {
		if k.plain >= ' ' {
			r.up(s, k.code)
		}
	}
	s.Close()
	after := typedText(95)
	r.confirmed(after)

	r.must(r.machine().QMP().Powerdown(r.ctx))
	ctx, cancel := r.within(countdown)
	defer cancel()
	parts := typedParts(r.finalReport(ctx, digest.PowerOffButton, func() string { return "its power button was pressed" }).Events)
	r.want(len(parts) == 3, "the serial line has %d parts between the marks, want 3", len(parts))
	r.want(parts[0] == text, "typed closed-loop, and the guest got by its serial line\n%q, want\n%q", parts[0], text)
	r.want(parts[2] == after, "typed closed-loop after the flood, and the guest got by its serial line\n%q, want\n%q", parts[2], after)
	seen, right := len(parts[1]), inCommon(text, parts[1])
	r.want(seen <= sent, "typed %d characters open-loop, and the guest got %d", sent, seen)
	r.Logf("open-loop: %d characters in %v, %.0f a second: %d seen (%.1f %% lost), %d of them right and in order (%.1f %% lost or garbled)",
		sent, took.Round(time.Millisecond), float64(sent)/took.Seconds(), seen, lost(sent, seen), right, lost(sent, right))
}

func lost(sent, seen int) float64 { return 100 * float64(sent-seen) / float64(sent) }

// confirmed types text with Confirm and demands that nothing was lost.
func (r *run) confirmed(text string) {
	r.Helper()
	within := uint32(r.lane.Scaled(2 * time.Second).Milliseconds())
	began := time.Now()
	res, err := r.client.Type(r.ctx, control.TypeParams{Text: text, Confirm: true, ConfirmMS: &within})
	took := time.Since(began)
	r.must(err)
	n := len(text)
	r.want(res.CharsSent == n && res.Seen == n && res.Lost+res.Reordered+res.Unexpected == 0 && res.Latency != nil,
		"typed %d characters closed-loop, and the client says: %d sent, %d seen, %d lost, %d reordered, %d unexpected, %v",
		n, res.CharsSent, res.Seen, res.Lost, res.Reordered, res.Unexpected, res.Anomalies)
	r.Logf("closed-loop: %d characters in %v, %.0f a second: none lost; key to picture p50 %.1f ms, p95 %.1f ms, p99 %.1f ms, at most %.1f ms",
		n, took.Round(time.Millisecond), float64(n)/took.Seconds(), res.Latency.P50MS, res.Latency.P95MS, res.Latency.P99MS, res.Latency.MaxMS)
}

// mark presses F9 until the guest has seen it, to separate the next text from the previous one.
// Keys in flight may fill the keyboard's buffer, which then loses further keys.
func (r *run) mark(s *Stream) {
	r.Helper()
	for range 10 {
		r.must(r.client.SendKey(r.ctx, keyF9, control.Press))
		ctx, cancel := r.within(time.Second)
		_, err := s.Await(ctx, "F9", func(e digest.Event) bool {
			k, ok := e.(digest.Scancode)
			return ok && k.Code == keyF9 && k.State == digest.KeyUp
		})
		cancel()
		if err == nil {
			return
		}
	}
	r.want(false, "the guest sees no key any more; it saw last %s", describe(s.Events()))
}

// typedParts returns the characters between F10 and F9, and between F9 and F9. Several F9 in a row
// are one mark.
func typedParts(events []digest.Event) (parts []string) {
	var part strings.Builder
	held, marked := false, true
	for _, e := range events {
		switch e := e.(type) {
		case digest.Hold:
			held = e.On
		case digest.Scancode:
			if held && e.Code == keyF9 && !marked {
				parts = append(parts, part.String())
				part.Reset()
				marked = true
			}
		case digest.Keypress:
			if held && e.Unicode >= ' ' {
				part.WriteRune(rune(e.Unicode))
				marked = false
			}
		}
	}
	if !marked {
		parts = append(parts, part.String())
	}
	return parts
}

// inCommon returns the length of the longest common subsequence of a and b.
func inCommon(a, b string) int {
	row := make([]int, len(b)+1)
	for i := range len(a) {
		diagonal := 0
		for j := range len(b) {
			above := row[j+1]
			if a[i] == b[j] {
				row[j+1] = diagonal + 1
			} else {
				row[j+1] = max(above, row[j])
			}
			diagonal = above
		}
	}
	return row[len(b)]
}

// Type demands that the verb type types all 95 printable characters of the keyboard, and letters
// also under Caps Lock. It checks what the guest's digests say it has seen.
func Type(tb testing.TB, lane *harness.Lane) {
	r := begin(tb, lane)
	defer r.end()
	if !r.offers("typing", control.MethodType) {
		return
	}
	s := r.stream()
	r.hold(s)
	r.typed(s, typedText(95))
	r.capsLock(s, true)
	r.restore(func() { r.capsLock(s, false) })
	r.typed(s, "aZ Az 1!")
}

// typed types a text and demands that the guest has seen exactly that.
func (r *run) typed(s *Stream, text string) {
	r.Helper()
	from := len(s.events)
	within := uint32(r.lane.Scaled(2 * time.Second).Milliseconds())
	res, err := r.client.Type(r.ctx, control.TypeParams{Text: text, Confirm: true, ConfirmMS: &within})
	r.must(err)
	r.want(res.Lost+res.Reordered+res.Unexpected == 0, "typed %q, and the client says that the guest saw something else: %v", text, res.Anomalies)
	ctx, cancel := r.within(patience)
	defer cancel()
	for {
		seen := typedIn(s.events[from:])
		if len(seen) >= len(text) {
			r.want(seen == text, "typed %q, and the guest's digests say that it saw %q", text, seen)
			r.complete(s, false)
			return
		}
		if _, err := s.AwaitFrame(ctx, s.Last().FrameCounter); err != nil {
			r.must(fmt.Errorf("typed %q, and the guest's digests say that it saw %q: %w", text, seen, err))
		}
	}
}

// typedIn returns the printable characters that a guest has seen.
func typedIn(events []digest.Event) string {
	var b strings.Builder
	for _, e := range events {
		if k, ok := e.(digest.Keypress); ok && k.Unicode >= ' ' {
			b.WriteRune(rune(k.Unicode))
		}
	}
	return b.String()
}

// capsLock presses Caps Lock and waits until the client knows that it is on, or off. The guest sets
// the light, and QEMU tells the client.
func (r *run) capsLock(s *Stream, on bool) {
	r.Helper()
	r.tap(s, "CapsLock")
	ctx, cancel := r.within(patience)
	defer cancel()
	for {
		st, err := r.client.Status(ctx)
		r.must(err)
		if st.Locks != nil && st.Locks.Caps == on {
			return
		}
		_, err = s.AwaitFrame(ctx, s.Last().FrameCounter)
		r.must(err, fmt.Sprintf("Caps Lock was pressed, and the client's locks are %+v", st.Locks))
	}
}
