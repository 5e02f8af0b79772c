package playback_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/internal/pagetest"
	"github.com/spicelane/spicelane/harness/playback"
)

// seen seeks a moment of the video and returns its pixels as a canvas has them. A video that cannot
// be played is an exception.
//
// The event "seeked" says that the position is reached, not that a picture of it is there to be drawn: a
// canvas may still get nothing. requestVideoFrameCallback says that, and of which moment the picture is.
const seen = `(async () => {
  const v = document.querySelector("video");
  await new Promise((done, fail) => {
    v.onerror = () => fail(v.error.message);
    const shown = (_, frame) => frame.mediaTime > 0.05 ? done() : v.requestVideoFrameCallback(shown);
    v.requestVideoFrameCallback(shown);
    v.currentTime = 0.15;
  });
  const c = document.createElement("canvas");
  [c.width, c.height] = [v.videoWidth, v.videoHeight];
  c.getContext("2d").drawImage(v, 0, 0);
  return [...c.getContext("2d").getImageData(0, 0, c.width, c.height).data];
})()`

// The browser knows nothing of how the files were made.
func TestABrowserShowsTheVideoToThePixelAndTheAnimatedPNG(t *testing.T) {
	t.Parallel()
	needFFmpeg(t)
	m, dir := some(), t.TempDir()
	p := open(t, m.lane(t, begin), playback.Options{})
	require.NoError(t, p.WriteVideo(t.Context(), filepath.Join(dir, "a.webm")))
	require.NoError(t, playback.WriteFile(filepath.Join(dir, "a.png"), p.WriteAPNG))
	page := filepath.Join(dir, "page.html")
	require.NoError(t, os.WriteFile(page, []byte(`<video src="a.webm" muted></video><img src="a.png">`), 0o644))
	// Otherwise, a canvas with the video on it cannot be read.
	tab := pagetest.Open(t, t.Context(), chromedp.Flag("allow-file-access-from-files", true))
	require.NoError(t, chromedp.Do(tab, chromedp.Navigate("file://"+page)))
	got := pagetest.Run(t, tab, "the video", chromedp.Evaluate[[]int](seen, chromedp.EvalAwaitPromise))
	want := on(p.Size(), m.shown[1].img) // 100 ms after the first
	require.Len(t, got, len(want.Pix))
	for i, v := range want.Pix {
		require.Equal(t, int(v), got[i], "byte %d", i)
	}
	size := pagetest.Eval[[]int](t, tab, "the size", `(i => [i.naturalWidth, i.naturalHeight])(document.querySelector("img"))`)
	require.Equal(t, []int{p.Size().X, p.Size().Y}, size)
}
