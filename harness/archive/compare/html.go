package compare

import (
	"cmp"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"strings"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Parse(pageText))

type pageRow struct {
	Class string
	Cells []string
	Plot  template.HTML
}

type pageTable struct {
	Title string
	Head  []string
	Rows  []pageRow
	Open  bool // whether a table that can be folded starts unfolded
}

type pageData struct {
	Title, Headline string
	Tables          []pageTable
	Hidden          []pageTable // folded
}

// WriteHTML writes the comparison as one HTML page that needs no other file.
func (c *Comparison) WriteHTML(w io.Writer) error {
	d := pageData{Title: c.B.Name + " against " + c.A.Name, Headline: c.Headline()}
	build := pageTable{Title: "Build", Head: []string{"", "A", "B"}}
	build.Rows = append(build.Rows, pageRow{Cells: []string{"runs", c.A.describe(), c.B.describe()}})
	for _, k := range c.Differs {
		build.Rows = append(build.Rows, pageRow{Cells: []string{k, cmp.Or(c.A.Build[k], "unknown"), cmp.Or(c.B.Build[k], "unknown")}})
	}
	cells := pageTable{Title: "Cells", Head: []string{"change", "cell", "A → B", "why"}}
	passing := pageTable{Title: "Cells that pass on both sides", Head: cells.Head}
	for _, x := range c.Cells {
		row := pageRow{Class: strings.ReplaceAll(string(x.Change), " ", "-"), Cells: []string{string(x.Change), x.Cell, x.tallies(), x.blame()}}
		if x.listed() {
			cells.Rows = append(cells.Rows, row)
		} else {
			passing.Rows = append(passing.Rows, row)
		}
	}
	changed := pageTable{Title: "Measurements that changed", Head: []string{"measurement", "cell", "A", "B", "change", "A grey, B blue"}}
	same := pageTable{Title: "Measurements without a significant change", Head: changed.Head}
	for _, m := range c.Measurements {
		row := pageRow{Class: m.Better, Cells: []string{m.Name, m.Cell, m.A.String(), m.B.String() + " " + m.Unit, m.delta()}, Plot: m.plot()}
		if m.Significant {
			changed.Rows = append(changed.Rows, row)
		} else {
			same.Rows = append(same.Rows, row)
		}
	}
	d.Tables, d.Hidden = []pageTable{build, cells, changed}, []pageTable{same, passing}
	return page.Execute(w, d)
}

// plot draws the two medians with their intervals on one scale.
func (m MeasurementDiff) plot() template.HTML {
	const width, height = 220.0, 26.0
	low, high := math.Inf(1), math.Inf(-1)
	for _, s := range []Summary{m.A, m.B} {
		for _, v := range []*float64{&s.Median, s.Low, s.High} {
			if v != nil {
				low, high = min(low, *v), max(high, *v)
			}
		}
	}
	if high == low {
		low, high = low-1, high+1
	}
	x := func(v float64) float64 { return 6 + (v-low)/(high-low)*(width-12) }
	var b strings.Builder
	fmt.Fprintf(&b, `<svg width="%g" height="%g" role="img">`, width, height)
	for i, s := range []Summary{m.A, m.B} {
		y := 7 + 12*float64(i)
		class := []string{"a", "b"}[i]
		if s.Low != nil && s.High != nil {
			fmt.Fprintf(&b, `<line class="%s" x1="%.1f" y1="%g" x2="%.1f" y2="%g"/>`, class, x(*s.Low), y, x(*s.High), y)
		}
		fmt.Fprintf(&b, `<circle class="%s" cx="%.1f" cy="%g" r="4"/>`, class, x(s.Median), y)
	}
	b.WriteString("</svg>")
	return template.HTML(b.String()) //nolint:gosec // it has numbers only
}

