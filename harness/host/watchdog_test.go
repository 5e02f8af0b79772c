package host

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/verdict"
)

// Timeline: the watchdog reads the times of the old QEMU; a new QEMU takes its place; then the
// watchdog adds what it has read.
func TestWhatWasReadOfTheProcessBeforeIsNotCounted(t *testing.T) {
	t.Parallel()
	w := &Watchdog{pid: 1}
	began := time.Now()
	w.add(1, hostSample{at: began, cpu: time.Hour})
	w.Follow(2)
	w.add(1, hostSample{at: began.Add(1), cpu: time.Hour})
	w.add(2, hostSample{at: began.Add(2), cpu: time.Second})
	w.add(2, hostSample{at: began.Add(3), cpu: 2 * time.Second})
	require.Equal(t, time.Second, w.Since(began).CPU)
}

// A machine's main thread waits while it boots on a busy host; later a processor's thread starves.
func TestAThreadThatWaitedLongBeforeDoesNotHideOneThatStarvesNow(t *testing.T) {
	t.Parallel()
	w := &Watchdog{pid: os.Getpid()}
	began := time.Now()
	w.add(w.pid, hostSample{at: began.Add(1), waiting: waits{"main": 20 * time.Second, "cpu": time.Second}})
	w.add(w.pid, hostSample{at: began.Add(1 + 5*time.Second), waiting: waits{"main": 20 * time.Second, "cpu": 5 * time.Second, "new": time.Second}})
	p := w.Since(began)
	require.Equal(t, 4*time.Second, p.Starved)
	require.True(t, p.Stalled())
}

// waited is a wait that failed.
type waited struct{}

func (waited) Error() string   { return "awaited a key: too late" }
func (waited) Awaited() string { return "a key" }

func TestAFailedWaitIsExplainedByWhatTheHostLetQEMUDo(t *testing.T) {
	t.Parallel()
	product := &verdict.Error{Verdict: verdict.Product, Hop: verdict.HopGuest, Op: "await", Err: waited{}}
	began := time.Now()
	watched := func(cpu, waiting time.Duration) *Watchdog {
		w := &Watchdog{pid: os.Getpid()}
		w.add(w.pid, hostSample{at: began.Add(1)})
		w.add(w.pid, hostSample{at: began.Add(1 + 2*time.Second), cpu: cpu, waiting: waits{"1": waiting}})
		return w
	}
	for _, c := range []struct {
		name         string
		w            *Watchdog
		err          error
		kind         verdict.Kind
		hop          verdict.Hop
		says, ending string
	}{
		{"idle", watched(0, 0), product, verdict.Product, verdict.HopGuest, "await: awaited a key: too late; in the last 2s", ": the guest is idle"},
		{"spins", watched(2*time.Second, 0), product, verdict.Product, verdict.HopGuest, "await: ", ": the guest spins"},
		{"spins on a busy host", watched(1600*time.Millisecond, 350*time.Millisecond), product, verdict.Product, verdict.HopGuest, "await: ", ": the guest spins"},
		{"starved", watched(0, 1500*time.Millisecond), product, verdict.Host, "", "await: ", ": the host stalled"},
		{"no wait", watched(0, 1500*time.Millisecond), &verdict.Error{Verdict: verdict.Product, Err: errors.New("wrong")}, verdict.Product, "", "wrong", "wrong"},
		{"the harness's", watched(0, 0), &verdict.Error{Verdict: verdict.Harness, Err: waited{}}, verdict.Harness, "", "awaited a key: too late", "too late"},
		{"nobody watched", nil, product, verdict.Product, verdict.HopGuest, "await: awaited a key: too late", "too late"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			err := c.w.Explain(began, c.err)
			require.Equal(t, c.kind, verdict.Of(err))
			require.Equal(t, c.hop, verdict.HopOf(err))
			require.Contains(t, err.Error(), c.says)
			require.True(t, strings.HasSuffix(err.Error(), c.ending), err)
		})
	}
	require.Empty(t, product.Hint, "the caller's error was changed")
}

