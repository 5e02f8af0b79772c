package report

import (
	"cmp"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spicelane/spicelane/harness/replay"
	"github.com/spicelane/spicelane/harness/timeline"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/internal/quantile"
)

// SummaryOptions configure WriteSummary. The zero value is useful.
type SummaryOptions struct {
	// Title is the heading. Default: "Tests".
	Title string
	// Dir is the directory of the summary: links to evidence are relative to it. Default: the
	// working directory.
	Dir string
	// Index is the path of the run's page, see WriteIndex. The summary links to it. Empty means
	// none.
	Index string
	// ArtifactsURL is the address of the artifact directories if they are not beside the summary,
	// such as the archive of a CI run. Links then use it.
	ArtifactsURL string
	// Bytes limits the summary's size. Default: 1 MB less some room, the limit of a GitHub job
	// summary.
	Bytes int
}

const (
	summaryBytes    = 1000 << 10
	summaryLines    = 40 // of a failure's output
	summarySlow     = 5
	summaryEachList = 200
)

// WriteSummary writes the run in Markdown: first the failures with their verdicts, reasons and
// evidence, then the results of repeated tests, the lanes, the skipped tests, and the packages.
func (r *Run) WriteSummary(w io.Writer, opt SummaryOptions) error {
	s := summary{run: r, opt: opt, left: cmp.Or(opt.Bytes, summaryBytes)}
	for _, part := range []func(*strings.Builder){s.head, s.problems, s.failures, s.flakes, s.lanes, s.skipped, s.packages} {
		var b strings.Builder
		part(&b)
		s.put(b.String())
	}
	_, err := io.WriteString(w, s.out.String())
	return err
}

type summary struct {
	run  *Run
	opt  SummaryOptions
	out  strings.Builder
	left int // bytes
	full bool
}

// put adds a part if there is room for it, and returns whether it did. The first time that there is
// none, it writes that the summary is cut.
func (s *summary) put(part string) bool {
	if s.full {
		return false
	}
	if len(part) > s.left {
		s.full = true
		s.out.WriteString("\n*The rest is left out: this summary would be too long.*\n")
		return false
	}
	s.left -= len(part)
	s.out.WriteString(part)
	return true
}

func (s *summary) head(b *strings.Builder) {
	word := "passed"
	if v := s.run.Verdict(); v != "" {
		word = "failed: " + string(v)
		if n := len(s.run.Count().Verdicts); n > 1 {
			word += " and others"
		}
	}
	fmt.Fprintf(b, "## %s: %s\n\n%s\n", cmp.Or(s.opt.Title, "Tests"), word, text(s.run.Headline()))
	if s.opt.Index != "" {
		fmt.Fprintf(b, "\n%s has every test, with the last picture of its lane.\n", s.link("The page of the run", s.opt.Index))
	}
}

func (s *summary) problems(b *strings.Builder) {
	if len(s.run.Problems) == 0 {
		return
	}
	fmt.Fprintf(b, "\n**About the results themselves:**\n\n")
	for _, p := range s.run.Problems {
		fmt.Fprintf(b, "- %s\n", text(p))
	}
}

func (s *summary) failures(b *strings.Builder) {
	all := s.run.Failures()
	if len(all) == 0 {
		return
	}
	b.WriteString("\n| verdict | test | reason | took | lane | evidence |\n|---|---|---|---|---|---|\n")
	for i, f := range all {
		if i == summaryEachList {
			fmt.Fprintf(b, "| | … and %d more | | | | |\n", len(all)-i)
			break
		}
		took, lane, dir, page := f.Package.Elapsed, "", "", ""
		if f.Test != nil {
			page = f.Test.page()
			took = f.Test.Elapsed
			var lanes []Lane
			dir, lanes = f.Test.evidence()
			lane = describeLanes(lanes)
		}
		fmt.Fprintf(b, "| **%s**%s | %s | %s | %s | %s | %s |\n", f.Verdict, kindNote(f.Kind), code(shortName(f)), cell(oneLine(f.Reason, 160)), short(took), cell(lane), s.links(page, dir))
	}
	// Each failure is a separate part: a summary that is too long loses the last ones, not all.
	s.put(b.String())
	b.Reset()
	for i, f := range all {
		if i == summaryEachList {
			break
		}
		var one strings.Builder
		s.failure(&one, f)
		if !s.put(one.String()) {
			return
		}
	}
}

