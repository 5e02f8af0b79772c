package plan

import (
	"fmt"
	"io"
	"strings"
)

// The formats of a plan's graph.
const (
	GraphText    = "text"
	GraphMermaid = "mermaid"
	GraphDOT     = "dot"
)

// WriteGraph writes the jobs of a plan and their needs to w. format is GraphText, a drawing for the
// terminal; GraphMermaid, which GitHub shows in Markdown; or GraphDOT, for Graphviz.
func (l *Loaded) WriteGraph(w io.Writer, format string) error {
	var b strings.Builder
	switch format {
	case GraphText:
		l.drawText(&b)
	case GraphMermaid:
		b.WriteString("flowchart LR\n")
		for i, j := range l.Jobs {
			fmt.Fprintf(&b, "    j%d[\"%s\"]\n", i, strings.Join(l.labels(j, mermaidText), "<br>"))
		}
		l.edges(func(from, to int) { fmt.Fprintf(&b, "    j%d --> j%d\n", from, to) })
	case GraphDOT:
		b.WriteString("digraph plan {\n    rankdir=LR;\n    node [shape=box];\n")
		for i, j := range l.Jobs {
			fmt.Fprintf(&b, "    j%d [label=\"%s\"];\n", i, strings.Join(l.labels(j, dotText), `\n`))
		}
		l.edges(func(from, to int) { fmt.Fprintf(&b, "    j%d -> j%d;\n", from, to) })
		b.WriteString("}\n")
	default:
		return fmt.Errorf("there is no graph format %q: it is text, mermaid or dot", format)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func mermaidText(s string) string {
	return strings.NewReplacer("&", "&amp;", `"`, "&quot;", "<", "&lt;", ">", "&gt;").Replace(s)
}

func dotText(s string) string { return strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) }

// labels returns the lines of a job's box.
func (l *Loaded) labels(j *Job, escape func(string) string) []string {
	lines := []string{escape(j.ID)}
	if j.Name != "" && j.Name != j.ID {
		lines[0] = escape(j.Name)
	}
	if n := l.cellsOf(j); n > 1 {
		lines = append(lines, fmt.Sprintf("%d cells", n))
	}
	if j.If != "" {
		lines = append(lines, escape("if "+shorten(oneLine(j.If), 60)))
	}
	return lines
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

func (l *Loaded) cellsOf(j *Job) int {
	n := 0
	for _, c := range l.Cells {
		if c.Job == j {
			n++
		}
	}
	return n
}

func (l *Loaded) edges(f func(from, to int)) {
	number := map[string]int{}
	for i, j := range l.Jobs {
		number[j.ID] = i
	}
	for i, j := range l.Jobs {
		for _, n := range j.Needs {
			f(number[n], i)
		}
	}
}

// drawText draws the jobs as a tree. A job that needs several others is drawn below the one that is
// deepest in the tree.
func (l *Loaded) drawText(b *strings.Builder) {
	depth := map[string]int{}
	var deep func(j *Job) int
	deep = func(j *Job) int {
		if d, ok := depth[j.ID]; ok {
			return d
		}
		d := 0
		for _, n := range j.Needs {
			d = max(d, deep(l.job(n))+1)
		}
		depth[j.ID] = d
		return d
	}
	children := map[string][]*Job{}
	var roots []*Job
	for _, j := range l.Jobs {
		deep(j)
	}
	for _, j := range l.Jobs {
		if len(j.Needs) == 0 {
			roots = append(roots, j)
			continue
		}
		last := j.Needs[0]
		for _, n := range j.Needs {
			if depth[n] > depth[last] {
				last = n
			}
		}
		children[last] = append(children[last], j)
	}
	var draw func(j *Job, under, first, rest string)
	draw = func(j *Job, under, first, rest string) {
		b.WriteString(first + strings.Join(l.labels(j, oneLine), ", "))
		var others []string
		for _, n := range j.Needs {
			if n != under {
				others = append(others, n)
			}
		}
		if len(others) > 0 {
			b.WriteString(", also needs " + strings.Join(others, ", "))
		}
		b.WriteString("\n")
		for i, c := range children[j.ID] {
			if i == len(children[j.ID])-1 {
				draw(c, j.ID, rest+"└─► ", rest+"    ")
			} else {
				draw(c, j.ID, rest+"├─► ", rest+"│   ")
			}
		}
	}
	for _, j := range roots {
		draw(j, "", "", "")
	}
}
