package playback_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/playback"
	"github.com/spicelane/spicelane/internal/need"
)

// browse opens a page in a Chromium. Without one the test is skipped, unless everything is required.
func browse(t *testing.T, page string) context.Context {
	t.Helper()
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(need.Browser(t)), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("allow-file-access-from-files", true)) // else a canvas that has the video cannot be read
	ctx, stop := chromedp.NewExecAllocator(t.Context(), opts...)
	t.Cleanup(stop)
	ctx, stop = chromedp.NewContext(ctx)
	t.Cleanup(stop)
	require.NoError(t, chromedp.Do(ctx, chromedp.Navigate("file://"+page)))
	return ctx
}

// seen goes to a moment of the video and returns its pixels as a canvas has them. A video that cannot
// be played is an exception.
const seen = `(async () => {
  const v = document.querySelector("video");
  await new Promise((done, fail) => {
    v.onerror = () => fail(v.error.message);
    v.onseeked = done;
    v.currentTime = 0.15;
  });
  const c = document.createElement("canvas");
  [c.width, c.height] = [v.videoWidth, v.videoHeight];
  c.getContext("2d").drawImage(v, 0, 0);
  return [...c.getContext("2d").getImageData(0, 0, c.width, c.height).data];
})()`

// A browser knows nothing of how the files were made.
func TestABrowserShowsTheVideoToThePixelAndTheAnimatedPNG(t *testing.T) {
	t.Parallel()
	needFFmpeg(t)
	m, dir := some(), t.TempDir()
	p := open(t, m.lane(t, begin), playback.Options{})
	require.NoError(t, p.WriteVideo(t.Context(), filepath.Join(dir, "a.webm")))
	require.NoError(t, playback.WriteFile(filepath.Join(dir, "a.png"), p.WriteAPNG))
	page := filepath.Join(dir, "page.html")
	require.NoError(t, os.WriteFile(page, []byte(`<video src="a.webm" muted></video><img src="a.png">`), 0o644))
	ctx, cancel := context.WithTimeout(browse(t, page), time.Minute)
	defer cancel()
	got, err := chromedp.Run(ctx, chromedp.Evaluate[[]int](seen, chromedp.EvalAwaitPromise))
	require.NoError(t, err)
	want := on(p.Size(), m.shown[1].img) // 100 ms after the first
	require.Len(t, got, len(want.Pix))
	for i, v := range want.Pix {
		require.Equal(t, int(v), got[i], "byte %d", i)
	}
	size, err := chromedp.Run(ctx, chromedp.Evaluate[[]int](`(i => [i.naturalWidth, i.naturalHeight])(document.querySelector("img"))`))
	require.NoError(t, err)
	require.Equal(t, []int{p.Size().X, p.Size().Y}, size)
}
