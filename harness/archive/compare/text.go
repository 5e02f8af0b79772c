package compare

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"

	"github.com/spicelane/spicelane/harness/verdict"
)

// Headline summarises the comparison in one line.
func (c *Comparison) Headline() string {
	var parts []string
	for _, ch := range Changes {
		if n := c.Counts[ch]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, ch))
		}
	}
	n := 0
	for _, m := range c.Measurements {
		if m.Significant {
			n++
		}
	}
	s := "no cells"
	if parts != nil {
		s = strings.Join(parts, ", ")
	}
	switch {
	case len(c.Measurements) == 0:
	case n == 0:
		s += fmt.Sprintf("; %d measurements, no significant change", len(c.Measurements))
	default:
		s += fmt.Sprintf("; %d of %d measurements changed", n, len(c.Measurements))
	}
	return s
}

// listed reports whether a cell gets a line in the text.
func (d CellDiff) listed() bool { return d.Change != Passing }

func (d CellDiff) blame() string {
	if d.Reason == "" && d.Verdict == "" {
		return ""
	}
	s := string(d.Verdict)
	if s == "" {
		s = string(verdict.Product)
	}
	s += " fault"
	if d.Hop != "" {
		s += " (" + string(d.Hop) + ")"
	}
	if d.Reason != "" {
		s += ": " + d.Reason
	}
	return s
}

func (d CellDiff) tallies() string {
	s := d.A.String() + " → " + d.B.String()
	if d.P > 0 {
		s += fmt.Sprintf(" (p=%.2g)", d.P)
	}
	return s
}

func (m MeasurementDiff) delta() string {
	switch {
	case !m.Significant && m.Note != "":
		return "no answer: " + m.Note
	case !m.Significant:
		return fmt.Sprintf("no significant change (p=%.2g)", m.P)
	}
	s := "changed"
	if m.Ratio != 0 {
		s = fmt.Sprintf("%+.1f %%", 100*(m.Ratio-1))
	}
	if m.Better != "" {
		s += " " + m.Better
	}
	return s + fmt.Sprintf(" (p=%.2g)", m.P)
}

// String returns the median with its interval: "4123 (4100 to 4200)".
func (s Summary) String() string {
	text := number(s.Median)
	if s.Low != nil && s.High != nil {
		text += fmt.Sprintf(" (%s to %s)", number(*s.Low), number(*s.High))
	}
	return text
}

// number formats a value with four significant digits.
func number(v float64) string {
	if v != 0 && (math.Abs(v) < 1e-3 || math.Abs(v) >= 1e7) {
		return fmt.Sprintf("%.3e", v)
	}
	digits := 3 - int(math.Floor(math.Log10(max(math.Abs(v), 1e-3))))
	s := fmt.Sprintf("%.*f", max(0, min(digits, 6)), v)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}

func (s SideInfo) describe() string {
	noun := "runs"
	if len(s.Runs) == 1 {
		noun = "run"
	}
	text := fmt.Sprintf("%s: %d %s", s.Name, len(s.Runs), noun)
	if len(s.Runs) > 0 && len(s.Runs) <= 3 {
		text += " (" + strings.Join(s.Runs, ", ") + ")"
	}
	return text
}

// WriteText writes the comparison for a terminal.
func (c *Comparison) WriteText(w io.Writer) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "A  %s\nB  %s\n", c.A.describe(), c.B.describe())
	for _, k := range c.Differs {
		fmt.Fprintf(&b, "   %s: %s → %s\n", k, cmp.Or(c.A.Build[k], "unknown"), cmp.Or(c.B.Build[k], "unknown"))
	}
	fmt.Fprintf(&b, "%s\n", c.Headline())
	t := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	for _, d := range c.Cells {
		if d.listed() {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", d.Change, d.Cell, d.tallies(), d.blame())
		}
	}
	for _, m := range c.Measurements {
		fmt.Fprintf(t, "%s\t%s\t%s → %s %s\t%s\n", m.Name, m.Cell, m.A, m.B, m.Unit, m.delta())
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := w.Write(b.Bytes())
	return err
}

// cell escapes a text for a cell of a Markdown table.
func cell(s string) string {
	return strings.NewReplacer("|", "\\|", "\n", " ", "\r", " ", "<", "&lt;", "`", "'").Replace(s)
}

