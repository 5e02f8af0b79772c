package pagetest_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/internal/pagetest"
	"github.com/spicelane/spicelane/internal/need"
)

// site builds the site of this repository's documents, and returns its directory.
func site(t *testing.T) string {
	t.Helper()
	tools, err := filepath.Abs("../../../tools")
	require.NoError(t, err)
	if out, err := exec.Command("go", "-C", tools, "mod", "download", "github.com/yuin/goldmark").CombinedOutput(); err != nil {
		need.OrSkip(t, "the tools of this repository cannot be downloaded: "+string(out))
	}
	dir := filepath.Join(t.TempDir(), "site")
	out, err := exec.Command("go", "-C", tools, "run", "./site", "-root", "..", "-o", dir).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return dir
}

// pages returns the pages of a site.
func pages(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"*.html", "docs/*.html", "fixtures/guest/*.html"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		require.NoError(t, err)
		all = append(all, found...)
	}
	require.Greater(t, len(all), 20)
	return all
}

func TestTheSiteOfTheDocumentsWorksInABrowser(t *testing.T) {
	t.Parallel()
	dir := site(t)
	t.Run("from files, with a search", func(t *testing.T) { worksFromFiles(t, dir) })
	t.Run("on a phone", func(t *testing.T) { fitsAPhone(t, dir) })
}

// The site is opened as files, as from an archive: no server, no network.
func worksFromFiles(t *testing.T, dir string) {
	tab := pagetest.Open(t, t.Context())
	seen := pagetest.Watch(tab)
	require.NoError(t, chromedp.Do(tab, chromedp.Navigate("file://"+dir+"/docs/proxy.html")))

	// A search finds a heading of another page, and Enter opens it.
	require.NoError(t, chromedp.Do(tab, chromedp.SendKeys("#query", "fetch the wrong tickt")))
	pagetest.Await(t, tab, "nothing is found", `!document.getElementById("count").hidden`)
	pagetest.Eval[bool](t, tab, "another search", `(q => { q.value = "handshake guessed"; q.dispatchEvent(new Event("input")); return true })(document.getElementById("query"))`)
	pagetest.Await(t, tab, "something is found", `document.querySelectorAll("#found a").length > 0`)
	require.Greater(t, pagetest.Eval[int](t, tab, "the words", `document.querySelectorAll("#found mark").length`), 0)
	pagetest.Eval[bool](t, tab, "a third search", `(q => { q.value = "kerbside"; q.dispatchEvent(new Event("input")); q.focus(); return true })(document.getElementById("query"))`)
	pagetest.Await(t, tab, "the heading comes first", `document.querySelector("#found a")?.getAttribute("href").endsWith("docs/foreign-parts.html#kerbside")`)
	pagetest.Save(t, tab, filepath.Join(t.ArtifactDir(), "search.png"))
	require.NoError(t, chromedp.Do(tab, chromedp.SendKeys("#query", "\r")))
	pagetest.Await(t, tab, "the page found", `location.href.endsWith("docs/foreign-parts.html#kerbside") && document.getElementById("kerbside") !== null`)

	// The button changes between light and dark.
	color := `getComputedStyle(document.body).backgroundColor`
	before := pagetest.Eval[string](t, tab, "the color", color)
	require.NoError(t, chromedp.Do(tab, chromedp.Click("#theme")))
	require.NotEqual(t, before, pagetest.Eval[string](t, tab, "the other color", color))
	require.NoError(t, chromedp.Do(tab, chromedp.Click("#theme")))
	require.Equal(t, before, pagetest.Eval[string](t, tab, "the first color again", color))

	// The pages' own policy forbids scripts and styles in the text, and all use of the network. The
	// browser complains of each attempt, and of nothing before it.
	require.Empty(t, seen.Complaints())
	for _, address := range seen.Requests() {
		require.True(t, strings.HasPrefix(address, "file://"+dir+"/"), address)
	}
	pagetest.Eval[bool](t, tab, "a script in the text", `(s => { s.textContent = "window.planted = 1"; document.body.append(s); return true })(document.createElement("script"))`)
	pagetest.Eval[bool](t, tab, "a picture of elsewhere", `(i => { i.src = "https://spicelane.invalid/i.png"; document.body.append(i); return true })(document.createElement("img"))`)
	require.False(t, pagetest.Eval[bool](t, tab, "whether the script ran", `"planted" in window`))
	pagetest.Await(t, tab, "the picture was refused", `[...document.images].at(-1).complete`)
	require.Len(t, seen.Complaints(), 2)
}

// On a phone, no page is wider than the window. Wide content, such as a table, scrolls in itself.
// All pages are checked as one, which takes a browser less time.
func fitsAPhone(t *testing.T, dir string) {
	const width = 360
	base, err := os.ReadFile(filepath.Join(dir, "docs", "index.html"))
	require.NoError(t, err)
	head, tail, found := strings.Cut(string(base), "</main>")
	require.True(t, found)
	for _, page := range pages(t, dir) {
		b, err := os.ReadFile(page)
		require.NoError(t, err)
		_, text, found := strings.Cut(string(b), "<main ")
		require.True(t, found, page)
		text, _, _ = strings.Cut(text, "</main>")
		head += "</main><main title=\"" + filepath.Base(page) + "\" " + text
	}
	all := filepath.Join(dir, "docs", "all.html")
	require.NoError(t, os.WriteFile(all, []byte(head+"</main>"+tail), 0o600))
	tab := pagetest.Open(t, t.Context())
	require.NoError(t, chromedp.Do(tab, chromedp.EmulateViewport(width, 740, chromedp.EmulateMobile)))
	require.NoError(t, chromedp.Do(tab, chromedp.Navigate("file://"+all)))
	require.Greater(t, pagetest.Eval[int](t, tab, "the pages", `document.querySelectorAll("main").length`), 20)
	wide := fmt.Sprintf(`[...document.querySelectorAll("main")].filter(m => m.scrollWidth > %d).map(m => m.title + " " + m.scrollWidth)`, width)
	require.Empty(t, pagetest.Eval[[]string](t, tab, "the pages that are too wide", wide))
	require.LessOrEqual(t, pagetest.Eval[int](t, tab, "the width", `document.documentElement.scrollWidth`), width)
	pagetest.Save(t, tab, filepath.Join(t.ArtifactDir(), "phone.png"))
	// A page that is too wide is noticed.
	pagetest.Eval[bool](t, tab, "a wide heading", `(h => { h.style.width = "50rem"; h.style.maxWidth = "none"; return true })(document.querySelector("main:nth-of-type(3) h1"))`)
	require.Len(t, pagetest.Eval[[]string](t, tab, "the pages that are too wide", wide), 1)
}
