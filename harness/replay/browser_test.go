package replay_test

import (
	"context"
	"image"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/internal/pagetest"
)

// A browser is a Chromium with one page.
type browser struct {
	tb   testing.TB
	tab  context.Context
	seen *pagetest.Seen
}

// openBrowser starts a Chromium. Without one, the test is skipped, or fails if lanes are required.
func openBrowser(tb testing.TB) *browser {
	tb.Helper()
	tab := pagetest.Open(tb, tb.Context())
	return &browser{tb, tab, pagetest.Watch(tab)}
}

func eval[T any](b *browser, what, js string) T {
	b.tb.Helper()
	return pagetest.Eval[T](b.tb, b.tab, what, js)
}

// await waits until an expression of the page, which may be a promise, is true.
func (b *browser) await(what, js string) {
	b.tb.Helper()
	pagetest.Await(b.tb, b.tab, what, js)
}

// open opens a file from file://, and waits until its script has shown it.
func (b *browser) open(path, hash string) {
	b.tb.Helper()
	b.visit(path, hash)
	b.await("the page of "+path, `!!window.lane && (window.lane.ready.then(() => { window.opened = true; }), window.opened === true)`)
}

// visit opens a file from file://.
func (b *browser) visit(path, hash string) {
	b.tb.Helper()
	u := url.URL{Scheme: "file", Path: path, Fragment: hash}
	ctx, cancel := context.WithTimeout(b.tab, 30*time.Second)
	defer cancel()
	// A page that only changes its fragment is not loaded again.
	require.NoError(b.tb, chromedp.Do(ctx, chromedp.Navigate("about:blank"), chromedp.Navigate(u.String())))
}

// seek shows the screen at a time.
func (b *browser) seek(at time.Duration) {
	b.tb.Helper()
	js := `window.sought = false; lane.seek(` + strconv.FormatFloat(float64(at.Microseconds())/1e6, 'f', 6, 64) + `).then(() => { window.sought = true; }); true`
	require.True(b.tb, eval[bool](b, "seek", js))
	b.await("the picture", `window.sought`)
}

// canvas returns the pixels of a canvas of the page.
func (b *browser) canvas(id string) *image.NRGBA {
	b.tb.Helper()
	return pagetest.Canvas(b.tb, b.tab, id)
}

// save leaves a picture of the page among the test's artifacts.
func (b *browser) save(name string) {
	b.tb.Helper()
	pagetest.Save(b.tb, b.tab, filepath.Join(b.tb.ArtifactDir(), name))
}

// saveAs leaves a picture of the page in a window of another size.
func (b *browser) saveAs(name string, width, height int64) {
	b.tb.Helper()
	require.NoError(b.tb, chromedp.Do(b.tab, chromedp.EmulateViewport(width, height)))
	b.await("the strip of pictures in that size", `innerWidth === `+strconv.FormatInt(width, 10)+` && lane.strip()`)
	b.save(name)
	require.LessOrEqual(b.tb, eval[int64](b, "its width", `document.documentElement.scrollWidth`), width)
	for _, id := range []string{"stage", "log"} {
		require.True(b.tb, eval[bool](b, "its parts", `(e => e.scrollHeight <= e.clientHeight)(document.getElementById("`+id+`"))`),
			"in %d×%d, #%s covers what is below it", width, height, id)
	}
	require.Greater(b.tb, eval[float64](b, "the screen", `document.getElementById("screen").clientHeight`), 100.)
	require.NoError(b.tb, chromedp.Do(b.tab, chromedp.EmulateReset()))
}

// quiet requires that the page reported no error and requested nothing but itself.
func (b *browser) quiet(page string) {
	b.tb.Helper()
	require.Empty(b.tb, b.seen.Complaints())
	for _, r := range b.seen.Requests() {
		ok := strings.HasPrefix(r, "file://"+page) || r == "about:blank" || strings.HasPrefix(r, "data:image/") || strings.HasPrefix(r, "blob:null/") || strings.HasPrefix(r, "blob:file:")
		require.True(b.tb, ok, "the page asked for %s", r)
	}
}
