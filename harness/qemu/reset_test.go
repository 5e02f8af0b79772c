package qemu_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/serial"
)

// resetSector is a boot sector that resets the machine:
//
//	mov dx, 0xcf9; mov al, 6; out dx, al; jmp $
func resetSector(t *testing.T, path string) {
	disk := make([]byte, 1<<20)
	copy(disk, "\xba\xf9\x0c\xb0\x06\xee\xeb\xfe")
	copy(disk[510:], "\x55\xaa")
	require.NoError(t, os.WriteFile(path, disk, 0o600))
}

// A guest that rebooted for ever ended in a timeout that did not mention the reboots.
func TestAGuestThatResetsItselfForEverEndsTheMachine(t *testing.T) {
	t.Parallel()
	needMachines(t)
	dir := shortDir(t)
	image := filepath.Join(dir, "loop.img")
	resetSector(t, image)
	seen := make(chan qemu.Reset, 1000)
	cfg := qemu.Config{Dir: dir, Image: image, BIOS: true, Accel: qemu.TCG, Display: qemu.Std, MemoryMiB: 32,
		OnReset: func(r qemu.Reset) { seen <- r }}
	m := start(t, cfg)
	_, err := m.AwaitBoot(boundary(t), serial.Contains("login:"))
	var end *qemu.ExitError
	require.ErrorAs(t, err, &end)
	assert.Equal(t, qemu.KindResetLoop, end.Kind)
	assert.Regexp(t, `^the guest resets itself over and over: \d+ times in \d+\.\d s \(guest-reset\)$`, end.Reason)
	require.NoError(t, m.Close())
	for n := 1; n <= 10; n++ {
		r := <-seen
		assert.Equal(t, qemu.Reset{Time: r.Time, Guest: true, Reason: "guest-reset", Total: n}, r)
		assert.WithinDuration(t, time.Now(), r.Time, time.Hour)
	}

	// A configuration can allow this. Then a wait that fails says that resets went on.
	cfg.Dir, cfg.LoopResets, cfg.OnReset = shortDir(t), -1, nil
	m = start(t, cfg)
	require.Eventually(t, func() bool { return m.Resets() > 12 }, time.Minute, 20*time.Millisecond)
	require.NoError(t, m.Err())
	ctx, cancel := contextEnded(t)
	defer cancel()
	_, err = m.AwaitBoot(ctx, serial.Contains("login:"))
	require.Regexp(t, `it was reset \d+ times meanwhile`, err.Error())
}

func TestResetsFarApartOrAskedForAreNoLoop(t *testing.T) {
	t.Parallel()
	const second = time.Second
	for _, tt := range []struct {
		name   string
		gaps   []time.Duration
		byHost int // every so many resets are requested; 0: none
		loop   bool
	}{
		{"ten in a row", repeat(second, 10), 0, true},
		{"nine", repeat(second, 9), 0, false},
		{"three, of which a BIOS makes four each", repeat(second/9, 12), 0, false},
		{"a BIOS without end", repeat(second/9, 20), 0, true},
		{"a minute apart", repeat(60*second, 30), 0, false},
		{"each after a reset button", repeat(second, 30), 2, false},
		{"a pause among them", append(append(repeat(second, 8), 20*second), repeat(second, 8)...), 0, false},
	} {
		assert.Equal(t, tt.loop, qemu.IsLoop(tt.gaps, tt.byHost), tt.name)
	}
}

func repeat(d time.Duration, n int) []time.Duration {
	all := make([]time.Duration, n)
	for i := range all {
		all[i] = d
	}
	return all
}