func (s *summary) failure(b *strings.Builder, f Finding) {
	fmt.Fprintf(b, "\n<details><summary>%s: %s</summary>\n\n%s\n", faultOf(f.Failure), html(f.Name()), text(f.Reason))
	output := f.Package.Output
	if f.Test != nil {
		output = f.Test.brief()
		if dir, lanes := f.Test.evidence(); dir != "" {
			s.evidence(b, dir, lanes)
		}
	}
	if lines := excerpt(output, summaryLines); len(lines) > 0 {
		fence := fenceFor(lines)
		fmt.Fprintf(b, "\n%stext\n%s\n%s\n", fence, strings.Join(lines, "\n"), fence)
	}
	b.WriteString("\n</details>\n")
}

// evidenceFiles are the files to look at first, in this order.
var evidenceFiles = []string{replay.File, verdict.File, timeline.File, "serial.log", "qemu.log", "qemu.argv", "proxy.log", "client.log"}

func (s *summary) evidence(b *strings.Builder, dir string, lanes []Lane) {
	dirs := []string{dir}
	for _, l := range lanes {
		if l.Dir != dir && !l.Gone {
			dirs = append(dirs, l.Dir)
		}
	}
	for _, d := range dirs {
		fmt.Fprintf(b, "\nEvidence: %s", s.link(s.rel(d), d))
		var files []string
		for _, name := range evidenceFiles {
			if st, err := os.Stat(filepath.Join(d, name)); err == nil && st.Mode().IsRegular() && st.Size() > 0 {
				files = append(files, name)
			}
		}
		if pngs, err := filepath.Glob(filepath.Join(quoteGlob(d), "*.png")); err == nil {
			for _, p := range pngs[:min(len(pngs), 12)] {
				files = append(files, filepath.Base(p))
			}
		}
		for i, name := range files {
			sep := " · "
			if i == 0 {
				sep = ": "
			}
			b.WriteString(sep + s.link(name, filepath.Join(d, name)))
		}
		b.WriteString("\n")
	}
	for _, l := range lanes {
		fmt.Fprintf(b, "\nLane %s: %s\n", code(l.Name), text(describeLanes([]Lane{l})))
	}
}

func quoteGlob(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(s)
}

// flakes writes the tests that ran several times.
func (s *summary) flakes(b *strings.Builder) {
	all := s.run.Flakes()
	if len(all) == 0 {
		return
	}
	var total Rate
	var failing []Flake
	for _, f := range all {
		total.Runs += f.Runs
		total.Failed += f.Failed
		if f.Failed > 0 {
			failing = append(failing, f)
		}
	}
	fmt.Fprintf(b, "\n### Repeated tests\n\n%d %s ran more than once. Of all their runs, %s.\n", len(all), plural(len(all), "test"), text(total.String()))
	shown := failing
	if len(shown) == 0 {
		shown = all
	}
	b.WriteString("\n| test | failed | rate | 95 % confidence | p50 | p95 |\n|---|---|---|---|---|---|\n")
	for i, f := range shown {
		if i == summaryEachList {
			fmt.Fprintf(b, "| … and %d more | | | | | |\n", len(shown)-i)
			break
		}
		low, high := f.Interval()
		fmt.Fprintf(b, "| %s | %d of %d | %s | %s to %s | %s | %s |\n", code(lastName(f.Package)+"."+f.Name), f.Failed, f.Runs,
			percent(f.Value()), percent(low), percent(high), short(quantile.Of(f.Times, 0.5)), short(quantile.Of(f.Times, 0.95)))
	}
}

