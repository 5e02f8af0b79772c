package report

import (
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/spicelane/spicelane/harness/verdict"
)

// console prints results for people as they arrive. With a nil writer it prints nothing.
type console struct{ w io.Writer }

// consoleLines is the number of lines printed of a failed test's output.
const consoleLines = 60

func (c console) test(t *Test) {
	if c.w == nil || t.Failure == nil || t.Failure.Kind == Subtests {
		return
	}
	fmt.Fprintf(c.w, "--- FAIL: %s.%s (%s)\n    %s: %s\n", path.Base(t.Package), t.Name, short(t.Elapsed), faultOf(t.Failure), t.Failure.Reason)
	for _, line := range excerpt(t.brief(), consoleLines) {
		fmt.Fprintf(c.w, "    %s\n", line)
	}
	if dir, _ := t.evidence(); dir != "" {
		fmt.Fprintf(c.w, "    evidence: %s\n", dir)
	}
}

func (c console) pkg(p *Package) {
	if c.w == nil || p.notFound && p.Failure == nil {
		return
	}
	if p.Failure != nil {
		fmt.Fprintf(c.w, "--- FAIL: %s\n    %s: %s\n", p.Path, faultOf(p.Failure), p.Failure.Reason)
		for _, line := range excerpt(p.Output, consoleLines) {
			fmt.Fprintf(c.w, "    %s\n", line)
		}
	}
	n := map[Outcome]int{}
	for _, t := range p.Tests {
		if t.Failure == nil || t.Failure.Kind != Subtests {
			n[t.Outcome]++
		}
	}
	word := "ok  "
	if p.Outcome == Failed {
		word = "FAIL"
	}
	took := short(p.Elapsed)
	if p.Cached {
		took = "cached"
	}
	var what []string
	for _, o := range []Outcome{Passed, Failed, Skipped} {
		if n[o] > 0 {
			what = append(what, fmt.Sprintf("%d %s", n[o], o))
		}
	}
	fmt.Fprintf(c.w, "%s  %-50s %9s  %s\n", word, p.Path, took, or(strings.Join(what, ", "), "no tests"))
}

// faultOf names a failure: "product fault", with the kind in parentheses unless it is an ordinary
// assertion.
func faultOf(f *Failure) string {
	s := string(f.Verdict) + " fault"
	if f.Kind != Assertion && f.Kind != Subtests {
		s += " (" + string(f.Kind) + ")"
	}
	return s
}

// Carried describes what the clients of the run's lanes received: draw types and image codecs, and
// how often. It is empty if that is unknown.
func (r *Run) Carried() string {
	carried := r.Count().Carried
	var parts []string
	for _, kind := range []struct{ name, words string }{{"operation", "drawings"}, {"image", "images"}} {
		var list []string
		for _, name := range slices.Sorted(mapKeys(carried)) {
			if what, ok := strings.CutPrefix(name, kind.name+" "); ok {
				list = append(list, fmt.Sprintf("%s %d", what, carried[name]))
			}
		}
		if list != nil {
			parts = append(parts, kind.words+": "+strings.Join(list, ", "))
		}
	}
	return strings.Join(parts, "; ")
}

// Headline summarises the run in one line.
func (r *Run) Headline() string {
	c := r.Count()
	var b strings.Builder
	fmt.Fprintf(&b, "%d passed, %d failed", c.Passed, c.Failed)
	if c.Failed > 0 {
		var by []string
		for _, v := range verdicts {
			if n := c.Verdicts[v]; n > 0 {
				by = append(by, fmt.Sprintf("%d %s", n, v))
			}
		}
		fmt.Fprintf(&b, " (%s)", strings.Join(by, ", "))
	}
	fmt.Fprintf(&b, ", %d skipped in %d %s", c.Skipped, c.Packages, plural(c.Packages, "package"))
	if d := r.Ended.Sub(r.Began); d > 0 {
		fmt.Fprintf(&b, ", %s", short(d))
	}
	if c.Lanes > 0 {
		var how []string
		for _, a := range slices.Sorted(mapKeys(c.Accels)) {
			how = append(how, fmt.Sprintf("%d %s", c.Accels[a], a))
		}
		how = append(how, fmt.Sprintf("%d warm, %d cold", c.Warm, c.Lanes-c.Warm))
		fmt.Fprintf(&b, "; %d %s (%s)", c.Lanes, plural(c.Lanes, "lane"), strings.Join(how, "; "))
	}
	return b.String()
}

var verdicts = []verdict.Kind{verdict.Product, verdict.Harness, verdict.Host}

func plural(n int, word string) string {
	if n == 1 {
		return word
	}
	return word + "s"
}

func mapKeys[V any](m map[string]V) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// short returns a duration for people: "0.12 s", "3 min 20 s".
func short(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	default:
		d = d.Round(time.Second)
		return fmt.Sprintf("%d min %02d s", d/time.Minute, d%time.Minute/time.Second)
	}
}

// brief returns the test's output. It omits QEMU's command lines, which are long, if they are among
// the evidence.
func (t *Test) brief() string {
	if dir, _ := t.evidence(); dir == "" {
		return t.Output
	}
	var b strings.Builder
	in := false
	for line := range strings.Lines(t.Output) {
		if in && !logLine.MatchString(strings.TrimRight(line, "\r\n")) {
			continue
		}
		in = strings.HasSuffix(strings.TrimSpace(line), "command line:")
		if in {
			line = strings.TrimRight(line, "\n") + " see qemu.argv\n"
		}
		b.WriteString(line)
	}
	return b.String()
}

// excerpt returns at most n lines of text. It takes more from the end than from the beginning,
// because the reason tends to be last, and the circumstances first.
func excerpt(text string, n int) []string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if len(lines) == 1 && lines[0] == "" {
		return nil
	}
	for i, l := range lines {
		lines[i] = strings.TrimRight(l, "\r")
	}
	if len(lines) <= n {
		return lines
	}
	head := n / 3
	tail := n - head - 1
	out := slices.Clone(lines[:head])
	out = append(out, fmt.Sprintf("… %d lines …", len(lines)-head-tail))
	return append(out, lines[len(lines)-tail:]...)
}
