package scenario

import (
	"fmt"
	"image"
	"strings"
	"testing"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/serial"
	"github.com/spicelane/spicelane/spice/control"
)

// Boot demands that the guest is up. Its banner is on a separate serial line with the right line
// end, or is a prompt. QEMU runs. The client is connected and has decoded everything. The guest
// continues: it counts in its digest, or its shell shows what is typed.
func Boot(tb testing.TB, lane *harness.Lane) {
	r := begin(tb, lane)
	defer r.end()
	if fx := lane.Fixture(); fx != nil && fx.Banner != "" {
		ctx, cancel := r.within(patience)
		defer cancel()
		line, err := lane.Serial().Await(ctx, serial.Func(fmt.Sprintf("the line %q", fx.Banner), func(l serial.Line) bool {
			return isBanner(l, fx.Banner, !r.digests())
		}))
		r.must(err)
		if line.Text == fx.Banner {
			r.want(strings.HasSuffix(string(line.Raw), fx.Banner+"\r\n"), "the banner's line is %q, want it to end with CRLF", line.Raw)
		}
	}
	st, err := r.machine().QMP().QueryStatus(r.ctx)
	r.must(err)
	r.want(st.Running, "QEMU is %s", st.State)

	r.understood()
	if !r.digests() {
		r.primary()
		r.typeAndErase(func() {})
		return
	}
	s := r.stream()
	ctx, cancel := r.within(patience)
	defer cancel()
	_, err = s.AwaitFrame(ctx, s.Last().FrameCounter+1)
	r.must(err)
}

// isBanner tells whether a line is the banner, or begins with it if it may be a prompt.
func isBanner(l serial.Line, banner string, prompt bool) bool {
	if l.Text == banner {
		return l.Complete // its line end comes with it or later
	}
	return prompt && strings.HasPrefix(strings.TrimSpace(l.Text), banner)
}

// understood demands a client that is connected and has decoded everything.
func (r *run) understood() control.Status {
	r.Helper()
	st, err := r.client.Status(r.ctx)
	r.must(err)
	r.want(st.SPICEConnected, "the client is not connected: %s", st.Error)
	r.want(len(st.Unsupported) == 0, "the client could not decode %v", st.Unsupported)
	return st
}

// primary returns the primary surface.
func (r *run) primary() control.Surface {
	r.Helper()
	x, ok := r.understood().Primary()
	r.want(ok, "the client has no surface 0")
	r.want(x.Trusted == nil || *x.Trusted, "the client does not trust its surface 0")
	return x
}

// Surfaces demands that the client knows the screen. Its primary surface has the size of QEMU's
// screen and of the screenshot. It reports when and where something is drawn on it, and it shows
// what QEMU shows.
func Surfaces(tb testing.TB, lane *harness.Lane) {
	r := begin(tb, lane)
	defer r.end()
	sub := r.drawings()
	p := r.primary()
	size := image.Pt(p.Width, p.Height)
	img, err := lane.Screenshot(r.ctx)
	r.must(err)
	r.want(img.Rect.Size() == size, "the screenshot has %v pixels and the surface %v", img.Rect.Size(), size)
	if !r.compares() {
		return
	}
	dump, err := lane.Screendump(r.ctx)
	r.must(err)
	r.want(dump.Rect.Size() == size, "QEMU's screen has %v pixels and the surface %v", dump.Rect.Size(), size)

	if r.digests() { // its cursor blinks
		r.drawn(sub, p)
	} else {
		r.typeAndErase(func() { r.drawn(sub, p) })
	}
	r.must(lane.AwaitScreensMatch(r.ctx))
}

// drawings subscribes to surface_drawn events until the suite's end.
func (r *run) drawings() *control.Subscription {
	r.Helper()
	sub, err := r.client.Subscribe(r.ctx, control.EventSurfaceDrawn)
	r.must(err)
	r.later(func() { sub.Close() })
	return sub
}

// drawn waits until something is drawn on the primary surface, and demands that it is within it.
func (r *run) drawn(sub *control.Subscription, p control.Surface) {
	r.Helper()
	size := image.Pt(p.Width, p.Height)
	ctx, cancel := r.within(patience)
	defer cancel()
	for drawn := false; !drawn; {
		ev, err := sub.Next(ctx)
		r.must(err, "wait for surface_drawn of surface 0")
		if ev.Name != control.EventSurfaceDrawn {
			continue
		}
		var d control.SurfaceDrawnData
		r.must(ev.Decode(&d))
		drawn = d.SurfaceID == 0 && d.DisplayChannelID == p.ChannelID
		if drawn && d.Rect != nil {
			at := d.Rect.Rectangle()
			r.want(!at.Empty() && at.In(image.Rectangle{Max: size}), "something was drawn at %v on a surface of %v", at, size)
		}
	}
}
