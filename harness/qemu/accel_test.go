package qemu_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/internal/atomicfile"
)

func TestTCGAskedForIsTakenWithoutALookAtKVM(t *testing.T) {
	t.Parallel()
	opt := qemu.AccelOptions{Getenv: env{}.get, Device: "/nonexistent/kvm"}
	c, err := qemu.ChooseAccel(t.Context(), qemu.Config{Accel: qemu.TCG}, opt)
	require.NoError(t, err)
	assert.Equal(t, qemu.Choice{Accel: qemu.TCG, Reason: "TCG is used: asked for"}, c)

	opt.Getenv = env{qemu.EnvAccel: "tcg"}.get
	c, err = qemu.ChooseAccel(t.Context(), qemu.Config{Accel: qemu.AccelAuto}, opt)
	require.NoError(t, err)
	assert.Equal(t, "TCG is used: SPICELANE_ACCEL=tcg", c.Reason)

	opt.Getenv = env{qemu.EnvAccel: "fast"}.get
	_, err = qemu.ChooseAccel(t.Context(), qemu.Config{}, opt)
	var conf *qemu.ConfigError
	require.ErrorAs(t, err, &conf)
}

func TestWithoutKVMAutoTakesTCGAndRequiredKVMIsTheHostsFault(t *testing.T) {
	t.Parallel()
	opt := qemu.AccelOptions{Getenv: env{}.get, Device: "/nonexistent/kvm"}
	c, err := qemu.ChooseAccel(t.Context(), qemu.Config{}, opt)
	require.NoError(t, err)
	assert.Equal(t, qemu.Choice{Accel: qemu.TCG, Reason: "TCG is used, which is slow: this host has no /nonexistent/kvm"}, c)

	_, err = qemu.ChooseAccel(t.Context(), qemu.Config{Accel: qemu.KVM}, opt)
	requireHostError(t, err, "KVM is required (asked for) and cannot be used: this host has no /nonexistent/kvm", "kvm_intel")
	opt.Getenv = env{qemu.EnvAccel: "kvm"}.get
	_, err = qemu.ChooseAccel(t.Context(), qemu.Config{Accel: qemu.AccelAuto}, opt)
	requireHostError(t, err, "SPICELANE_ACCEL=kvm")
}

// A device node that can be opened proves nothing, so the machine is run. The result is kept, and
// is valid only for this QEMU, firmware and image.
func TestWhetherKVMWorksIsTriedOnceAndRemembered(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	tries := filepath.Join(dir, "tries")
	qemuBinary := program(t, "echo try >> "+tries+"; echo 'KVM internal error. Suberror: 1' >&2; exit 1")
	device := filepath.Join(dir, "kvm")
	require.NoError(t, os.WriteFile(device, nil, 0o600))
	tried := func() int {
		b, _ := os.ReadFile(tries)
		return strings.Count(string(b), "try")
	}
	opt := qemu.AccelOptions{Getenv: env{}.get, Device: device, CacheDir: filepath.Join(dir, "cache")}
	cfg := qemu.Config{Binary: qemuBinary, BIOS: true}

	first, err := qemu.ChooseAccel(t.Context(), cfg, opt)
	require.NoError(t, err)
	assert.Equal(t, qemu.TCG, first.Accel)
	assert.Contains(t, first.Reason, "a guest does not run on it")
	assert.NotContains(t, first.Reason, "\n")
	again, err := qemu.ChooseAccel(t.Context(), cfg, opt)
	require.NoError(t, err)
	assert.Equal(t, first, again)
	assert.Equal(t, 1, tried())

	// Another process finds the result in the cache, unless it is damaged.
	entries, err := filepath.Glob(filepath.Join(opt.CacheDir, "kvm-*.json"))
	require.NoError(t, err)
	require.Len(t, entries, 1)
	left, err := filepath.Glob(filepath.Join(opt.CacheDir, atomicfile.Prefix+"*"))
	require.NoError(t, err)
	assert.Empty(t, left, "nothing half-written stays")

	qemu.ForgetKVMAnswers()
	again, err = qemu.ChooseAccel(t.Context(), cfg, opt)
	require.NoError(t, err)
	assert.Equal(t, first, again)
	assert.Equal(t, 1, tried())
	for i, damage := range []string{"", "{", "{}", `{"works":false}`} {
		require.NoError(t, os.WriteFile(entries[0], []byte(damage), 0o644))
		qemu.ForgetKVMAnswers()
		again, err = qemu.ChooseAccel(t.Context(), cfg, opt)
		require.NoError(t, err)
		assert.Equal(t, first, again)
		assert.Equal(t, 2+i, tried(), "after %q", damage)
	}

	// Without a cache directory, this process still remembers the result.
	nowhere := opt
	nowhere.CacheDir = filepath.Join(tries, "not a directory")
	qemu.ForgetKVMAnswers()
	for range 2 {
		_, err = qemu.ChooseAccel(t.Context(), cfg, nowhere)
		require.NoError(t, err)
	}
	assert.Equal(t, 6, tried())

	// A changed QEMU counts as another one.
	require.NoError(t, writeProgram(qemuBinary, "#!/bin/sh\necho try >> "+tries+"; exit 1 # newer\n"))
	_, err = qemu.ChooseAccel(t.Context(), cfg, opt)
	require.NoError(t, err)
	assert.Equal(t, 7, tried())
}

