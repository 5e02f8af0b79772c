package qemu_test

import (
	"context"
	_ "embed"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/serial"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// needMachines skips the test unless SPICELANE_LANES and the host allow it.
func needMachines(t *testing.T) {
	t.Helper()
	switch d := qemu.Gate(t.Context(), os.Getenv); d.Action {
	case qemu.Skip:
		t.Skip(d.Reason)
	case qemu.Fail:
		t.Fatal(d.Reason)
	}
}

// echoSector is a boot sector that says READY on COM1, then obeys single bytes:
// p panics, s shuts down, r resets, w writes to the disk; others it echoes.
//
//go:embed testdata/echo.bin
var echoSector []byte

// echoConfig describes a machine that boots echoSector with QEMU's BIOS.
func echoConfig(t *testing.T) qemu.Config {
	t.Helper()
	needMachines(t)
	dir := shortDir(t)
	disk := make([]byte, 1<<20)
	copy(disk, echoSector)
	image := filepath.Join(dir, "echo.img")
	require.NoError(t, os.WriteFile(image, disk, 0o600))
	return qemu.Config{Dir: dir, Image: image, BIOS: true, Accel: qemu.TCG, Display: qemu.Std, MemoryMiB: 64}
}

// shortDir returns a directory with a path short enough for a socket in it. The path of t.TempDir
// may be too long.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "qemu")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// boundary returns a context that limits a test's waits: generous, for hosts with every core busy.
func boundary(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// contextEnded returns a context that has ended.
func contextEnded(t *testing.T) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx, cancel
}

func start(t *testing.T, cfg qemu.Config) *qemu.Machine {
	t.Helper()
	ctx := boundary(t)
	cfg, err := qemu.Prepare(ctx, cfg)
	require.NoError(t, err)
	m, err := qemu.Start(ctx, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

// ready matches echoSector's banner with its line end.
var ready = serial.Matches(regexp.MustCompile(`^READY$`))

func startEcho(t *testing.T, change ...func(*qemu.Config)) *qemu.Machine {
	t.Helper()
	cfg := echoConfig(t)
	for _, f := range change {
		f(&cfg)
	}
	m := start(t, cfg)
	_, err := m.AwaitBoot(boundary(t), ready)
	require.NoError(t, err)
	return m
}

// tell sends the guest one command.
func tell(t *testing.T, m *qemu.Machine, command string) {
	t.Helper()
	_, err := m.WriteSerial(boundary(t), []byte(command))
	require.NoError(t, err)
}

func awaitDone(t *testing.T, m *qemu.Machine) {
	t.Helper()
	select {
	case <-m.Done():
	case <-boundary(t).Done():
		t.Fatal("the machine has not ended")
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(to, b, 0o600))
}

// gone reports whether no process of that id runs; a zombie does not run.
func gone(pid int) bool { return !running(pid) }

// writeProgram makes an executable file. A shell writes it. If this process wrote it, a child that
// another test forks meanwhile would hold it open for writing, and it could not be run ("text file
// busy").
func writeProgram(path, content string) error {
	cmd := exec.Command("sh", "-c", `cat > "$0.new" && chmod 755 "$0.new" && mv "$0.new" "$0"`, path)
	cmd.Stdin = strings.NewReader(content)
	return cmd.Run()
}