func TestAProcessThatASignalHasStoppedIsSaidToBe(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	defer func() { require.NoError(t, cmd.Wait()) }()
	defer in.Close()
	defer cmd.Process.Signal(syscall.SIGCONT)
	require.False(t, stopped(cmd.Process.Pid))
	require.NoError(t, cmd.Process.Signal(syscall.SIGSTOP))
	require.Eventually(t, func() bool { return stopped(cmd.Process.Pid) }, time.Minute, time.Millisecond)
	require.Contains(t, Progress{Over: time.Second, Stopped: true}.String(), ": QEMU is stopped by a signal")
}

// Five ticks make a load. The measurement begins again for another process.
func TestALoadIsWhatHappenedBetweenItsTicks(t *testing.T) {
	t.Parallel()
	var m loadMeter
	at := time.Now()
	tick := func(pid int, cpu, waiting, late time.Duration) (Load, bool) {
		at = at.Add(100 * time.Millisecond)
		return m.add(pid, hostSample{at: at, cpu: cpu, waiting: waits{"1": waiting}, late: late})
	}
	for i := range 5 {
		_, ok := tick(1, time.Hour+time.Duration(i)*50*time.Millisecond, time.Minute, 0)
		require.False(t, ok)
	}
	l, ok := tick(1, time.Hour+250*time.Millisecond, time.Minute+100*time.Millisecond, 50*time.Millisecond)
	require.True(t, ok)
	require.Equal(t, at, l.At)
	require.Equal(t, 500*time.Millisecond, l.Over)
	require.InDelta(t, 0.5, l.QEMU, 1e-9)
	require.InDelta(t, 0.2, l.Waited, 1e-9)
	require.InDelta(t, 0.1, l.HeldUp, 1e-9)
	for range 5 {
		_, ok = tick(2, time.Second, 0, 0)
		require.False(t, ok, "it is another process")
	}
	l, ok = tick(2, time.Second+time.Millisecond, 0, 0)
	require.True(t, ok)
	require.InDelta(t, 0.002, l.QEMU, 1e-9)
}

func TestTheHostsTimesAreParts(t *testing.T) {
	t.Parallel()
	busy, steal := hostTimes{all: 300, idle: 120, steal: 30}.since(hostTimes{all: 100, idle: 20, steal: 10})
	require.InDelta(t, 0.4, busy, 1e-9)
	require.InDelta(t, 0.1, steal, 1e-9)
	busy, steal = hostTimes{}.since(hostTimes{all: 1})
	require.Zero(t, busy+steal)
	now := readHostTimes()
	require.Positive(t, now.all)
	require.Less(t, now.idle, now.all)
}

func TestWhatAProcessUsesIsReadFromTheKernel(t *testing.T) {
	t.Parallel()
	proc := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(proc, "7"), 0o700))
	for name, text := range map[string]string{
		"7/statm": "9000 300 200 1 0 400 0\n",
		"7/io":    "rchar: 1\nwchar: 2\nsyscr: 3\nsyscw: 4\nread_bytes: 4096\nwrite_bytes: 8192\ncancelled_write_bytes: 5\n",
		"loadavg": "2.50 1.00 0.50 3/400 12345\n",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(proc, name), []byte(text), 0o600))
	}
	require.Equal(t, usage{memory: 300 * int64(os.Getpagesize()), read: 4096, written: 8192}, readUsage(proc, 7))
	require.InDelta(t, 2.5, readLoadAverage(proc), 1e-9)
	require.Zero(t, readUsage(proc, 8), "it has ended")
	require.Zero(t, readLoadAverage(t.TempDir()))

	own := readUsage(procDir, os.Getpid())
	require.Greater(t, own.memory, int64(1<<20))
}

func TestWhatADiskWasAskedForIsCountedBetweenTheTicks(t *testing.T) {
	t.Parallel()
	pid := os.Getpid()
	file, err := os.Create(filepath.Join(t.TempDir(), "written"))
	require.NoError(t, err)
	defer file.Close()
	m := loadMeter{pid: pid, first: hostSample{at: time.Now()}, used: usage{written: readUsage(procDir, pid).written}, ticks: loadTicks - 1}
	before := m.used
	_, err = file.Write(make([]byte, 1<<20))
	require.NoError(t, err)
	now := readUsage(procDir, pid)
	l, ok := m.add(pid, hostSample{at: m.first.at.Add(time.Second)})
	require.True(t, ok)
	require.GreaterOrEqual(t, l.DiskWritten, now.written-before.written)
	require.Equal(t, l.Memory > 0, now.memory > 0)
	require.Positive(t, l.LoadAverage)
}
