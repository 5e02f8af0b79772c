package bisect

import (
	"cmp"
	"math"
	"slices"
)

// Base is the index of the known good commit.
const Base = -1

// A Graph is the history between a good commit and a bad one. Commits have indices from 0, and a
// commit comes after its parents.
type Graph struct {
	ancestors []bitset // of each commit, including itself
}

// NewGraph returns the graph of commits with these parents, by index. Parents that are not among
// the commits, such as the good commit, must be left out.
func NewGraph(parents [][]int) *Graph {
	g := &Graph{ancestors: make([]bitset, len(parents))}
	for i, ps := range parents {
		set := make(bitset, (len(parents)+63)/64)
		set.add(i)
		for _, p := range ps {
			set.union(g.ancestors[p])
		}
		g.ancestors[i] = set
	}
	return g
}

// Line returns the graph of n commits, each the parent of the next.
func Line(n int) *Graph {
	parents := make([][]int, n)
	for i := range n - 1 {
		parents[i+1] = []int{i}
	}
	return NewGraph(parents)
}

// Len returns the number of commits.
func (g *Graph) Len() int { return len(g.ancestors) }

// Has reports whether commit i contains the change of commit c.
func (g *Graph) Has(i, c int) bool { return i != Base && g.ancestors[i].has(c) }

type bitset []uint64

func (s bitset) add(i int)      { s[i/64] |= 1 << (i % 64) }
func (s bitset) has(i int) bool { return s[i/64]>>(i%64)&1 != 0 }
func (s bitset) union(o bitset) {
	for i := range o {
		s[i] |= o[i]
	}
}

// A Model has the counts of passed and failed tests of each commit, and computes which commit
// introduced the fault.
//
// It assumes that one commit introduced the fault, and that each is equally likely at first. A test
// of a commit without the fault fails with probability g, and one with the fault with probability
// b, each time independently. b is larger than g by at least MinGap. Neither is known, so the model
// integrates over both. Half of the prior weight of g says that a good commit practically never
// fails. Half of that of b says that a bad one practically always fails. The other halves are
// spread evenly.
//
// There is one more hypothesis, with a prior of PriorNone: no commit changes anything. Then the
// test practically never fails, practically always fails, or fails at any other rate, with a third
// of the weight each.
type Model struct {
	graph  *Graph
	passed map[int]int
	failed map[int]int
}

// The model's constants.
const (
	// MinGap is the least difference between the failure rates of a bad and a good commit.
	MinGap = 0.2
	// PriorNone is the prior probability that no commit introduced the fault.
	PriorNone = 0.05
	// seldom is the rate of "practically never": that of wrong results of a test that is not flaky.
	seldom = 0.002
)

// NewModel returns a model without observations.
func NewModel(g *Graph) *Model {
	return &Model{graph: g, passed: map[int]int{}, failed: map[int]int{}}
}

// Observe adds the outcome of one test of a commit, or of Base.
func (m *Model) Observe(commit int, failed bool) {
	if failed {
		m.failed[commit]++
	} else {
		m.passed[commit]++
	}
}

// Counts returns how often a commit passed and failed.
func (m *Model) Counts(commit int) (passed, failed int) { return m.passed[commit], m.failed[commit] }

// rates are the pairs of g and b with their prior weights. single are those without a difference.
var rates, single = grid()

type ratePair struct{ g, b, logWeight float64 }

func grid() (pairs, single []ratePair) {
	var gs, bs []ratePair
	for i := 1; i <= 16; i++ {
		r := 0.05 * float64(i)
		gs = append(gs, ratePair{g: r, logWeight: 0.5 / 16})
		bs = append(bs, ratePair{b: 1 - r, logWeight: 0.5 / 16})
	}
	gs = append(gs, ratePair{g: seldom, logWeight: 0.5})
	bs = append(bs, ratePair{b: 1 - seldom, logWeight: 0.5})
	total := 0.0
	for _, g := range gs {
		for _, b := range bs {
			if b.b-g.g >= MinGap-1e-9 {
				pairs = append(pairs, ratePair{g.g, b.b, g.logWeight * b.logWeight})
				total += g.logWeight * b.logWeight
			}
		}
	}
	for i := range pairs {
		pairs[i].logWeight = math.Log(pairs[i].logWeight / total)
	}
	for i := range 21 {
		r := min(max(float64(i)/20, seldom), 1-seldom)
		weight := 1.0 / 3 / 19
		if i == 0 || i == 20 {
			weight = 1.0 / 3 // because most tests always pass or always fail
		}
		single = append(single, ratePair{r, r, math.Log(weight)})
	}
	return pairs, single
}

// A Posterior has the probabilities of a model, given its observations.
type Posterior struct {
	// P is, for each commit, the probability that it introduced the fault.
	P []float64
	// None is the probability that no commit did.
	None float64

	failGood, failBad []float64 // the expected failure rates if that commit did
	failNone          float64
	bitsGood, bitsBad []float64 // the entropies of those rates
}

