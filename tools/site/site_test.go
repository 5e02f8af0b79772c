package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// repository makes a small repository of documents, with those of pages instead of or beside its own.
func repository(t *testing.T, pages map[string]string) string {
	t.Helper()
	root := t.TempDir()
	files := map[string]string{
		"README.md":      "# Top\n\nSee [the proxy](docs/proxy.md#what-it-does).\n",
		"docs/README.md": "# Contents\n\n## How to\n\n- [Use the proxy](proxy.md): words\n",
		"docs/proxy.md":  "# The proxy\n\n## What it *does*!\n\n![A picture](p.png) [code](../cmd/main.go) [x](https://example.com/)\n",
		"docs/p.png":     "a picture",
		"cmd/main.go":    "package main\n",
	}
	for name, text := range pages {
		files[name] = text
	}
	for name, text := range files {
		file := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// checked reads and checks a repository.
func checked(t *testing.T, pages map[string]string) *site {
	t.Helper()
	s, err := read(repository(t, pages))
	if err != nil {
		t.Fatal(err)
	}
	s.check()
	return s
}

func TestGoodLinksAreCountedAndNothingIsWrong(t *testing.T) {
	s := checked(t, nil)
	if len(s.faults) > 0 {
		t.Errorf("faults %q", s.faults)
	}
	if s.inside != 3 || s.outside != 1 || len(s.images) != 1 || len(s.pages) != 3 {
		t.Errorf("%d inside, %d outside, %d images, %d pages", s.inside, s.outside, len(s.images), len(s.pages))
	}
}

func TestEachDeadLinkIsSaidWithItsLine(t *testing.T) {
	s := checked(t, map[string]string{"docs/proxy.md": `# The proxy

[a](none.md)
and [b](#none)

| a table |
|---|
| [c](README.md#how) |

- [d](../../outside) ![e](none.png)
- [f](/etc/passwd) ![](p.png) ![g](https://example.com/g.png)
- [h](../cmd/none.go) <b>bold</b> [i](extra.md)
- [k](javascript:alert(1)) [l](http://example.com/)

## Twice
## Twice
[good](#twice) [good](#twice-1) [j](#twice-2) [good](README.md#how-to)
`, "docs/extra.md": "# Extra\n"})
	want := []string{
		"docs/extra.md: has no link in docs/README.md",
		`README.md:3: dead link docs/proxy.md#what-it-does: docs/proxy.md has no heading with the anchor "what-it-does"`,
		"docs/proxy.md:3: dead link none.md: docs/none.md is not there",
		`docs/proxy.md:4: dead link #none: docs/proxy.md has no heading with the anchor "none"`,
		`docs/proxy.md:8: dead link README.md#how: docs/README.md has no heading with the anchor "how"`,
		"docs/proxy.md:10: dead link ../../outside: it leads out of the repository",
		"docs/proxy.md:10: dead link none.png: docs/none.png is not there",
		"docs/proxy.md:11: dead link /etc/passwd: it leads out of the repository",
		"docs/proxy.md:11: the image p.png says nothing to those who cannot see it; describe it",
		"docs/proxy.md:11: dead link https://example.com/g.png: an image has to be a file of the repository",
		"docs/proxy.md:12: dead link ../cmd/none.go: cmd/none.go is not there",
		"docs/proxy.md:12: HTML in a page is not shown; write Markdown",
		"docs/proxy.md:12: HTML in a page is not shown; write Markdown",
		"docs/proxy.md:12: dead link extra.md: docs/extra.md has no link in docs/README.md, so the site lacks it",
		"docs/proxy.md:13: javascript:alert(1) does not begin with https://",
		"docs/proxy.md:13: http://example.com/ does not begin with https://",
		`docs/proxy.md:17: dead link #twice-2: docs/proxy.md has no heading with the anchor "twice-2"`,
	}
	if !slices.Equal(s.faults, want) {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(s.faults, "\n"), strings.Join(want, "\n"))
	}
	if s.dead != 11 {
		t.Errorf("%d dead links, want 11", s.dead)
	}
}

func TestADeadLinkOfTheNavigationIsFound(t *testing.T) {
	s := checked(t, map[string]string{"docs/README.md": "# Contents\n\n## How to\n\n- [Use the proxy](proxy.md)\n- [X](none.md)\n"})
	if want := "docs/README.md:6: dead link none.md: docs/none.md is not there"; !slices.Equal(s.faults, []string{want}) {
		t.Errorf("got %q, want %q", s.faults, want)
	}
}

func TestADeadLinkFailsTheRunAndLeavesNoSite(t *testing.T) {
	root := repository(t, map[string]string{"README.md": "# Top\n[x](none.md)\n"})
	out := filepath.Join(root, "site")
	err := run(root, out)
	if err == nil || !strings.Contains(err.Error(), "1 of them dead links") {
		t.Errorf("the error is %v", err)
	}
	if _, err := os.Stat(out); !os.IsNotExist(err) {
		t.Errorf("there is a site: %v", err)
	}
}

func TestADirectoryWithOtherFilesIsNotRemoved(t *testing.T) {
	root := repository(t, nil)
	if err := run(root, filepath.Join(root, "docs")); err == nil || !strings.Contains(err.Error(), "choose another directory") {
		t.Errorf("the error is %v", err)
	}
	if _, err := os.Stat(filepath.Join(root, "docs", "proxy.md")); err != nil {
		t.Error(err)
	}
}

// deadEnds returns the links, scripts, styles and images of a written site that lead nowhere. It reads
// the HTML, so it does not depend on what the program believes.
func deadEnds(t *testing.T, out string) (dead []string, links int) {
	t.Helper()
	attribute := regexp.MustCompile(`\s(href|src|id)="([^"]*)"`)
	ids := make(map[string]bool)
	type reference struct{ from, to string }
	var all []reference
	err := filepath.WalkDir(out, func(file string, _ os.DirEntry, err error) error {
		if err != nil || filepath.Ext(file) != ".html" {
			return err
		}
		b, err := os.ReadFile(file)
		for _, m := range attribute.FindAllStringSubmatch(string(b), -1) {
			switch {
			case m[1] == "id":
				ids[file+"#"+m[2]] = true
			case !strings.HasPrefix(m[2], "https://"):
				all = append(all, reference{file, m[2]})
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		to, anchor, _ := strings.Cut(r.to, "#")
		file := r.from
		if to != "" {
			file = filepath.Join(filepath.Dir(r.from), to)
		}
		if _, err := os.Stat(file); err != nil || anchor != "" && !ids[file+"#"+anchor] {
			dead = append(dead, fmt.Sprintf("%s: %s", r.from, r.to))
		}
	}
	return dead, len(all)
}

func TestEveryLinkOfTheWrittenSiteLeadsSomewhere(t *testing.T) {
	out := filepath.Join(t.TempDir(), "site")
	for range 2 { // the second run replaces the site of the first
		if err := run("../..", out); err != nil {
			t.Fatal(err)
		}
	}
	dead, links := deadEnds(t, out)
	if len(dead) > 0 || links < 500 {
		t.Errorf("of %d links these lead nowhere: %q", links, dead)
	}
	b, err := os.ReadFile(filepath.Join(out, "index.html"))
	if err != nil {
		t.Fatal(err)
	}
	// The check itself sees a dead end.
	broken := strings.Replace(string(b), `href="docs/proxy.html"`, `href="docs/prxy.html"`, 1)
	if err := os.WriteFile(filepath.Join(out, "index.html"), []byte(broken), 0o600); err != nil {
		t.Fatal(err)
	}
	if dead, _ := deadEnds(t, out); len(dead) != 1 {
		t.Errorf("%q, want one dead end", dead)
	}
}

func TestNoPageRunsOrStylesAnythingOfItsOwn(t *testing.T) {
	root := repository(t, map[string]string{"docs/proxy.md": "# The proxy\n\n## What it does\n\n| a | b |\n|--:|:-:|\n| `<script>` | [x](https://example.com/) |\n\n![p](p.png)\n"})
	out := filepath.Join(root, "site")
	if err := run(root, out); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(out, "docs", "proxy.html"))
	if err != nil {
		t.Fatal(err)
	}
	page := string(b)
	for _, never := range []string{"style=", "<style", "onclick"} {
		if strings.Contains(page, never) {
			t.Errorf("the page has %s", never)
		}
	}
	if n := strings.Count(page, "<script"); n != 1 {
		t.Errorf("the page has %d scripts, want that of the site", n)
	}
	if !strings.Contains(page, `<code class="word">&lt;script&gt;</code>`) {
		t.Error("a short word of code may be broken")
	}
	if !strings.Contains(page, "default-src 'none'") || !strings.Contains(page, "&lt;script&gt;") {
		t.Error("the page lacks its policy, or text is not escaped")
	}
}
