package compare_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/archive"
	"github.com/spicelane/spicelane/harness/archive/archivetest"
	"github.com/spicelane/spicelane/harness/archive/compare"
	"github.com/spicelane/spicelane/harness/internal/pagetest"
	"github.com/spicelane/spicelane/harness/plan/result"
	"github.com/spicelane/spicelane/harness/verdict"
)

// run returns a run whose cells ended as the words say: each letter is an attempt, P passed, F failed
// by the product, H failed by the host.
func run(n int, build string, cells map[string]string) *result.Run {
	r := &result.Run{Schema: result.Schema, ID: fmt.Sprintf("run-%03d", n), Began: time.Date(2026, 1, 1, n, 0, 0, 0, time.UTC), Outcome: result.Success}
	for _, id := range slices.Sorted(maps.Keys(cells)) {
		c := result.Cell{ID: id, Job: "j", Identity: map[string]string{"lane/proxy": build}}
		for i, letter := range cells[id] {
			at := result.Attempt{N: i + 1, Outcome: result.Success}
			switch letter {
			case 'F':
				at.Outcome, at.Verdict, at.Hop, at.Reason = result.Failure, verdict.Product, verdict.HopProxy, "it sent too little"
			case 'H':
				at.Outcome, at.Verdict, at.Reason = result.Failure, verdict.Host, "no QEMU"
			}
			c.Attempts = append(c.Attempts, at)
			c.Outcome, c.Verdict, c.Reason = at.Outcome, at.Verdict, at.Reason
		}
		if len(c.Attempts) == 0 {
			c.Outcome = result.Skipped
		}
		r.Cells = append(r.Cells, c)
	}
	return r
}

func TestACellIsARegressionAFixFlakyNewGoneOrTheSame(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		a, b string // "-" means that the side does not have the cell
		want compare.Change
	}{
		"passes, then fails":                            {"P", "F", compare.Regression},
		"fails, then passes":                            {"F", "P", compare.Fix},
		"passes on both":                                {"PP", "P", compare.Passing},
		"fails on both":                                 {"F", "FF", compare.Failing},
		"flaky on both sides":                           {"PF", "FP", compare.Flaky},
		"one failure among passes is no regression":     {"PPP", "PFP", compare.Flaky},
		"flaky before, always now, but too few to tell": {"PF", "FF", compare.Flaky},
		"flaky before, always now":                      {"PFPPPPFPPP", "FFFFFFFFFF", compare.Regression},
		"always before, seldom now":                     {"FFFFFFFFFF", "PFPPPPFPPP", compare.Fix},
		"passes often, then fails often":                {"PPPPPPPPPPPP", "FFFFFFPPPPPP", compare.Regression},
		"new":                                           {"-", "F", compare.New},
		"gone":                                          {"P", "-", compare.Gone},
		"the host failed":                               {"P", "HH", compare.NoResult},
		"a failure of the host beside a pass does not count": {"HP", "P", compare.Passing},
		"it did not run": {"", "P", compare.NoResult},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			side := func(n int, word string) compare.Side {
				cells := map[string]string{}
				if word != "-" {
					cells["boot"] = word
				}
				return compare.Side{Name: "side", Runs: []*result.Run{run(n, "1", cells)}}
			}
			got := compare.Compare(side(1, c.a), side(2, c.b))
			require.Len(t, got.Cells, 1)
			require.Equal(t, c.want, got.Cells[0].Change, "%+v", got.Cells[0])
			require.Equal(t, map[compare.Change]int{c.want: 1}, got.Counts)
			if c.want == compare.Regression {
				require.Equal(t, verdict.Product, got.Verdict())
				require.Equal(t, "run-002", got.Cells[0].Run)
				require.Equal(t, "it sent too little", got.Cells[0].Reason)
			} else {
				require.Empty(t, got.Verdict())
			}
		})
	}
}

