package runner_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/plan"
	"github.com/spicelane/spicelane/harness/plan/result"
	"github.com/spicelane/spicelane/harness/plan/runner"
	"github.com/spicelane/spicelane/harness/plan/worker"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/internal/dashboardtest"
)

// scrape returns what a server's /metrics contains.
func scrape(t *testing.T, at fmt.Stringer) string {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + at.String() + "/metrics")
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(b)
}

// series returns the lines of a scrape about one metric.
func series(body, name string) []string {
	var lines []string
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, name+"{") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// The cells are counted while the run is in each state: b waits for a, whose second cell runs.
func TestMetricsSayWhatStateTheCellsAreIn(t *testing.T) {
	l := loadPlan(t, `
name: states
jobs:
  a: {strategy: {fail-fast: false, matrix: {n: [1, 2]}}, steps: [{run: "test ${{ matrix.n }} = 1 && echo look; test ${{ matrix.n }} = 1"}]}
  b: {needs: a, if: always(), retry: {attempts: 2, delay: 1ms}, steps: [{run: "test $SPICELANE_ATTEMPT = 2 || exit 3"}]}
`)
	m := runner.NewMetrics()
	at, stop, err := m.Serve(t.Context(), "127.0.0.1:0")
	require.NoError(t, err)
	defer stop()
	var while string
	rec := &recorder{line: func(_ *plan.Cell, line string) {
		if line == "look" {
			while = scrape(t, at)
		}
	}}
	_, err = runner.Run(t.Context(), runner.Config{Plan: l, Dir: "run", Jobs: 1, Observer: runner.Observers{rec, m.Observer(l)}})
	require.NoError(t, err)
	require.Subset(t, series(while, "spicelane_run_cells"), []string{
		`spicelane_run_cells{job="a",plan="states",state="running"} 1`,
		`spicelane_run_cells{job="a",plan="states",state="waiting"} 1`,
		`spicelane_run_cells{job="b",plan="states",state="waiting"} 1`,
		`spicelane_run_cells{job="b",plan="states",state="success"} 0`,
	})
	after := scrape(t, at)
	require.Subset(t, series(after, "spicelane_run_cells"), []string{
		`spicelane_run_cells{job="a",plan="states",state="running"} 0`,
		`spicelane_run_cells{job="a",plan="states",state="success"} 1`,
		`spicelane_run_cells{job="a",plan="states",state="failure"} 1`,
		`spicelane_run_cells{job="b",plan="states",state="success"} 1`,
	})
	require.Equal(t, []string{
		`spicelane_run_attempts_total{job="a",outcome="failure",plan="states",verdict="product"} 1`,
		`spicelane_run_attempts_total{job="a",outcome="success",plan="states",verdict=""} 1`,
		`spicelane_run_attempts_total{job="b",outcome="failure",plan="states",verdict="host"} 1`,
		`spicelane_run_attempts_total{job="b",outcome="success",plan="states",verdict=""} 1`,
	}, series(after, "spicelane_run_attempts_total"))
}

func TestAnAddressThatIsTakenIsRefusedForMetrics(t *testing.T) {
	at, stop, err := runner.NewMetrics().Serve(t.Context(), "127.0.0.1:0")
	require.NoError(t, err)
	defer stop()
	_, _, err = runner.NewMetrics().Serve(t.Context(), at.String())
	require.ErrorContains(t, err, "address already in use; give --metrics an address of this host, with a free port")
	require.Equal(t, verdict.Harness, verdict.Of(err))
}

// observed returns metrics, an observer, and a cell of a plan with a secret, which is also the value
// of the cell's matrix.
func observed(t *testing.T) (*runner.Metrics, runner.Observer, *plan.Cell) {
	t.Helper()
	t.Setenv("CANARY", "c4n4ry-0")
	l := loadPlan(t, `
name: about c4n4ry-0
secrets: {T: {env: CANARY}}
jobs: {a: {strategy: {matrix: {n: ["c4n4ry-0"]}}, env: {TOKEN: "${{ secrets.T }}"}, steps: [{lane: }]}}
`)
	m := runner.NewMetrics()
	o := m.Observer(l)
	o.RunBegins("run", l.Cells)
	o.AttemptBegins(l.Cells[0], 1)
	return m, o, l.Cells[0]
}

