package proc_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/spicelane/spicelane/harness/proc"
)

// The program's name makes its line in /proc look like that of a zombie.
func TestAProcessIsAliveUntilItIsAZombieWhateverItsName(t *testing.T) {
	t.Parallel()
	sleep, err := exec.LookPath("sleep")
	require.NoError(t, err)
	name := filepath.Join(t.TempDir(), "x) Z 1 (")
	require.NoError(t, os.Symlink(sleep, name))
	cmd := exec.Command(name, "1000")
	require.NoError(t, cmd.Start())
	pid := cmd.Process.Pid
	s := proc.ReadStat(pid)
	require.True(t, s.Alive(), "%+v", s)
	require.Greater(t, s.Start, uint64(0))

	require.NoError(t, cmd.Process.Kill())
	require.NoError(t, unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil))
	dead := proc.ReadStat(pid)
	require.Equal(t, "Z", dead.State)
	require.False(t, dead.Alive())
	require.Equal(t, s.Start, dead.Start)
	_ = cmd.Wait()
	require.Equal(t, proc.Stat{}, proc.ReadStat(pid))
	require.False(t, proc.ReadStat(pid).Alive())
}

func TestAProcessUsesProcessorTime(t *testing.T) {
	t.Parallel()
	before := proc.ReadStat(os.Getpid()).CPU
	var u unix.Rusage
	require.NoError(t, unix.Getrusage(unix.RUSAGE_SELF, &u))
	for began := u.Utime.Nano() + u.Stime.Nano(); u.Utime.Nano()+u.Stime.Nano()-began < int64(50*time.Millisecond); {
		require.NoError(t, unix.Getrusage(unix.RUSAGE_SELF, &u))
	}
	require.GreaterOrEqual(t, proc.ReadStat(os.Getpid()).CPU-before, 30*time.Millisecond)
}