func TestAResultTakenOverFromAnotherRunCountsOnce(t *testing.T) {
	t.Parallel()
	first, second := run(1, "1", map[string]string{"boot": "F"}), run(2, "1", map[string]string{"boot": "F"})
	second.Cells[0].ReusedFrom = "run-001"
	got := compare.Compare(compare.Side{Runs: []*result.Run{first, second}}, compare.Side{Runs: []*result.Run{second}})
	require.Equal(t, compare.Tally{Failed: 1}, got.Cells[0].A)
	require.Equal(t, compare.Tally{Failed: 1}, got.Cells[0].B, "the other run is not there, so this result counts")
}

// The run that had the attempt is not among these, for example because it is on another branch.
func TestAResultThatSeveralRunsTookOverFromTheSameRunCountsOnce(t *testing.T) {
	t.Parallel()
	var runs []*result.Run
	for n := 2; n <= 9; n++ {
		r := measured(n, "1", "lower", 10, 11, 12)
		r.Cells[0].ReusedFrom = "run-001"
		runs = append(runs, r)
	}
	other := compare.Side{Runs: []*result.Run{measured(20, "2", "lower", 10.5, 11.5, 12.5)}}
	got := compare.Compare(compare.Side{Runs: runs}, other)
	require.Equal(t, compare.Tally{Passed: 1}, got.Cells[0].A)
	require.Equal(t, 3, got.Measurements[0].A.N, "values that were measured")
	runs[0].Cells[0].ReusedFrom = "run-000"
	got = compare.Compare(compare.Side{Runs: runs}, other)
	require.Equal(t, compare.Tally{Passed: 2}, got.Cells[0].A)
}

// The unit changed between these runs, so the older values say nothing about the newer ones.
func TestValuesInTwoUnitsAreNotOneSeries(t *testing.T) {
	t.Parallel()
	old, newer := measured(1, "1", "lower", 4000, 4100, 4200), measured(2, "1", "lower", 4, 4.1, 4.2, 4.3)
	newer.Cells[0].Attempts[0].Measurements[0].Unit = "s"
	b := measured(3, "2", "lower", 4, 4.1, 4.2, 4.3)
	b.Cells[0].Attempts[0].Measurements[0].Unit = "s"
	got := compare.Compare(compare.Side{Runs: []*result.Run{newer, old}}, compare.Side{Runs: []*result.Run{b}})
	m := got.Measurements[0]
	require.Equal(t, 4, m.A.N)
	require.Equal(t, "s", m.Unit)
	require.InDelta(t, 1, m.Ratio, 0.001)
	require.NotContains(t, m.Note, "its unit was")
}

// measured returns a run with one passed cell and its values.
func measured(n int, build, better string, values ...float64) *result.Run {
	r := run(n, build, map[string]string{"boot": "P"})
	r.Cells[0].Attempts[0].Measurements = []result.Measurement{{Name: "lane/ready", Unit: "ms", Better: better, Values: values}}
	return r
}