// WriteHTML writes the trend as one HTML page that needs no other file.
func (t *Trend) WriteHTML(w io.Writer) error {
	d := pageData{Title: "Trend", Headline: t.Headline()}
	points := pageTable{Title: "Builds", Head: []string{"", "first tested", "build", "runs"}}
	for i, p := range t.Points {
		points.Rows = append(points.Rows, pageRow{Cells: []string{fmt.Sprint(i), p.Began.UTC().Format("2006-01-02 15:04"), p.Name, fmt.Sprint(len(p.Runs))}})
	}
	changed := pageTable{Title: "What changes", Head: []string{"series", "changes", "over the builds"}}
	same := pageTable{Title: "What does not change", Head: changed.Head}
	for _, all := range [][]Series{t.Cells, t.Measurements} {
		for _, s := range all {
			var changes []string
			class := ""
			for _, c := range s.Changes {
				changes = append(changes, t.change(s, c))
				class = c.Better
			}
			row := pageRow{Class: class, Cells: []string{s.title(), strings.Join(changes, "; ")}, Plot: t.plot(s)}
			if s.Changes != nil {
				changed.Rows = append(changed.Rows, row)
			} else {
				same.Rows = append(same.Rows, row)
			}
		}
	}
	same.Open = changed.Rows == nil
	d.Tables, d.Hidden = []pageTable{changed}, []pageTable{same, points}
	return page.Execute(w, d)
}

// plot draws the medians over the points, with their intervals and the changes.
func (t *Trend) plot(s Series) template.HTML {
	const width, height = 640.0, 120.0
	const left, right, top, bottom = 110.0, 10.0, 10.0, 18.0 // the same in all plots, so that builds are in columns
	low, high := math.Inf(1), math.Inf(-1)
	for _, v := range s.Values {
		if v == nil {
			continue
		}
		low, high = min(low, v.Median), max(high, v.Median)
		if v.Low != nil && v.High != nil {
			low, high = min(low, *v.Low), max(high, *v.High)
		}
	}
	if s.Name == "" {
		low, high = 0, 1
	}
	if math.IsInf(low, 0) {
		return ""
	}
	if high == low {
		low, high = low-1, high+1
	}
	n := max(len(s.Values)-1, 1)
	x := func(i int) float64 { return left + float64(i)/float64(n)*(width-left-right) }
	y := func(v float64) float64 { return top + (high-v)/(high-low)*(height-top-bottom) }
	esc := template.HTMLEscapeString
	var b strings.Builder
	fmt.Fprintf(&b, `<svg width="%g" height="%g" role="img" aria-label="%s">`, width, height, esc(s.title()))
	for _, v := range []float64{low, high} {
		fmt.Fprintf(&b, `<line class="grid" x1="%g" y1="%.1f" x2="%g" y2="%.1f"/><text x="%g" y="%.1f" text-anchor="end">%s</text>`,
			left, y(v), width-right, y(v), left-6, y(v)+4, esc(s.show(v)))
	}
	from := 0
	for i := 0; i <= len(s.Changes); i++ {
		to, value := len(s.Values), math.NaN()
		if i < len(s.Changes) {
			to, value = s.Changes[i].At, s.Changes[i].Before
			at := (x(to-1) + x(to)) / 2
			fmt.Fprintf(&b, `<line class="change" x1="%.1f" y1="%g" x2="%.1f" y2="%g"><title>%s</title></line>`, at, top, at, height-bottom,
				esc(t.change(s, s.Changes[i])))
		} else if i > 0 {
			value = s.Changes[i-1].After
		}
		if !math.IsNaN(value) {
			fmt.Fprintf(&b, `<line class="level" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, x(from), y(value), x(to-1), y(value))
		}
		from = to
	}
	for i, v := range s.Values {
		if v == nil {
			continue
		}
		if v.Low != nil && v.High != nil {
			fmt.Fprintf(&b, `<line class="b" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, x(i), y(*v.Low), x(i), y(*v.High))
		}
		fmt.Fprintf(&b, `<circle class="b" cx="%.1f" cy="%.1f" r="3"><title>%s: %s, %d values</title></circle>`, x(i), y(v.Median),
			esc(t.Points[i].Name), esc(s.show(v.Median)), v.N)
	}
	fmt.Fprintf(&b, `<text x="%g" y="%g">%s</text>`, left, height-3, esc(short(t.Points[0].Name)))
	if last := len(t.Points) - 1; last > 0 {
		fmt.Fprintf(&b, `<text x="%g" y="%g" text-anchor="end">%s</text>`, width-right, height-3, esc(short(t.Points[last].Name)))
	}
	b.WriteString("</svg>")
	return template.HTML(b.String()) //nolint:gosec // every text in it is escaped
}
