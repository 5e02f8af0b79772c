package qemu_test

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/serial"
	"github.com/spicelane/spicelane/internal/need"
	"github.com/spicelane/spicelane/qmp"
	"github.com/spicelane/spicelane/qmp/qmptest"
)

func running(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	return len(fields) > 0 && fields[0] != "Z" && fields[0] != "X"
}

func TestAMachineRunsFromStartToClose(t *testing.T) {
	t.Parallel()
	m := startEcho(t)
	assert.True(t, running(m.PID()))
	assert.NoError(t, m.Err())

	// The console works in both directions.
	tell(t, m, "abc\r\n")
	_, err := m.Serial().Await(boundary(t), serial.Contains("abc"))
	require.NoError(t, err)

	st, err := m.QMP().QueryStatus(boundary(t))
	require.NoError(t, err)
	assert.Equal(t, qmp.Status{Running: true, State: qmp.StateRunning}, st)

	require.NoError(t, m.Close())
	require.NoError(t, m.Close(), "a second Close")
	assert.NoError(t, m.Wait(), "a machine closed on request has not failed")
	assert.True(t, gone(m.PID()))
	for _, name := range []string{"qmp.sock", "serial.sock"} {
		assert.NoFileExists(t, filepath.Join(m.Config().Dir, name))
	}

	// What the machine leaves behind.
	log, err := os.ReadFile(filepath.Join(m.Config().Dir, qemu.SerialLog))
	require.NoError(t, err)
	assert.Contains(t, string(log), "READY\r\n")
	assert.Equal(t, log, m.Serial().Bytes())
	for _, name := range []string{qemu.QEMULog, qemu.ArgvFile, qemu.QMPTranscript} {
		assert.FileExists(t, filepath.Join(m.Config().Dir, name))
	}
}

// However a machine ends, all waiters get the same reason at once.
func TestTheEndOfAMachineWakesEveryWaiterWithItsReason(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		cause func(*testing.T, *qemu.Machine)
		kind  qemu.Kind
		says  string
	}{
		{"guest shuts down", func(t *testing.T, m *qemu.Machine) { tell(t, m, "bye\r\ns") }, qemu.KindShutdown, "guest-shutdown"},
		{"guest panics", func(t *testing.T, m *qemu.Machine) { tell(t, m, "p") }, qemu.KindPanicked, "panicked"},
		{"killed on request", func(_ *testing.T, m *qemu.Machine) { m.Kill() }, qemu.KindKilled, "killed on request"},
		{"killed by somebody", func(t *testing.T, m *qemu.Machine) {
			require.NoError(t, syscall.Kill(m.PID(), syscall.SIGKILL))
		}, qemu.KindSignal, "signal 9"},
		{"told to quit by somebody", func(t *testing.T, m *qemu.Machine) {
			c, err := qmp.Dial(boundary(t), m.Config().QMPSocket(), qmp.Config{})
			require.NoError(t, err)
			defer c.Close()
			require.NoError(t, c.Quit(boundary(t)))
		}, qemu.KindExit, "host-qmp-quit"},
		{"terminated by somebody", func(t *testing.T, m *qemu.Machine) {
			require.NoError(t, syscall.Kill(m.PID(), syscall.SIGTERM))
		}, qemu.KindSignal, "host-signal"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := startEcho(t)

			var wg sync.WaitGroup
			errs := make([]error, 3)
			wg.Go(func() { _, errs[0] = m.Serial().Await(boundary(t), serial.Contains("never said")) })
			wg.Go(func() { _, errs[1] = m.AwaitBoot(boundary(t), serial.Contains("never said")) })
			wg.Go(func() { errs[2] = m.Wait() })
			tt.cause(t, m)
			wg.Wait()

			for i, err := range errs {
				var end *qemu.ExitError
				require.ErrorAs(t, err, &end, "waiter %d", i)
				assert.Equal(t, tt.kind, end.Kind, "waiter %d", i)
				assert.Contains(t, err.Error(), tt.says, "waiter %d", i)
				assert.Contains(t, end.Serial, "READY")
				if tt.kind == qemu.KindShutdown {
					assert.Equal(t, "bye", end.Serial[len(end.Serial)-1], "its last words")
				}
				assert.Equal(t, m.Argv(), end.Argv)
				assert.NotContains(t, end.Error(), "\n")
			}
			require.NoError(t, m.Close())
			assert.True(t, gone(m.PID()))
		})
	}
}