// Posterior returns the probabilities, given all observations.
func (m *Model) Posterior() *Posterior {
	n := m.graph.Len()
	p := &Posterior{P: make([]float64, n), failGood: make([]float64, n), failBad: make([]float64, n),
		bitsGood: make([]float64, n), bitsBad: make([]float64, n)}
	logs := make([]float64, n+1)
	tested := make(map[int]bool)
	for c := range m.passed {
		tested[c] = true
	}
	for c := range m.failed {
		tested[c] = true
	}
	// Candidates with the same counts have the same likelihood, and most candidates share theirs.
	type counts struct{ goodPassed, goodFailed, badPassed, badFailed int }
	type answer struct{ log, g, b float64 }
	known := make(map[counts]answer)
	for c := range n {
		var k counts
		for i := range tested {
			if m.graph.Has(i, c) {
				k.badPassed, k.badFailed = k.badPassed+m.passed[i], k.badFailed+m.failed[i]
			} else {
				k.goodPassed, k.goodFailed = k.goodPassed+m.passed[i], k.goodFailed+m.failed[i]
			}
		}
		a, ok := known[k]
		if !ok {
			a.log, a.g, a.b = integrate(rates, k.goodPassed, k.goodFailed, k.badPassed, k.badFailed)
			known[k] = a
		}
		p.bitsGood[c], p.bitsBad[c] = entropy(a.g), entropy(a.b)
		logs[c], p.failGood[c], p.failBad[c] = a.log+math.Log((1-PriorNone)/float64(n)), a.g, a.b
	}
	passed, failed := 0, 0
	for i := range tested {
		passed, failed = passed+m.passed[i], failed+m.failed[i]
	}
	logs[n], p.failNone, _ = integrate(single, passed, failed, 0, 0)
	logs[n] += math.Log(PriorNone)
	top := slices.Max(logs)
	total := 0.0
	for _, l := range logs {
		total += math.Exp(l - top)
	}
	for c := range n {
		p.P[c] = math.Exp(logs[c]-top) / total
	}
	p.None = math.Exp(logs[n]-top) / total
	return p
}

// integrate returns the logarithm of the likelihood of the counts, and the expected rates g and b.
func integrate(pairs []ratePair, goodPassed, goodFailed, badPassed, badFailed int) (log, g, b float64) {
	logs := make([]float64, len(pairs))
	for i, r := range pairs {
		logs[i] = r.logWeight + float64(goodPassed)*math.Log(1-r.g) + float64(goodFailed)*math.Log(r.g) +
			float64(badPassed)*math.Log(1-r.b) + float64(badFailed)*math.Log(r.b)
	}
	top := slices.Max(logs)
	total := 0.0
	for i, l := range logs {
		w := math.Exp(l - top)
		total += w
		g += w * pairs[i].g
		b += w * pairs[i].b
	}
	return top + math.Log(total), g / total, b / total
}

// Best returns the most probable commit.
func (p *Posterior) Best() (commit int, probability float64) {
	for c, q := range p.P {
		if q > probability {
			commit, probability = c, q
		}
	}
	return commit, probability
}

// Within returns the fewest commits, the most probable first, that together have at least the given
// probability, provided that a commit introduced the fault.
func (p *Posterior) Within(confidence float64) []int {
	order := make([]int, len(p.P))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(x, y int) int { return cmp.Compare(p.P[y], p.P[x]) })
	sum := 0.0
	for i, c := range order {
		if sum += p.P[c]; sum >= confidence*(1-p.None)-1e-12 {
			return order[:i+1]
		}
	}
	return order
}

// minGain is the information, in bits, below which a test is not worth its time.
const minGain = 1e-6

// Next returns the commit, or Base, whose test gives most information about which commit introduced
// the fault. It prefers the commit here, which is built already, if that gives at least 90 % as
// much. ok is false if no testable commit gives information.
func (m *Model) Next(p *Posterior, testable func(commit int) bool, here int) (commit int, ok bool) {
	best := -1.0
	gainHere := 0.0
	for i := Base; i < m.graph.Len(); i++ {
		if !testable(i) {
			continue
		}
		gain := m.gain(p, i)
		if gain > best {
			commit, best = i, gain
		}
		if i == here {
			gainHere = gain
		}
	}
	if best < minGain {
		return 0, false
	}
	if gainHere >= 0.9*best {
		commit = here
	}
	return commit, true
}

// gain returns the expected information of the next test of commit i about which hypothesis is
// true, in bits.
func (m *Model) gain(p *Posterior, i int) float64 {
	fails := p.None * p.failNone
	known := p.None * entropy(p.failNone)
	for c, q := range p.P {
		if m.graph.Has(i, c) {
			fails += q * p.failBad[c]
			known += q * p.bitsBad[c]
		} else {
			fails += q * p.failGood[c]
			known += q * p.bitsGood[c]
		}
	}
	return entropy(fails) - known
}

func entropy(p float64) float64 {
	if p <= 0 || p >= 1 {
		return 0
	}
	return -p*math.Log2(p) - (1-p)*math.Log2(1-p)
}
