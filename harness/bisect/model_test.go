package bisect_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/bisect"
	"github.com/spicelane/spicelane/internal/need"
)

// find lets a model search for a fault. Good commits fail with probability g, bad ones with b. It
// returns the commit that it blames, or -2 for none, and the number of tests.
func find(random *rand.Rand, graph *bisect.Graph, fault int, g, b, confidence float64) (blamed, tests int) {
	m := bisect.NewModel(graph)
	here := bisect.Base
	for tests < 2000 {
		p := m.Posterior()
		if c, q := p.Best(); q >= confidence {
			return c, tests
		}
		if p.None >= confidence {
			return -2, tests
		}
		next, ok := m.Next(p, func(int) bool { return true }, here)
		if !ok {
			return -3, tests
		}
		here = next
		rate := g
		if fault >= 0 && graph.Has(next, fault) {
			rate = b
		}
		m.Observe(next, random.Float64() < rate)
		tests++
	}
	return -4, tests
}

// Tests the bound in the documentation: with confidence 0.99, at most one result in a hundred is
// wrong, for each of these rates. SPICELANE_SOAK=full searches more often; its log has the numbers
// of tests that users have to expect.
func TestTheModelIsWrongNoMoreOftenThanItSays(t *testing.T) {
	need.Long(t)
	t.Parallel()
	for _, c := range []struct{ g, b float64 }{{0, 1}, {0.3, 1}, {0, 0.5}, {0.1, 0.9}, {0.3, 0.8}} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(3, 4))
			graph, searches, most := bisect.Line(20), 30, 3
			if os.Getenv("SPICELANE_SOAK") == "full" {
				graph, searches, most = bisect.Line(40), 500, 12
			}
			wrong, tests := 0, 0
			for range searches {
				fault := random.IntN(graph.Len())
				got, n := find(random, graph, fault, c.g, c.b, 0.99)
				tests += n
				if got != fault {
					wrong++
				}
			}
			t.Logf("good commits fail %v, bad ones %v: %d of %d wrong, %.1f tests", c.g, c.b, wrong, searches, float64(tests)/float64(searches))
			require.LessOrEqual(t, wrong, most)
		})
	}
}

func TestAFaultThatIsNotFlakyTakesLittleMoreThanABisection(t *testing.T) {
	t.Parallel()
	got, tests := find(rand.New(rand.NewPCG(1, 1)), bisect.Line(300), 217, 0, 1, 0.99)
	require.Equal(t, 217, got)
	require.LessOrEqual(t, tests, 16, "a bisection of 300 takes nine")
}

func TestNoCommitIsBlamedIfNoneChangesAnything(t *testing.T) {
	need.Long(t)
	t.Parallel()
	random := rand.New(rand.NewPCG(5, 6))
	for _, rate := range []float64{0, 0.3, 1} {
		blamed := 0
		for range 20 {
			if got, _ := find(random, bisect.Line(20), -1, rate, rate, 0.99); got != -2 {
				blamed++
			}
		}
		require.LessOrEqual(t, blamed, 1, "rate %v", rate)
	}
}

// 0 ─ 1 ─ 2 ─────── 6 (merge) ─ 7
// │               /
// └── 3 ─ 4 ─ 5
func TestAFaultOnABranchIsFoundInAHistoryWithMerges(t *testing.T) {
	t.Parallel()
	graph := bisect.NewGraph([][]int{{}, {0}, {1}, {0}, {3}, {4}, {2, 5}, {6}})
	require.True(t, graph.Has(7, 4))
	require.False(t, graph.Has(2, 4), "a commit beside the branch does not have its change")
	require.False(t, graph.Has(bisect.Base, 0))
	random := rand.New(rand.NewPCG(7, 8))
	for fault := range graph.Len() {
		got, _ := find(random, graph, fault, 0.2, 1, 0.999)
		require.Equal(t, fault, got)
	}
}

func TestCommitsThatCannotBeTestedRemainCandidatesTogether(t *testing.T) {
	t.Parallel()
	m := bisect.NewModel(bisect.Line(10))
	testable := func(c int) bool { return c < 4 || c > 6 }
	for range 100 {
		next, ok := m.Next(m.Posterior(), testable, bisect.Base)
		if !ok {
			break
		}
		m.Observe(next, next >= 5)
	}
	got := m.Posterior().Within(0.99)
	require.ElementsMatch(t, []int{4, 5, 6, 7}, got)
}
