package replay_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/film"
	"github.com/spicelane/spicelane/harness/replay"
	"github.com/spicelane/spicelane/internal/need"
)

// attacks are texts that would run a script, load something or break out of their context.
var attacks = []string{
	`<script>window.hacked=1</script>`,
	`</script><script>window.hacked=1</script>`,
	`<img src=x onerror="window.hacked=1">`,
	`"><svg onload=window.hacked=1>`,
	`' autofocus onfocus='window.hacked=1`,
	`<!--<script>`, `]]>`, `{{.}}`, `%s%n`, "${window.hacked=1}", "`;window.hacked=1;//",
	`<iframe src="javascript:parent.window.hacked=1">`, `<a href="javascript:window.hacked=1">x</a>`,
	`<link rel=stylesheet href=http://192.0.2.1/x.css>`, `<meta http-equiv=refresh content="0;url=http://192.0.2.1/">`,
	"\u2028window.hacked=1", "\x00<b>", "\x1b]8;;http://192.0.2.1/\x07link\x1b]8;;\x07",
}

// hostileLane is a lane in which every field says all attacks.
func hostileLane(t *testing.T) string {
	t.Helper()
	quote := func(s string) string {
		b, err := json.Marshal(s)
		require.NoError(t, err)
		return string(b)
	}
	all := strings.Join(attacks, " ")
	var tl strings.Builder
	fields := func(names ...string) string {
		var b strings.Builder
		for _, n := range names {
			fmt.Fprintf(&b, `,%s:%s`, quote(n), quote(all))
		}
		return b.String()
	}
	fmt.Fprintf(&tl, `{"t_us":0,"kind":"begin","wall":"2026-11-27T04:40:17Z"%s}`+"\n",
		fields("name", "test", "fixture", "image", "display", "compression", "command", "spicelane", "film"))
	for i, kind := range []string{"step", "beat", "wait", "verdict", "fault", "link", "key", "button", "pointer", "frame", "screenshot", "picture",
		"film", "serial", "console_failure", "proxy", "migrated", "agent", "reset", "messages", all, "lane", "machine"} {
		fmt.Fprintf(&tl, `{"t_us":%d,"kind":%s%s}`+"\n", 1000*i, quote(kind), fields("name", "at", "detail", "text", "error", "op", "verdict", "reason",
			"test", "file", "via", "picture", "event", "channel", "state", "awaited", "saw", "link", "shaped", all))
	}
	// A step and a picture with what a step and a picture have.
	fmt.Fprintf(&tl, `{"t_us":50000,"kind":"step","ms":1,"name":"host"%s}`+"\n", fields("detail"))
	fmt.Fprintf(&tl, `{"t_us":50000,"kind":"step","ms":1,"name":"qemu"%s}`+"\n", fields("detail"))
	var log strings.Builder
	for _, a := range attacks {
		log.WriteString(a + "\n" + "time=2026-11-27T04:40:18.104Z level=ERROR msg=" + a + "\n")
	}
	frames, _ := noisyFilm(t, 3)
	return lay(t, map[string]string{
		"timeline.ndjson": tl.String(), "qemu.log": log.String(), "proxy.log": log.String(), "client.log": log.String(), "supervisor.log": log.String(),
		"qmp.ndjson": `{"t_us":1,"dir":"in","msg":{"QMP":{"version":{"package":` + quote(all) + `}}}}` + "\n", film.File: frames,
		"verdict.json": `{"verdict":"product","hop":` + quote(all) + `,"reason":` + quote(all) + `,"name":` + quote(all) + `,"accel":` + quote(all) + `}`,
	})
}

