package replay_test

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/film"
	"github.com/spicelane/spicelane/harness/replay"
)

// A lane whose client shows the same as a client that has connected to QEMU itself. QEMU shows
// another picture: three pixels of it were not sent.
func TestTheClientsPictureIsComparedWithQEMUsAndADirectClients(t *testing.T) {
	b := openBrowser(t)
	const side = 64
	rnd := rand.New(rand.NewPCG(1, 2))
	client, qemu := image.NewNRGBA(image.Rect(0, 0, side, side)), image.NewNRGBA(image.Rect(0, 0, side, side))
	for i := range client.Pix {
		client.Pix[i] = byte(rnd.Uint32())
		if i%4 == 3 {
			client.Pix[i] = 255
		}
	}
	copy(qemu.Pix, client.Pix)
	changed := []image.Point{{10, 20}, {11, 20}, {40, 50}}
	for _, p := range changed {
		c := qemu.NRGBAAt(p.X, p.Y)
		c.G ^= 1
		qemu.SetNRGBA(p.X, p.Y, c)
	}
	encode := func(img image.Image) string {
		var out bytes.Buffer
		require.NoError(t, png.Encode(&out, img))
		return out.String()
	}
	shown := encode(client)
	frame := func(more string) string {
		return fmt.Sprintf(`{%s,"size":[%d,%d],"rect":[0,0,%[2]d,%[3]d],"key":true,"png":%d}`+"\n%s\n", more, side, side, len(shown), shown)
	}
	frames := frame(`"t_us":1000000`) + frame(`"t_us":4000000,"since_us":3000000`) + `{"t_us":5000000,"gone":true}` + "\n"
	entry := func(ms int, via, file string) string {
		return fmt.Sprintf(`{"t_us":%d,"kind":"picture","via":%q,"file":%q}`+"\n", ms*1000, via, file)
	}
	dir := lay(t, map[string]string{
		film.File: frames, "direct-client.png": shown, "direct-qemu.png": encode(qemu),
		"timeline.ndjson": begin + entry(2000, "direct", "direct-client.png") + entry(2500, "qmp", "direct-qemu.png") + `{"t_us":6000000,"kind":"serial","text":"x"}`,
	})
	require.NoError(t, replay.Write(dir, replay.Options{}))
	b.open(filepath.Join(dir, replay.File), "")

	choose := func(id string, index int) {
		eval[bool](b, id, fmt.Sprintf(`(s => { s.selectedIndex = %d; s.dispatchEvent(new Event("change")); return true; })(document.getElementById(%q))`, index, id))
	}
	says := `document.getElementById("difference").textContent`
	require.Equal(t, []string{"nothing", "Direct client, 2.000 s (direct-client.png)", "QEMU, 2.500 s (direct-qemu.png)"},
		eval[[]string](b, "what can be beside it", `[...document.getElementById("picture").options].map(o => o.textContent)`))

	choose("picture", 1)
	b.await("the direct client's picture", says+` === "no pixel differs at this moment"`)
	require.Equal(t, client.Pix, b.canvas("other").Pix)
	require.Equal(t, "Direct client's picture at 2.000 seconds, 64 by 64",
		eval[string](b, "for a screen reader", `document.getElementById("other").getAttribute("aria-label")`))
	require.InDelta(t, 2, eval[float64](b, "its moment", "lane.now"), 0.000001)

	choose("picture", 2)
	differs := says + ` === "3 pixels differ, the first at 10, 20; all within 31×31 at 10, 20"`
	b.await("QEMU's picture", differs)
	require.Equal(t, client.Pix, b.canvas("screen").Pix)
	require.Equal(t, qemu.Pix, b.canvas("other").Pix, "side by side, it is as it was")

	choose("compare", 1)
	b.await("the swipe", `!document.getElementById("split").hidden && `+differs)
	require.Equal(t, qemu.Pix, b.canvas("other").Pix)
	clip := `document.getElementById("other").style.clipPath`
	require.Equal(t, "inset(0px 0px 0px 50%)", eval[string](b, "the client's picture is on the left", clip))
	at := `(() => { const f = document.getElementById("frame").getBoundingClientRect(), s = document.getElementById("split"), to = (name, part) =>
		s.dispatchEvent(new PointerEvent(name, {pointerId: 1, clientX: f.left + f.width * part, bubbles: true}));
		s.setPointerCapture = () => {}; to("pointerdown", .5); to("pointermove", .25); to("pointerup", .25); return true; })()`
	eval[bool](b, "drag", at)
	require.Equal(t, "inset(0px 0px 0px 25%)", eval[string](b, "swiped", clip))

	choose("compare", 2)
	b.await("the difference", `document.getElementById("split").hidden && `+differs)
	marked := b.canvas("other")
	for y := range side {
		for x := range side {
			got := marked.NRGBAAt(x, y)
			want := got.R == got.G && got.G == got.B
			for _, p := range changed {
				if p == image.Pt(x, y) {
					want = got == color.NRGBA{0xf0, 0x30, 0x20, 0xff}
				}
			}
			require.True(t, want, "%d, %d: %v", x, y, got)
		}
	}

	// Single pixels.
	choose("compare", 0)
	b.await("QEMU's picture", differs)
	choose("zoom", 4)
	b.await("eight times as large", fmt.Sprintf(`["screen", "other"].every(id => document.getElementById(id).clientWidth === %d)`, 8*side))
	require.Equal(t, "pixelated", eval[string](b, "without blur", `getComputedStyle(document.getElementById("other")).imageRendering`))
	for id, img := range map[string]*image.NRGBA{"screen": client, "other": qemu} {
		c := img.NRGBAAt(10, 20)
		require.Equal(t, fmt.Sprintf("10, 20  #%02x%02x%02x", c.R, c.G, c.B), eval[string](b, "a pixel", fmt.Sprintf(`(c => { const r = c.getBoundingClientRect();
			c.dispatchEvent(new PointerEvent("pointermove", {clientX: r.left + 10.5 * 8, clientY: r.top + 20.5 * 8}));
			return document.getElementById("pixel").textContent; })(document.getElementById(%q))`, id)))
	}
	b.save("direct.png")

	// Between 3 and 4 seconds, the client showed more than was filmed.
	stale := `document.getElementById("stale").textContent`
	for at, want := range map[time.Duration]string{
		2900 * time.Millisecond: "", 4 * time.Second: "",
		3500 * time.Millisecond: "Something was drawn after this picture, at 3.000 s or later. The film shows it from 4.000 s on.",
	} {
		b.seek(at)
		require.Equal(t, want, eval[string](b, "how old the picture is", stale), "%v", at)
	}
	// If there is no picture, the last one is a click away.
	choose("picture", 0)
	b.seek(5500 * time.Millisecond)
	require.Equal(t, "The client had no picture. The last one, at 4.000 s", eval[string](b, "no picture", `document.getElementById("blank").innerText`))
	eval[bool](b, "click", `document.getElementById("last-picture").click(), true`)
	b.await("the last picture", `!document.getElementById("view").classList.contains("none")`)
	require.InDelta(t, 4, eval[float64](b, "its moment", "lane.now"), 0.000001)
	b.quiet(filepath.Join(dir, replay.File))
}
