package webconsole_test

import (
	"bytes"
	"fmt"
	"image"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/fixtures/digest"
	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/headless"
	"github.com/spicelane/spicelane/harness/internal/pagetest"
	"github.com/spicelane/spicelane/harness/timeline"
	"github.com/spicelane/spicelane/harness/viewer"
	"github.com/spicelane/spicelane/harness/webconsole"
	"github.com/spicelane/spicelane/internal/need"
)

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

	tab := pagetest.Open(t, ctx)
	complained := pagetest.Watch(tab)
	link := srv.Link()
	require.NoError(t, chromedp.Do(tab, chromedp.Navigate(link)))
	pagetest.Await(t, tab, "a picture", `document.documentElement.dataset.pictures > 0 && document.getElementById("live").width === 1024`)
	require.Equal(t, "http://"+srv.Addr()+"/", pagetest.Run(t, tab, "the address", chromedp.Location()), "the token is gone from the address")

	// The picture is the screenshot, pixel by pixel. The last change that the guest drew may still
	// be on its way to one or the other.
	require.NoError(t, lane.Machine().Pause(ctx))
	var want, got *image.NRGBA
	for deadline := time.Now().Add(20 * time.Second); ; {
		want, err = lane.Screenshot(ctx)
		require.NoError(t, err)
		got = pagetest.Canvas(t, tab, "live")
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
	pagetest.Await(t, tab, "the text's end", `document.getElementById("said").textContent === "5 characters typed"`)
	pagetest.Await(t, tab, "the key in the list of events", `lane.says('unicode="k"')`)
	pagetest.Await(t, tab, "how long the key took", `/ms, p95 .*\([1-9]/.test(document.getElementById("todigest").textContent)`)
	pagetest.Await(t, tab, "the serial log", `lane.says("Hello from Beacon")`)

	// The mouse also appears in the digest, at the place where it points.
	type point struct{ X, Y float64 }
	at := pagetest.Eval[point](t, tab, "a place on the canvas", `(() => {
		const r = document.getElementById("live").getBoundingClientRect();
		return { X: r.left + 300.5 * r.width / 1024, Y: r.top + 200.5 * r.height / 768 };
	})()`)
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
	pagetest.Save(t, tab, filepath.Join(lane.Dir(), "console.png"))

	// The past can be seen again while the lane is up: a picture from before the guest drew another
	// one, to the pixel, and the guest's keys on the timeline.
	before, err := lane.Screenshot(ctx)
	require.NoError(t, err)
	at0 := lastScreenshot(t, lane.Dir())
	require.NoError(t, lane.Press(ctx, "z"))
	keyIn("another key", 'z')
	require.True(t, pagetest.Eval[bool](t, tab, "it is live", `lane.live`))
	// The client writes its film within a moment.
	for deadline := time.Now().Add(20 * time.Second); ; {
		pagetest.Eval[bool](t, tab, "seek", fmt.Sprintf(`window.sought = false, lane.seek(%f).then(() => { window.sought = true; }), true`, at0.Seconds()))
		pagetest.Await(t, tab, "the moment", `window.sought`)
		got = pagetest.Canvas(t, tab, "screen")
		if bytes.Equal(before.Pix, got.Pix) || time.Now().After(deadline) {
			break
		}
	}
	require.Equal(t, before.Rect, got.Rect)
	require.Equal(t, "none", firstDifference(before, got), "the screen at %v", at0)
	require.False(t, pagetest.Eval[bool](t, tab, "it is not live", `lane.live`))
	require.InDelta(t, at0.Seconds(), pagetest.Eval[float64](t, tab, "the moment", `lane.now`), 0.000001)
	pagetest.Await(t, tab, "the tracks", `["Keys", "Screen", "Serial", "QMP", "Proxy"].every(t => document.getElementById("chips").textContent.includes(t))`)
	pagetest.Save(t, tab, filepath.Join(lane.Dir(), "past.png"))
	end := pagetest.Eval[float64](t, tab, "the end so far", `lane.end`)
	pagetest.Await(t, tab, "the time goes on", fmt.Sprintf(`lane.end > %f`, end))
	require.NoError(t, chromedp.Do(tab, chromedp.Click("#to-live")))
	pagetest.Await(t, tab, "that it is live again", `lane.live && lane.end - lane.now < 1 && getComputedStyle(document.getElementById("live-view")).display !== "none"`)

	// The page can be loaded again, with its cookie; the link cannot be used again.
	require.NoError(t, chromedp.Do(tab, chromedp.Reload()))
	pagetest.Await(t, tab, "a picture after loading again", `document.documentElement.dataset.pictures > 0`)
	require.Empty(t, complained.Complaints())
	other, stop := chromedp.NewContext(tab, chromedp.WithNewBrowserContext())
	defer stop()
	require.NoError(t, chromedp.Do(other, chromedp.Navigate(link)))
	pagetest.Await(t, other, "that the link was used", `document.getElementById("notice").textContent.includes("has been used")`)
	pagetest.Save(t, other, filepath.Join(lane.Dir(), "used.png"))

	// A key that is down when the page is closed is released.
	require.NoError(t, chromedp.Do(tab, chromedp.Focus("#live")))
	pagetest.Eval[bool](t, tab, "a key that stays down", `document.getElementById("live").dispatchEvent(new KeyboardEvent("keydown", { code: "ShiftLeft" }))`)
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
