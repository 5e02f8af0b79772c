// Package compare reports what differs between stored results: two builds side by side, or many
// builds over time. It runs no tests, so a baseline that was tested once can still be used months
// later.
package compare

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"

	"golang.org/x/perf/benchmath"

	"github.com/spicelane/spicelane/harness/archive"
	"github.com/spicelane/spicelane/harness/plan/result"
	"github.com/spicelane/spicelane/harness/verdict"
)

// A Side is one or more runs that are taken together.
type Side struct {
	// Name is the user's name for the side.
	Name string
	// Runs are the runs, in any order.
	Runs []*result.Run
}

// A Change says how a cell's results differ between A and B.
type Change string

// The changes, the most important first.
const (
	Regression Change = "regression"    // B fails, A did not
	Fix        Change = "fix"           // A failed, B does not
	Flaky      Change = "flaky"         // one side or both pass and fail, without a clear difference
	New        Change = "new"           // only B has the cell
	Gone       Change = "gone"          // only A has the cell
	Failing    Change = "still failing" // both fail
	NoResult   Change = "no result"     // on one side, no attempt says anything about the product
	Passing    Change = "still passing" // both pass
)

// Changes are all changes in their order.
var Changes = []Change{Regression, Fix, Flaky, New, Gone, Failing, NoResult, Passing}

// Alpha is the significance level of the tests: how often one finds a difference where there is
// none.
const Alpha = 0.05

// A Tally counts a cell's attempts. Passed and Failed count those that say something about the
// product.
type Tally struct {
	Passed int `json:"passed"`
	Failed int `json:"failed"`
	// Neither counts attempts that the harness or the host made fail, and those that did not run.
	Neither int `json:"neither,omitempty"`
}

func (t Tally) decided() int { return t.Passed + t.Failed }

func (t Tally) String() string {
	switch {
	case t.decided() > 0:
		return fmt.Sprintf("%d of %d failed", t.Failed, t.decided())
	case t.Neither > 0:
		return "no result"
	}
	return "not there"
}

// A CellDiff is one cell on both sides.
type CellDiff struct {
	Cell   string `json:"cell"`
	Change Change `json:"change"`
	A      Tally  `json:"a"`
	B      Tally  `json:"b"`
	// P is the probability that equal builds differ at least as much (Fisher's exact test). It is 0
	// unless a side has both passes and failures.
	P float64 `json:"p,omitempty"`
	// Verdict, Hop and Reason are those of a failure: the newest one of the product, or the first one
	// of another kind. It is B's, or A's for a fix, a cell that is gone, or if B has no failure.
	Verdict verdict.Kind `json:"verdict,omitempty"`
	Hop     verdict.Hop  `json:"hop,omitempty"`
	Reason  string       `json:"reason,omitempty"`
	// Run is the ID of the run that the failure is from.
	Run string `json:"run,omitempty"`
}

// A Summary describes the values of a measurement on one side.
type Summary struct {
	N      int     `json:"n"`
	Median float64 `json:"median"`
	// Low and High are the limits of the median's 95 % confidence interval; nil if there are too few
	// values.
	Low  *float64 `json:"low,omitempty"`
	High *float64 `json:"high,omitempty"`
}

// A MeasurementDiff is one measurement of a cell on both sides.
type MeasurementDiff struct {
	Cell string  `json:"cell"`
	Name string  `json:"name"`
	Unit string  `json:"unit,omitempty"`
	A    Summary `json:"a"`
	B    Summary `json:"b"`
	// P is the probability that equal builds differ at least as much (Mann-Whitney U test).
	P float64 `json:"p"`
	// Significant means that the difference is significant even with the correction for the number
	// of measurements that are compared.
	Significant bool `json:"significant"`
	// Ratio is B's median divided by A's; 0 if A's is 0.
	Ratio float64 `json:"ratio,omitempty"`
	// Better is "better" or "worse" for a significant difference whose direction matters.
	Better string `json:"better,omitempty"`
	// Note says why the comparison has no answer, such as too few values.
	Note string `json:"note,omitempty"`
}

// A SideInfo describes a side. Runs are the IDs of its runs, and Build is what they tested.
type SideInfo struct {
	Name  string            `json:"name"`
	Runs  []string          `json:"runs"`
	Build map[string]string `json:"build"`
}

// A Comparison is what Compare has found.
type Comparison struct {
	A SideInfo `json:"a"`
	B SideInfo `json:"b"`
	// Differs lists the keys whose values differ between the two builds, sorted.
	Differs []string       `json:"differs"`
	Counts  map[Change]int `json:"counts"`
	// Cells are sorted by change and name.
	Cells []CellDiff `json:"cells"`
	// Measurements are sorted: significant ones first, then by name and cell.
	Measurements []MeasurementDiff `json:"measurements"`
}

// cellData is what one side has about a cell.
type cellData struct {
	tally   Tally
	failure *result.Attempt // the newest failure of the product, or else the first other one
	run     string
	values  map[string]*series
}