// counted returns a machine on a host that has a /dev/kvm, and how often its QEMU was started. The
// QEMU ends at once.
func counted(t *testing.T) (cfg qemu.Config, opt qemu.AccelOptions, started func() int) {
	t.Helper()
	dir := shortDir(t)
	tries := filepath.Join(dir, "tries")
	device := filepath.Join(dir, "kvm")
	require.NoError(t, os.WriteFile(device, nil, 0o600))
	return qemu.Config{BIOS: true, Binary: program(t, "echo try >> "+tries+"; exit 1")},
		qemu.AccelOptions{Getenv: env{}.get, Device: device, CacheDir: filepath.Join(dir, "cache")},
		func() int {
			b, err := os.ReadFile(tries)
			require.NoError(t, err)
			return strings.Count(string(b), "try")
		}
}

// Otherwise, one misspelt option would keep all machines off KVM until the host boots again.
func TestWhatQEMURefusesForOneMachineIsNotSaidOfKVMToOthers(t *testing.T) {
	t.Parallel()
	cfg, opt, started := counted(t)
	misspelt, argument, silent := cfg, cfg, cfg
	misspelt.Devices = []string{"virtio-rgn-pci"}
	argument.Args = []string{"-nonsense"}
	silent.Kernel, silent.Append = "vmlinuz", "quiet"
	for i, c := range []qemu.Config{misspelt, argument, silent, cfg, misspelt} {
		_, err := qemu.ChooseAccel(t.Context(), c, opt)
		require.NoError(t, err)
		assert.Equal(t, min(i+1, 4), started(), "the last one is known")
	}
}

// A machine without its own kernel depends on no file of the directory from which it is started.
func TestWhetherKVMWorksIsRememberedInEveryDirectory(t *testing.T) {
	cfg, opt, started := counted(t)
	for range 2 {
		t.Chdir(t.TempDir())
		_, err := qemu.ChooseAccel(t.Context(), cfg, opt)
		require.NoError(t, err)
	}
	assert.Equal(t, 1, started())
}

// The kernel ends processes if the host has no memory left.
func TestATrialThatASignalEndsSaysNothingOfKVM(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	device := filepath.Join(dir, "kvm")
	require.NoError(t, os.WriteFile(device, nil, 0o600))
	opt := qemu.AccelOptions{Getenv: env{}.get, Device: device, CacheDir: filepath.Join(dir, "cache")}
	_, err := qemu.ChooseAccel(t.Context(), qemu.Config{BIOS: true, Binary: program(t, "kill -KILL $$")}, opt)
	require.ErrorContains(t, err, "killed by signal 9")
	assert.Equal(t, verdict.Host, verdict.Of(verdict.Classify("", err)))
	answers, err := filepath.Glob(filepath.Join(opt.CacheDir, "kvm-*.json"))
	require.NoError(t, err)
	assert.Empty(t, answers)
}

