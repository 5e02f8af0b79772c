package webconsole_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/fixtures/digest"
	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/headless"
	"github.com/spicelane/spicelane/harness/timeline"
	"github.com/spicelane/spicelane/harness/viewer"
	"github.com/spicelane/spicelane/harness/webconsole"
	"github.com/spicelane/spicelane/internal/need"
)

// profileDir returns a fresh directory for the browser's own files. A snap may only
// write to its own place.
func profileDir(t *testing.T, browser string) string {
	t.Helper()
	real, err := filepath.EvalSymlinks(browser)
	require.NoError(t, err)
	if !strings.Contains(real, "snap") && !strings.Contains(browser, "/snap/") {
		return t.TempDir()
	}
	home, err := os.UserHomeDir()
	require.NoError(t, err)
	base := filepath.Join(home, "snap", "chromium", "common")
	require.NoError(t, os.MkdirAll(base, 0o755))
	dir, err := os.MkdirTemp(base, "spicelane-test-")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// openBrowser starts a Chromium with nothing in it.
func openBrowser(t *testing.T, ctx context.Context, more ...chromedp.ExecAllocatorOption) context.Context {
	t.Helper()
	browser := need.Browser(t)
	opts := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(browser), chromedp.NoSandbox, chromedp.UserDataDir(profileDir(t, browser)), chromedp.WindowSize(1500, 900),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
	)
	ctx, stopAllocator := chromedp.NewExecAllocator(ctx, append(opts, more...)...)
	t.Cleanup(stopAllocator)
	ctx, stop := chromedp.NewContext(ctx)
	t.Cleanup(stop)
	require.NoError(t, chromedp.Do(ctx), "start %s", browser)
	return ctx
}

func run[T any](t *testing.T, ctx context.Context, what string, a chromedp.Action[T]) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	v, err := chromedp.Run(ctx, a)
	require.NoError(t, err, what)
	return v
}

// awaitJS waits until an expression of the page is true.
func awaitJS(t *testing.T, ctx context.Context, what, js string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	_, err := chromedp.Run(ctx, chromedp.Poll[bool](js, chromedp.WithPollingInterval(20*time.Millisecond), chromedp.WithPollingTimeout(25*time.Second)))
	if err != nil {
		text, _ := chromedp.Run(context.WithoutCancel(ctx), chromedp.Evaluate[string](`document.body.innerText`))
		t.Fatalf("%s: %v; the page shows:\n%s", what, err, text)
	}
}

// complaints collects what the page complains of: exceptions, refused resources.
func complaints(t *testing.T, ctx context.Context) func() []string {
	t.Helper()
	var mu sync.Mutex
	var all []string
	add := func(s string) {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, s)
	}
	exceptions, entries := chromedp.Events(ctx, runtime.ExceptionThrown), chromedp.Events(ctx, cdplog.EntryAdded)
	go func() {
		for e, err := range exceptions {
			if err == nil {
				add("exception: " + e.ExceptionDetails.Text)
			}
		}
	}()
	go func() {
		for e, err := range entries {
			if err == nil && e.Entry.Level != cdplog.EntryLevelVerbose {
				add(string(e.Entry.Level) + ": " + e.Entry.Text + " " + e.Entry.URL)
			}
		}
	}()
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return all
	}
}

// canvasPicture returns what a canvas of the page holds.
func canvasPicture(t *testing.T, ctx context.Context, id string) *image.NRGBA {
	t.Helper()
	url := run(t, ctx, "the canvas", chromedp.Evaluate[string](`document.getElementById("`+id+`").toDataURL("image/png")`))
	b, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(url, "data:image/png;base64,"))
	require.NoError(t, err)
	img, err := png.Decode(bytes.NewReader(b))
	require.NoError(t, err)
	out := image.NewNRGBA(img.Bounds())
	for y := range out.Rect.Dy() {
		for x := range out.Rect.Dx() {
			out.Set(x, y, img.At(x, y))
		}
	}
	return out
}

func savePage(t *testing.T, ctx context.Context, dir, name string) {
	t.Helper()
	b := run(t, ctx, "a picture of the page", chromedp.CaptureScreenshot())
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), b, 0o644))
}

