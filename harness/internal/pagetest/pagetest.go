// Package pagetest tests web pages in a browser.
//
//	tab := pagetest.Open(t, t.Context())
//	seen := pagetest.Watch(tab)
//	require.NoError(t, chromedp.Do(tab, chromedp.Navigate(url)))
//	pagetest.Await(t, tab, "the heading", `document.querySelector("h1") !== null`)
//	require.Empty(t, seen.Complaints())
package pagetest

import (
	"bytes"
	"context"
	"encoding/base64"
	"image"
	"image/draw"
	"image/png"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/internal/need"
)

// limit is how long a page may take for one action.
const limit = 30 * time.Second

// Open starts a Chromium, which ends with the test, and returns the context of an empty page. If
// the host has no browser, Open skips the test, or fails it if lanes are required.
func Open(tb testing.TB, ctx context.Context, more ...chromedp.ExecAllocatorOption) context.Context {
	tb.Helper()
	path := need.Browser(tb)
	opts := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.UserDataDir(profile(tb, path)), chromedp.Env("TMPDIR="+temporary(tb)),
		chromedp.WindowSize(1440, 900),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
	)
	ctx, stop := chromedp.NewExecAllocator(ctx, append(opts, more...)...)
	tb.Cleanup(stop)
	ctx, stop = chromedp.NewContext(ctx)
	tb.Cleanup(stop)
	require.NoError(tb, chromedp.Do(ctx), "start %s", path)
	return ctx
}

// profile returns a new directory for the browser's own files. A snap may only write to its own
// directory below the home directory.
func profile(tb testing.TB, browser string) string {
	tb.Helper()
	real, err := filepath.EvalSymlinks(browser)
	require.NoError(tb, err)
	if !strings.Contains(real, "snap") && !strings.Contains(browser, "/snap/") {
		return tb.TempDir()
	}
	home, err := os.UserHomeDir()
	require.NoError(tb, err)
	base := filepath.Join(home, "snap", "chromium", "common")
	require.NoError(tb, os.MkdirAll(base, 0o755))
	dir, err := os.MkdirTemp(base, "spicelane-test-")
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// temporary returns a fresh directory for the browser's temporary files. A browser that is
// killed does not remove them. The path is short, because it is part of a socket's path.
func temporary(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "chromium-")
	require.NoError(tb, err)
	tb.Cleanup(func() { assert.NoError(tb, os.RemoveAll(dir)) })
	return dir
}

// Run runs an action and returns its result. If it fails, the message has what.
func Run[T any](tb testing.TB, tab context.Context, what string, a chromedp.Action[T]) T {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tab, limit)
	defer cancel()
	v, err := chromedp.Run(ctx, a)
	require.NoError(tb, err, what)
	return v
}

// Eval returns the value of a JavaScript expression in the page.
func Eval[T any](tb testing.TB, tab context.Context, what, js string) T {
	tb.Helper()
	return Run(tb, tab, what, chromedp.Evaluate[T](js))
}

// Await waits until a JavaScript expression in the page, which may be a promise, is true.
func Await(tb testing.TB, tab context.Context, what, js string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tab, limit)
	defer cancel()
	poll := chromedp.Poll[bool](js, chromedp.WithPollingInterval(20*time.Millisecond), chromedp.WithPollingTimeout(limit-5*time.Second))
	for {
		_, err := chromedp.Run(ctx, poll)
		if err == nil {
			return
		}
		if ctx.Err() == nil && strings.Contains(err.Error(), "Cannot find context") {
			continue // the previous page has just been unloaded
		}
		text, _ := chromedp.Run(context.WithoutCancel(ctx), chromedp.Evaluate[string](`document.body.innerText`))
		tb.Fatalf("%s: %v; the page shows:\n%.3000s", what, err, text)
	}
}

// Canvas returns the pixels of a canvas of the page.
func Canvas(tb testing.TB, tab context.Context, id string) *image.NRGBA {
	tb.Helper()
	text := Eval[string](tb, tab, "the canvas", `document.getElementById("`+id+`").toDataURL("image/png")`)
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, "data:image/png;base64,"))
	require.NoError(tb, err)
	img, err := png.Decode(bytes.NewReader(raw))
	require.NoError(tb, err)
	out := image.NewNRGBA(img.Bounds())
	draw.Draw(out, out.Rect, img, image.Point{}, draw.Src)
	return out
}

// Save writes a screenshot of the page to a PNG file.
func Save(tb testing.TB, tab context.Context, path string) {
	tb.Helper()
	require.NoError(tb, os.WriteFile(path, Run(tb, tab, "a picture of the page", chromedp.CaptureScreenshot()), 0o644))
}

// Seen has the complaints and the requests of a page.
type Seen struct {
	mu                   sync.Mutex
	complaints, requests []string
}

// Watch records the complaints and the requests of a page from now on.
func Watch(tab context.Context) *Seen {
	s := &Seen{}
	follow(s, &s.complaints, chromedp.Events(tab, runtime.ExceptionThrown), func(e runtime.EventExceptionThrown) string {
		return "exception: " + e.ExceptionDetails.Text
	})
	follow(s, &s.complaints, chromedp.Events(tab, cdplog.EntryAdded), func(e cdplog.EventEntryAdded) string {
		if e.Entry.Level == cdplog.EntryLevelVerbose {
			return ""
		}
		return string(e.Entry.Level) + ": " + e.Entry.Text + " " + e.Entry.URL
	})
	follow(s, &s.requests, chromedp.Events(tab, network.RequestWillBeSent), func(e network.EventRequestWillBeSent) string {
		return e.Request.URL
	})
	return s
}

// follow adds the texts that say returns for events to a list, until the page ends. It skips empty
// texts.
func follow[E any](s *Seen, to *[]string, events iter.Seq2[E, error], say func(E) string) {
	go func() {
		for e, err := range events {
			if err != nil {
				continue
			}
			if text := say(e); text != "" {
				s.mu.Lock()
				*to = append(*to, text)
				s.mu.Unlock()
			}
		}
	}()
}

// Complaints returns the uncaught exceptions of the page, and the browser's log entries about it.
func (s *Seen) Complaints() []string { return s.list(&s.complaints) }

// Requests returns the URLs that the page requested.
func (s *Seen) Requests() []string { return s.list(&s.requests) }

func (s *Seen) list(of *[]string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(*of)
}

// RequireFits fails the test if the page in the file at path is wider than a window of a desktop.
func RequireFits(tb testing.TB, path string) {
	tb.Helper()
	const width = 1280
	ctx, stop := context.WithCancel(tb.Context())
	defer stop() // the browser, too
	tab := Open(tb, ctx, chromedp.WindowSize(width, 800))
	require.NoError(tb, chromedp.Do(tab, chromedp.Navigate("file://"+path)))
	// Folded parts count, too.
	got := Eval[int](tb, tab, "the width of the page", `document.querySelectorAll("details").forEach(d => d.open = true), document.documentElement.scrollWidth`)
	require.LessOrEqual(tb, got, width, "the width of %s", path)
}
