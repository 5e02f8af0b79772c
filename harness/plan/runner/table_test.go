package runner_test

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/plan"
	"github.com/spicelane/spicelane/harness/plan/result"
	"github.com/spicelane/spicelane/harness/plan/runner"
	"github.com/spicelane/spicelane/harness/verdict"
)

// A terminal understands the few sequences that the table uses. It fails the test for a line that
// is wider than the terminal, or a sequence that it does not know.
type terminal struct {
	t     *testing.T
	width int
	lines []string // the last one is the one that is written to
}

var sequences = regexp.MustCompile(`\x1b\[(\d*)([A-Z])|\r|\n|[^\x1b\r\n]+|\x1b`)

func (s *terminal) Write(p []byte) (int, error) {
	if s.lines == nil {
		s.lines = []string{""}
	}
	for _, m := range sequences.FindAllStringSubmatch(string(p), -1) {
		last := len(s.lines) - 1
		switch {
		case m[2] == "A":
			up, err := strconv.Atoi(m[1])
			require.NoError(s.t, err)
			require.LessOrEqual(s.t, up, last, "above the first line")
			// What is below the table stays until it is erased; the table erases all of it at once.
			s.lines = s.lines[:last-up+1]
		case m[2] == "J", m[0] == "\r":
			s.lines[last] = ""
		case m[0] == "\n":
			s.lines = append(s.lines, "")
		case m[0][0] == '\x1b':
			s.t.Errorf("the terminal does not know %q", p)
		default:
			s.lines[last] += m[0]
			columns := 0
			for _, r := range s.lines[last] {
				if columns++; r >= 0x1100 { // those of the tests are two columns wide
					columns++
				}
			}
			require.Less(s.t, columns, s.width, "the line would wrap")
		}
	}
	return len(p), nil
}

func (s *terminal) screen() string { return strings.Join(s.lines, "\n") }

// Timeline: two cells begin; one prints, another step begins; a second passes; one cell fails and
// is retried; both end.
func TestATableOnATerminalShowsWhatRunsAndWhatHasEndedAboveIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		term := &terminal{t: t, width: 72}
		height := 24
		table := runner.NewTable(term, func() (int, int) { return term.width, height })
		a := &plan.Cell{ID: "boot (display=qxl)", Job: &plan.Job{ID: "boot"}}
		b := &plan.Cell{ID: "flaky", Job: &plan.Job{ID: "flaky"}}
		table.RunBegins("artifacts/runs/1", []*plan.Cell{a, b})
		require.Equal(t, "2 cells; the run is in artifacts/runs/1\n", term.screen())
		table.AttemptBegins(a, 1)
		table.AttemptBegins(b, 1)
		table.StepBegins(a, "1", "lane")
		table.StepBegins(b, "1", "run test")
		table.Line(b, "1", "a\tline\x1b[2J that is too long for this terminal")
		require.Equal(t, `2 cells; the run is in artifacts/runs/1
     0.0 s  boot (display=qxl)  lane  
     0.0 s  flaky  run test  
0 of 2 cells have ended, 2 are running, 0 s
`, term.screen())
		time.Sleep(1500 * time.Millisecond) // the bubble's clock; it is drawn again after each second
		synctest.Wait()
		require.Equal(t, `2 cells; the run is in artifacts/runs/1
     1.0 s  boot (display=qxl)  lane  
     1.0 s  flaky  run test  a line^[[2J that is too long for this term
0 of 2 cells have ended, 2 are running, 1 s
`, term.screen())
		table.StepEnds(b, result.Step{ID: "1", Name: "run test"})
		failed := result.Attempt{N: 1, Outcome: result.Failure, Verdict: verdict.Host, Reason: "exit status 3"}
		table.AttemptEnds(b, failed, 2*time.Second)
		require.Equal(t, `2 cells; the run is in artifacts/runs/1
RETRY     flaky in 2.0 s: attempt 1: host fault: exit status 3
     1.5 s  boot (display=qxl)  lane  
0 of 2 cells have ended, 1 are running, 2 s
`, term.screen())
		table.AttemptBegins(b, 2)
		height = 3 // there is room for one cell and the summary
		table.AttemptEnds(a, result.Attempt{N: 1, Outcome: result.Success}, 0)
		table.CellEnds(result.Cell{ID: a.ID, Outcome: result.Success, TookMS: 1500, ReusedFrom: "20261127-1"})
		table.AttemptBegins(a, 1)
		require.Equal(t, `2 cells; the run is in artifacts/runs/1
RETRY     flaky in 2.0 s: attempt 1: host fault: exit status 3
PASS      boot (display=qxl) (1.5 s), taken over from 20261127-1
     0.0 s  flaky (attempt 2)    
1 of 2 cells have ended, 2 are running, 2 s
`, term.screen())
		table.AttemptEnds(a, result.Attempt{N: 1, Outcome: result.Success}, 0)
		table.AttemptEnds(b, result.Attempt{N: 2, Outcome: result.Success}, 0)
		flaky := result.Cell{ID: "flaky", Outcome: result.Success, Attempts: []result.Attempt{failed, {N: 2, Outcome: result.Success}}}
		table.CellEnds(flaky)
		table.RunEnds(&result.Run{Outcome: result.Success, TookMS: 2000, Cells: []result.Cell{flaky}})
		table.Close()
		require.Equal(t, `2 cells; the run is in artifacts/runs/1
RETRY     flaky in 2.0 s: attempt 1: host fault: exit status 3
PASS      boot (display=qxl) (1.5 s), taken over from 20261127-1
PASS      flaky, passed on attempt 2
1 cells in 2.0 s: 1 passed (1 not on the first attempt)
`, term.screen())
	})
}

func TestATableCutsLinesOfWideCharacters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		term := &terminal{t: t, width: 40}
		table := runner.NewTable(term, func() (int, int) { return term.width, 24 })
		a := &plan.Cell{ID: "boot", Job: &plan.Job{ID: "boot"}}
		table.RunBegins("r", []*plan.Cell{a})
		table.AttemptBegins(a, 1)
		table.Line(a, "1", strings.Repeat("起動中", 10))
		table.StepBegins(a, "1", strings.Repeat("\U0001f600", 20))
		table.Line(a, "1", "x"+strings.Repeat("起動中", 10))
		table.AttemptEnds(a, result.Attempt{N: 1, Outcome: result.Success}, 0)
		table.Close()
		require.Equal(t, "1 cells; the run is in r\n", term.screen())
	})
}