// A machine that will never run again can still show its screen.
func TestAPanickedMachineStillShowsItsScreen(t *testing.T) {
	t.Parallel()
	m := startEcho(t)
	tell(t, m, "p")
	awaitDone(t, m)
	img, err := m.Screenshot(boundary(t))
	require.NoError(t, err)
	assert.False(t, img.Bounds().Empty())
	assert.True(t, running(m.PID()))
}

func TestAPanickedMachineOfAQEMUWithoutADBusDisplayStillShowsItsScreen(t *testing.T) {
	t.Parallel()
	m := startEcho(t)
	m.WithoutDBusDisplay()
	tell(t, m, "p")
	awaitDone(t, m)
	img, err := m.Screen(boundary(t))
	require.NoError(t, err)
	require.False(t, img.Rect.Empty())
}

func TestAGuestThatPanicsAtItsPowerButtonIsNotSaidToIgnoreIt(t *testing.T) {
	t.Parallel()
	m := startEcho(t)
	tell(t, m, "p")
	awaitDone(t, m)
	var end *qemu.ExitError
	require.ErrorAs(t, m.Shutdown(boundary(t)), &end)
	require.Equal(t, qemu.KindPanicked, end.Kind)
}

func TestAResetIsCountedAndTheMachineBootsAgain(t *testing.T) {
	t.Parallel()
	m := startEcho(t)
	events := m.QMP().Subscribe(qmp.EventReset)
	defer events.Close()

	for _, reset := range []func(){
		func() { tell(t, m, "r") },
		func() { require.NoError(t, m.Reset(boundary(t))) },
	} {
		mark := m.Serial().Next()
		reset()
		_, err := events.Next(boundary(t))
		require.NoError(t, err)
		_, err = m.Serial().AwaitFrom(boundary(t), mark, ready)
		require.NoError(t, err)
	}
	// QEMU's BIOS resets once more when it finds that it has run before.
	assert.GreaterOrEqual(t, m.Resets(), 2)
	assert.NoError(t, m.Err())
}

func TestAPausedMachineSaysNothingUntilItIsResumed(t *testing.T) {
	t.Parallel()
	m := startEcho(t)
	ctx := boundary(t)
	require.NoError(t, m.Pause(ctx))
	st, err := m.QMP().QueryStatus(ctx)
	require.NoError(t, err)
	assert.Equal(t, qmp.StatePaused, st.State)
	tell(t, m, "hello\r\n")
	before := m.Serial().Len()
	require.NoError(t, m.Resume(ctx))
	_, err = m.Serial().Await(ctx, serial.Contains("hello"))
	require.NoError(t, err)
	assert.EqualValues(t, len("READY\r\n"), before)
	assert.NoError(t, m.Err())
}

// A comparison of pictures pauses the machine for a moment, and must not end the test's pause.
func TestAMachineThatWasPausedStaysPaused(t *testing.T) {
	t.Parallel()
	m := startEcho(t)
	ctx := boundary(t)
	is := func() qmp.RunState {
		st, err := m.QMP().QueryStatus(ctx)
		require.NoError(t, err)
		return st.State
	}
	require.NoError(t, m.WhilePaused(ctx, func() error {
		require.NoError(t, m.WhilePaused(ctx, func() error { return nil }))
		require.Equal(t, qmp.StatePaused, is(), "within another pause")
		return nil
	}))
	require.Equal(t, qmp.StateRunning, is())
	require.NoError(t, m.Pause(ctx))
	ran := false
	require.NoError(t, m.WhilePaused(ctx, func() error { ran = true; return nil }))
	require.True(t, ran)
	require.Equal(t, qmp.StatePaused, is())
}

// QEMU carries out a command even if nobody waits for its answer any more.
func TestAMachineRunsOnIfItStopsAfterItsCallerHasGivenUp(t *testing.T) {
	t.Parallel()
	m := startEcho(t)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	m.Freeze()
	defer context.AfterFunc(ctx, m.Thaw)()
	ran := false
	err := m.WhilePaused(ctx, func() error {
		ran = true
		return nil
	})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.False(t, ran)
	st, err := m.QMP().QueryStatus(boundary(t))
	require.NoError(t, err)
	require.Equal(t, qmp.StateRunning, st.State)
}