func TestAMeasurementChangesOnlyIfChanceDoesNotExplainIt(t *testing.T) {
	t.Parallel()
	low, high := []float64{10, 11, 12, 13, 14, 15, 16, 17}, []float64{20, 21, 22, 23, 24, 25, 26, 27}
	for name, c := range map[string]struct {
		better      string
		a, b        []float64
		significant bool
		want        string // Better
		note        string
	}{
		"slower":               {"lower", low, high, true, "worse", ""},
		"faster":               {"lower", high, low, true, "better", ""},
		"more is better":       {"higher", low, high, true, "better", ""},
		"neither is better":    {"", low, high, true, "", ""},
		"the same":             {"lower", low, low, false, "", ""},
		"within the noise":     {"lower", low, []float64{11, 10, 13, 12, 15, 14, 18, 19}, false, "", ""},
		"too few values":       {"lower", low[:3], high[:3], false, "", "need >= 4 samples to detect a difference at alpha level 0.05"},
		"all values are equal": {"lower", []float64{5, 5, 5, 5}, []float64{5, 5, 5, 5}, false, "", "all samples are equal"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := compare.Compare(compare.Side{Runs: []*result.Run{measured(1, "1", c.better, c.a...)}},
				compare.Side{Runs: []*result.Run{measured(2, "2", c.better, c.b...)}})
			require.Len(t, got.Measurements, 1)
			m := got.Measurements[0]
			require.Equal(t, c.significant, m.Significant, "%+v", m)
			require.Equal(t, c.want, m.Better)
			require.Equal(t, c.note, m.Note)
			require.Equal(t, []string{"proxy"}, got.Differs)
		})
	}
	got := compare.Compare(compare.Side{Runs: []*result.Run{measured(1, "1", "lower", low...)}},
		compare.Side{Runs: []*result.Run{measured(2, "1", "lower", high...)}}).Measurements[0]
	require.Equal(t, 13.5, got.A.Median)
	require.Equal(t, 10.0, *got.A.Low) // the interval of eight values at 95 %
	require.Equal(t, 16.0, *got.A.High)
	require.InDelta(t, 23.5/13.5, got.Ratio, 1e-12)
}

func TestAMeasurementWhoseUnitChangedHasItsMediansAndNoAnswer(t *testing.T) {
	t.Parallel()
	a, b := measured(1, "1", "lower", 10, 11, 12), measured(2, "1", "lower", 0.1, 0.2, 0.3)
	b.Cells[0].Attempts[0].Measurements[0].Unit = "s"
	got := compare.Compare(compare.Side{Runs: []*result.Run{a}}, compare.Side{Runs: []*result.Run{b}}).Measurements
	require.Equal(t, []compare.MeasurementDiff{{Cell: "boot", Name: "lane/ready", Unit: "s", P: 1, Note: `its unit was "ms"`,
		A: compare.Summary{N: 3, Median: 11}, B: compare.Summary{N: 3, Median: 0.2}}}, got)
}

// If two builds are equal, each of 1000 measurements has p < 0.05 with a probability of one in
// twenty.
func TestAmongManyMeasurementsOfEqualBuildsNoneOrFewAreCalledChanged(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(7, 7))
	a, b := run(1, "1", map[string]string{"boot": "P"}), run(2, "1", map[string]string{"boot": "P"})
	for i := range 1000 {
		for _, r := range []*result.Run{a, b} {
			m := result.Measurement{Name: fmt.Sprintf("m%04d", i), Better: "lower"}
			for range 10 {
				v := random.NormFloat64()
				if i < 20 && r == b {
					v += 10 // twenty have changed
				}
				m.Values = append(m.Values, v)
			}
			r.Cells[0].Attempts[0].Measurements = append(r.Cells[0].Attempts[0].Measurements, m)
		}
	}
	got := compare.Compare(compare.Side{Runs: []*result.Run{a}}, compare.Side{Runs: []*result.Run{b}})
	below, significant, wrong := 0, 0, 0
	for _, m := range got.Measurements {
		if m.P < compare.Alpha {
			below++
		}
		if m.Significant {
			significant++
			if m.Name >= "m0020" {
				wrong++
			}
		}
	}
	require.Greater(t, below, 50, "without the correction these would be called changed")
	require.Equal(t, 20, significant-wrong)
	require.LessOrEqual(t, wrong, 3)
}