func TestALaneIsShownWithItsPlanJobAndCellAndWithoutSecrets(t *testing.T) {
	m, o, cell := observed(t)
	at, stop, err := m.Serve(t.Context(), "127.0.0.1:0")
	require.NoError(t, err)
	defer stop()
	l := worker.Load{Lane: "lane", CPU: 1.5, Waited: 0.25, HeldUp: 0.125, Memory: 1 << 20, DiskRead: 10, DiskWritten: 20,
		SPICEKnown: true, SPICEIn: 30, SPICEOut: 40, Busy: 0.5, Steal: 0.0625, LoadAverage: 2.5}
	o.Load(cell, l)
	const labels = `{cell="a (n=***)",job="a",lane="lane",plan="about ***"}`
	body := scrape(t, at)
	require.NotContains(t, body, "c4n4ry")
	for name, value := range map[string]string{
		"up": "1", "cpu_seconds_total": "1.5", "waited_seconds_total": "0.25", "held_up_seconds_total": "0.125", "memory_bytes": "1.048576e+06",
		"disk_read_bytes_total": "10", "disk_written_bytes_total": "20", "spice_received_bytes_total": "30", "spice_sent_bytes_total": "40",
		"host_busy_ratio": "0.5", "host_steal_ratio": "0.0625", "host_load1": "2.5",
	} {
		require.Equal(t, []string{"spicelane_lane_" + name + labels + " " + value}, series(body, "spicelane_lane_"+name))
	}
	l.SPICEKnown = false
	o.Load(cell, l)
	require.Empty(t, series(scrape(t, at), "spicelane_lane_spice_sent_bytes_total"), "nobody counts them")

	// The dashboard uses all of these and nothing else, and the manual names them.
	o.AttemptEnds(cell, result.Attempt{N: 1, Outcome: result.Success}, 0)
	metrics := dashboardtest.Metrics(body + scrape(t, at))
	t.Chdir(source)
	dashboardtest.Check(t, "../../../docs/grafana-run.json", metrics, "spicelane_")
	manual, err := os.ReadFile("../../../docs/plans.md")
	require.NoError(t, err)
	for _, name := range dashboardtest.Names(metrics, "spicelane_") {
		require.True(t, strings.Contains(string(manual), "`"+name+"`"), "docs/plans.md does not name %s", name)
	}
}

// Prometheus scrapes every minute or so, and many lanes are shorter.
//
// The sleeps only move the bubble's clock. Each scrape compares times with it, and nothing runs
// between two scrapes, so there is nothing to await.
func TestALaneThatHasEndedIsShownForFiveMinutes(t *testing.T) {
	m, o, cell := observed(t)
	up := func() []string {
		var b strings.Builder
		m.ServeHTTP(&answer{&b, http.Header{}}, &http.Request{Header: http.Header{}})
		return series(b.String(), "spicelane_lane_up")
	}
	synctest.Test(t, func(t *testing.T) {
		const labels = `spicelane_lane_up{cell="a (n=***)",job="a",lane="lane",plan="about ***"} `
		o.Load(cell, worker.Load{Lane: "lane"})
		time.Sleep(time.Hour)
		require.Equal(t, []string{labels + "1"}, up())
		o.AttemptEnds(cell, result.Attempt{N: 1, Outcome: result.Success}, 0)
		time.Sleep(5 * time.Minute)
		require.Equal(t, []string{labels + "0"}, up())
		time.Sleep(time.Nanosecond)
		require.Empty(t, up())
	})
}

// The lane of a plan with a secret is scraped once it has been measured. Its cell ends after that.
func TestARealLaneIsMeasuredWhileItsPlanRuns(t *testing.T) {
	harness.RequireHost(t)
	const canary = "c4n4ry-of-a-lane"
	t.Setenv("CANARY", canary)
	l := loadPlan(t, `
name: measured
secrets: {T: {env: CANARY}}
jobs:
  a:
    strategy: {matrix: {display: [qxl]}}
    env: {TOKEN: "${{ secrets.T }}"}
    steps:
      - lane: {display: "${{ matrix.display }}"}
      - run: echo "$TOKEN"; while ! test -e scraped; do sleep 0.05; done
`)
	m := runner.NewMetrics()
	at, stop, err := m.Serve(t.Context(), "127.0.0.1:0")
	require.NoError(t, err)
	defer stop()
	var body string
	var of worker.Load
	var once sync.Once
	rec := &recorder{load: func(l worker.Load) {
		if l.SPICEOut < 10_000 || l.CPU == 0 {
			return
		}
		once.Do(func() {
			of, body = l, scrape(t, at)
			require.NoError(t, os.WriteFile("scraped", nil, 0o600))
		})
	}}
	// The metrics' observer comes first, so that the metrics have what the recorder sees.
	r, err := runner.Run(t.Context(), runner.Config{Plan: l, Dir: "run", Observer: runner.Observers{m.Observer(l), rec}})
	require.NoError(t, err)
	require.Equal(t, result.Success, r.Outcome, r.Cells[0].Reason)
	require.Greater(t, of.Memory, int64(10<<20))
	require.NotContains(t, body, canary)
	const labels = `{cell="a (display=qxl)",job="a",lane="lane",plan="measured"} `
	require.Equal(t, []string{"spicelane_lane_up" + labels + "1"}, series(body, "spicelane_lane_up"))
	for _, name := range []string{"cpu_seconds_total", "memory_bytes", "spice_sent_bytes_total", "host_load1"} {
		require.Len(t, series(body, "spicelane_lane_"+name), 1, name)
		require.NotEqual(t, []string{"spicelane_lane_" + name + labels + "0"}, series(body, "spicelane_lane_"+name))
	}
	metrics := dashboardtest.Metrics(body + scrape(t, at))
	t.Chdir(source)
	dashboardtest.Check(t, "../../../docs/grafana-run.json", metrics, "spicelane_")
}

// An answer is an HTTP response in memory.
type answer struct {
	io.Writer
	header http.Header
}

func (a *answer) Header() http.Header { return a.header }
func (a *answer) WriteHeader(int)     {}
