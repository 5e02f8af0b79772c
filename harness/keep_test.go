package harness_test

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/host"
	"github.com/spicelane/spicelane/harness/registry"
)

// keepPart is the part of a process whose test fails.
const keepPart = "fail with a lane"

// TestThatFails runs in its own process, which TestTheLaneOfAFailedTestIsKept starts.
func TestThatFails(t *testing.T) {
	if os.Getenv(partEnv) != keepPart {
		return
	}
	cfg := echoLane(t)
	switch os.Getenv("SPICELANE_TEST_FAILS") {
	case "afterwards":
		cfg.Client = harness.Builtin
		harness.Up(t, cfg)
		t.Error("an assertion that does not hold")
	case "without a guest":
		harness.Up(t, harness.Config{Server: harness.ServerTruth, Dir: cfg.Dir})
		t.Error("an assertion that does not hold")
	case "while it starts":
		cfg.Banner, cfg.Timeout = "never said", 200*time.Millisecond // of KVM
		harness.Up(t, cfg)
	case "before it starts":
		cfg.ExtraArgs = []string{"-no-such-option"}
		harness.Up(t, cfg)
	}
}

func TestTheLaneOfAFailedTestIsKept(t *testing.T) {
	ownCache(t)
	for _, c := range []struct {
		when, why string
		kept      bool
		socket    bool
	}{
		{when: "afterwards", why: "TestThatFails failed; SPICELANE_KEEP=failed leaves its lane up until Ctrl-C:", kept: true, socket: true},
		{when: "while it starts", why: "TestThatFails did not come up: (product|host) fault: boot: ", kept: true},
		{when: "before it starts"},
	} {
		t.Run(c.when, func(t *testing.T) {
			f := startFailing(t, c.when)
			said := ""
			if c.kept {
				said = f.untilKept(t)
				require.Regexp(t, c.why, said, "a host that stalls is blamed for a boot that takes too long")
				require.Equal(t, c.socket, strings.Contains(said, "spicelane screenshot --socket "), said)
				qmp := regexp.MustCompile(`UNIX-CONNECT:(\S+)`).FindStringSubmatch(said)
				require.NotNil(t, qmp, said)
				st, err := os.Stat(qmp[1])
				require.NoError(t, err)
				require.NotZero(t, st.Mode()&os.ModeSocket)
				running := registry.RunningTests()
				assert.True(t, anyLane(running, qmp[1]), "spicelane status --tests does not find it: %+v", running)
				require.NoError(t, f.cmd.Process.Signal(syscall.SIGINT))
			}
			out, rest := f.end(t)
			require.Contains(t, out, "--- FAIL: TestThatFails")
			if !c.kept {
				require.NotContains(t, rest, "leaves its lane up")
			}
		})
	}
}

func TestTheKeptLaneWithoutAGuestNamesNoMachine(t *testing.T) {
	truthHost(t)
	f := startFailing(t, "without a guest")
	said := f.untilKept(t)
	require.Contains(t, said, "spicelane screenshot --socket ")
	require.NotContains(t, said, "QMP")
	require.NotContains(t, said, "tail -f")
	require.NoError(t, f.cmd.Process.Signal(syscall.SIGINT))
	out, rest := f.end(t)
	require.Contains(t, out, "last-client.png", "%s%s", said, rest)
	require.Contains(t, out, "go test removes this directory when the test ends; go test -artifacts keeps it\n", "%s%s", said, rest)
}

// A failing is a process that runs TestThatFails.
type failing struct {
	cmd    *exec.Cmd
	out    strings.Builder
	stderr *bufio.Reader
}

func startFailing(t *testing.T, when string) *failing {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	f := &failing{cmd: exec.Command(exe, "-test.run=^TestThatFails$", "-test.v")}
	f.cmd.Env = append(os.Environ(), partEnv+"="+keepPart, "SPICELANE_TEST_FAILS="+when, harness.EnvKeep+"=failed")
	f.cmd.Stdout = &f.out
	stderr, err := f.cmd.StderrPipe()
	require.NoError(t, err)
	f.stderr = bufio.NewReader(stderr)
	require.NoError(t, f.cmd.Start())
	t.Cleanup(func() { _ = f.cmd.Process.Kill() })
	return f
}

// untilKept returns what the process prints until its lane is kept.
func (f *failing) untilKept(t *testing.T) (said string) {
	t.Helper()
	for !strings.Contains(said, "everything it left is in ") {
		line, err := f.stderr.ReadString('\n')
		said += line
		require.NoError(t, err, said)
	}
	return said
}

// end waits for the end of the process, whose test must have failed. It returns the rest of the
// output, from both streams.
func (f *failing) end(t *testing.T) (out, rest string) {
	t.Helper()
	b, err := io.ReadAll(f.stderr)
	require.NoError(t, err)
	var exit *exec.ExitError
	require.ErrorAs(t, f.cmd.Wait(), &exit)
	require.Equal(t, 1, exit.ExitCode(), "%s%s", f.out.String(), b)
	return f.out.String(), string(b)
}

func anyLane(lanes []registry.State, qmp string) bool {
	for _, s := range lanes {
		if s.QMP == qmp && host.Alive(s.PIDs.QEMU) {
			return true
		}
	}
	return false
}
