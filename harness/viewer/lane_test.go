package viewer_test

import (
	"context"
	"image"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/fixtures/digest"
	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/internal/lanetest"
	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/viewer"
	"github.com/spicelane/spicelane/spice/control"
	"github.com/spicelane/spicelane/spice/control/server"
	"github.com/spicelane/spicelane/spice/proxy"
)

// await waits until ok is true for the viewer.
func await(t *testing.T, ctx context.Context, v *viewer.Viewer, what string, ok func(viewer.State, []viewer.Entry) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		changed := v.Changed()
		entries, _ := v.Entries(0)
		if ok(v.State(), entries) {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("awaited %s, have %+v and %+v", what, v.State(), entries)
		}
	}
}

func said(entries []viewer.Entry, k viewer.Kind, text string) bool {
	for _, e := range entries {
		if e.Kind == k && strings.Contains(e.Name+" "+e.Text, text) {
			return true
		}
	}
	return false
}

// A test's lane, its client, and a viewer beside it:
//
//	test ─ control socket ─ client ─┐
//	                                proxy ─ guest
//	viewer ─────────────────────────┘
func TestSomebodyLooksOnWhileATestDrivesItsLane(t *testing.T) {
	lane := harness.Up(t, harness.Config{})
	ctx := lane.Context()
	var state registry.State
	for _, s := range registry.RunningTests() {
		if s.Name == lane.State().Name && s.PIDs.Supervisor == os.Getpid() {
			state = s
		}
	}
	require.Equal(t, registry.StateReady, state.State, "a running test's lane is found by its name")
	v := viewer.Open(viewer.Of(state, func() (registry.State, error) { return lane.State(), nil }))
	defer v.Close()

	// The picture is the client's, and damage says when it changes.
	damage := v.Damage()
	defer damage.Close()
	await(t, ctx, v, "a session", func(s viewer.State, _ []viewer.Entry) bool {
		return s.Problem == "" && s.Screen == image.Pt(1024, 768) && s.Digest != nil
	})
	require.NoError(t, lane.Press(ctx, "F10"))
	// The guest blinks, so the two pictures of a pair may be from different phases.
	for same := false; !same; {
		want, err := lane.Screenshot(ctx)
		require.NoError(t, err)
		got, err := v.Picture(image.Rectangle{})
		require.NoError(t, err)
		same = samePixels(want, got)
	}
	damage.Take()

	// The viewer sees what the test does. The test's place on the control socket is its own.
	require.NoError(t, lane.Press(ctx, "k"))
	await(t, ctx, v, "the test's key", func(s viewer.State, es []viewer.Entry) bool {
		return said(es, viewer.Event, `unicode="k"`) && s.Picture.N > 0
	})
	rects, all := damage.Take()
	require.False(t, all)
	require.NotEmpty(t, rects)
	entries, next := v.Entries(0)
	require.True(t, said(entries, viewer.Serial, "Hello from Beacon"))
	require.True(t, said(entries, viewer.Session, "connected"))
	rest, _ := v.Entries(next)
	require.LessOrEqual(t, len(rest), 2, "what was taken does not come again")

	// Input of the viewer reaches the guest, and is measured.
	require.NoError(t, v.Key(ctx, 0x10, true)) // q
	require.NoError(t, v.Key(ctx, 0x10, false))
	_, err := lane.AwaitDigest(ctx, "the viewer's key", func(d digest.Digest) bool {
		for _, e := range d.Events {
			if k, ok := e.(digest.Keypress); ok && k.Unicode == 'q' {
				return true
			}
		}
		return false
	})
	require.NoError(t, err)
	await(t, ctx, v, "the way of its key", func(s viewer.State, _ []viewer.Entry) bool { return s.ToDigest.N > 0 })
	require.NoError(t, v.MouseMove(ctx, 200, 100, false))
	await(t, ctx, v, "the pointer", func(_ viewer.State, es []viewer.Entry) bool { return said(es, viewer.Event, "x=200 y=100") })
	res, err := v.Type(ctx, control.TypeParams{Text: "xyz", Confirm: true})
	require.NoError(t, err)
	require.Equal(t, 3, res.Seen)

	// A session that was ended is opened again. The client's is a different one.
	before := v.State().Console.Session
	sessions := lanetest.Proxy(t, lane).Sessions()
	require.Len(t, sessions, 2)
	newest := slices.MaxFunc(sessions, func(a, b proxy.SessionInfo) int { return a.Started.Compare(b.Started) })
	require.True(t, lanetest.Proxy(t, lane).EndSession(newest.ID))
	await(t, ctx, v, "another session", func(s viewer.State, _ []viewer.Entry) bool {
		return s.Problem == "" && s.Console.Session != before && s.Screen == image.Pt(1024, 768)
	})
	_, err = lane.Screenshot(ctx)
	require.NoError(t, err)
}

// samePixels compares the colours of two pictures.
func samePixels(want *image.NRGBA, got *server.Picture) bool {
	if want.Rect.Dx() != got.Width || want.Rect.Dy() != got.Height {
		return false
	}
	for y := range got.Height {
		for x := range got.Width {
			w, g := want.Pix[y*want.Stride+4*x:], got.Pix[y*got.Stride+4*x:]
			if w[0] != g[2] || w[1] != g[1] || w[2] != g[0] {
				return false
			}
		}
	}
	return true
}