// A test's lane, looked at in a browser while the test drives it:
//
//	test ─ control socket ─ client ─┐
//	                                proxy ─ guest
//	Chromium ─ page ─ viewer ───────┘
func TestTheConsoleInABrowserIsTheGuests(t *testing.T) {
	need.Browser(t)
	lane := harness.Up(t, harness.Config{})
	ctx := lane.Context()
	v := viewer.Open(viewer.Of(lane.State(), nil))
	defer v.Close()
	srv, err := webconsole.Start(webconsole.Config{Viewer: v})
	require.NoError(t, err)
	defer srv.Close()
	require.NoError(t, lane.Press(ctx, "F10")) // keys are reported and do nothing else

	tab := openBrowser(t, ctx)
	complained := complaints(t, tab)
	link := srv.Link()
	require.NoError(t, chromedp.Do(tab, chromedp.Navigate(link)))
	awaitJS(t, tab, "a picture", `document.documentElement.dataset.pictures > 0 && document.getElementById("live").width === 1024`)
	require.Equal(t, "http://"+srv.Addr()+"/", run(t, tab, "the address", chromedp.Location()), "the token is gone from the address")

	// The picture is the screenshot, pixel by pixel. What the guest drew last may
	// still be on its way to the one or to the other.
	require.NoError(t, lane.Machine().Pause(ctx))
	var want, got *image.NRGBA
	for deadline := time.Now().Add(20 * time.Second); ; {
		want, err = lane.Screenshot(ctx)
		require.NoError(t, err)
		got = canvasPicture(t, tab, "live")
		if bytes.Equal(want.Pix, got.Pix) || time.Now().After(deadline) {
			break
		}
	}
	require.Equal(t, want.Rect, got.Rect)
	if !bytes.Equal(want.Pix, got.Pix) {
		require.NoError(t, drive.WritePNG(filepath.Join(lane.Dir(), "canvas.png"), got))
		require.NoError(t, drive.WritePNG(filepath.Join(lane.Dir(), "screenshot.png"), want))
		t.Fatalf("the canvas is not the screenshot: %s", firstDifference(want, got))
	}
	require.NoError(t, lane.Machine().Resume(ctx))

	// A key typed in the page appears in the digest.
	keyIn := func(what string, char digest.Char) {
		t.Helper()
		_, err := lane.AwaitDigest(ctx, what, func(d digest.Digest) bool {
			for _, e := range d.Events {
				if k, ok := e.(digest.Keypress); ok && k.Unicode == char {
					return true
				}
			}
			return false
		})
		require.NoError(t, err)
	}
	require.NoError(t, chromedp.Do(tab, chromedp.Focus("#live"), chromedp.KeyEvent("k")))
	keyIn("the key typed in the page", 'k')
	require.NoError(t, chromedp.Do(tab, chromedp.SendKeys("#text", "Zebra"), chromedp.Click("#typing button")))
	keyIn("the end of the text typed through the page", 'a')
	awaitJS(t, tab, "the text's end", `document.getElementById("said").textContent === "5 characters typed"`)
	awaitJS(t, tab, "the key in the list of events", `lane.says('unicode="k"')`)
	awaitJS(t, tab, "how long the key took", `/ms, p95 .*\([1-9]/.test(document.getElementById("todigest").textContent)`)
	awaitJS(t, tab, "the serial log", `lane.says("Hello from Beacon")`)

	// So does the mouse, where it points to.
	type point struct{ X, Y float64 }
	at := run(t, tab, "a place on the canvas", chromedp.Evaluate[point](`(() => {
		const r = document.getElementById("live").getBoundingClientRect();
		return { X: r.left + 300.5 * r.width / 1024, Y: r.top + 200.5 * r.height / 768 };
	})()`))
	require.NoError(t, chromedp.Do(tab, chromedp.MouseClickXY(at.X, at.Y)))
	var pressed digest.Pointer
	_, err = lane.AwaitDigest(ctx, "the click in the page", func(d digest.Digest) bool {
		for _, e := range d.Events {
			if p, ok := e.(digest.Pointer); ok && p.Buttons == digest.LeftButton {
				pressed = p
				return true
			}
		}
		return false
	})
	require.NoError(t, err)
	require.InDelta(t, 300, float64(pressed.X), 1)
	require.InDelta(t, 200, float64(pressed.Y), 1)
	savePage(t, tab, lane.Dir(), "console.png")

	// What has been can be seen again while the lane is up: a picture that was taken before the guest
	// drew another one, to the pixel; and the guest's keys are on the timeline.
	before, err := lane.Screenshot(ctx)
	require.NoError(t, err)
	at0 := lastScreenshot(t, lane.Dir())
	require.NoError(t, lane.Press(ctx, "z"))
	keyIn("another key", 'z')
	require.True(t, run(t, tab, "it is live", chromedp.Evaluate[bool](`lane.live`)))
	// The client writes its film within a moment.
	for deadline := time.Now().Add(20 * time.Second); ; {
		run(t, tab, "seek", chromedp.Evaluate[bool](fmt.Sprintf(`window.sought = false, lane.seek(%f).then(() => { window.sought = true; }), true`, at0.Seconds())))
		awaitJS(t, tab, "the moment", `window.sought`)
		got = canvasPicture(t, tab, "screen")
		if bytes.Equal(before.Pix, got.Pix) || time.Now().After(deadline) {
			break
		}
	}
	require.Equal(t, before.Rect, got.Rect)
	require.Equal(t, "none", firstDifference(before, got), "the screen at %v", at0)
	require.False(t, run(t, tab, "it is not live", chromedp.Evaluate[bool](`lane.live`)))
	require.InDelta(t, at0.Seconds(), run(t, tab, "the moment", chromedp.Evaluate[float64](`lane.now`)), 0.000001)
	awaitJS(t, tab, "the tracks", `["Keys", "Screen", "Serial", "QMP", "Proxy"].every(t => document.getElementById("chips").textContent.includes(t))`)
	savePage(t, tab, lane.Dir(), "past.png")
	end := run(t, tab, "the end so far", chromedp.Evaluate[float64](`lane.end`))
	awaitJS(t, tab, "the time goes on", fmt.Sprintf(`lane.end > %f`, end))
	require.NoError(t, chromedp.Do(tab, chromedp.Click("#to-live")))
	awaitJS(t, tab, "that it is live again", `lane.live && lane.end - lane.now < 1 && getComputedStyle(document.getElementById("live-view")).display !== "none"`)

	// The page can be loaded again, with its cookie; the link cannot be used again.
	require.NoError(t, chromedp.Do(tab, chromedp.Reload()))
	awaitJS(t, tab, "a picture after loading again", `document.documentElement.dataset.pictures > 0`)
	require.Empty(t, complained())
	other, stop := chromedp.NewContext(tab, chromedp.WithNewBrowserContext())
	defer stop()
	require.NoError(t, chromedp.Do(other, chromedp.Navigate(link)))
	awaitJS(t, other, "that the link was used", `document.getElementById("notice").textContent.includes("has been used")`)
	savePage(t, other, lane.Dir(), "used.png")

	// A key that is down when the page is closed comes up.
	require.NoError(t, chromedp.Do(tab, chromedp.Focus("#live")))
	run(t, tab, "a key that stays down", chromedp.Evaluate[bool](
		`document.getElementById("live").dispatchEvent(new KeyboardEvent("keydown", { code: "ShiftLeft" }))`))
	shift := func(state digest.KeyState) {
		t.Helper()
		_, err := lane.AwaitDigest(ctx, "shift "+state.String(), func(d digest.Digest) bool {
			for i := len(d.Events) - 1; i >= 0; i-- {
				if s, ok := d.Events[i].(digest.Scancode); ok {
					return s.Code == 0x2a && s.State == state
				}
			}
			return false
		})
		require.NoError(t, err)
	}
	shift(digest.KeyDown)
	require.NoError(t, chromedp.Do(tab, chromedp.Navigate("about:blank")))
	shift(digest.KeyUp)
}

// lastScreenshot returns when the last picture was taken.
func lastScreenshot(t *testing.T, dir string) time.Duration {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, timeline.File))
	require.NoError(t, err)
	defer f.Close()
	at := time.Duration(-1)
	_, err = timeline.Read(f, func(e timeline.Entry) error {
		if e.Kind == headless.KindScreenshot {
			at = e.At
		}
		return nil
	})
	require.NoError(t, err)
	require.GreaterOrEqual(t, at, time.Duration(0))
	return at
}

func firstDifference(a, b *image.NRGBA) string {
	for i := 0; i+3 < len(a.Pix); i += 4 {
		if !bytes.Equal(a.Pix[i:i+4], b.Pix[i:i+4]) {
			n := i / 4
			return image.Pt(n%a.Rect.Dx(), n/a.Rect.Dx()).String()
		}
	}
	return "none"
}