type series struct {
	result.Measurement
	values []float64
}

// gather collects the cells of some runs, oldest run first. It skips a result that was reused from
// another of these runs, because it counts there. A result that several of them reused from the
// same other run counts once, because there was one attempt.
func gather(runs []*result.Run) map[string]*cellData {
	all := make(map[string]*cellData)
	runs = slices.Clone(runs)
	slices.SortStableFunc(runs, func(x, y *result.Run) int { return x.Began.Compare(y.Began) })
	have := make(map[string]bool)
	for _, r := range runs {
		have[r.ID] = true
	}
	reused := make(map[[2]string]bool) // by the other run and the cell
	for _, r := range runs {
		for i := range r.Cells {
			c := &r.Cells[i]
			if c.ReusedFrom != "" {
				from := [2]string{c.ReusedFrom, c.ID}
				if have[c.ReusedFrom] || reused[from] {
					continue
				}
				reused[from] = true
			}
			d := all[c.ID]
			if d == nil {
				d = &cellData{}
				all[c.ID] = d
			}
			d.add(r.ID, c)
		}
	}
	return all
}

func (d *cellData) add(run string, c *result.Cell) {
	attempts := c.Attempts
	if len(attempts) == 0 {
		attempts = []result.Attempt{{N: 1, Outcome: c.Outcome, Verdict: c.Verdict, Hop: c.Hop, Reason: c.Reason, Measurements: c.Measurements}}
	}
	for i := range attempts {
		at := &attempts[i]
		switch {
		case at.Outcome == result.Success:
			d.tally.Passed++
			d.measure(at.Measurements)
		case at.Outcome == result.Failure && at.Verdict == verdict.Product:
			d.tally.Failed++
			d.failure, d.run = at, run
		default:
			d.tally.Neither++
			if d.failure == nil && at.Outcome == result.Failure {
				d.failure, d.run = at, run
			}
		}
	}
}

func (d *cellData) measure(all []result.Measurement) {
	for _, m := range all {
		if d.values == nil {
			d.values = make(map[string]*series)
		}
		s := d.values[m.Name]
		if s == nil || s.Unit != m.Unit { // the newest run's unit counts, and values in another do not
			s = &series{Measurement: m}
			d.values[m.Name] = s
		}
		for _, v := range m.Values {
			if !math.IsNaN(v) && !math.IsInf(v, 0) {
				s.values = append(s.values, v)
			}
		}
	}
}

