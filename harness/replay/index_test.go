package replay_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/report"
)

// A run of three tests: one passed, one failed because of the product, one because of the host.
// Each left a film.
func TestThePageOfARunIsSortedFilteredAndSearchedAndLeadsToItsLanes(t *testing.T) {
	dir := t.TempDir()
	var stream bytes.Buffer
	for i, c := range []struct{ name, outcome, verdict, says string }{
		{"TestPasses", "pass", `{"ok":true,"name":"a","accel":"tcg","warm":true,"ready_ms":400}`, ""},
		{"TestWaits", "fail", `{"verdict":"product","reason":"awaited a key","name":"b","accel":"tcg"}`, "    a_test.go:1: product fault: awaited a key, saw last none: late\n"},
		{"TestOnKVM", "fail", `{"verdict":"host","reason":"no KVM here","name":"c","accel":"tcg"}`, "    a_test.go:2: host fault: no KVM here\n"},
	} {
		lane := filepath.Join(dir, "artifacts", c.name)
		require.NoError(t, os.MkdirAll(lane, 0o755))
		frames, _ := noisyFilm(t, i+1)
		for name, text := range map[string]string{"timeline.ndjson": begin, "verdict.json": c.verdict, "screen.film": frames} {
			require.NoError(t, os.WriteFile(filepath.Join(lane, name), []byte(text), 0o644))
		}
		for _, line := range []string{
			`{"Action":"run","Package":"example.com/p","Test":%q}`,
			`{"Action":"artifacts","Package":"example.com/p","Test":%q,"Path":"` + lane + `"}`,
		} {
			fmt.Fprintf(&stream, line+"\n", c.name)
		}
		fmt.Fprintf(&stream, `{"Action":"output","Package":"example.com/p","Test":%q,"Output":%q}`+"\n", c.name, c.says)
		fmt.Fprintf(&stream, `{"Action":%q,"Package":"example.com/p","Test":%q,"Elapsed":%d}`+"\n", c.outcome, c.name, i+1)
	}
	fmt.Fprintln(&stream, `{"Action":"fail","Package":"example.com/p","Elapsed":6}`)
	run, err := report.Read(&stream, report.ReadOptions{})
	require.NoError(t, err)
	made, err := run.MakePages()
	require.NoError(t, err)
	require.Equal(t, 3, made)
	page := filepath.Join(dir, "index.html")
	f, err := os.Create(page)
	require.NoError(t, err)
	require.NoError(t, run.WriteIndex(f, report.IndexOptions{Title: "lanes", Dir: dir}))
	require.NoError(t, f.Close())

	b := openBrowser(t)
	b.visit(page, "")
	b.await("the script", `!document.getElementById("tools").hidden`)
	names := `[...document.querySelectorAll("#tests tbody tr")].filter(r => !r.hidden).map(r => r.querySelector(".name").textContent).join(" ")`
	require.Equal(t, "TestWaits TestOnKVM TestPasses", eval[string](b, "the worst first", names))
	b.await("three small pictures", `[...document.images].filter(i => i.complete && i.naturalWidth === 64).length === 3`)
	eval[bool](b, "sort", `document.querySelector("th[data-by=ms] button").click(), true`)
	require.Equal(t, "TestOnKVM TestWaits TestPasses", eval[string](b, "the longest first", names))
	eval[bool](b, "sort", `document.querySelector("th[data-by=ms] button").click(), true`)
	require.Equal(t, "TestPasses TestWaits TestOnKVM", eval[string](b, "the shortest first", names))
	eval[bool](b, "search", `(s => { s.value = "NO KVM"; s.dispatchEvent(new Event("input")); return true; })(document.getElementById("search"))`)
	require.Equal(t, "TestOnKVM", eval[string](b, "found", names))
	eval[bool](b, "no search", `(s => { s.value = ""; s.dispatchEvent(new Event("input")); return true; })(document.getElementById("search"))`)
	eval[bool](b, "filter", `[...document.querySelectorAll("#chips button")].find(c => c.textContent.startsWith("passed")).click(), true`)
	require.Equal(t, "TestWaits TestOnKVM", eval[string](b, "without those that passed", names))
	require.Equal(t, 2, eval[int](b, "groups", `document.querySelectorAll(".groups li").length`))
	b.save("index.png")
	b.quiet(page)
	// A link leads to the lane's page.
	href := eval[string](b, "the link", `document.querySelector("a.name[href*=TestWaits]").href`)
	require.Equal(t, "file://"+filepath.Join(dir, "artifacts", "TestWaits", "lane.html"), href)
	b.open(filepath.Join(dir, "artifacts", "TestWaits", "lane.html"), "")
	require.Contains(t, eval[string](b, "the lane", `document.querySelector("h1").textContent`), "Product fault: awaited a key")
	require.Contains(t, eval[string](b, "what the test printed", `document.getElementById("chips").textContent`), "Test")
}