// A frozen QEMU does not answer; it can be thawed, and closed while frozen.
func TestAFrozenMachineAnswersAgainOnceThawed(t *testing.T) {
	t.Parallel()
	m := startEcho(t)
	m.Freeze()
	soon, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := m.QMP().QueryStatus(soon)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	m.Thaw()
	_, err = m.QMP().QueryStatus(boundary(t))
	require.NoError(t, err)

	m.Freeze()
	before := time.Now()
	require.NoError(t, m.Close())
	assert.Less(t, time.Since(before), 5*time.Second, "it was asked to quit, not left to SIGKILL")
	assert.NoError(t, m.Wait())
}

func TestAGuestThatNeverSpeaksIsABootErrorWithEverythingKnown(t *testing.T) {
	t.Parallel()
	m := startEcho(t)
	why := errors.New("no patience left")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 20*time.Millisecond, why)
	defer cancel()
	_, err := m.AwaitBoot(ctx, serial.Contains("Hello from Beacon"))
	var boot *qemu.BootError
	require.ErrorAs(t, err, &boot)
	require.ErrorIs(t, err, why)
	assert.Equal(t, `"Hello from Beacon"`, boot.Wanted)
	assert.Equal(t, []string{"READY"}, boot.Serial)
	assert.Contains(t, err.Error(), `it said last: "READY"`)
	assert.Contains(t, boot.Report(), "qemu-system-x86_64")
}

// If the host's disk is full, that is the host's fault, not the guest's. QEMU's blkdebug driver
// simulates the full disk.
func TestAFullDiskEndsTheMachineAsTheHostsFault(t *testing.T) {
	t.Parallel()
	m := startEcho(t, func(cfg *qemu.Config) {
		image := cfg.Image
		cfg.Image = ""
		cfg.Args = []string{
			"-blockdev", "driver=raw,node-name=full,file.driver=blkdebug,file.image.driver=file,file.image.filename=" + image +
				",file.inject-error.0.event=write_aio,file.inject-error.0.errno=" + strconv.Itoa(int(syscall.ENOSPC)),
			"-device", "virtio-blk-pci,drive=full,bootindex=0",
		}
	})
	tell(t, m, "w")
	awaitDone(t, m)
	var end *qemu.ExitError
	require.ErrorAs(t, m.Wait(), &end)
	assert.Equal(t, qemu.KindDiskFull, end.Kind)
}

func TestATicketReachesQEMUButNoFile(t *testing.T) {
	t.Parallel()
	const ticket = "3c0ffee5-ticket"
	m := startEcho(t, func(cfg *qemu.Config) {
		cfg.Spice = qemu.Spice{Unix: filepath.Join(cfg.Dir, "spice.sock"), Ticket: ticket}
	})
	info, err := m.QMP().QuerySPICE(boundary(t))
	require.NoError(t, err)
	assert.Equal(t, "spice", info.Auth)
	require.NoError(t, m.QMP().SetSPICETicket(boundary(t), ticket))
	// Reading the property returns the given path. The ticket is not in the transcript either.
	var data string
	require.NoError(t, m.QMP().Do(boundary(t), "qom-get", map[string]any{"path": "/objects/ticket", "property": "file"}, &data))
	assert.Equal(t, "/dev/fd/4", data)

	cmdline, err := os.ReadFile("/proc/" + strconv.Itoa(m.PID()) + "/cmdline")
	require.NoError(t, err)
	assert.NotContains(t, string(cmdline), ticket)
	entries, err := os.ReadDir(m.Config().Dir)
	require.NoError(t, err)
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		b, err := os.ReadFile(filepath.Join(m.Config().Dir, e.Name()))
		require.NoError(t, err)
		assert.NotContains(t, string(b), ticket, e.Name())
	}
}

func TestAnyPortIsPickedAndToldAndDiffersBetweenMachines(t *testing.T) {
	t.Parallel()
	anyPort := func(cfg *qemu.Config) { cfg.Spice = qemu.Spice{Port: qemu.AnyPort} }
	a, b := startEcho(t, anyPort), startEcho(t, anyPort)
	assert.Equal(t, "127.0.0.1", a.Spice().Host)
	assert.NotZero(t, a.Spice().Port)
	assert.NotEqual(t, a.Spice().Port, b.Spice().Port)
	conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(a.Spice().Port)))
	require.NoError(t, err)
	conn.Close()
}

