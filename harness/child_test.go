package harness_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/verdict"
)

// neverAsks makes this test binary behave like a program that imports the package but never calls
// headless.Main.
const neverAsks = "SPICELANE_TEST_NEVER_ASKS"

// TestThatRunsInAChild runs in its own process, which the tests below start.
func TestThatRunsInAChild(t *testing.T) {
	_, err := harness.Start(t.Context(), harness.Config{Dir: t.TempDir(), Processes: true, Fixture: "nothing"})
	t.Log("Start says: " + err.Error())
	require.Equal(t, verdict.Harness, verdict.Of(err))
}

func runChild(t *testing.T, env ...string) (string, error) {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(exe, "-test.run=^TestThatRunsInAChild$", "-test.v")
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin = strings.NewReader(`{"client":{"vv":"none.vv","socket":"none.sock"}}`)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestAProgramThatNeverAsksForPartsNeverBecomesOne(t *testing.T) {
	t.Parallel()
	out, err := runChild(t, neverAsks+"=1", "SPICELANE_PLAY_PART=1")
	require.NoError(t, err, out)
	require.Contains(t, out, "--- PASS: TestThatRunsInAChild")
	require.Contains(t, out, "Start says: Config.Processes: this program cannot be started once more as a proxy or client; "+
		"call headless.Main first thing in main or TestMain", "nor can it have any")

	// If the same program calls headless.Main, it becomes a client.
	out, err = runChild(t, "SPICELANE_PLAY_PART=1")
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 1, exit.ExitCode(), out)
	require.Contains(t, out, "client: open none.vv: no such file or directory")
	require.NotContains(t, out, "TestThatRunsInAChild")
}

func TestAProgramThatAsksForPartsRunsAsItselfWithoutARole(t *testing.T) {
	t.Parallel()
	out, err := runChild(t)
	require.NoError(t, err, out)
	require.Contains(t, out, `Start says: fixture: `)
	require.NotContains(t, out, "headless.Main")
}
