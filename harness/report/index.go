package report

import (
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/spicelane/spicelane/harness/replay"
	"github.com/spicelane/spicelane/harness/verdict"
)

// IndexOptions configure WriteIndex. The zero value is useful.
type IndexOptions struct {
	// Title is the heading. Default: "Tests".
	Title string
	// Dir is the directory of the page: links are relative to it. Default: the working directory.
	Dir string
}

//go:embed index.html
var indexHTML string

//go:embed index.css
var indexCSS string

//go:embed index.js
var indexJS string

var indexTemplate = template.Must(template.New("index").Parse(indexHTML))

// WriteIndex writes the run as one page of HTML. The failures come first, grouped by their cause;
// then all tests, with their lanes, the last picture of each, and a link to its page. The page
// loads nothing and is readable without a script; its own script sorts, filters and searches.
func (r *Run) WriteIndex(w io.Writer, opt IndexOptions) error {
	x := index{run: r, opt: opt}
	x.opt.Title = cmp.Or(opt.Title, "Tests")
	hash := func(text string) string {
		sum := sha256.Sum256([]byte(text))
		return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	policy := fmt.Sprintf("default-src 'none'; img-src data:; script-src %s; style-src %s; base-uri 'none'; form-action 'none'", hash(indexJS), hash(indexCSS))
	outcome := "passed"
	if v := r.Verdict(); v != "" {
		outcome = string(v)
	}
	return indexTemplate.Execute(w, map[string]any{
		"Policy": policy, "CSS": template.CSS(indexCSS), "JS": template.JS(indexJS),
		"Title": x.opt.Title, "Headline": r.Headline(), "Outcome": outcome, "Badge": badge(outcome),
		"Problems": r.Problems, "Groups": x.groups(), "Rows": x.rows(), "Began": began(r.Began),
	})
}

func began(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format("2006-01-02 15:04:05 MST")
}

func badge(outcome string) string {
	switch outcome {
	case "product", "harness", "host":
		return outcome + " fault"
	}
	return outcome
}

// An index makes the parts of the page.
type index struct {
	run *Run
	opt IndexOptions
}

// An indexGroup has the failures that seem to have the same cause.
type indexGroup struct {
	Cause   string
	Outcome string
	Tests   []indexLink
}

type indexLink struct{ Name, Href string }

// groups groups the failures by their cause, as far as their reasons show it. The largest groups
// come first.
func (x *index) groups() []indexGroup {
	var all []*indexGroup
	byCause := map[string]*indexGroup{}
	for _, f := range x.run.Failures() {
		cause := causeOf(f)
		key := string(f.Verdict) + "\x00" + cause
		g := byCause[key]
		if g == nil {
			g = &indexGroup{Cause: visible(cause), Outcome: string(f.Verdict)}
			byCause[key] = g
			all = append(all, g)
		}
		g.Tests = append(g.Tests, indexLink{visible(shortName(f)), x.pageOf(f.Test)})
	}
	slices.SortStableFunc(all, func(a, b *indexGroup) int { return len(b.Tests) - len(a.Tests) })
	out := make([]indexGroup, len(all))
	for i, g := range all {
		out[i] = *g
	}
	return out
}

// particular matches what differs between two failures with the same cause: numbers, times,
// addresses, temporary names.
var particular = regexp.MustCompile(`0x[0-9a-fA-F]+|[0-9a-f]{8,}|\d+(?:[.:]\d+)*(?:µs|ms|s|m)?`)

// causeOf returns the cause of a failure in one line: what was awaited, which failure the guest
// reported, or the reason without what is particular to this failure.
func causeOf(f Finding) string {
	reason := oneLine(f.Reason, maxReason)
	for _, known := range []*regexp.Regexp{guestFailed, awaited, firstDifference} {
		if m := known.FindStringSubmatch(reason); m != nil {
			return particular.ReplaceAllString(m[1], "…")
		}
	}
	reason, _, _ = strings.Cut(reason, "; ")
	return particular.ReplaceAllString(reason, "…")
}

var (
	guestFailed     = regexp.MustCompile(`(the guest failed: [^:]+)`)
	awaited         = regexp.MustCompile(`(awaited .+?)(?:, saw last| on its serial console|: )`)
	firstDifference = regexp.MustCompile(`(at \(\d+,\d+\) the client has)`)
)

// An indexRow is a test with all its runs.
type indexRow struct {
	Package, Name, Outcome, Badge string
	Took                          string
	MS                            int64
	Reason, Output                string
	Rate                          string // of a test that ran several times
	Runs                          []indexRun
	Lane, Href, Thumb             string
	Dir                           string
}

// An indexRun is one run of a test.
type indexRun struct{ Outcome, Href, Title string }

// worst has the outcomes in the order in which people should look at them.
var worst = []string{"product", "harness", "host", "failed", "skipped", "passed"}

func (x *index) rows() []indexRow {
	var rows []*indexRow
	byName := map[string]*indexRow{}
	add := func(key string) *indexRow {
		row := byName[key]
		if row == nil {
			row = &indexRow{Outcome: "passed"}
			byName[key] = row
			rows = append(rows, row)
		}
		return row
	}
	for _, p := range x.run.Packages {
		if p.Failure != nil {
			row := add(p.Path)
			row.Package, row.Name, row.Outcome, row.MS = p.Path, "(the package)", string(p.Failure.Verdict), p.Elapsed.Milliseconds()
			row.Reason, row.Output = oneLine(p.Failure.Reason, maxReason), strings.Join(excerpt(p.Output, summaryLines), "\n")
		}
		for _, t := range p.Tests {
			x.addRun(add(p.Path+"\x00"+t.Name), t)
		}
	}
	out := make([]indexRow, len(rows))
	for i, row := range rows {
		row.Badge, row.Took = badge(row.Outcome), short(time.Duration(row.MS)*time.Millisecond)
		if n := len(row.Runs); n > 1 {
			failed := 0
			for _, run := range row.Runs {
				if run.Outcome != "passed" && run.Outcome != "skipped" {
					failed++
				}
			}
			row.Rate = Rate{Failed: failed, Runs: n}.String()
		} else {
			row.Runs = nil
		}
		row.Output = visible(row.Output)
		row.Reason, row.Name, row.Package = visible(row.Reason), visible(row.Name), visible(row.Package)
		out[i] = *row
	}
	slices.SortStableFunc(out, func(a, b indexRow) int {
		return cmp.Compare(slices.Index(worst, a.Outcome), slices.Index(worst, b.Outcome))
	})
	return out
}

// addRun adds one run of a test to its row, which shows the worst.
func (x *index) addRun(row *indexRow, t *Test) {
	outcome, reason := string(t.Outcome), t.Reason
	if t.Failure != nil {
		outcome, reason = string(t.Failure.Verdict), t.Failure.Reason
	}
	href := x.pageOf(t)
	row.Runs = append(row.Runs, indexRun{outcome, href, fmt.Sprintf("%s, %s", badge(outcome), short(t.Elapsed))})
	if len(row.Runs) > 1 && slices.Index(worst, outcome) >= slices.Index(worst, row.Outcome) {
		return
	}
	row.Package, row.Name, row.Outcome, row.MS, row.Href = t.Package, t.Name, outcome, t.Elapsed.Milliseconds(), href
	row.Reason, row.Output = oneLine(reason, maxReason), ""
	if t.Failure != nil {
		row.Output = strings.Join(excerpt(t.brief(), summaryLines), "\n")
	}
	dir, lanes := t.evidence()
	if t.Failure == nil {
		dir, lanes = t.Artifacts, t.Lanes
	}
	row.Lane, row.Thumb, row.Dir = describeLanes(lanes), "", ""
	if dir != "" {
		row.Dir = x.href(dir)
	}
	for _, l := range slices.Backward(lanes) {
		if l.Gone {
			continue
		}
		if b, err := replay.Thumbnail(l.Dir, 160); err == nil {
			row.Thumb = base64.StdEncoding.EncodeToString(b)
			break
		}
	}
}

// pageOf returns the link to the page of a test's lane; empty if there is none.
func (x *index) pageOf(t *Test) string {
	if t == nil {
		return ""
	}
	page := t.page()
	if page == "" {
		return ""
	}
	return x.href(page)
}

// href returns a link to a file, relative to the page.
func (x *index) href(path string) string {
	s := summary{opt: SummaryOptions{Dir: x.opt.Dir}}
	rel := filepath.ToSlash(s.rel(path))
	if filepath.IsAbs(rel) {
		return (&url.URL{Scheme: "file", Path: rel}).String()
	}
	// A name with a colon would be read as a scheme.
	return (&url.URL{Path: "./" + rel}).EscapedPath()
}

// visible replaces control characters and format characters, which can change the direction of
// text.
func visible(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r)) {
			return '\ufffd'
		}
		return r
	}, strings.ToValidUTF8(s, "\ufffd"))
}

// MakePages makes the pages of lanes that have none, because the process that ran them was killed.
// It also makes the pages of failed tests again, with the test's output. It writes them to the
// lanes' directories, and returns the number of pages made and the first error.
func (r *Run) MakePages() (made int, err error) {
	seen := map[string]bool{}
	r.Tests(func(t *Test) {
		for _, l := range t.Lanes {
			if l.Gone || seen[l.Dir] {
				continue
			}
			seen[l.Dir] = true
			_, missing := os.Stat(filepath.Join(l.Dir, replay.File))
			if missing == nil && t.Failure == nil {
				continue
			}
			o := replay.Options{}
			if t.Failure != nil {
				o.TestOutput = t.Output
			}
			if werr := replay.Write(l.Dir, o); werr != nil {
				err = cmp.Or(err, error(&verdict.Error{Verdict: verdict.Harness, Op: "page of a lane", Err: werr}))
				continue
			}
			made++
		}
	})
	return made, err
}
