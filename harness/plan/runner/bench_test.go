package runner_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/plan"
	"github.com/spicelane/spicelane/harness/plan/result"
	"github.com/spicelane/spicelane/harness/plan/runner"
)

// cpuTime returns the processor time of this process and of the children that it has waited for.
func cpuTime() time.Duration {
	var all time.Duration
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		_ = syscall.Getrusage(who, &u)
		all += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return all
}

// A cell that does nothing costs what the runner adds to each lane: a worker, its conversation, the
// journal, the log, the search for secrets, and "sh -e" with the command true.
func BenchmarkACellThatDoesNothing(b *testing.B) {
	const cells = 20
	b.Chdir(b.TempDir())
	require.NoError(b, os.WriteFile("plan.yaml", []byte(`
jobs: {a: {strategy: {matrix: {n: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20]}}, steps: [{run: "true"}]}}
`), 0o600))
	l, err := plan.Load(b.Context(), "plan.yaml", plan.Options{})
	require.NoError(b, err)
	require.Len(b, l.Cells, cells)
	began, used := time.Now(), cpuTime()
	n := 0
	for b.Loop() {
		dir := filepath.Join(b.TempDir(), "run")
		r, err := runner.Run(b.Context(), runner.Config{Plan: l, Dir: dir, Jobs: 1})
		require.NoError(b, err)
		require.Equal(b, result.Success, r.Outcome)
		n += cells
	}
	b.ReportMetric(float64(time.Since(began).Microseconds())/1000/float64(n), "ms/cell")
	b.ReportMetric(float64((cpuTime()-used).Microseconds())/1000/float64(n), "cpu-ms/cell")
}