func sample(t *testing.T) *compare.Comparison {
	t.Helper()
	a := run(1, "builtin 1", map[string]string{"boot (display=qxl)": "P", "boot (display=std)": "F", "old": "P", "same": "P"})
	b := run(2, "builtin 2", map[string]string{"boot (display=qxl)": "F", "boot (display=std)": "P", "new": "P", "same": "P"})
	b.Cells = append(b.Cells, result.Cell{ID: "<script>|x", Job: "j", Outcome: result.Failure, Verdict: verdict.Product, Reason: "a | b <b>"})
	for i, r := range []*result.Run{a, b} {
		for j := range r.Cells {
			if r.Cells[j].ID == "same" {
				r.Cells[j].Attempts[0].Measurements = []result.Measurement{
					{Name: "lane/ready", Unit: "ms", Better: "lower", Values: []float64{10, 11, 12, 13, 14, 15}},
					{Name: "noise", Values: []float64{1, 2, 3, 4, 5, 6}},
				}
				if i == 1 {
					r.Cells[j].Attempts[0].Measurements[0].Values = []float64{20, 21, 22, 23, 24, 25}
				}
			}
		}
	}
	return compare.Compare(compare.Side{Name: "baseline", Runs: []*result.Run{a}}, compare.Side{Name: "latest", Runs: []*result.Run{b}})
}

func TestAComparisonIsWrittenAsText(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	require.NoError(t, sample(t).WriteText(&b))
	squeezed := regexp.MustCompile(` {2,}`).ReplaceAllString(b.String(), "  ")
	require.Equal(t, `A  baseline: 1 run (run-001)
B  latest: 1 run (run-002)
  proxy: builtin 1 → builtin 2
1 regression, 1 fix, 2 new, 1 gone, 1 still passing; 1 of 2 measurements changed
regression  boot (display=qxl)  0 of 1 failed → 1 of 1 failed  product fault (proxy): it sent too little
fix  boot (display=std)  1 of 1 failed → 0 of 1 failed  product fault (proxy): it sent too little
new  <script>|x  not there → 1 of 1 failed  product fault: a | b <b>
new  new  not there → 0 of 1 failed  
gone  old  0 of 1 failed → not there  
lane/ready  same  12.5 (10 to 15) → 22.5 (20 to 25) ms  +80.0 % worse (p=0.0022)
noise  same  3.5 (1 to 6) → 3.5 (1 to 6)  no significant change (p=1)
`, squeezed)
}

func TestAComparisonIsWrittenAsMarkdownInWhichNoTextBreaksTheTable(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	require.NoError(t, sample(t).WriteMarkdown(&b))
	require.Contains(t, b.String(), "## latest against baseline\n")
	require.Contains(t, b.String(), "| new | &lt;script>\\|x | not there → 1 of 1 failed | product fault: a \\| b &lt;b> |\n")
	for _, line := range strings.Split(b.String(), "\n") {
		if strings.HasPrefix(line, "| ") && strings.Contains(line, "→ ") {
			require.Equal(t, 5, strings.Count(strings.ReplaceAll(line, `\|`, ""), "|"), line)
		}
	}
}

func TestAComparisonIsWrittenAsJSON(t *testing.T) {
	t.Parallel()
	want := sample(t)
	b, err := json.Marshal(want)
	require.NoError(t, err)
	var got compare.Comparison
	require.NoError(t, json.Unmarshal(b, &got))
	require.Equal(t, want, &got)
}

// selfContained fails the test if a page needs another file, or is not well-formed.
func selfContained(t *testing.T, page string) {
	t.Helper()
	require.NotRegexp(t, `(?i)<script|src=|href=|url\(|@import`, page)
	dec := xml.NewDecoder(strings.NewReader(page))
	dec.Strict = false
	dec.AutoClose = []string{"meta"}
	dec.Entity = xml.HTMLEntity
	for {
		if _, err := dec.Token(); err == io.EOF {
			return
		} else {
			require.NoError(t, err)
		}
	}
}

func TestAComparisonIsWrittenAsOnePageWithPlots(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	require.NoError(t, sample(t).WriteHTML(&b))
	selfContained(t, b.String())
	require.Contains(t, b.String(), "&lt;script&gt;|x")
	require.Equal(t, 2, strings.Count(b.String(), "<svg "))
	require.Contains(t, b.String(), `<tr class="regression">`)
}