func TestABusyPortIsTheHostsFaultInOneSentence(t *testing.T) {
	t.Parallel()
	cfg := echoConfig(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	cfg.Spice.Port = ln.Addr().(*net.TCPAddr).Port
	cfg, err = qemu.Prepare(boundary(t), cfg)
	require.NoError(t, err)
	_, err = qemu.Start(boundary(t), cfg)
	var host *qemu.HostError
	require.ErrorAs(t, err, &host)
	assert.Contains(t, err.Error(), "SPICE's port is taken already (127.0.0.1:"+strconv.Itoa(cfg.Spice.Port)+")")
	assert.NotContains(t, err.Error(), "\n")
}

// One machine is saved while it runs. Two others continue from its state and know nothing of each
// other.
func TestAStateIsSavedAndRestoredMoreThanOnce(t *testing.T) {
	t.Parallel()
	ctx := boundary(t)
	m := startEcho(t)
	dir := shortDir(t)
	state := filepath.Join(dir, "state")
	require.NoError(t, m.SaveState(ctx, state))
	st, err := m.QMP().QueryStatus(ctx)
	require.NoError(t, err)
	assert.Equal(t, qmp.StatePostMigrate, st.State)
	assert.NoError(t, m.Err(), "saving is not the end")

	for _, name := range []string{"one", "ten"} {
		cfg := m.Config()
		cfg.Dir = filepath.Join(dir, name)
		cfg.Disk = filepath.Join(dir, name+".qcow2")
		cfg.LoadState = state
		copyFile(t, m.Config().Disk, cfg.Disk)
		restored := start(t, cfg)
		tell(t, restored, name+"\r\n")
		_, err := restored.Serial().Await(ctx, serial.Contains(name))
		require.NoError(t, err)
		assert.NotContains(t, string(restored.Serial().Bytes()), "READY", "it did not boot")
	}

	require.NoError(t, m.Resume(ctx))
	tell(t, m, "and on\r\n")
	_, err = m.Serial().Await(ctx, serial.Contains("and on"))
	require.NoError(t, err)
}

func TestADamagedStateDoesNotStart(t *testing.T) {
	t.Parallel()
	m := startEcho(t)
	dir := shortDir(t)
	state := filepath.Join(dir, "state")
	require.NoError(t, m.SaveState(boundary(t), state))
	st, err := os.Stat(state)
	require.NoError(t, err)
	require.NoError(t, os.Truncate(state, st.Size()/2))

	cfg := m.Config()
	cfg.Dir, cfg.LoadState = filepath.Join(dir, "m"), state
	cfg.Disk = ""
	cfg, err = qemu.Prepare(boundary(t), cfg)
	require.NoError(t, err)
	_, err = qemu.Start(boundary(t), cfg)
	var broken *qemu.StateError
	require.ErrorAs(t, err, &broken)
	assert.Equal(t, state, broken.Path)
	assert.NotEmpty(t, broken.Said, "QEMU's own words")
	assert.NotContains(t, err.Error(), "\n")
}

func TestUEFIFirmwareRunsAndShowsAPicture(t *testing.T) {
	if testing.Short() {
		t.Skip("boots UEFI firmware")
	}
	t.Parallel()
	needMachines(t)
	dir := shortDir(t)
	m := start(t, qemu.Config{Dir: dir, Accel: qemu.TCG, Spice: qemu.Spice{Unix: filepath.Join(dir, "spice.sock")}})
	_, err := m.AwaitBoot(boundary(t), serial.Func("any sign of life", func(serial.Line) bool { return true }))
	require.NoError(t, err)
	require.NoError(t, m.SaveScreenshot(boundary(t), filepath.Join(dir, "screen.png")))
	assert.Equal(t, filepath.Join(dir, "spice.sock"), m.Spice().Unix)
}

// Of all ways to end a machine, only Kill had no time limit.
func TestKillDoesNotWaitForEverAndSaysWhatItWaitsFor(t *testing.T) {
	need.Long(t)
	t.Parallel()
	srv := qmptest.NewServer(t, qmptest.Greeting(), qmptest.Accept("qmp_capabilities"))
	c, err := qmp.NewClient(boundary(t), srv.Conn(), qmp.Config{})
	require.NoError(t, err)
	m := qemu.DeafMachine(t, exec.Command("sleep", "600"), c)
	require.ErrorContains(t, m.Kill(), "has ended, but its QMP connection has not after 3s")
	require.NoError(t, c.Close())
	require.ErrorContains(t, m.Kill(), "has ended, but the reader of its console has not after 3s")
	require.True(t, gone(m.PID()))
}
