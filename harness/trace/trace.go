package trace

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/spicelane/spicelane/harness/replay"
	"github.com/spicelane/spicelane/harness/report"
)

// A Kind says what a span describes.
type Kind string

const (
	Run   Kind = "run"
	Test  Kind = "test"
	Lane  Kind = "lane"
	Phase Kind = "phase" // of a lane: start, use, end
	Step  Kind = "step"  // of a lane's start
	Beat  Kind = "beat"  // of a scenario
	Wait  Kind = "wait"
)

// A Span is something that took time.
type Span struct {
	Kind       Kind
	Name       string
	Start, End time.Time
	// Error says why it failed; empty if it did not.
	Error string
	// Attrs are further facts about the span.
	Attrs []Attr
	// Spans are the spans inside this one, ordered by their beginning. They lie within it, unless a
	// clock was set meanwhile.
	Spans []*Span
	// Moments are events of a lane that took no time.
	Moments []Moment
	// Left says what is missing; "" if nothing is.
	Left string
}

// An Attr is a named fact about a span.
type Attr struct{ Key, Value string }

// A Moment is something that happened to a lane.
type Moment struct {
	At    time.Time
	Track replay.Track
	Text  string
	Bad   bool
	// Mark means that it should stand out: a fault, a reset, the verdict.
	Mark bool
}

// maxMoments limits the moments of one lane, because people view a trace as a whole. The lane's
// page has all.
const maxMoments = 100_000

// OfRun returns the span of a run, with what its lanes left behind.
func OfRun(run *report.Run) *Span {
	root := &Span{Kind: Run, Name: "go test", Start: run.Began, End: run.Ended}
	if root.Start.IsZero() {
		root.Start = time.Unix(0, 0) // a stream without times
		root.End = root.Start
	}
	root.add("headline", run.Headline())
	if v := run.Verdict(); v != "" {
		root.Error = string(v) + " fault"
		root.add("verdict", string(v))
	}
	of := map[*report.Test]*Span{}
	run.Tests(func(t *report.Test) {
		s := ofTest(t, root)
		of[t] = s
		for _, l := range t.Lanes {
			if l.Gone {
				continue
			}
			// What a lane left may have been deleted since.
			if r, err := replay.Read(l.Dir); err == nil {
				s.Spans = append(s.Spans, ofLane(r, s.Start))
			}
		}
		parent := root
		if t.Parent != nil {
			parent = of[t.Parent]
		}
		parent.Spans = append(parent.Spans, s)
	})
	root.settle()
	return root
}

// OfLanes returns the span of the lanes in the given directories.
func OfLanes(dirs []string) (*Span, error) {
	root := &Span{Kind: Run, Name: "lanes"}
	for _, dir := range dirs {
		r, err := replay.Read(dir)
		if err != nil {
			return nil, fmt.Errorf("trace: %w", err)
		}
		root.Spans = append(root.Spans, ofLane(r, time.Unix(0, 0)))
	}
	root.settle()
	return root, nil
}

func ofTest(t *report.Test, run *Span) *Span {
	s := &Span{Kind: Test, Name: t.Name, Start: t.Began, End: t.Ended}
	if s.Start.IsZero() {
		s.Start = run.Start
	}
	if s.End.IsZero() {
		s.End = s.Start.Add(t.Elapsed)
	}
	s.add("package", t.Package)
	s.add("outcome", string(t.Outcome))
	switch {
	case t.Failure != nil:
		s.Error = t.Failure.Reason
		s.add("verdict", string(t.Failure.Verdict))
		s.add("kind", string(t.Failure.Kind))
	case t.Reason != "":
		s.add("reason", t.Reason)
	}
	return s
}

func (s *Span) add(key, value string) {
	if value != "" {
		s.Attrs = append(s.Attrs, Attr{key, value})
	}
}

// ofLane returns the span of a lane. began is used if the lane did not note when its clock began.
func ofLane(r *replay.Recording, began time.Time) *Span {
	if !r.Began.IsZero() {
		began = r.Began
	}
	h := r.Head
	name := cmp.Or(h.Name, filepath.Base(r.Dir))
	s := &Span{Kind: Lane, Name: name, Start: began, End: began.Add(r.End)}
	for _, f := range h.Facts {
		if f.Name != "Lane" {
			s.add(attrKey(f.Name), f.Value)
		}
	}
	s.add("outcome", h.Outcome)
	s.add("dir", r.Dir)
	if h.Outcome != "passed" && h.Outcome != "unknown" {
		s.Error = h.Sentence
	}
	p := phases{lane: s, began: began, end: r.End}
	tracks := map[string]replay.Track{}
	for _, t := range r.Tracks {
		tracks[t.ID] = t
	}
	for _, e := range r.Events {
		if p.take(e) {
			continue
		}
		if len(s.Moments) == maxMoments {
			s.Left = fmt.Sprintf("only the first %d events that take no time are here; "+
				"the lane's page has all", maxMoments)
			continue
		}
		mark := e.Track == "fault" || e.Kind == "verdict" || e.Kind == "reset" ||
			e.Kind == "console_failure"
		s.Moments = append(s.Moments, Moment{began.Add(e.At), tracks[e.Track], e.Text, e.Bad, mark})
	}
	p.finish()
	return s
}

// attrKey returns the attribute name for the name of a fact.
func attrKey(fact string) string {
	b := []byte(fact)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		} else if c == ' ' {
			b[i] = '_'
		}
	}
	return string(b)
}

// settle sorts spans by their beginning, and extends the run to contain all its spans.
func (s *Span) settle() {
	slices.SortStableFunc(s.Spans, func(a, b *Span) int { return a.Start.Compare(b.Start) })
	for _, in := range s.Spans {
		in.settle()
		if s.Kind != Run {
			continue
		}
		if s.Start.IsZero() || in.Start.Before(s.Start) {
			s.Start = in.Start
		}
		if in.End.After(s.End) {
			s.End = in.End
		}
	}
	if s.End.Before(s.Start) {
		s.End = s.Start
	}
}

// Count returns how many spans there are: the span itself and all in it.
func (s *Span) Count() int {
	n := 1
	for _, in := range s.Spans {
		n += in.Count()
	}
	return n
}