// Compare compares two sides. A is the baseline.
func Compare(a, b Side) *Comparison {
	c := &Comparison{A: infoOf(a), B: infoOf(b), Differs: []string{}, Counts: map[Change]int{}, Cells: []CellDiff{}, Measurements: []MeasurementDiff{}}
	for _, k := range slices.Sorted(maps.Keys(union(c.A.Build, c.B.Build))) {
		if c.A.Build[k] != c.B.Build[k] {
			c.Differs = append(c.Differs, k)
		}
	}
	inA, inB := gather(a.Runs), gather(b.Runs)
	for _, id := range slices.Sorted(maps.Keys(union(inA, inB))) {
		d := diff(id, inA[id], inB[id])
		c.Counts[d.Change]++
		c.Cells = append(c.Cells, d)
		if inA[id] != nil && inB[id] != nil {
			c.Measurements = append(c.Measurements, measurements(id, inA[id], inB[id])...)
		}
	}
	slices.SortStableFunc(c.Cells, func(x, y CellDiff) int {
		return cmp.Compare(slices.Index(Changes, x.Change), slices.Index(Changes, y.Change))
	})
	c.discover()
	slices.SortStableFunc(c.Measurements, func(x, y MeasurementDiff) int {
		if x.Significant != y.Significant {
			if x.Significant {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(x.Name, y.Name), cmp.Compare(x.Cell, y.Cell))
	})
	return c
}

func union[V any](a, b map[string]V) map[string]V {
	all := maps.Clone(a)
	if all == nil {
		all = make(map[string]V)
	}
	maps.Copy(all, b)
	return all
}

func infoOf(s Side) SideInfo {
	i := SideInfo{Name: s.Name, Runs: []string{}, Build: map[string]string{}}
	whole := &result.Run{}
	for _, r := range s.Runs {
		i.Runs = append(i.Runs, r.ID)
		whole.Cells = append(whole.Cells, r.Cells...)
	}
	slices.Sort(i.Runs)
	maps.Copy(i.Build, archive.Build(whole))
	return i
}

// diff classifies a cell. a or b is nil if that side does not have the cell.
func diff(id string, a, b *cellData) CellDiff {
	d := CellDiff{Cell: id}
	if a != nil {
		d.A = a.tally
	}
	if b != nil {
		d.B = b.tally
	}
	pa, fa, pb, fb := d.A.Passed, d.A.Failed, d.B.Passed, d.B.Failed
	blame := b
	switch {
	case a == nil:
		d.Change = New
	case b == nil:
		d.Change, blame = Gone, a
	case pa+fa == 0 || pb+fb == 0:
		d.Change = NoResult
		if b.failure == nil {
			blame = a
		}
	case fa == 0 && fb == 0:
		d.Change, blame = Passing, nil
	case fa == 0 && pb == 0:
		d.Change = Regression
	case pa == 0 && fb == 0:
		d.Change, blame = Fix, a
	case pa == 0 && pb == 0:
		d.Change = Failing
	default:
		d.Change = Flaky
		d.P = fisher(fa, pa, fb, pb)
		worse := fb*(pa+fa) > fa*(pb+fb)
		switch {
		case d.P < Alpha && worse:
			d.Change = Regression
		case d.P < Alpha:
			d.Change, blame = Fix, a
		case b.failure == nil:
			blame = a
		}
	}
	if blame != nil && blame.failure != nil {
		d.Verdict, d.Hop, d.Reason, d.Run = blame.failure.Verdict, blame.failure.Hop, blame.failure.Reason, blame.run
	}
	return d
}

// fisher returns the two-sided p of Fisher's exact test: fa of fa+pa attempts failed on one side,
// fb of fb+pb on the other.
func fisher(fa, pa, fb, pb int) float64 {
	na, nb, f := fa+pa, fb+pb, fa+fb
	logP := func(x int) float64 {
		return choose(na, x) + choose(nb, f-x) - choose(na+nb, f)
	}
	seen := logP(fa)
	p := 0.0
	for x := max(0, f-nb); x <= min(na, f); x++ {
		if l := logP(x); l <= seen+1e-9 {
			p += math.Exp(l)
		}
	}
	return min(p, 1)
}

// choose returns the logarithm of a binomial coefficient.
func choose(n, k int) float64 {
	lg := func(n int) float64 { v, _ := math.Lgamma(float64(n + 1)); return v }
	return lg(n) - lg(k) - lg(n-k)
}

func measurements(id string, a, b *cellData) []MeasurementDiff {
	var all []MeasurementDiff
	for _, name := range slices.Sorted(maps.Keys(a.values)) {
		va, vb := a.values[name], b.values[name]
		if vb == nil || len(va.values) == 0 || len(vb.values) == 0 {
			continue
		}
		d := MeasurementDiff{Cell: id, Name: name, Unit: vb.Unit, P: 1}
		t := &benchmath.DefaultThresholds
		sa, sb := benchmath.NewSample(slices.Clone(va.values), t), benchmath.NewSample(slices.Clone(vb.values), t)
		d.A, d.B = summary(sa), summary(sb)
		if va.Unit != vb.Unit {
			d.Note = fmt.Sprintf("its unit was %q", va.Unit)
			all = append(all, d)
			continue
		}
		if d.A.Median != 0 {
			d.Ratio = d.B.Median / d.A.Median
		}
		got := benchmath.AssumeNothing.Compare(sa, sb)
		d.P = got.P
		for _, w := range got.Warnings {
			d.Note = w.Error()
		}
		if d.A.Median != d.B.Median && (vb.Better == "lower" || vb.Better == "higher") {
			d.Better = "worse"
			if (d.B.Median < d.A.Median) == (vb.Better == "lower") {
				d.Better = "better"
			}
		}
		all = append(all, d)
	}
	return all
}

func summary(s *benchmath.Sample) Summary {
	sum := benchmath.AssumeNothing.Summary(s, 1-Alpha)
	out := Summary{N: len(s.Values), Median: sum.Center}
	if !math.IsInf(sum.Lo, 0) && !math.IsInf(sum.Hi, 0) {
		out.Low, out.High = &sum.Lo, &sum.Hi
	}
	return out
}

// discover marks the significant differences. If equal builds are compared many times, one
// comparison in twenty has p < 0.05. So discover uses the procedure of Benjamini and Hochberg,
// which keeps the expected share of false ones among the marked ones below Alpha.
func (c *Comparison) discover() {
	var order []int
	for i, d := range c.Measurements {
		if d.Note == "" {
			order = append(order, i)
		}
	}
	slices.SortFunc(order, func(x, y int) int { return cmp.Compare(c.Measurements[x].P, c.Measurements[y].P) })
	last := -1
	for rank, i := range order {
		if c.Measurements[i].P <= Alpha*float64(rank+1)/float64(len(order)) {
			last = rank
		}
	}
	for rank, i := range order {
		c.Measurements[i].Significant = rank <= last
	}
	for i := range c.Measurements {
		if !c.Measurements[i].Significant {
			c.Measurements[i].Better = ""
		}
	}
}

// Verdict returns Product if there is a regression, and otherwise the empty verdict.
func (c *Comparison) Verdict() verdict.Kind {
	if c.Counts[Regression] > 0 {
		return verdict.Product
	}
	return ""
}
