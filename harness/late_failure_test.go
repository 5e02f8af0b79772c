package harness_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/internal/lanetest"
	"github.com/spicelane/spicelane/harness/verdict"
)

// Only after the lane has ended is it known that one of its files contains its ticket.
func TestATestThatFailsAfterItsLaneHasEndedIsNotSaidToBeWell(t *testing.T) {
	t.Parallel()
	truthHost(t)
	dir := t.TempDir()
	said := lanetest.Failing(t, func(tb testing.TB) {
		lane := harness.Up(tb, harness.Config{Server: harness.ServerTruth, Dir: dir})
		leak := []byte("password=" + lane.DirectVV().Password + "\n")
		require.NoError(tb, os.WriteFile(filepath.Join(dir, "leak.log"), leak, 0o600))
	})
	require.Len(t, said, 1)
	require.Contains(t, said[0], "the ticket is in leak.log")
	b, err := os.ReadFile(filepath.Join(dir, verdict.File))
	require.NoError(t, err)
	var r verdict.Report
	require.NoError(t, json.Unmarshal(b, &r))
	require.False(t, r.OK, "the test has failed")
	require.Equal(t, verdict.Harness, r.Verdict)
	require.Contains(t, r.Reason, "the ticket is in leak.log")
}