// WriteMarkdown writes the comparison in Markdown, for a pull request.
func (c *Comparison) WriteMarkdown(w io.Writer) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "## %s against %s\n\n%s\n\n", cell(c.B.Name), cell(c.A.Name), cell(c.Headline()))
	if len(c.Differs) > 0 {
		fmt.Fprintf(&b, "| build | A | B |\n|---|---|---|\n")
		for _, k := range c.Differs {
			fmt.Fprintf(&b, "| %s | %s | %s |\n", cell(k), cell(cmp.Or(c.A.Build[k], "unknown")), cell(cmp.Or(c.B.Build[k], "unknown")))
		}
		fmt.Fprintln(&b)
	}
	head := "| change | cell | A → B | why |\n|---|---|---|---|\n"
	for _, d := range c.Cells {
		if d.listed() {
			fmt.Fprintf(&b, "%s| %s | %s | %s | %s |\n", head, d.Change, cell(d.Cell), d.tallies(), cell(d.blame()))
			head = ""
		}
	}
	if head == "" {
		fmt.Fprintln(&b)
	}
	head = "| measurement | cell | A | B | |\n|---|---|---|---|---|\n"
	for _, m := range c.Measurements {
		fmt.Fprintf(&b, "%s| %s | %s | %s | %s %s | %s |\n", head, cell(m.Name), cell(m.Cell), m.A, m.B, cell(m.Unit), cell(m.delta()))
		head = ""
	}
	_, err := w.Write(b.Bytes())
	return err
}

// Headline summarises the trend in one line.
func (t *Trend) Headline() string {
	n := 0
	for _, s := range [][]Series{t.Cells, t.Measurements} {
		for _, s := range s {
			n += len(s.Changes)
		}
	}
	runs := 0
	for _, p := range t.Points {
		runs += len(p.Runs)
	}
	return fmt.Sprintf("%d builds in %d runs; %d cells that failed at times, %d measurements, %d change points",
		len(t.Points), runs, len(t.Cells), len(t.Measurements), n)
}

// title returns the name of a series.
func (s Series) title() string {
	if s.Name == "" {
		return s.Cell + ": failures"
	}
	return s.Cell + ": " + s.Name
}

// show formats a value of the series with its unit.
func (s Series) show(v float64) string {
	if s.Name == "" {
		return fmt.Sprintf("%.0f %% failed", 100*v)
	}
	return strings.TrimSpace(number(v) + " " + s.Unit)
}

func (t *Trend) change(s Series, c ChangePoint) string {
	text := fmt.Sprintf("%s → %s at %s", s.show(c.Before), s.show(c.After), t.Points[c.At].Name)
	if c.Better != "" {
		text += ", " + c.Better
	}
	return text + fmt.Sprintf(" (p=%.2g)", c.P)
}

// spark draws a series as one line of text.
func (s Series) spark() string {
	low, high := s.bounds()
	bars := []rune("▁▂▃▄▅▆▇█")
	var b strings.Builder
	next := 0
	for i, v := range s.Values {
		if next < len(s.Changes) && s.Changes[next].At == i {
			b.WriteRune('|')
			next++
		}
		switch {
		case v == nil:
			b.WriteRune(' ')
		case high == low:
			b.WriteRune(bars[0])
		default:
			b.WriteRune(bars[int((v.Median-low)/(high-low)*float64(len(bars)-1)+0.5)])
		}
	}
	return b.String()
}

// bounds returns the smallest and the largest median.
func (s Series) bounds() (low, high float64) {
	low, high = math.Inf(1), math.Inf(-1)
	for _, v := range s.Values {
		if v != nil {
			low, high = min(low, v.Median), max(high, v.Median)
		}
	}
	return low, high
}

// WriteText writes the trend for a terminal.
func (t *Trend) WriteText(w io.Writer) error {
	var b bytes.Buffer
	fmt.Fprintln(&b, t.Headline())
	for i, p := range t.Points {
		fmt.Fprintf(&b, "%3d  %s  %s  %d run(s)\n", i, p.Began.UTC().Format("2006-01-02 15:04"), p.Name, len(p.Runs))
	}
	for _, all := range [][]Series{t.Cells, t.Measurements} {
		for _, s := range all {
			fmt.Fprintf(&b, "%s  %s\n", s.spark(), s.title())
			for _, c := range s.Changes {
				fmt.Fprintf(&b, "     %s\n", t.change(s, c))
			}
		}
	}
	_, err := w.Write(b.Bytes())
	return err
}

// WriteMarkdown writes the trend in Markdown.
func (t *Trend) WriteMarkdown(w io.Writer) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "## Trend\n\n%s\n\n| series | over time | changes |\n|---|---|---|\n", cell(t.Headline()))
	for _, all := range [][]Series{t.Cells, t.Measurements} {
		for _, s := range all {
			var changes []string
			for _, c := range s.Changes {
				changes = append(changes, t.change(s, c))
			}
			fmt.Fprintf(&b, "| %s | %s | %s |\n", cell(s.title()), cell(s.spark()), cell(cmp.Or(strings.Join(changes, "; "), "none")))
		}
	}
	_, err := w.Write(b.Bytes())
	return err
}
