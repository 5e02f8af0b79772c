package report_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/replay"
	"github.com/spicelane/spicelane/harness/report"
)

func index(t *testing.T, run *report.Run, dir string) string {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, run.WriteIndex(&b, report.IndexOptions{Dir: dir}))
	return b.String()
}

func TestEveryTestIsOnThePageOfTheRun(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"lanes", "mixed", "panic", "race", "timeout", "parallel-panic", "exit", "cached"} {
		run := read(t, stream(t, name))
		page := index(t, run, artifacts(t))
		names := map[string]bool{}
		run.Tests(func(test *report.Test) {
			names[test.Name] = true
			require.Contains(t, page, ">"+test.Name+"<", name)
		})
		require.Contains(t, page, strings.ReplaceAll(run.Headline(), "+", "&#43;"), name)
		require.Equal(t, len(run.Failures()) > 0, strings.Contains(page, "<h2>What failed</h2>"), name)
	}
}

// A stream of n runs of tests, each of which fails with a reason.
func failing(t *testing.T, reasons map[string][]string) []byte {
	t.Helper()
	var b bytes.Buffer
	say := func(action, test, output string) {
		line, err := json.Marshal(map[string]string{"Action": action, "Package": "example.com/p", "Test": test, "Output": output})
		require.NoError(t, err)
		b.Write(append(line, '\n'))
	}
	for _, test := range []string{"TestA", "TestB", "TestC"} {
		for _, reason := range reasons[test] {
			say("run", test, "")
			say("output", test, "=== RUN   "+test+"\n")
			if reason == "" {
				say("output", test, "--- PASS: "+test+" (0.10s)\n")
				say("pass", test, "")
				continue
			}
			say("output", test, "    a_test.go:5: "+reason+"\n")
			say("output", test, "--- FAIL: "+test+" (0.10s)\n")
			say("fail", test, "")
		}
	}
	fmt.Fprintln(&b, `{"Action":"output","Package":"example.com/p","Output":"FAIL\n"}`)
	fmt.Fprintln(&b, `{"Action":"fail","Package":"example.com/p","Elapsed":1}`)
	return b.Bytes()
}

func TestFailuresWithTheSameCauseAreOneGroup(t *testing.T) {
	t.Parallel()
	run := read(t, failing(t, map[string][]string{
		"TestA": {"product fault: boot: the guest did not boot: awaited \"login:\" on its serial console for 12.0 s: it said x", "",
			"product fault: compare pictures: awaited client and QEMU to show the same picture, saw last at (5,6) the client has 00: deadline"},
		"TestB": {"product fault: boot: the guest did not boot: awaited \"login:\" on its serial console for 3.5 s: it said y"},
		"TestC": {"host fault: the port 5930 is taken", "host fault: the port 5931 is taken"},
	}))
	page := index(t, run, "")
	groups := regexp.MustCompile(`(?s)<span class="cause">(.*?)</span> <span class="soft">(\d+)×`).FindAllStringSubmatch(page, -1)
	got := map[string]string{}
	for _, g := range groups {
		got[g[1]] = g[2]
	}
	require.Equal(t, map[string]string{
		"awaited &#34;login:&#34;": "2", "awaited client and QEMU to show the same picture": "1", "the port … is taken": "2",
	}, got)
	// A repeated test has one row, which shows the worst run and the history of all runs.
	require.Equal(t, 1, strings.Count(page, `data-name="example.com/p.TestA"`))
	require.Contains(t, page, "2 of 3 failed")
	require.Equal(t, []string{"product", "passed", "product", "host", "host"}, captures(page, `class="run is-(\w+)"`))
}

func captures(s, pattern string) []string {
	var out []string
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(s, -1) {
		out = append(out, m[1])
	}
	return out
}

func TestThePageOfTheRunShowsHostileTextAsText(t *testing.T) {
	t.Parallel()
	const attack = `<script>hacked</script>"'><img src=x onerror=hacked>` + "\x1b[31m\u202e"
	page := index(t, read(t, failing(t, map[string][]string{"TestA": {attack, attack}})), "")
	require.NotContains(t, page, "<script>hacked")
	require.NotContains(t, page, "<img src=x")
	require.Contains(t, page, "&lt;script&gt;hacked")
	require.NotContains(t, page, "\x1b")
	require.NotContains(t, page, "\u202e")
	require.Contains(t, page, "default-src &#39;none&#39;")
}

