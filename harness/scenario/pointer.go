package scenario

import (
	"fmt"
	"image"
	"testing"

	"github.com/spicelane/spicelane/fixtures/digest"
	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/spice/control"
)

// buttons are the buttons of the control socket and the guest's names for them.
var buttons = []struct {
	name string
	bit  digest.Buttons
}{
	{"left", digest.LeftButton}, {"middle", digest.MiddleButton}, {"right", digest.RightButton},
	{"side", digest.SideButton}, {"extra", digest.ExtraButton},
}

// Pointer demands that the pointer reaches every corner, that each button goes down and up there,
// and that the wheel turns both ways. The pointer moves to positions or by distances, depending on
// what the guest accepts.
func Pointer(tb testing.TB, lane *harness.Lane) {
	r := begin(tb, lane)
	defer r.end()
	if !r.offers("the pointer", control.MethodMouseMove, control.MethodMouseButton, control.MethodMouseWheel) {
		return
	}
	s := r.stream()
	p := r.primary()
	screen := image.Rect(0, 0, p.Width-1, p.Height-1)
	mode := r.understood().MouseMode
	r.Logf("the pointer moves in the mode %s", mode)
	r.restore(func() {
		if mode != "server" {
			r.move(s, mode, screen, image.Pt(p.Width/2, p.Height/2))
		}
	})

	for _, corner := range []image.Point{screen.Min, {X: screen.Max.X}, screen.Max, {Y: screen.Max.Y}} {
		r.move(s, mode, screen, corner)
		for _, b := range buttons {
			r.must(r.client.MouseButton(r.ctx, b.name, control.Down))
			awaitA(r, s, fmt.Sprintf("the %s button going down at %v", b.name, corner), func(e digest.Pointer) bool {
				return e.Buttons == b.bit && is(e, corner)
			})
			r.must(r.client.MouseButton(r.ctx, b.name, control.Up))
			awaitA(r, s, fmt.Sprintf("the %s button going up at %v", b.name, corner), func(e digest.Pointer) bool { return e.Buttons == 0 })
		}
	}
	turns := []int{1, 3, -5, 1}
	if mode == "server" {
		// A PS/2 mouse buffers four packets, and QEMU sends what does not fit only with the next
		// event.
		turns = []int{1, -1, -1, 1}
	}
	at := int16(0)
	for _, steps := range turns {
		if e, ok := lastPointer(s); ok {
			at = e.Wheel
		}
		r.must(r.client.MouseWheel(r.ctx, steps))
		want := at + int16(steps)
		awaitA(r, s, fmt.Sprintf("the wheel at %d, %+d steps from %d", want, steps, at), func(e digest.Pointer) bool { return e.Wheel == want })
	}
}

// move moves the pointer to a position and waits until it is there. In server mode it can move only
// to a corner, because it moves by distances, and the guest stops at the edges.
func (r *run) move(s *Stream, mode string, screen image.Rectangle, to image.Point) {
	r.Helper()
	at, known := lastPointer(s)
	if mode != "server" {
		if known && is(at, to) {
			return // a pointer that is there already does not move
		}
		r.must(r.client.MouseMove(r.ctx, control.MouseMoveParams{X: to.X, Y: to.Y}))
		awaitA(r, s, fmt.Sprintf("the pointer at %v", to), func(e digest.Pointer) bool { return is(e, to) })
		return
	}
	// A PS/2 mouse buffers what four packets carry, 508 pixels, and QEMU sends the rest with the
	// next move. So move in steps.
	const step = 120
	m := control.MouseMoveParams{Relative: true, X: step, Y: step}
	if to.X < screen.Max.X {
		m.X = -step
	}
	if to.Y < screen.Max.Y {
		m.Y = -step
	}
	for !known || !is(at, to) {
		r.must(r.client.MouseMove(r.ctx, m))
		at = awaitA(r, s, fmt.Sprintf("the pointer moving towards %v", to), func(digest.Pointer) bool { return true })
		known = true
	}
}

func is(e digest.Pointer, p image.Point) bool { return image.Pt(int(e.X), int(e.Y)) == p }

func lastPointer(s *Stream) (digest.Pointer, bool) {
	for i := len(s.events) - 1; i >= 0; i-- {
		if e, ok := s.events[i].(digest.Pointer); ok {
			return e, true
		}
	}
	return digest.Pointer{}, false
}
