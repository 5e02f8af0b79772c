package replay_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"image"
	"image/draw"
	"image/png"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/internal/need"
)

// A browser is a Chromium with one page.
type browser struct {
	t   *testing.T
	ctx context.Context

	mu         sync.Mutex
	complaints []string
	requests   []string
}

// openBrowser starts a Chromium. Without one the test is skipped, or fails where lanes are
// required.
func openBrowser(t *testing.T) *browser {
	t.Helper()
	path := need.Browser(t)
	opts := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(1440, 900),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
	)
	ctx, stopAllocator := chromedp.NewExecAllocator(t.Context(), opts...)
	t.Cleanup(stopAllocator)
	ctx, stop := chromedp.NewContext(ctx)
	t.Cleanup(stop)
	require.NoError(t, chromedp.Do(ctx), "start %s", path)
	b := &browser{t: t, ctx: ctx}
	exceptions, entries := chromedp.Events(ctx, runtime.ExceptionThrown), chromedp.Events(ctx, cdplog.EntryAdded)
	requests := chromedp.Events(ctx, network.RequestWillBeSent)
	add := func(list *[]string, s string) {
		b.mu.Lock()
		defer b.mu.Unlock()
		*list = append(*list, s)
	}
	go func() {
		for e, err := range exceptions {
			if err == nil {
				add(&b.complaints, "exception: "+e.ExceptionDetails.Text)
			}
		}
	}()
	go func() {
		for e, err := range entries {
			if err == nil && e.Entry.Level != cdplog.EntryLevelVerbose {
				add(&b.complaints, string(e.Entry.Level)+": "+e.Entry.Text+" "+e.Entry.URL)
			}
		}
	}()
	go func() {
		for e, err := range requests {
			if err == nil {
				add(&b.requests, e.Request.URL)
			}
		}
	}()
	return b
}

func eval[T any](b *browser, what, js string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 30*time.Second)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](js))
	require.NoError(b.t, err, what)
	return v
}

// await waits until an expression of the page, which may be a promise, is true.
func (b *browser) await(what, js string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 30*time.Second)
	defer cancel()
	for {
		_, err := chromedp.Run(ctx, chromedp.Poll[bool](js, chromedp.WithPollingInterval(20*time.Millisecond), chromedp.WithPollingTimeout(20*time.Second)))
		if err == nil {
			return
		}
		if ctx.Err() == nil && strings.Contains(err.Error(), "Cannot find context") {
			continue // the page before it has just gone
		}
		text, _ := chromedp.Run(context.WithoutCancel(ctx), chromedp.Evaluate[string](`document.body.innerText`))
		b.t.Fatalf("%s: %v; the page shows:\n%.3000s", what, err, text)
	}
}

// open opens a file from file://, and waits until its script has shown it.
func (b *browser) open(path, hash string) {
	b.t.Helper()
	b.visit(path, hash)
	b.await("the page of "+path, `!!window.lane && (window.lane.ready.then(() => { window.opened = true; }), window.opened === true)`)
}

// visit opens a file from file://.
func (b *browser) visit(path, hash string) {
	b.t.Helper()
	u := url.URL{Scheme: "file", Path: path, Fragment: hash}
	ctx, cancel := context.WithTimeout(b.ctx, 30*time.Second)
	defer cancel()
	// A page that only changes its fragment is not loaded again.
	require.NoError(b.t, chromedp.Do(ctx, chromedp.Navigate("about:blank"), chromedp.Navigate(u.String())))
}

// seek shows the screen at a moment.
func (b *browser) seek(at time.Duration) {
	b.t.Helper()
	js := `window.sought = false; lane.seek(` + strconv.FormatFloat(float64(at.Microseconds())/1e6, 'f', 6, 64) + `).then(() => { window.sought = true; }); true`
	require.True(b.t, eval[bool](b, "seek", js))
	b.await("the picture", `window.sought`)
}

// canvas is what a canvas of the page holds.
func (b *browser) canvas(id string) *image.NRGBA {
	b.t.Helper()
	text := eval[string](b, "the canvas", `document.getElementById("`+id+`").toDataURL("image/png")`)
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, "data:image/png;base64,"))
	require.NoError(b.t, err)
	img, err := png.Decode(bytes.NewReader(raw))
	require.NoError(b.t, err)
	out := image.NewNRGBA(img.Bounds())
	draw.Draw(out, out.Rect, img, image.Point{}, draw.Src)
	return out
}

// save leaves a picture of the page among the test's artifacts.
func (b *browser) save(name string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 30*time.Second)
	defer cancel()
	shot, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	require.NoError(b.t, err)
	require.NoError(b.t, os.WriteFile(filepath.Join(b.t.ArtifactDir(), name), shot, 0o644))
}

// quiet tells that the page complained of nothing and asked for nothing but itself.
func (b *browser) quiet(page string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	require.Empty(b.t, b.complaints)
	for _, r := range b.requests {
		ok := strings.HasPrefix(r, "file://"+page) || r == "about:blank" || strings.HasPrefix(r, "data:image/") || strings.HasPrefix(r, "blob:null/") || strings.HasPrefix(r, "blob:file:")
		require.True(b.t, ok, "the page asked for %s", r)
	}
}
