package qemu

import (
	"context"
	"errors"
	"image"
	"io"
	"os/exec"
	"testing"
	"time"

	"github.com/spicelane/spicelane/harness/proc"
	"github.com/spicelane/spicelane/qmp"
)

// Exports for tests of unexported parts.
var (
	FindOVMFUnder    = findOVMF
	DecodeScreendump = decodeScreendump
	EmptyOverlay     = emptyOverlay
)

// Qcow2Info is qcow2Info for tests.
type Qcow2Info struct {
	Size     int64
	Backing  string
	Format   string
	External bool
}

// ReadQcow2 is readQcow2 for tests.
func ReadQcow2(r io.ReaderAt) (Qcow2Info, error) {
	info, err := readQcow2(r)
	return Qcow2Info{info.size, info.backing, info.format, info.external}, err
}

// ForgetKVMAnswers makes this process behave as if it had not tried KVM yet.
func ForgetKVMAnswers() { kvmTrials.forget() }

// DeafMachine returns a machine whose process can be killed and whose console is
// never read to its end.
func DeafMachine(t *testing.T, cmd *exec.Cmd, c *qmp.Client) *Machine {
	t.Helper()
	p, err := proc.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	watched := make(chan struct{})
	close(watched)
	return &Machine{proc: p, qmp: c, watched: watched, followed: make(chan struct{}), gone: make(chan struct{})}
}

// Qcow2Content reads all of a small image.
func Qcow2Content(r io.ReaderAt) ([]byte, error) {
	info, err := readQcow2(r)
	if err != nil || info.size > maxFlash {
		return nil, errors.Join(err, errUnread)
	}
	return qcow2Content(r, info)
}

// IsLoop tells whether resets with these gaps between them are a loop. Every byHost-th reset is not
// the guest's.
func IsLoop(gaps []time.Duration, byHost int) bool {
	var r resets
	now := time.Now()
	for i, gap := range gaps {
		now = now.Add(gap)
		guest := byHost == 0 || i%byHost != 0
		if r.add(now, guest, loopResets) {
			return true
		}
	}
	return false
}

// ScreenWithin is Screen with another time limit.
func (m *Machine) ScreenWithin(ctx context.Context, limit time.Duration) (*image.NRGBA, error) {
	return m.screenWithin(ctx, limit)
}

// WithoutDBusDisplay makes m behave as if its QEMU had no D-Bus display.
func (m *Machine) WithoutDBusDisplay() { m.cfg.DBusDisplay = false }
