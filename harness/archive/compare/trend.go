package compare

import (
	"cmp"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"golang.org/x/perf/benchmath"

	"github.com/spicelane/spicelane/harness/archive"
	"github.com/spicelane/spicelane/harness/plan/result"
)

// A Trend shows the results of many builds over time.
type Trend struct {
	// By is the key of the build whose values are the points; empty for the whole build.
	By string `json:"by,omitempty"`
	// Points are the builds, in the order in which they were first tested.
	Points []Point `json:"points"`
	// Cells has the cells that ever failed. Those whose rate of failures changes come first.
	Cells []Series `json:"cells"`
	// Measurements has all measurements. Those that change come first.
	Measurements []Series `json:"measurements"`
}

// A Point is one build.
type Point struct {
	// Name is the value of the key Trend.By. For the whole build, it is the run's label "commit", or
	// the build's key if there is none.
	Name  string            `json:"name"`
	Key   string            `json:"key"`
	Began time.Time         `json:"began"`
	Runs  []string          `json:"runs"`
	Build map[string]string `json:"build,omitempty"`
}

// A Series is a cell's rate of failures, or one of its measurements, at each point.
type Series struct {
	Cell string `json:"cell"`
	// Name and Unit are those of the measurement; both are empty for failures.
	Name string `json:"name,omitempty"`
	Unit string `json:"unit,omitempty"`
	// Values has one entry per point; nil for a point without a value. For failures, Median is the
	// rate: 0 to 1.
	Values []*Summary `json:"values"`
	// Changes are the points at which the values change, in order.
	Changes []ChangePoint `json:"changes,omitempty"`
}

// A ChangePoint is a point at which the values change.
type ChangePoint struct {
	// At is the index of the first point that is different.
	At int `json:"at"`
	// Before and After are the medians, or the rates, between this change and its neighbours.
	Before float64 `json:"before"`
	After  float64 `json:"after"`
	// P is the share of random orders of the values that have a change at least as clear.
	P      float64 `json:"p"`
	Better string  `json:"better,omitempty"` // "better", "worse" or empty
}

// Over returns the trend of many runs over time. Runs whose builds have the same value of the key
// by, such as "proxy", are one point. If by is empty, runs of the same whole build are one point.
func Over(runs []*result.Run, by string) *Trend {
	t := &Trend{By: by, Points: []Point{}, Cells: []Series{}, Measurements: []Series{}}
	runs = slices.Clone(runs)
	slices.SortStableFunc(runs, func(x, y *result.Run) int { return cmp.Or(x.Began.Compare(y.Began), cmp.Compare(x.ID, y.ID)) })
	index := make(map[string]int)
	var groups [][]*result.Run
	for _, r := range runs {
		build := archive.Build(r)
		key := archive.Key(build)
		name := cmp.Or(r.Labels["commit"], key, "unknown")
		if by != "" {
			key = build[by]
			name = cmp.Or(key, "unknown")
		}
		i, ok := index[key]
		if !ok {
			i = len(groups)
			index[key] = i
			groups = append(groups, nil)
			t.Points = append(t.Points, Point{Name: name, Key: key, Began: r.Began, Build: build})
		}
		groups[i] = append(groups[i], r)
		t.Points[i].Runs = append(t.Points[i].Runs, r.ID)
	}
	data := make([]map[string]*cellData, len(groups))
	cells := make(map[string]bool)
	for i, g := range groups {
		data[i] = gather(g)
		for id := range data[i] {
			cells[id] = true
		}
	}
	for _, id := range slices.Sorted(maps.Keys(cells)) {
		if s := failures(id, data); s != nil {
			t.Cells = append(t.Cells, *s)
		}
		names := make(map[string]*series)
		for _, d := range data {
			if d[id] != nil {
				for name, m := range d[id].values {
					names[name] = m // the newest one's unit counts
				}
			}
		}
		for _, name := range slices.Sorted(maps.Keys(names)) {
			t.Measurements = append(t.Measurements, measured(id, names[name], data))
		}
	}
	changedFirst := func(x, y Series) int { return cmp.Compare(min(len(y.Changes), 1), min(len(x.Changes), 1)) }
	slices.SortStableFunc(t.Cells, changedFirst)
	slices.SortStableFunc(t.Measurements, changedFirst)
	return t
}

// failures returns the series of a cell's rate of failures; nil if the cell never failed.
func failures(id string, data []map[string]*cellData) *Series {
	s := &Series{Cell: id, Values: make([]*Summary, len(data))}
	values := make([][]float64, len(data))
	failed := 0
	for i, d := range data {
		if d[id] == nil || d[id].tally.decided() == 0 {
			continue
		}
		tally := d[id].tally
		failed += tally.Failed
		s.Values[i] = &Summary{N: tally.decided(), Median: float64(tally.Failed) / float64(tally.decided())}
		for range tally.Failed {
			values[i] = append(values[i], 1)
		}
		for range tally.Passed {
			values[i] = append(values[i], 0)
		}
	}
	if failed == 0 {
		return nil
	}
	s.Changes = changes(values, mean, "lower")
	return s
}

