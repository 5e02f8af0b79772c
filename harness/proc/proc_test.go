package proc_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/spicelane/spicelane/harness/proc"
)

// The test binary plays two more parts, chosen by the environment: a parent
// that starts a child and is then killed, and the child itself.
func TestMain(m *testing.M) {
	switch os.Getenv("PROC_TEST_PART") {
	case "parent":
		cmd := exec.Command("sh", "-c", "exec cat")
		r, w, _ := os.Pipe()
		cmd.Stdin = r
		p, err := proc.Start(cmd)
		if err != nil {
			panic(err)
		}
		os.Stdout.WriteString(strconv.Itoa(p.PID()) + "\n")
		defer w.Close()
		<-p.Exited()
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// alive tells whether a process runs; a zombie does not.
func alive(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	s := string(b)
	f := strings.Fields(s[strings.LastIndexByte(s, ')')+1:])
	return len(f) > 0 && f[0] != "Z" && f[0] != "X"
}

func TestAChildDiesWithItsKilledParent(t *testing.T) {
	exe, err := os.Executable()
	require.NoError(t, err)
	parent := exec.Command(exe)
	parent.Env = append(os.Environ(), "PROC_TEST_PART=parent")
	out, err := parent.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, parent.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	child, err := strconv.Atoi(strings.TrimSpace(line))
	require.NoError(t, err)
	require.True(t, alive(child))

	require.NoError(t, parent.Process.Kill())
	_ = parent.Wait()
	require.Eventually(t, func() bool { return !alive(child) }, 2*time.Second, 5*time.Millisecond)
}

func TestTheGroupEndsWithItsLeader(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	cmd := exec.Command("sh", "-c", `sleep 1000 & echo $! > "$0.new"; mv "$0.new" "$0"; exit 3`, file)
	p, err := proc.Start(cmd)
	require.NoError(t, err)
	<-p.Exited()
	require.Equal(t, 3, p.State().ExitCode())
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	grandchild, err := strconv.Atoi(strings.TrimSpace(string(b)))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return !alive(grandchild) }, 2*time.Second, 5*time.Millisecond)
	p.Signal(syscall.SIGKILL) // reaches nobody: the pid is no longer ours
}

func TestStopKillsWhatIgnoresSIGTERM(t *testing.T) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	cmd := exec.Command("sh", "-c", `trap "" TERM; echo ready; while :; do sleep 1000; done`)
	cmd.Stdout = w
	p, err := proc.Start(cmd)
	require.NoError(t, err)
	w.Close()
	_, err = bufio.NewReader(r).ReadString('\n')
	require.NoError(t, err)
	require.Nil(t, p.State())
	require.NoError(t, p.Stop(50*time.Millisecond))
	ws := p.State().Sys().(syscall.WaitStatus)
	require.Equal(t, syscall.SIGKILL, ws.Signal())
}

func TestAMissingProgramIsAnError(t *testing.T) {
	_, err := proc.Start(exec.Command("/nonexistent/program"))
	require.ErrorIs(t, err, os.ErrNotExist)
}
