package scenario

import (
	"fmt"
	"image"
	"regexp"
	"strings"
	"testing"

	"github.com/spicelane/spicelane/fixtures/digest"
	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/serial"
)

// digitModes are the modes that the keys 1 to 6 set.
var digitModes = []image.Point{{X: 640, Y: 480}, {X: 800, Y: 600}, {X: 1024, Y: 768}, {X: 1280, Y: 720}, {X: 1280, Y: 1024}, {X: 1920, Y: 1080}}

// Modes sets each mode that has a key. It demands that the guest reports the actual mode, and that
// the client's surface has its size. The client must show the same pixels as QEMU, with the
// digest's checksum. Then Modes goes back to the first mode.
func Modes(tb testing.TB, lane *harness.Lane) {
	r := begin(tb, lane)
	defer r.end()
	s := r.stream()
	before := r.primary()
	offered := r.offered()
	set := func(i int) {
		r.Helper()
		r.tap(s, fmt.Sprint(i+1))
		applied := r.switched(s, digitModes[i])
		if offered[digitModes[i]] {
			r.want(applied == digitModes[i], "the display has %v, and got %v", digitModes[i], applied)
		} else {
			r.Logf("the display does not have %v; the nearest is %v", digitModes[i], applied)
			r.want(offered[applied], "the guest has set %v, which the display does not have", applied)
		}
	}
	for i := range digitModes {
		set(i)
	}
	for i, m := range digitModes {
		if m == image.Pt(before.Width, before.Height) {
			set(i)
		}
	}
	r.complete(s, false)
}

// Walk makes the guest walk through all modes of its display: once to the end, and once until a key
// ends the walk.
func Walk(tb testing.TB, lane *harness.Lane) {
	r := begin(tb, lane)
	defer r.end()
	s := r.stream()
	before := r.primary()
	size := image.Pt(before.Width, before.Height)
	offered := r.offered()

	r.tap(s, "0")
	seen := map[image.Point]bool{}
	var cycle *digest.ModeCycle
	for cycle == nil {
		switch e := r.await(s, "a switch of the mode or the walk's end", func(e digest.Event) bool {
			return e.Tag() == digest.TagModeSwitch || e.Tag() == digest.TagModeCycle
		}).(type) {
		case digest.ModeSwitch:
			seen[image.Pt(int(e.AppliedW), int(e.AppliedH))] = true
		case digest.ModeCycle:
			cycle = &e
		}
	}
	r.want(!cycle.Interrupted && int(cycle.Count) == len(offered), "the walk ended after %d modes (interrupted: %t), the display has %d", cycle.Count, cycle.Interrupted, len(offered))
	for m := range offered {
		r.want(seen[m], "the walk left out %v", m)
	}
	r.want(r.switched(s, size) == size, "the walk did not come back to %v", size)

	r.tap(s, "0")
	for range 2 {
		awaitA(r, s, "a switch of the mode", func(digest.ModeSwitch) bool { return true })
	}
	r.tap(s, "x") // goes no further than to end the walk
	c := awaitA(r, s, "the walk's end", func(digest.ModeCycle) bool { return true })
	r.want(c.Interrupted && c.Count >= 2, "a key ended the walk, which says that it was at mode %d (interrupted: %t)", c.Count, c.Interrupted)
	for i, m := range digitModes {
		if m == size {
			r.tap(s, fmt.Sprint(i+1))
			r.want(r.switched(s, size) == size, "the guest did not go back to %v", size)
		}
	}
	r.complete(s, false)
}

var modesLine = regexp.MustCompile(`^available GOP modes:((?: \d+x\d+)+)$`)

// offered returns the modes that the guest reports for its display.
func (r *run) offered() map[image.Point]bool {
	r.Helper()
	ctx, cancel := r.within(patience)
	defer cancel()
	line, err := r.lane.Serial().Await(ctx, serial.Matches(modesLine))
	r.must(err)
	modes := map[image.Point]bool{}
	for _, m := range strings.Fields(modesLine.FindStringSubmatch(line.Text)[1]) {
		var p image.Point
		_, err := fmt.Sscanf(m, "%dx%d", &p.X, &p.Y)
		r.must(err)
		modes[p] = true
	}
	return modes
}