// Whatever a guest, a test or a program says is shown as text: no script of theirs runs, and
// nothing is loaded.
func TestHostileTextInEveryFieldIsInert(t *testing.T) {
	dir := hostileLane(t)
	b := openBrowser(t)
	require.NoError(t, replay.Write(dir, replay.Options{TestOutput: strings.Join(attacks, "\n")}))
	page := filepath.Join(dir, replay.File)
	b.open(page, "t=0.01")
	// Everything that makes elements of text: rows, highlights, table, details, marks, pictures.
	eval[bool](b, "search", `(s => { s.value = "window.hacked"; s.dispatchEvent(new Event("input")); return true; })(document.getElementById("search"))`)
	b.await("rows", `document.querySelectorAll(".row mark").length > 3`)
	eval[bool](b, "click", `document.querySelectorAll(".row")[1].click(), document.getElementById("as-table").click(), true`)
	eval[bool](b, "details", `[...document.querySelectorAll("details")].forEach(d => { d.open = true; }), true`)
	b.seek(20 * time.Millisecond)
	require.False(t, eval[bool](b, "a script of theirs", `"hacked" in window`))
	require.Equal(t, 0, eval[int](b, "their elements", `document.querySelectorAll("img, iframe, svg, a, link, object, embed, base, [onerror], [onload], [onfocus]").length`))
	require.Equal(t, 3, eval[int](b, "scripts", `document.scripts.length`), "the two blocks of data and the page's own")
	require.Positive(t, eval[int](b, "what they said is there", `[...document.querySelectorAll("#table-body td")].filter(c => c.textContent.includes("<script>window.hacked=1")).length`))
	require.Contains(t, eval[string](b, "the head", `document.querySelector("h1").textContent`), attacks[0])
	b.quiet(page)

	// The test sees a script that runs: the same page with one, and without its policy.
	html, err := os.ReadFile(page)
	require.NoError(t, err)
	broken := strings.Replace(string(html), "Content-Security-Policy", "X-None", 1)
	broken = strings.Replace(broken, "</header>", attacks[0]+attacks[2]+"</header>", 1)
	require.NoError(t, os.WriteFile(page, []byte(broken), 0o644))
	b.open(page, "")
	b.await("a script that runs is seen", `"hacked" in window`)
	// And the policy alone keeps it from running.
	require.NoError(t, os.WriteFile(page, []byte(strings.Replace(string(html), "</header>", attacks[0]+attacks[2]+"</header>", 1)), 0o644))
	b.open(page, "")
	require.False(t, eval[bool](b, "a script in the page", `"hacked" in window`))
	require.Eventually(t, func() bool { return len(b.seen.Complaints()) > 0 }, 30*time.Second, 10*time.Millisecond, "the browser says that it refused it")
}

// A page with a million events opens, scrolls and is searched in about the time that the browser takes to
// read that much at all.
func TestAPageWithAMillionEventsIsQuick(t *testing.T) {
	need.Long(t)
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	dir := lay(t, map[string]string{"timeline.ndjson": million(t)})
	require.NoError(t, replay.Write(dir, replay.Options{}))
	b := openBrowser(t)
	page := filepath.Join(dir, replay.File)
	began := time.Now()
	b.open(page, "")
	opened := time.Since(began)
	n := eval[int](b, "events", "lane.events")
	require.Greater(t, n, 300_000)
	// What reading the data alone takes in this browser, now.
	unpack := `(async () => { const s = performance.now(), t = document.getElementById("data").textContent, u = Uint8Array.from(atob(t), c => c.charCodeAt(0));
		JSON.parse(await new Response(new Blob([u]).stream().pipeThrough(new DecompressionStream("gzip"))).text()); window.unpacked = performance.now() - s; })(), true`
	eval[bool](b, "unpack", unpack)
	b.await("the data", `window.unpacked > 0`)
	alone := time.Duration(eval[float64](b, "the time", `window.unpacked`) * float64(time.Millisecond))
	timed := func(what, js string) time.Duration {
		return time.Duration(eval[float64](b, what, `(() => { const s = performance.now(); `+js+`; return performance.now() - s; })()`) * float64(time.Millisecond))
	}
	scroll := timed("scroll", `const r = document.getElementById("rows"); for (let i = 0; i < 20; i++) { r.scrollTop = r.scrollHeight * i / 20; r.dispatchEvent(new Event("scroll")); r.offsetHeight; }`)
	seek := timed("seek", `for (let i = 0; i < 20; i++) lane.seek(i * 2)`)
	t.Logf("opened after %v; reading the data alone takes %v; 20 scrolls %v, 20 seeks %v", opened, alone, scroll, seek)
	require.Less(t, scroll/20, alone/4, "a scroll costs what is seen, and not what is there")
	require.Less(t, seek/20, alone/4)
	// The last line can be scrolled to, though browsers do not scroll that far in pixels.
	eval[bool](b, "to the end", `lane.seek(1e9), true`)
	b.await("the last line", fmt.Sprintf(`document.querySelector(".row[aria-selected=true]").getAttribute("aria-posinset") == %d`, n))
	require.True(t, eval[bool](b, "it is in view", `(r => { const a = r.getBoundingClientRect(), b = document.getElementById("rows").getBoundingClientRect(); return a.top >= b.top - 1 && a.bottom <= b.bottom + 1; })(document.querySelector(".row[aria-selected=true]"))`))
	b.quiet(page)
}