// Builds are named by hashes, which contain no space at which a line could break.
func TestAPageWithLongNamesFitsIntoAWindow(t *testing.T) {
	t.Parallel()
	long := func(n int) string {
		return fmt.Sprintf("builtin %d sha256:%s", n, strings.Repeat(fmt.Sprintf("%08x", n), 12))
	}
	var runs []*result.Run
	for i := range 12 {
		r := measured(i, long(i), "lower", float64(10*(i/6)+1), float64(10*(i/6)+2), float64(10*(i/6)+3))
		r.Cells[0].ID = "boot (display=qxl, tls=true, image=debian-12-generic-amd64)"
		runs = append(runs, r)
	}
	for name, page := range map[string]interface{ WriteHTML(io.Writer) error }{
		"compare": compare.Compare(compare.Side{Name: "latest~11,latest~10", Runs: runs[:2]}, compare.Side{Name: "latest", Runs: runs[10:]}),
		"trend":   compare.Over(runs, "proxy"),
	} {
		var b bytes.Buffer
		require.NoError(t, page.WriteHTML(&b))
		require.Contains(t, b.String(), strings.Repeat("00000001", 12))
		path := filepath.Join(t.TempDir(), name+".html")
		require.NoError(t, os.WriteFile(path, b.Bytes(), 0o600))
		pagetest.RequireFits(t, path)
	}
}

// steps returns runs of builds whose values lie around the given levels.
func steps(seed uint64, each int, levels ...float64) []*result.Run {
	random := rand.New(rand.NewPCG(seed, 1))
	var all []*result.Run
	for i, level := range levels {
		var values []float64
		for range each {
			values = append(values, level+random.NormFloat64())
		}
		all = append(all, measured(i, fmt.Sprintf("build %02d", i), "lower", values...))
	}
	return all
}

func TestATrendMarksThePointsWhereAMeasurementChanges(t *testing.T) {
	t.Parallel()
	levels := []float64{10, 10, 10, 10, 20, 20, 20, 20, 20, 5, 5, 5, 5}
	got := compare.Over(steps(1, 5, levels...), "proxy")
	require.Len(t, got.Points, len(levels))
	require.Len(t, got.Measurements, 1)
	changes := got.Measurements[0].Changes
	require.Len(t, changes, 2, "%+v", changes)
	require.Equal(t, 4, changes[0].At)
	require.Equal(t, "worse", changes[0].Better)
	require.InDelta(t, 10, changes[0].Before, 1)
	require.InDelta(t, 20, changes[0].After, 1)
	require.Equal(t, 9, changes[1].At)
	require.Equal(t, "better", changes[1].Better)
	require.Equal(t, "build 04", got.Points[4].Name)
}

func TestATrendMarksTheBuildFromWhichOnACellFailsMoreOften(t *testing.T) {
	t.Parallel()
	words := []string{"PPPF", "PPPP", "PFPP", "PPPP", "FFFP", "FFFF", "FPFF", "FFFF"}
	var runs []*result.Run
	for i, w := range words {
		runs = append(runs, run(i, fmt.Sprint("build ", i), map[string]string{"boot": w, "sound": "P"}))
	}
	got := compare.Over(runs, "")
	require.Len(t, got.Cells, 1, "a cell that never failed has no series")
	require.Len(t, got.Cells[0].Changes, 1)
	require.Equal(t, 4, got.Cells[0].Changes[0].At)
	require.Equal(t, "worse", got.Cells[0].Changes[0].Better)
}

func TestSeriesWithoutAChangeSeldomShowOne(t *testing.T) {
	t.Parallel()
	wrong := 0
	const series = 500
	for seed := range uint64(series) {
		got := compare.Over(steps(seed, 1, make([]float64, 40)...), "")
		if len(got.Measurements[0].Changes) > 0 {
			wrong++
		}
	}
	require.LessOrEqual(t, wrong, 12, "one in a hundred is expected of %d", series)
}