func (s *summary) lanes(b *strings.Builder) {
	n := s.run.Count().Lanes
	if n == 0 {
		return
	}
	fmt.Fprintf(b, "\n<details><summary>%d %s</summary>\n\n| test | lane | ended | evidence |\n|---|---|---|---|\n", n, plural(n, "lane"))
	i := 0
	s.run.Tests(func(t *Test) {
		for _, l := range t.Lanes {
			if l.Gone || l.Accel == "" {
				continue
			}
			if i++; i > summaryEachList {
				continue
			}
			ended := "well"
			if !l.OK {
				ended = "failed"
				if l.Verdict != "" {
					ended = string(l.Verdict) + " fault"
				}
				if t.Outcome == Passed {
					ended += ", and the test passed"
				}
			}
			fmt.Fprintf(b, "| %s | %s | %s | %s |\n", code(t.Name), cell(describeLanes([]Lane{l})), ended, s.links(pageOfLane(l), l.Dir))
		}
	})
	if i > summaryEachList {
		fmt.Fprintf(b, "| … and %d more | | | |\n", i-summaryEachList)
	}
	b.WriteString("\n</details>\n")
	if carried := s.run.Carried(); carried != "" {
		fmt.Fprintf(b, "\nThe lanes carried %s.\n", text(carried))
	}
}

// skipped writes the skipped tests, grouped by reason.
func (s *summary) skipped(b *strings.Builder) {
	by := map[string][]string{}
	var reasons []string
	n := 0
	s.run.Tests(func(t *Test) {
		if t.Outcome != Skipped {
			return
		}
		n++
		why := or(t.Reason, "without a reason")
		if by[why] == nil {
			reasons = append(reasons, why)
		}
		by[why] = append(by[why], t.Name)
	})
	if n == 0 {
		return
	}
	fmt.Fprintf(b, "\n<details><summary>%d skipped</summary>\n\n", n)
	for _, why := range reasons {
		names := by[why]
		more := ""
		if len(names) > 10 {
			more = fmt.Sprintf(" and %d more", len(names)-10)
			names = names[:10]
		}
		var quoted []string
		for _, n := range names {
			quoted = append(quoted, code(n))
		}
		fmt.Fprintf(b, "- %s: %s%s\n", text(why), strings.Join(quoted, ", "), more)
	}
	b.WriteString("\n</details>\n")
}

func (s *summary) packages(b *strings.Builder) {
	if len(s.run.Packages) == 0 {
		return
	}
	n := len(s.run.Packages)
	fmt.Fprintf(b, "\n<details><summary>%d %s</summary>\n\n| package | | passed | failed | skipped | took |\n|---|---|---|---|---|---|\n", n, plural(n, "package"))
	var tests []*Test
	for _, p := range s.run.Packages {
		c := map[Outcome]int{}
		for _, t := range p.Tests {
			if t.Failure == nil || t.Failure.Kind != Subtests {
				c[t.Outcome]++
			}
			if t.Parent == nil {
				tests = append(tests, t)
			}
		}
		took := short(p.Elapsed)
		if p.Cached {
			took = "cached"
		}
		fmt.Fprintf(b, "| %s | %s | %d | %d | %d | %s |\n", code(p.Path), p.Outcome, c[Passed], c[Failed], c[Skipped], took)
	}
	slices.SortStableFunc(tests, func(x, y *Test) int { return cmp.Compare(y.Elapsed, x.Elapsed) })
	if len(tests) > 0 {
		b.WriteString("\nThe slowest:")
		for i, t := range tests[:min(len(tests), summarySlow)] {
			sep := ","
			if i == 0 {
				sep = ""
			}
			fmt.Fprintf(b, "%s %s %s", sep, code(lastName(t.Package)+"."+t.Name), short(t.Elapsed))
		}
		b.WriteString(".\n")
	}
	b.WriteString("\n</details>\n")
}

