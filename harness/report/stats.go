package report

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// A Rate is how often something failed.
type Rate struct {
	Failed int `json:"failed"`
	Runs   int `json:"runs"`
}

// Value returns the share of failures, 0 to 1; 0 without runs.
func (r Rate) Value() float64 {
	if r.Runs == 0 {
		return 0
	}
	return float64(r.Failed) / float64(r.Runs)
}

// z95 is the two-sided 95 % quantile of the normal distribution.
const z95 = 1.959963984540054

// Interval returns the 95 % confidence interval of the rate, from 0 to 1, by Wilson's score. That
// is right for few runs and rates near zero, where the textbook's ± is not: 200 runs without a
// failure mean "below 1.9 %", not "0". Without runs the interval is 0 to 1.
func (r Rate) Interval() (low, high float64) {
	if r.Runs == 0 {
		return 0, 1
	}
	n, p := float64(r.Runs), r.Value()
	centre := p + z95*z95/(2*n)
	spread := z95 * math.Sqrt(p*(1-p)/n+z95*z95/(4*n*n))
	scale := 1 + z95*z95/n
	low, high = (centre-spread)/scale, (centre+spread)/scale
	if r.Failed == 0 {
		low = 0 // rounding
	}
	if r.Failed == r.Runs {
		high = 1
	}
	return max(low, 0), min(high, 1)
}

func (r Rate) String() string {
	low, high := r.Interval()
	return fmt.Sprintf("%d of %d failed: %s (95 %% confidence: %s to %s)", r.Failed, r.Runs, percent(r.Value()), percent(low), percent(high))
}

func percent(f float64) string { return fmt.Sprintf("%.1f %%", 100*f) }

// A Flake is a test that ran several times.
type Flake struct {
	Package, Name string
	Rate
	Times []time.Duration
}

// Flakes returns the tests that ran more than once, those with the most failures first. Skipped
// runs do not count.
func (r *Run) Flakes() []Flake {
	type key struct{ pkg, name string }
	index := map[key]int{}
	var all []Flake
	r.Tests(func(t *Test) {
		if t.Outcome == Skipped {
			return
		}
		k := key{t.Package, t.Name}
		i, ok := index[k]
		if !ok {
			i = len(all)
			index[k] = i
			all = append(all, Flake{Package: t.Package, Name: t.Name})
		}
		all[i].Runs++
		all[i].Times = append(all[i].Times, t.Elapsed)
		if t.Outcome == Failed {
			all[i].Failed++
		}
	})
	all = slices.DeleteFunc(all, func(f Flake) bool { return f.Runs < 2 })
	slices.SortStableFunc(all, func(a, b Flake) int {
		switch {
		case a.Value() > b.Value():
			return -1
		case a.Value() < b.Value():
			return 1
		}
		return 0
	})
	return all
}