// The pages of lanes are made if they are missing, with the output of a failed test, and linked.
func TestTheLanesOfARunGetTheirPages(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(filepath.Join(dir, "artifacts"), os.DirFS(artifacts(t))))
	b := bytes.ReplaceAll(stream(t, "lanes"), []byte(artifacts(t)), []byte(filepath.Join(dir, "artifacts")))
	run := read(t, b)
	before := index(t, run, dir)
	require.NotContains(t, before, replay.File)
	made, err := run.MakePages()
	require.NoError(t, err)
	require.Positive(t, made)
	page := index(t, run, dir)
	require.Contains(t, page, `href="./artifacts/TestWrongBanner/lane.html"`)
	lane, err := os.ReadFile(filepath.Join(dir, "artifacts", "TestWrongBanner", replay.File))
	require.NoError(t, err)
	text, err := replay.Text(bytes.NewReader(lane))
	require.NoError(t, err)
	var said bytes.Buffer
	_, err = said.ReadFrom(text)
	require.NoError(t, err)
	require.Contains(t, said.String(), "console_test.go:13: the guest did not boot", "what the test printed is in it")
	var summary bytes.Buffer
	require.NoError(t, run.WriteSummary(&summary, report.SummaryOptions{Dir: dir}))
	require.Contains(t, summary.String(), "(artifacts/TestWrongBanner/lane.html)")
}

// links returns the targets of the links of a summary.
func links(summary string) []string { return captures(summary, `\]\(([^)]*)\)`) }

// The summary and JUnit's XML link to the page of the run and to that of each lane.
func TestTheSummaryAndJUnitLinkToThePages(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(filepath.Join(dir, "artifacts"), os.DirFS(artifacts(t))))
	run := read(t, bytes.ReplaceAll(stream(t, "lanes"), []byte(artifacts(t)), []byte(filepath.Join(dir, "artifacts"))))
	write := func(indexed string) (summary, junit string) {
		var md, xml bytes.Buffer
		require.NoError(t, run.WriteSummary(&md, report.SummaryOptions{Dir: dir, Index: indexed}))
		require.NoError(t, run.WriteJUnit(&xml, report.JUnitOptions{Index: indexed}))
		return md.String(), xml.String()
	}
	summary, junit := write("")
	require.NotContains(t, summary, ".html")
	require.NotContains(t, junit, ".html")

	page := filepath.Join(dir, "lanes run.html")
	require.NoError(t, os.WriteFile(page, []byte(index(t, run, dir)), 0o644))
	_, err := run.MakePages()
	require.NoError(t, err)
	summary, junit = write(page)
	require.Contains(t, summary, "[The page of the run](lanes%20run.html)")
	require.Regexp(t, `(?m)^\| \*\*product\*\* \| .TestWrongBanner. .*\| \[lane.html\]\(artifacts/TestWrongBanner/lane.html\) · \[directory\]\(artifacts/TestWrongBanner\) \|$`,
		strings.ReplaceAll(summary, "console.", ""))
	found := 0
	for _, link := range links(summary) {
		file, err := url.PathUnescape(link)
		require.NoError(t, err)
		if !strings.HasSuffix(file, ".html") {
			continue // not every directory of this stream is there
		}
		found++
		_, err = os.Stat(filepath.Join(dir, file))
		require.NoError(t, err, "the summary links to what is not there")
	}
	require.GreaterOrEqual(t, found, 7)
	var suites struct {
		Suites []struct {
			Properties []struct {
				Name  string `xml:"name,attr"`
				Value string `xml:"value,attr"`
			} `xml:"properties>property"`
			Cases []struct {
				Name       string `xml:"name,attr"`
				Properties []struct {
					Name  string `xml:"name,attr"`
					Value string `xml:"value,attr"`
				} `xml:"properties>property"`
				Out string `xml:"system-out"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	require.NoError(t, xml.Unmarshal([]byte(junit), &suites))
	pages := map[string]string{}
	for _, s := range suites.Suites {
		require.Equal(t, "page", s.Properties[0].Name)
		require.Equal(t, page, s.Properties[0].Value)
		for _, c := range s.Cases {
			for _, p := range c.Properties {
				if p.Name == "page" {
					pages[c.Name] = p.Value
					require.FileExists(t, p.Value)
				}
			}
			if c.Name == "TestWrongBanner" {
				lane := filepath.Join(dir, "artifacts", "TestWrongBanner")
				require.Equal(t, "[[ATTACHMENT|"+filepath.Join(lane, "lane.html")+"]]\n[[ATTACHMENT|"+lane+"]]", c.Out)
			}
		}
	}
	require.Equal(t, filepath.Join(dir, "artifacts", "TestTypedTextArrives", "lane.html"), pages["TestTypedTextArrives"], "of a test that passed, too")
	require.Len(t, pages, 6)
}
