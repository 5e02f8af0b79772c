package bisect

import (
	"cmp"
	"fmt"
	"io"
	"slices"

	"github.com/spicelane/spicelane/harness/archive"
	"github.com/spicelane/spicelane/harness/plan/result"
	"github.com/spicelane/spicelane/harness/verdict"
)

// An ArchivedBuild is a build that was tested. Passed and Failed count attempts of the cell.
type ArchivedBuild struct {
	// Name is the value of the label or key that the search uses, or the key of the whole build.
	Name   string   `json:"name"`
	Runs   []string `json:"runs"`
	Passed int      `json:"passed"`
	Failed int      `json:"failed"`
	// P is the probability that this is the first bad build.
	P float64 `json:"p"`
}

// An ArchivedResult is the result of a search in stored results.
type ArchivedResult struct {
	Cell       string  `json:"cell"`
	Confidence float64 `json:"confidence"`
	// First is the first bad build; nil if the results do not tell.
	First *ArchivedBuild `json:"first,omitempty"`
	// LastGood is the build before First.
	LastGood *ArchivedBuild `json:"last_good,omitempty"`
	// Candidates are the names of the builds that may be the first bad one, if First is nil.
	Candidates []string `json:"candidates,omitempty"`
	// None is the probability that no build changed anything.
	None   float64         `json:"none"`
	Builds []ArchivedBuild `json:"builds"`
	// BadRun is the newest run of a build with the fault in which the cell failed. GoodRun is the
	// newest run of a build without the fault in which it passed.
	BadRun  string `json:"bad_run,omitempty"`
	GoodRun string `json:"good_run,omitempty"`
}

// Archived searches stored results for the first build with which a cell fails. It runs no tests.
// It orders the runs by time, and assumes that the first build is good. by is a label such as
// "commit" or a key of the build such as "proxy"; empty means the whole build. Runs that do not say
// which build they tested are left out. Archived gives an answer only if its probability is at
// least atLeast; zero means DefaultConfidence. It returns an error if fewer than two builds have a
// result of the cell.
func Archived(runs []*result.Run, cell, by string, atLeast float64) (*ArchivedResult, error) {
	atLeast, err := confidence(atLeast)
	if err != nil {
		return nil, err
	}
	runs = slices.Clone(runs)
	slices.SortStableFunc(runs, func(x, y *result.Run) int { return cmp.Or(x.Began.Compare(y.Began), cmp.Compare(x.ID, y.ID)) })
	r := &ArchivedResult{Cell: cell, Confidence: atLeast}
	index := make(map[string]int)
	type tally struct {
		run            string
		build          int
		passed, failed int
	}
	var tallies []tally
	for _, run := range runs {
		passed, failed := Outcomes(run, cell)
		if passed+failed == 0 {
			continue
		}
		name := NameOf(run, by)
		if name == "" { // NB: two runs of unknown builds are not of the same build
			continue
		}
		i, ok := index[name]
		if !ok {
			i = len(r.Builds)
			index[name] = i
			r.Builds = append(r.Builds, ArchivedBuild{Name: name})
		}
		b := &r.Builds[i]
		b.Runs = append(b.Runs, run.ID)
		b.Passed += passed
		b.Failed += failed
		tallies = append(tallies, tally{run.ID, i, passed, failed})
	}
	if len(r.Builds) < 2 {
		return nil, &verdict.Error{Verdict: verdict.Harness, Op: "bisect",
			Err: fmt.Errorf("%d builds have a result of the cell %q, and it takes two", len(r.Builds), cell)}
	}
	m := NewModel(Line(len(r.Builds) - 1))
	for i, b := range r.Builds {
		for range b.Passed {
			m.Observe(i-1, false)
		}
		for range b.Failed {
			m.Observe(i-1, true)
		}
	}
	p := m.Posterior()
	r.None = p.None
	for c, q := range p.P {
		r.Builds[c+1].P = q
	}
	best, q := p.Best()
	if q >= r.Confidence {
		r.First, r.LastGood = &r.Builds[best+1], &r.Builds[best]
	} else if p.None < r.Confidence {
		for _, c := range p.Within(r.Confidence) {
			r.Candidates = append(r.Candidates, r.Builds[c+1].Name)
		}
	}
	for _, t := range tallies {
		if t.build-1 >= best && t.failed > 0 {
			r.BadRun = t.run
		}
		if t.build-1 < best && t.passed > 0 {
			r.GoodRun = t.run
		}
	}
	return r, nil
}

// NameOf returns the name of the build that a run tested: the value of the label by, or else of the
// key by of its build. If by is empty, it returns the key of the whole build.
func NameOf(run *result.Run, by string) string {
	build := archive.Build(run)
	if by == "" {
		return archive.Key(build)
	}
	if v, ok := run.Labels[by]; ok {
		return v
	}
	return build[by]
}

// Outcomes counts how often a cell passed in a run, and how often it failed with verdict "product".
// It skips a result that was reused from another run, because that counts there.
func Outcomes(run *result.Run, cell string) (passed, failed int) {
	for i := range run.Cells {
		c := &run.Cells[i]
		if c.ID != cell || c.ReusedFrom != "" {
			continue
		}
		attempts := c.Attempts
		if len(attempts) == 0 {
			attempts = []result.Attempt{{Outcome: c.Outcome, Verdict: c.Verdict}}
		}
		for _, at := range attempts {
			switch {
			case at.Outcome == result.Success:
				passed++
			case at.Outcome == result.Failure && at.Verdict == verdict.Product:
				failed++
			}
		}
	}
	return passed, failed
}

// WriteText writes the result for a terminal.
func (r *ArchivedResult) WriteText(w io.Writer) {
	for _, b := range r.Builds {
		fmt.Fprintf(w, "%5.1f %%  %s  %d passed, %d failed in %d run(s)\n", 100*b.P, b.Name, b.Passed, b.Failed, len(b.Runs))
	}
	switch {
	case r.First != nil:
		fmt.Fprintf(w, "first bad build: %s\n  the build before it: %s\n  bad:  run %s\n  good: run %s\n", r.First.Name, r.LastGood.Name, r.BadRun, r.GoodRun)
	case r.None >= r.Confidence:
		fmt.Fprintf(w, "no build changes how often %s fails\n", r.Cell)
	default:
		fmt.Fprintf(w, "no answer yet: the first bad build is one of %q, or there is none (%.1f %%); test them more often\n", r.Candidates, 100*r.None)
	}
}