func TestRunsOfOneBuildAreOnePoint(t *testing.T) {
	t.Parallel()
	runs := append(steps(1, 3, 10, 10), steps(2, 3, 10)...)
	runs[2].ID = "again"
	got := compare.Over(runs, "")
	require.Len(t, got.Points, 2)
	require.ElementsMatch(t, []string{"run-000", "again"}, got.Points[0].Runs)
	require.Equal(t, 6, got.Measurements[0].Values[0].N)
}

func TestATrendIsWrittenInEachFormat(t *testing.T) {
	t.Parallel()
	runs := steps(1, 5, 10, 10, 10, 20, 20, 20)
	runs[1].Cells[0].Attempts = append(runs[1].Cells[0].Attempts, result.Attempt{Outcome: result.Failure, Verdict: verdict.Product})
	got := compare.Over(runs, "proxy")
	var text, markdown, html bytes.Buffer
	require.NoError(t, got.WriteText(&text))
	require.NoError(t, got.WriteMarkdown(&markdown))
	require.NoError(t, got.WriteHTML(&html))
	require.Contains(t, text.String(), "6 builds in 6 runs; 1 cells that failed at times, 1 measurements, 1 change points\n")
	require.Regexp(t, `[▁▂]{3}\|[▇█]{3}  boot: lane/ready\n     \S+ ms → \S+ ms at build 03, worse \(p=0.001\)`, text.String())
	require.Contains(t, markdown.String(), "| boot: lane/ready | ")
	selfContained(t, html.String())
	require.Equal(t, 2, strings.Count(html.String(), "<svg "))
	require.Equal(t, 1, strings.Count(html.String(), `class="change"`))
}

// Ten thousand results on each side, with three measurements of a few values.
func big(n int) *result.Run {
	random := rand.New(rand.NewPCG(uint64(n), 1))
	r := &result.Run{Schema: result.Schema, ID: fmt.Sprintf("run-%03d", n), Outcome: result.Success}
	for i := range 10_000 {
		at := result.Attempt{N: 1, Outcome: result.Success}
		if random.IntN(50) == 0 {
			at.Outcome, at.Verdict, at.Reason = result.Failure, verdict.Product, "it sent too little"
		}
		for _, name := range []string{"lane/ready", "took", "key/digest"} {
			m := result.Measurement{Name: name, Unit: "ms", Better: "lower"}
			for range 3 {
				m.Values = append(m.Values, 1000*random.Float64())
			}
			at.Measurements = append(at.Measurements, m)
		}
		r.Cells = append(r.Cells, result.Cell{ID: fmt.Sprintf("boot (n=%d)", i), Job: "boot", Outcome: at.Outcome, Verdict: at.Verdict,
			Identity: map[string]string{"lane/config": fmt.Sprint(i % 100)}, Attempts: []result.Attempt{at}})
	}
	return r
}

// Reading from the archive: two run.json files are read, unpacked, checked and compared.
func BenchmarkCompareTwoRunsOfTenThousandResults(b *testing.B) {
	a, err := archive.Open(b.Context(), archive.Dir{Path: b.TempDir()}, archive.Options{})
	require.NoError(b, err)
	for n := range 2 {
		_, err := a.Add(b.Context(), archive.Source{Run: big(n)})
		require.NoError(b, err)
	}
	began := archivetest.CPUTime()
	defer func() {
		b.ReportMetric(float64((archivetest.CPUTime()-began).Milliseconds())/float64(b.N), "cpu-ms/op")
	}()
	for b.Loop() {
		var sides []compare.Side
		for n := range 2 {
			r, err := a.Run(b.Context(), fmt.Sprintf("run-%03d", n))
			require.NoError(b, err)
			sides = append(sides, compare.Side{Runs: []*result.Run{r}})
		}
		c := compare.Compare(sides[0], sides[1])
		require.NoError(b, c.WriteText(io.Discard))
	}
}