// describeLanes describes lanes in a few words: "tcg, warm, ready in 0.61 s".
func describeLanes(lanes []Lane) string {
	var out []string
	for _, l := range lanes {
		if l.Gone {
			out = append(out, l.Accel)
			continue
		}
		if l.Accel == "" {
			out = append(out, "not started")
			continue
		}
		how := "cold"
		if l.Warm {
			how = "warm"
		}
		ready := "never ready"
		if l.ReadyMS > 0 {
			ready = fmt.Sprintf("ready in %.2f s", float64(l.ReadyMS)/1000)
		}
		out = append(out, fmt.Sprintf("%s, %s, %s", l.Accel, how, ready))
	}
	return strings.Join(out, "; ")
}

func kindNote(k Kind) string {
	if k == Assertion {
		return ""
	}
	return " (" + string(k) + ")"
}

func shortName(f Finding) string {
	if f.Test == nil {
		return f.Package.Path
	}
	return lastName(f.Package.Path) + "." + f.Test.Name
}

func lastName(pkg string) string {
	return pkg[strings.LastIndexByte(pkg, '/')+1:]
}

// rel returns path relative to the summary, unless that is a long way up.
func (s *summary) rel(path string) string {
	from := cmp.Or(s.opt.Dir, ".")
	abs, err := filepath.Abs(from)
	if err != nil {
		return path
	}
	rel, err := filepath.Rel(abs, path)
	if err != nil || strings.HasPrefix(rel, filepath.Join("..", "..", "..")) {
		return path
	}
	return rel
}

// link returns a link to a file or directory; empty without one.
func (s *summary) link(label, path string) string {
	if path == "" {
		return ""
	}
	if s.opt.ArtifactsURL != "" {
		// An archive has one address for all its files.
		return "[" + code(s.rel(path)) + "](" + s.opt.ArtifactsURL + ")"
	}
	rel := filepath.ToSlash(s.rel(path))
	return "[" + cell(label) + "](" + (&url.URL{Path: rel}).EscapedPath() + ")"
}

// links returns the links to a lane's page and to its directory, without those that do not exist.
func (s *summary) links(page, dir string) string {
	if page == "" {
		return s.link("directory", dir)
	}
	return strings.TrimSuffix(s.link(filepath.Base(page), page)+" · "+s.link("directory", dir), " · ")
}

// text escapes s for running Markdown; cell does so for a table.
func text(s string) string {
	return strings.NewReplacer(`\`, `\\`, "`", "\\`", `*`, `\*`, `_`, `\_`, `[`, `\[`, `]`, `\]`, `<`, `&lt;`, `&`, `&amp;`, "~", `\~`).Replace(oneLine(s, 10*maxReason))
}

func cell(s string) string { return strings.ReplaceAll(text(s), "|", `\|`) }

// html escapes text inside HTML tags.
func html(s string) string {
	return strings.NewReplacer(`<`, `&lt;`, `&`, `&amp;`).Replace(oneLine(s, 10*maxReason))
}

// code returns s in a code span that it cannot end, in tables as well.
func code(s string) string {
	if s == "" {
		return ""
	}
	s = strings.ReplaceAll(oneLine(s, maxReason), "|", `\|`)
	fence := "`"
	for strings.Contains(s, fence) {
		fence += "`"
	}
	if strings.HasPrefix(s, "`") || strings.HasSuffix(s, "`") {
		s = " " + s + " "
	}
	return fence + s + fence
}

// fenceFor returns a code fence that none of the lines can end.
func fenceFor(lines []string) string {
	fence := "```"
	for _, l := range lines {
		for strings.Contains(l, fence) {
			fence += "`"
		}
	}
	return fence
}
