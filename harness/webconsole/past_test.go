package webconsole_test

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/film"
	"github.com/spicelane/spicelane/harness/internal/pagetest"
	"github.com/spicelane/spicelane/harness/timeline"
	"github.com/spicelane/spicelane/harness/viewer"
	"github.com/spicelane/spicelane/harness/webconsole"
	"github.com/spicelane/spicelane/internal/need"
)

// A lane of which there is a timeline that grows and a film of two pictures, and no console:
//
//	-10 s  begin
//	 -9 s  a red picture
//	 -5 s  a green one
//	   now  a line that is said while the page is open
func TestThePageShowsWhatHasBeenWhileMoreHappens(t *testing.T) {
	need.Browser(t)
	dir, began := t.TempDir(), time.Now().Add(-10*time.Second)
	log, err := timeline.Open(filepath.Join(dir, timeline.File), began)
	require.NoError(t, err)
	defer func() { require.NoError(t, log.Close()) }()
	log.AddAt(began, "begin", map[string]any{"name": "a", "wall": began.Format(time.RFC3339Nano)})
	log.AddAt(began.Add(2*time.Second), "serial", map[string]any{"n": 0, "text": "said <b>before"})
	var reel bytes.Buffer
	for i, c := range []color.NRGBA{{255, 0, 0, 255}, {0, 255, 0, 255}} {
		img := image.NewNRGBA(image.Rect(0, 0, 20, 10))
		for p := range 200 {
			img.Set(p%20, p/20, c)
		}
		var b bytes.Buffer
		require.NoError(t, png.Encode(&b, img))
		fmt.Fprintf(&reel, `{"t_us":%d,"size":[20,10],"rect":[0,0,20,10],"key":true,"png":%d}`+"\n%s\n", 1000000+4000000*i, b.Len(), b.Bytes())
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, film.File), reel.Bytes(), 0o600))
	v := viewer.Open(viewer.Config{Name: "lane", Dir: dir})
	defer v.Close()
	s, err := webconsole.Start(webconsole.Config{Viewer: v, Needles: t.TempDir()})
	require.NoError(t, err)
	defer s.Close()

	tab := pagetest.Open(t, t.Context())
	complained := pagetest.Watch(tab)
	require.NoError(t, chromedp.Do(tab, chromedp.Navigate(s.Link())))
	pagetest.Await(t, tab, "what has been", `window.lane && lane.live && lane.says("said <b>before") && lane.end >= 10`)
	colour := func(at float64) [3]byte {
		t.Helper()
		pagetest.Eval[bool](t, tab, "seek", fmt.Sprintf(`window.sought = false, lane.seek(%f).then(() => { window.sought = true; }), true`, at))
		pagetest.Await(t, tab, "the moment", `window.sought`)
		img := pagetest.Canvas(t, tab, "screen")
		require.Equal(t, image.Rect(0, 0, 20, 10), img.Rect)
		return [3]byte(img.Pix[:3])
	}
	require.Equal(t, [3]byte{255, 0, 0}, colour(2))
	require.False(t, pagetest.Eval[bool](t, tab, "live", `lane.live`))
	require.Equal(t, [3]byte{0, 255, 0}, colour(6))
	require.Equal(t, [3]byte{255, 0, 0}, colour(4.9))

	// New entries arrive while the page shows the past, and do not move it.
	log.Add("fault", map[string]any{"fault": "something new"})
	pagetest.Await(t, tab, "what is said now", `lane.says("something new")`)
	require.InDelta(t, 4.9, pagetest.Eval[float64](t, tab, "the moment", `lane.now`), 1e-6)
	pagetest.Save(t, tab, filepath.Join(t.ArtifactDir(), "past.png"))
	require.NoError(t, chromedp.Do(tab, chromedp.Click("#to-live")))
	pagetest.Await(t, tab, "that it is live again", `lane.live && lane.end - lane.now < 1 && getComputedStyle(document.getElementById("live-view")).display !== "none"`)
	end := pagetest.Eval[float64](t, tab, "the end", `lane.end`)
	pagetest.Await(t, tab, "that the time goes on", fmt.Sprintf(`lane.now > %f`, end))
	require.Empty(t, complained.Complaints())
	pagetest.Save(t, tab, filepath.Join(t.ArtifactDir(), "live.png"))
}
