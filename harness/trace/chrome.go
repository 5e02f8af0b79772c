package trace

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spicelane/spicelane/harness/replay"
)

// An event is an event of the Trace Event Format, with the names of that format. Times are in
// microseconds since the run began.
type event struct {
	Name  string         `json:"name"`
	Cat   string         `json:"cat,omitempty"`
	Phase string         `json:"ph"`
	TS    int64          `json:"ts"`
	Dur   *int64         `json:"dur,omitempty"`
	PID   int            `json:"pid"`
	TID   int            `json:"tid"`
	Scope string         `json:"s,omitempty"`
	Args  map[string]any `json:"args,omitempty"`
}

// The phases of events that this package uses.
const (
	complete = "X" // something that took time
	instant  = "i"
	metadata = "M"
)

// WriteChrome writes a trace in the JSON that Perfetto opens. The tests are one process, and each
// lane is another. Spans on one row are beside or within each other. A span that overlaps others in
// another way gets a separate row.
func WriteChrome(w io.Writer, root *Span) error {
	b := bufio.NewWriter(w)
	c := chrome{w: b, began: root.Start}
	fmt.Fprintf(b, `{"displayTimeUnit":"ms","otherData":{"began":%s},"traceEvents":[`,
		quote(root.Start.Format(time.RFC3339Nano)))
	c.run(root)
	if c.err != nil {
		return fmt.Errorf("trace: %w", c.err)
	}
	if _, err := b.WriteString("\n]}\n"); err != nil {
		return fmt.Errorf("trace: %w", err)
	}
	if err := b.Flush(); err != nil {
		return fmt.Errorf("trace: %w", err)
	}
	return nil
}

func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string
	}
	return string(b)
}

// A chrome writes events one by one, because a lane has many.
type chrome struct {
	w     *bufio.Writer
	began time.Time
	n     int
	pid   int
	err   error
}

func (c *chrome) put(e event) {
	if c.err != nil {
		return
	}
	sep := ",\n"
	if c.n++; c.n == 1 {
		sep = "\n"
	}
	text, err := json.Marshal(e)
	if err == nil {
		_, err = c.w.WriteString(sep + string(text))
	}
	c.err = err
}

func (c *chrome) us(t time.Time) int64 { return t.Sub(c.began).Microseconds() }

// process begins another process, to which the next events belong.
func (c *chrome) process(name string) {
	c.pid++
	c.about("process_name", 0, "name", name)
	c.about("process_sort_index", 0, "sort_index", c.pid)
}

func (c *chrome) thread(tid int, name string) {
	c.about("thread_name", tid, "name", name)
	c.about("thread_sort_index", tid, "sort_index", tid)
}

// about writes metadata of the process, or of one of its rows.
func (c *chrome) about(what string, tid int, key string, value any) {
	c.put(event{Name: what, Phase: metadata, PID: c.pid, TID: tid, Args: map[string]any{key: value}})
}

// run writes the tests, and then each lane.
func (c *chrome) run(root *Span) {
	c.process("tests")
	c.slices(1, "tests", root, func(s *Span) bool { return s.Kind == Run || s.Kind == Test })
	var lanes func(s *Span, test string)
	lanes = func(s *Span, test string) {
		for _, in := range s.Spans {
			switch in.Kind {
			case Test:
				lanes(in, in.Name)
			case Lane:
				c.lane(in, test)
			}
		}
	}
	lanes(root, "")
}

func (c *chrome) lane(s *Span, test string) {
	name := "lane " + s.Name
	if test != "" && test != s.Name {
		name += " (" + test + ")"
	}
	c.process(name)
	next := c.slices(1, "phases", s, func(*Span) bool { return true })
	rows := map[replay.Track]int{}
	for _, m := range s.Moments {
		tid, there := rows[m.Track]
		if !there {
			tid = next + len(rows)
			rows[m.Track] = tid
			c.thread(tid, m.Track.Name)
		}
		e := event{Name: m.Text, Cat: m.Track.ID, Phase: instant, Scope: "t", TS: c.us(m.At),
			PID: c.pid, TID: tid}
		if m.Bad {
			e.Args = map[string]any{"bad": true}
		}
		if m.Mark {
			e.Scope = "p" // on all rows of the lane
		}
		c.put(e)
	}
}

// slices writes root and the spans in it for which want is true, and returns the first free row.
// Each goes into the first row where it is beside the others, or within spans that contain it in
// the tree.
func (c *chrome) slices(tid int, name string, root *Span, want func(*Span) bool) int {
	type placed struct {
		span    *Span
		holders []*Span
	}
	var all []placed
	var collect func(s *Span, holders []*Span)
	collect = func(s *Span, holders []*Span) {
		if !want(s) {
			return
		}
		all = append(all, placed{s, holders})
		for _, in := range s.Spans {
			collect(in, append(holders[:len(holders):len(holders)], s))
		}
	}
	collect(root, nil)
	// A row's stack has the spans that are open in it, the outermost first. In this order, only the
	// last of them can contain the next span.
	slices.SortStableFunc(all, func(a, b placed) int {
		if d := a.span.Start.Compare(b.span.Start); d != 0 {
			return d
		}
		return b.span.End.Compare(a.span.End)
	})
	var rows [][]placed
	for _, p := range all {
		from, to := c.us(p.span.Start), max(c.us(p.span.Start), c.us(p.span.End))
		row := 0
		for ; row < len(rows); row++ {
			stack := rows[row]
			for len(stack) > 0 && c.us(stack[len(stack)-1].span.End) <= from {
				stack = stack[:len(stack)-1]
			}
			rows[row] = stack
			if len(stack) == 0 {
				break
			}
			top := stack[len(stack)-1].span
			if slices.Contains(p.holders, top) && to <= c.us(top.End) {
				break
			}
		}
		if row == len(rows) {
			rows = append(rows, nil)
			title := name
			if row > 0 {
				title = fmt.Sprintf("%s %d", name, row+1)
			}
			c.thread(tid+row, title)
		}
		rows[row] = append(rows[row], p)
		dur := to - from
		c.put(event{Name: p.span.Name, Cat: string(p.span.Kind), Phase: complete, TS: from, Dur: &dur,
			PID: c.pid, TID: tid + row, Args: p.span.args()})
	}
	return tid + len(rows)
}

func (s *Span) args() map[string]any {
	args := map[string]any{}
	for _, a := range s.Attrs {
		args[a.Key] = a.Value
	}
	if s.Error != "" {
		args["error"] = s.Error
	}
	if s.Left != "" {
		args["left_out"] = s.Left
	}
	return args
}
