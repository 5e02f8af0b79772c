package viewer_test

import (
	"encoding/json"
	"image"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/spicelane/spicelane/harness/internal/lanetest"
	"github.com/spicelane/spicelane/harness/viewer"
	"github.com/spicelane/spicelane/spice/control"
)

func TestMain(m *testing.M) { lanetest.Main(m) }

func TestDamageCoversWhatChanged(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var all, rs []image.Rectangle
		for range rapid.IntRange(0, 60).Draw(t, "n") {
			x, y := rapid.IntRange(0, 900).Draw(t, "x"), rapid.IntRange(0, 700).Draw(t, "y")
			r := image.Rect(x, y, x+rapid.IntRange(0, 40).Draw(t, "w"), y+rapid.IntRange(0, 40).Draw(t, "h"))
			all = append(all, r)
			rs = viewer.AddRect(rs, r)
			require.LessOrEqual(t, len(rs), viewer.MaxRects)
			for i := range rs {
				require.False(t, rs[i].Empty())
				for j := range i {
					require.False(t, rs[i].Overlaps(rs[j]), "%v", rs)
				}
			}
		}
		for _, r := range all {
			require.True(t, r.Empty() || viewer.Covers(rs, r), "%v is not in %v", r, rs)
		}
	})
	// Two rectangles that do not touch stay two.
	rs := viewer.AddRect(viewer.AddRect(nil, image.Rect(0, 0, 4, 4)), image.Rect(10, 0, 14, 4))
	require.Len(t, rs, 2)
}

func digestOf(events ...string) *control.Digest {
	d := &control.Digest{}
	for _, e := range events {
		d.Events = append(d.Events, json.RawMessage(e))
	}
	return d
}

func TestAnEventIsToldOnce(t *testing.T) {
	a := `{"keypress":{"scancode":0,"timestamp_ms":5,"unicode":"a"}}`
	b := `{"pointer":{"buttons":1,"source":"tablet","timestamp_ms":9,"wheel":0,"x":3,"y":4}}`
	c := `{"mode_cycle":{}}`
	words := func(es []viewer.Entry) (out []string) {
		for _, e := range es {
			require.Equal(t, viewer.Event, e.Kind)
			out = append(out, e.Name+" "+e.Text)
		}
		return out
	}
	wa, wb, wc := `keypress scancode=0 unicode="a" time=5`, `pointer buttons=1 source="tablet" wheel=0 x=3 y=4 time=9`, "mode_cycle "
	require.Equal(t, []string{wa}, words(viewer.FreshEvents(nil, digestOf(a))))
	require.Equal(t, []string{wb}, words(viewer.FreshEvents(digestOf(a), digestOf(a, b))))
	require.Equal(t, []string{wc}, words(viewer.FreshEvents(digestOf(a, b), digestOf(b, c))))
	require.Empty(t, viewer.FreshEvents(digestOf(a, b), digestOf(a, b)))
	require.Equal(t, []string{wa}, words(viewer.FreshEvents(digestOf(b, c), digestOf(a))), "none is left of those before")
	require.Equal(t, []string{"event nonsense"}, words(viewer.FreshEvents(nil, digestOf("nonsense"))))
}

func TestLatencyIsFromAKeyToItsFirstAnswer(t *testing.T) {
	var l viewer.Latency
	at := time.Now()
	ms := func(n int) time.Time { return at.Add(time.Duration(n) * time.Millisecond) }
	l.Drawn(ms(0)) // nobody asked
	l.Pressed(ms(100))
	l.Drawn(ms(90)) // was on its way before
	l.Drawn(ms(120))
	l.Drawn(ms(130)) // the next picture
	l.Shown(ms(150))
	l.Pressed(ms(1000))
	l.Drawn(ms(1040))
	l.Pressed(ms(5000))
	l.Drawn(ms(9000)) // not an answer to any request
	l.OtherPressed(7_000_000)
	l.OtherDrawn(6_999_999)
	l.OtherDrawn(7_060_000)
	l.OtherDrawn(7_070_000)
	picture, digest := l.Sums()
	require.Equal(t, viewer.Latencies{N: 3, Last: 60 * time.Millisecond, P50: 40 * time.Millisecond, P95: 60 * time.Millisecond}, picture)
	require.Equal(t, viewer.Latencies{N: 1, Last: 50 * time.Millisecond, P50: 50 * time.Millisecond, P95: 50 * time.Millisecond}, digest)
}

func TestFilesAreTakenApartAtLineEnds(t *testing.T) {
	require.Equal(t, []string{"one", "two", "", "three"}, viewer.Lines("on", "e\ntwo\n", "\nthr", "ee\nfou"))
	require.Equal(t, []string{"short"}, viewer.Lines(strings.Repeat("x", 1<<20), "\nshort\n")[1:])
	require.Equal(t, "two\nthree", viewer.AfterNewline("on", "e\ntwo\n", "three"))
	require.Equal(t, "\n", viewer.AfterNewline("one\n\n"))
	require.Empty(t, viewer.AfterNewline("one"))
}
