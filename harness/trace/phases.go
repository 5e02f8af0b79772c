package trace

import (
	"cmp"
	"encoding/json"
	"slices"
	"time"

	"github.com/spicelane/spicelane/harness/replay"
)

// phases collects the spans of a lane.
type phases struct {
	lane   *Span
	began  time.Time
	end    time.Duration
	ready  time.Duration // 0 if it never was
	ending time.Duration // 0 if it was not ended
	spans  []*Span       // steps, beats and waits
	// open are beats that have begun but not ended, because the process that ran the lane was
	// killed.
	open []*Span
}

// take adds an event to the spans. It returns false if the event belongs to none.
func (p *phases) take(e replay.Event) bool {
	var f struct {
		Name    string `json:"name"`
		At      string `json:"at"`
		Detail  string `json:"detail"`
		State   string `json:"state"`
		Error   string `json:"error"`
		Awaited string `json:"awaited"`
		Saw     string `json:"saw"`
	}
	if e.Kind == "" || json.Unmarshal(e.Entry, &f) != nil {
		return false
	}
	s := &Span{Name: replay.Plain(f.Name), Error: replay.Plain(f.Error),
		Start: p.began.Add(e.At), End: p.began.Add(e.At + e.Took)}
	switch e.Kind {
	case "step":
		s.Kind = Step
		s.add("detail", replay.Plain(f.Detail))
	case "beat":
		s.Kind = Beat
		i := slices.IndexFunc(p.open, func(o *Span) bool { return o.Name == s.Name })
		switch {
		case f.At == "begin":
			p.open = append(p.open, s)
			return true
		case i >= 0:
			p.open = slices.Delete(p.open, i, i+1)
		}
	case "wait", "awaited":
		s.Kind, s.Name = Wait, "await "+replay.Plain(cmp.Or(f.Awaited, "…"))
		s.add("saw", replay.Plain(f.Saw))
	case "lane":
		switch f.State {
		case "ready":
			p.ready = e.At
		case "ending":
			p.ending = e.At
		}
		return false
	default:
		return false
	}
	p.spans = append(p.spans, s)
	return true
}

// finish sorts the spans into the lane's phases, and into each other.
func (p *phases) finish() {
	for _, s := range p.open {
		s.End = p.lane.End
		s.Error = "it did not end: what ran the lane was killed"
		p.spans = append(p.spans, s)
	}
	at := func(d time.Duration) time.Time { return p.began.Add(d) }
	start := &Span{Kind: Phase, Name: "start", Start: at(0), End: p.lane.End}
	p.lane.Spans = append(p.lane.Spans, start)
	if p.ready == 0 {
		start.Error = "the lane never was ready"
	} else {
		start.End = at(p.ready)
		use := &Span{Kind: Phase, Name: "use", Start: at(p.ready), End: p.lane.End}
		p.lane.Spans = append(p.lane.Spans, use)
		if p.ending >= p.ready {
			use.End = at(p.ending)
			end := &Span{Kind: Phase, Name: "end", Start: at(p.ending), End: p.lane.End}
			p.lane.Spans = append(p.lane.Spans, end)
		}
	}
	// Put the longest spans first, so that a span is placed after those that contain it.
	slices.SortStableFunc(p.spans, func(a, b *Span) int {
		return cmp.Or(cmp.Compare(b.End.Sub(b.Start), a.End.Sub(a.Start)), a.Start.Compare(b.Start))
	})
	for _, s := range p.spans {
		into := p.lane.holder(s)
		into.Spans = append(into.Spans, s)
	}
}

// holder returns the innermost phase or beat that contains in, or s if there is none.
func (s *Span) holder(in *Span) *Span {
	for _, c := range s.Spans {
		if (c.Kind == Phase || c.Kind == Beat) && !in.Start.Before(c.Start) && !in.End.After(c.End) {
			return c.holder(in)
		}
	}
	return s
}