func measured(id string, m *series, data []map[string]*cellData) Series {
	s := Series{Cell: id, Name: m.Name, Unit: m.Unit, Values: make([]*Summary, len(data))}
	values := make([][]float64, len(data))
	for i, d := range data {
		if d[id] == nil || d[id].values[m.Name] == nil {
			continue
		}
		v := d[id].values[m.Name]
		if v.Unit != m.Unit || len(v.values) == 0 {
			continue
		}
		values[i] = v.values
		sum := summary(benchmath.NewSample(slices.Clone(v.values), &benchmath.DefaultThresholds))
		s.Values[i] = &sum
	}
	s.Changes = changes(values, median, m.Better)
	return s
}

func mean(v []float64) float64 {
	sum := 0.0
	for _, x := range v {
		sum += x
	}
	return sum / float64(len(v))
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	n := len(v)
	return (v[n/2] + v[(n-1)/2]) / 2
}

// Limits of the search for change points.
const (
	// trendAlpha is the share of series without a change that show one.
	trendAlpha = 0.01
	// orders is how many random orders a change is compared with.
	orders = 999
	// minValues is how many values each side of a change needs.
	minValues = 3
)

// changes finds the points at which values change. It splits the series where the ranks of the values
// differ most. It keeps the split if few random orders of the same values have one as clear, and
// goes on with both parts. It splits only between points, because within a point the build is the
// same.
func changes(points [][]float64, centre func([]float64) float64, better string) []ChangePoint {
	// The seed is fixed, so that the same results always give the same change points.
	random := rand.New(rand.NewPCG(1, 2))
	type split struct {
		at int
		p  float64
	}
	var splits []split
	var search func(from, to int)
	search = func(from, to int) {
		at, p, ok := clearest(points[from:to], random)
		if !ok {
			return
		}
		splits = append(splits, split{from + at, p})
		search(from, from+at)
		search(from+at, to)
	}
	search(0, len(points))
	slices.SortFunc(splits, func(x, y split) int { return cmp.Compare(x.at, y.at) })
	var all []ChangePoint
	for i, s := range splits {
		from, to := 0, len(points)
		if i > 0 {
			from = splits[i-1].at
		}
		if i+1 < len(splits) {
			to = splits[i+1].at
		}
		c := ChangePoint{At: s.at, Before: centre(slices.Concat(points[from:s.at]...)), After: centre(slices.Concat(points[s.at:to]...)), P: s.p}
		switch {
		case better != "lower" && better != "higher" || c.Before == c.After:
		case (c.After < c.Before) == (better == "lower"):
			c.Better = "better"
		default:
			c.Better = "worse"
		}
		all = append(all, c)
	}
	return all
}

// clearest returns the clearest split of the points, if it is significant.
func clearest(points [][]float64, random *rand.Rand) (at int, p float64, ok bool) {
	values := slices.Concat(points...)
	n := len(values)
	if n < 2*minValues {
		return 0, 1, false
	}
	ranks := ranksOf(values)
	var ends []int // numbers of values before a possible split
	var ats []int
	before := 0
	for i, v := range points {
		if before >= minValues && n-before >= minValues && len(v) > 0 {
			ends, ats = append(ends, before), append(ats, i)
		}
		before += len(v)
	}
	if len(ends) == 0 {
		return 0, 1, false
	}
	which, seen := best(ranks, ends)
	if seen == 0 {
		return 0, 1, false
	}
	asClear := 0
	for range orders {
		random.Shuffle(n, func(i, j int) { ranks[i], ranks[j] = ranks[j], ranks[i] })
		if _, z := best(ranks, ends); z >= seen-1e-12 {
			// NB: most series have no change, and the first few orders show that.
			if asClear++; float64(asClear+1)/(orders+1) > trendAlpha {
				return 0, 1, false
			}
		}
	}
	return ats[which], float64(asClear+1) / (orders + 1), true
}

// best returns the split at which the ranks before it differ most from those after it, and z, that
// difference in standard deviations.
func best(ranks []float64, ends []int) (which int, z float64) {
	n := float64(len(ranks))
	sum, i := 0.0, 0
	for w, end := range ends {
		for ; i < end; i++ {
			sum += ranks[i]
		}
		k := float64(end)
		got := math.Abs(sum-k*(n+1)/2) / math.Sqrt(k*(n-k)*(n+1)/12)
		if got > z {
			which, z = w, got
		}
	}
	return which, z
}

// ranksOf returns the rank of each value. Equal values share the mean of their ranks.
func ranksOf(values []float64) []float64 {
	order := make([]int, len(values))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(x, y int) int { return cmp.Compare(values[x], values[y]) })
	ranks := make([]float64, len(values))
	for i := 0; i < len(order); {
		j := i
		for j < len(order) && values[order[j]] == values[order[i]] {
			j++
		}
		for k := i; k < j; k++ {
			ranks[order[k]] = float64(i+j+1) / 2
		}
		i = j
	}
	return ranks
}

// short shortens a name for a table or a plot.
func short(name string) string {
	name, _, _ = strings.Cut(name, "\n")
	if len(name) == 40 && strings.Trim(name, "0123456789abcdef") == "" {
		return name[:10] // a commit
	}
	if r := []rune(name); len(r) > 24 {
		return string(r[:23]) + "…"
	}
	return name
}