// A trial may take 20 s. It used to run under a lock of the whole process, and everybody else
// waited for that lock, whatever their context said.
func TestATrialOfKVMHoldsUpOnlyWhoWantsItsAnswerAndOnlyUntilTheirContextEnds(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	tries, gate := filepath.Join(dir, "tries"), filepath.Join(dir, "gate")
	require.NoError(t, unix.Mkfifo(gate, 0o600))
	device := filepath.Join(dir, "kvm")
	require.NoError(t, os.WriteFile(device, nil, 0o600))
	opt := qemu.AccelOptions{Getenv: env{}.get, Device: device, CacheDir: filepath.Join(dir, "cache")}
	slow := qemu.Config{BIOS: true, Binary: program(t, "echo try >> "+tries+"; read x < "+gate+"; exit 1")}
	other := qemu.Config{BIOS: true, Binary: program(t, "exit 1")}
	tried := func() int {
		b, _ := os.ReadFile(tries)
		return strings.Count(string(b), "try")
	}

	type answer struct {
		choice qemu.Choice
		err    error
	}
	ask := func(ctx context.Context) <-chan answer {
		c := make(chan answer, 1)
		go func() {
			choice, err := qemu.ChooseAccel(ctx, slow, opt)
			c <- answer{choice, err}
		}()
		return c
	}
	over := errors.New("the first one's time is up")
	firstCtx, endFirst := context.WithCancelCause(boundary(t))
	defer endFirst(nil)
	first := ask(firstCtx)
	require.Eventually(t, func() bool { return tried() == 1 }, time.Minute, 10*time.Millisecond)

	_, err := qemu.ChooseAccel(boundary(t), other, opt)
	require.NoError(t, err, "another machine's trial does not wait for this one")

	impatient := errors.New("no patience")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(impatient)
	_, err = qemu.ChooseAccel(ctx, slow, opt)
	require.ErrorIs(t, err, impatient)

	// Two more wait for the result. The first is cancelled, and one of them goes on.
	second, third := ask(boundary(t)), ask(boundary(t))
	endFirst(over)
	require.ErrorIs(t, (<-first).err, over)
	require.Eventually(t, func() bool { return tried() == 2 }, time.Minute, 10*time.Millisecond)
	go os.WriteFile(gate, []byte("go\n"), 0o600)
	a, b := <-second, <-third
	require.NoError(t, a.err)
	require.NoError(t, b.err)
	assert.Equal(t, qemu.TCG, a.choice.Accel)
	assert.Equal(t, a.choice, b.choice)
	assert.Equal(t, 2, tried(), "they share one trial")
}

func TestAnImageThatIsMissingIsNotKVMsFault(t *testing.T) {
	t.Parallel()
	needMachines(t)
	device := filepath.Join(shortDir(t), "kvm")
	require.NoError(t, os.WriteFile(device, nil, 0o600))
	_, err := qemu.ChooseAccel(t.Context(), qemu.Config{Image: "/nonexistent/beacon.qcow2", BIOS: true},
		qemu.AccelOptions{Getenv: env{}.get, Device: device, CacheDir: shortDir(t)})
	var conf *qemu.ConfigError
	require.ErrorAs(t, err, &conf)
	assert.Contains(t, err.Error(), "the guest's disk image cannot be read")
}

// On a real host, the choice must be one that runs the guest.
func TestTheChosenAcceleratorRunsTheGuest(t *testing.T) {
	t.Parallel()
	cfg := echoConfig(t)
	cfg.Accel = qemu.AccelAuto
	c, err := qemu.ChooseAccel(boundary(t), cfg, qemu.AccelOptions{Getenv: env{}.get, CacheDir: shortDir(t), Banner: ready})
	require.NoError(t, err)
	t.Log(c.Reason)
	cfg.Accel = c.Accel
	_, err = start(t, cfg).AwaitBoot(boundary(t), ready)
	require.NoError(t, err)
}
