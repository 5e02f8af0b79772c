package scenario

import (
	"fmt"
	"regexp"
	"testing"
	"time"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/screen"
	"github.com/spicelane/spicelane/harness/screen/text"
)

// Picture demands that the client shows what QEMU shows, at rest, after a key has changed the
// screen, and after another has changed it back.
func Picture(tb testing.TB, lane *harness.Lane) {
	r := begin(tb, lane)
	defer r.end()
	if !r.compares() {
		return
	}
	r.must(lane.AwaitScreensMatch(r.ctx))
	if r.digests() {
		s := r.stream()
		r.hold(s)
		r.must(lane.AwaitScreensMatch(r.ctx))
		r.tap(s, "x")
	} else {
		r.typeAndErase(func() { r.must(lane.AwaitScreensMatch(r.ctx)) })
	}
	r.must(lane.AwaitScreensMatch(r.ctx))
}

// typeAndErase types a character behind the prompt of the guest's shell, calls f when the screen
// shows it, and erases it again.
func (r *run) typeAndErase(f func()) {
	r.Helper()
	prompt := r.prompt()
	if prompt == "" {
		r.left("what a key changes on the screen", "the fixture has no text \"shell\", the prompt of a shell on the screen")
		return
	}
	before := r.shellLine(prompt, "", patience)
	r.must(r.lane.Press(r.ctx, "x"))
	after := r.shellLine(prompt, "x", patience)
	r.want(after.Rect.Min == before.Rect.Min, "the prompt went from %v to %v when a key was typed", before.Rect, after.Rect)
	f()
	r.must(r.lane.Press(r.ctx, "Backspace"))
	r.shellLine(prompt, "", patience)
}

// ReadBack types all 95 printable characters of the keyboard behind the prompt of a shell. It
// demands that they can be read on the screen, exactly and in order. Then it erases them, with the
// key that the fixture's texts name under "erase", by default Ctrl+U. For a guest with a digest it
// runs [Type].
func ReadBack(tb testing.TB, lane *harness.Lane) {
	// A line of a small console has room for about half of them. Neither text ends with a space,
	// which could not be told from the empty cells behind it.
	all := typedText(95)
	readBack(tb, lane, patience, all[:40], all[40:]+".")
}

// readBack types texts, one after the other, and reads each on the screen.
func readBack(tb testing.TB, lane *harness.Lane, limit time.Duration, texts ...string) {
	if showsDigest(lane) {
		Type(tb, lane)
		return
	}
	r := begin(tb, lane)
	defer r.end()
	prompt := r.prompt()
	if prompt == "" {
		r.left("typing and reading back", "the fixture has no text \"shell\", the prompt of a shell on the screen")
		return
	}
	for _, text := range texts {
		r.shellLine(prompt, "", limit)
		ctx, cancel := r.within(limit)
		_, err := lane.TypeInto(ctx, prompt, text)
		cancel()
		r.must(err)
		r.shellLine(prompt, text, limit)
		r.must(lane.AwaitScreensMatch(r.ctx))
		r.must(lane.Press(r.ctx, r.eraseKey()))
	}
	r.shellLine(prompt, "", limit)
}

// prompt returns the prompt of the guest's shell, or "" if it has none.
func (r *run) prompt() string {
	if fx := r.lane.Fixture(); fx != nil {
		return fx.Texts["shell"]
	}
	return ""
}

// eraseKey returns the key that erases what was typed behind the prompt.
func (r *run) eraseKey() string {
	if fx := r.lane.Fixture(); fx != nil && fx.Texts["erase"] != "" {
		return fx.Texts["erase"]
	}
	return "Ctrl+U"
}

// shellLine waits until the screen shows the prompt, the typed text behind it, and then the cursor.
// It returns where they are.
func (r *run) shellLine(prompt, typed string, limit time.Duration) text.Hit {
	r.Helper()
	ctx, cancel := r.within(limit)
	defer cancel()
	q := screen.TextQuery{Pattern: regexp.MustCompile(regexp.QuoteMeta(prompt+typed) + "$"), Cursor: true}
	hit, err := r.lane.AwaitTextMatch(ctx, q)
	r.must(err, fmt.Sprintf("type %q", typed))
	return hit
}
