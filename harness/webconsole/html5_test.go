package webconsole_test

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/fixtures/digest"
	"github.com/spicelane/spicelane/fixtures/digest/qrscan"
	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/internal/pagetest"
	"github.com/spicelane/spicelane/internal/need"
	"github.com/spicelane/spicelane/sources"
	"github.com/spicelane/spicelane/spice/pki"
	"github.com/spicelane/spicelane/spice/proxy"
)

// spiceHTML5 is the directory in which Debian's package installs its pages.
const spiceHTML5 = "/usr/share/spice-html5"

// canvasID is the id of the canvas on which spice-html5 draws the primary surface.
const canvasID = "spice_surface_0"

// digestOn reads the digest from a picture.
func digestOn(img image.Image) (*digest.Digest, error) {
	result, err := qrscan.Scan(qrscan.FrameOf(img))
	return result.Digest, err
}

// typed tells whether a digest has a key.
func typed(d *digest.Digest, char digest.Char) bool {
	for _, e := range d.Events {
		if k, ok := e.(digest.Keypress); ok && k.Unicode == char {
			return true
		}
	}
	return false
}

// Debian's spice-html5, unchanged, is a valid client of the proxy's WebSocket port. It draws what
// QEMU shows, and a key that is typed in the page arrives.
//
//	Chromium ─ spice_auto.html ──WebSocket in TLS──► proxy ─ guest
func TestSpiceHTML5ShowsTheGuestThroughTheWebSocketPort(t *testing.T) {
	need.Browser(t)
	if _, err := os.Stat(filepath.Join(spiceHTML5, "spice_auto.html")); err != nil {
		harness.SkipOrFail(t, "there is no spice-html5: run scripts/setup.sh")
	}
	lane := harness.Up(t, harness.Config{Proxy: harness.None, Client: harness.None})
	ctx := lane.Context()

	bundle, err := pki.New(pki.Config{})
	require.NoError(t, err)
	pages := httptest.NewUnstartedServer(http.FileServer(http.Dir(spiceHTML5)))
	pages.TLS = bundle.ServerTLS()
	pages.StartTLS()
	defer pages.Close()
	direct := lane.DirectVV()
	const source, uuid = "lane", "6f4e2c1a-0000-0000-0000-000000000005"
	static, err := sources.NewStatic(source, proxy.Console{UUID: uuid, Name: "beacon", Hypervisor: "localhost",
		HypervisorIP: direct.Host, InsecurePort: direct.Port, Unix: direct.UnixPath, Ticket: direct.Password})
	require.NoError(t, err)
	catalog, err := sources.NewCatalog(static)
	require.NoError(t, err)
	defer catalog.Close()
	ended := make(chan proxy.Event, 100)
	p, err := proxy.Start(ctx, proxy.Config{TLS: bundle, Consoles: catalog, ListenWebSocket: proxy.DefaultAddr,
		AllowedOrigins: []string{pages.URL}, OnEvent: func(e proxy.Event) { ended <- e }})
	require.NoError(t, err)
	defer p.Close()
	file, err := p.VV(ctx, source, uuid)
	require.NoError(t, err)

	address, err := url.Parse("wss://" + p.WebSocketAddr())
	require.NoError(t, err)
	// The page asks the guest for a mode that fits the window. In a window of 1500x900, that was a
	// bad one: QEMU's own picture was 1360 pixels wide, and each of its lines was shifted against
	// the previous one. The firmware also offers 1366x768.
	tab := pagetest.Open(t, ctx, chromedp.Flag("ignore-certificate-errors", true), chromedp.WindowSize(1064, 960),
		chromedp.Flag("disable-features", "BackForwardCache")) // a page that was left would keep its channels
	require.NoError(t, chromedp.Do(tab, chromedp.Navigate(pages.URL+"/spice_auto.html?"+url.Values{
		"host": {address.Hostname()}, "port": {address.Port()}, "password": {file.Password}}.Encode())))
	pagetest.Await(t, tab, "a canvas", `document.getElementById("`+canvasID+`") !== null`)

	// The digest is read from the page's own canvas.
	awaitDigest := func(what string, f func(d *digest.Digest) bool) {
		t.Helper()
		ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		var last error
		for {
			d, err := digestOn(pagetest.Canvas(t, tab, canvasID))
			if err == nil && f(d) {
				return
			}
			if last = err; err == nil {
				last = fmt.Errorf("the digest says %v", d.Events)
			}
			if ctx.Err() != nil {
				pagetest.Save(t, tab, filepath.Join(lane.Dir(), "html5.png"))
				t.Fatalf("%s: %v", what, last)
			}
		}
	}
	awaitDigest("the scene", func(*digest.Digest) bool { return true })
	require.NoError(t, chromedp.Do(tab, chromedp.Focus("#"+canvasID), chromedp.KeyEvent("k")))
	awaitDigest("the key typed in the page", func(d *digest.Digest) bool { return typed(d, 'k') })

	// Pixel by pixel, it is QEMU's own picture. The last change may be on its way.
	require.NoError(t, lane.Machine().Pause(ctx))
	var want, got *image.NRGBA
	for deadline := time.Now().Add(20 * time.Second); ; {
		want, err = lane.Screendump(ctx)
		require.NoError(t, err)
		got = pagetest.Canvas(t, tab, canvasID)
		if bytes.Equal(want.Pix, got.Pix) || time.Now().After(deadline) {
			break
		}
	}
	pagetest.Save(t, tab, filepath.Join(lane.Dir(), "html5.png"))
	require.Equal(t, want.Rect, got.Rect)
	if !bytes.Equal(want.Pix, got.Pix) {
		require.NoError(t, drive.WritePNG(filepath.Join(lane.Dir(), "canvas.png"), got))
		require.NoError(t, drive.WritePNG(filepath.Join(lane.Dir(), "screendump.png"), want))
		t.Fatalf("the canvas is not QEMU's picture: %s", firstDifference(want, got))
	}
	d, err := digestOn(want)
	require.NoError(t, err)
	require.True(t, typed(d, 'k'), "QEMU's own picture has the key")
	require.NoError(t, lane.Machine().Resume(ctx))

	// Every channel used a WebSocket.
	sessions := p.Sessions()
	require.Len(t, sessions, 1)
	require.GreaterOrEqual(t, len(sessions[0].Channels), 4)
	for len(ended) > 0 {
		if e := <-ended; e.Kind == proxy.EventChannelOpened {
			require.Equal(t, "websocket", e.Transport, e.Channel)
		}
	}
	// A page that is closed ends its session, and nothing was refused on the way.
	require.NoError(t, chromedp.Do(tab, chromedp.Navigate("about:blank")))
	for {
		e := <-ended
		require.NotEqual(t, proxy.EventLinkRefused, e.Kind, e)
		if e.Kind == proxy.EventSessionClosed {
			require.Equal(t, proxy.ReasonClientClosed, e.Reason)
			break
		}
	}
}
