package runner

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"golang.org/x/text/width"

	"github.com/spicelane/spicelane/harness/plan"
	"github.com/spicelane/spicelane/harness/plan/result"
	"github.com/spicelane/spicelane/harness/plan/worker"
)

// A Table is an observer for a person at a terminal. It shows the running cells in a table at the
// bottom, which it draws again when it changes. Cells that have ended scroll away above it.
type Table struct {
	w    io.Writer
	size func() (width, height int)

	mu    sync.Mutex
	began time.Time
	rows  []*row
	drawn int // lines of the table on the screen
	cells int
	ended int
	stop  chan struct{}
	done  chan struct{}
}

type row struct {
	cell  *plan.Cell
	n     int
	began time.Time
	step  string
	line  string
}

// NewTable returns a table on the terminal w. size returns the terminal's size in columns and
// lines.
func NewTable(w io.Writer, size func() (width, height int)) *Table {
	return &Table{w: w, size: size, stop: make(chan struct{}), done: make(chan struct{})}
}

// RunBegins implements Observer.
func (t *Table) RunBegins(dir string, cells []*plan.Cell) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.began, t.cells = time.Now(), len(cells)
	fmt.Fprintf(t.w, "%d cells; the run is in %s\n", len(cells), dir)
	go func() {
		defer close(t.done)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-t.stop:
				return
			case <-tick.C:
				t.change(func() {})
			}
		}
	}()
}

// change calls f, which changes the rows, and draws the table again.
func (t *Table) change(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b strings.Builder
	t.erase(&b)
	f()
	t.draw(&b)
	_, _ = io.WriteString(t.w, b.String())
}

// above calls f, which changes the table, and writes a line above the table.
func (t *Table) above(line string, f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b strings.Builder
	t.erase(&b)
	f()
	b.WriteString(line + "\n")
	t.draw(&b)
	_, _ = io.WriteString(t.w, b.String())
}

func (t *Table) erase(b *strings.Builder) {
	if t.drawn > 0 {
		fmt.Fprintf(b, "\x1b[%dA\r\x1b[J", t.drawn)
	}
	t.drawn = 0
}

func (t *Table) draw(b *strings.Builder) {
	if len(t.rows) == 0 {
		return
	}
	width, height := t.size()
	show := t.rows
	if most := max(height-2, 1); len(show) > most {
		show = show[:most]
	}
	now := time.Now()
	for _, r := range show {
		s := fmt.Sprintf("  %6.1f s  %s", now.Sub(r.began).Seconds(), r.cell.ID)
		if r.n > 1 {
			s += fmt.Sprintf(" (attempt %d)", r.n)
		}
		b.WriteString(cut(inertLine(s+"  "+r.step+"  "+r.line), width) + "\n")
	}
	fmt.Fprintf(b, "%s\n", cut(fmt.Sprintf("%d of %d cells have ended, %d are running, %.0f s", t.ended, t.cells, len(t.rows), now.Sub(t.began).Seconds()), width))
	t.drawn = len(show) + 1
}

// cut cuts a line to the terminal's width, because erase counts on lines that do not wrap.
func cut(s string, columns int) string {
	s = strings.ReplaceAll(s, "\t", " ")
	if columns <= 1 {
		return s
	}
	at := 0
	for i, r := range s {
		at++
		if k := width.LookupRune(r).Kind(); k == width.EastAsianWide || k == width.EastAsianFullwidth {
			at++
		}
		if at >= columns {
			return s[:i]
		}
	}
	return s
}

func (t *Table) row(c *plan.Cell) *row {
	for _, r := range t.rows {
		if r.cell == c {
			return r
		}
	}
	return &row{}
}

// AttemptBegins implements Observer.
func (t *Table) AttemptBegins(c *plan.Cell, n int) {
	t.change(func() { t.rows = append(t.rows, &row{cell: c, n: n, began: time.Now()}) })
}

// StepBegins implements Observer.
func (t *Table) StepBegins(c *plan.Cell, _, name string) {
	t.change(func() { r := t.row(c); r.step, r.line = name, "" })
}

// Line implements Observer. The table shows the line when it is drawn again.
func (t *Table) Line(c *plan.Cell, _, line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.row(c).line = line
}

// Load implements Observer.
func (t *Table) Load(*plan.Cell, worker.Load) {}

// StepEnds implements Observer.
func (t *Table) StepEnds(*plan.Cell, result.Step) {}

// AttemptEnds implements Observer.
func (t *Table) AttemptEnds(c *plan.Cell, a result.Attempt, next time.Duration) {
	remove := func() {
		for i, r := range t.rows {
			if r.cell == c {
				t.rows = append(t.rows[:i:i], t.rows[i+1:]...)
				return
			}
		}
	}
	if next > 0 {
		t.above(inertLine(fmt.Sprintf("RETRY     %s in %.1f s: attempt %d: %s fault: %s", c.ID, next.Seconds(), a.N, a.Verdict, a.Reason)), remove)
		return
	}
	t.change(remove)
}

// CellEnds implements Observer.
func (t *Table) CellEnds(c result.Cell) {
	t.above(Describe(c), func() { t.ended++ })
}

// RunEnds implements Observer.
func (t *Table) RunEnds(r *result.Run) { t.above(Summarize(r), func() { t.rows = nil }) }

// Close erases the table and ends its drawing. Call it once, after the run, however the run ended.
func (t *Table) Close() {
	t.mu.Lock()
	began := !t.began.IsZero()
	t.mu.Unlock()
	close(t.stop)
	if began {
		<-t.done
	}
	t.change(func() { t.rows = nil })
}
