package host

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/spicelane/spicelane/harness/verdict"
)

// A guest that boots under TCG keeps one core busy for seconds. Several boots at once on too few
// cores only make each other time out. So each boot takes a slot: a lock file that all processes of
// this user share. The kernel releases it when its holder dies. A guest at its banner is idle, so
// its slot is free again.

// bootSlots returns how many guests may boot at once.
func bootSlots(accel string) int {
	if accel == "kvm" {
		return max(1, runtime.NumCPU())
	}
	return max(1, runtime.NumCPU()/2)
}

// restoreSlots returns how many guests may be restored at once. A restore also keeps a core busy,
// but only for a moment.
func restoreSlots() int { return max(1, runtime.NumCPU()) }

// A Slot is the turn of one guest. It is held from before QEMU starts until the guest is up.
type Slot struct{ f *os.File }

// Release frees the slot. It may be called more than once.
func (s *Slot) Release() {
	if s != nil && s.f != nil {
		s.f.Close()
		s.f = nil
	}
}

// admissionPoll is how often a waiting lane checks for a free slot. There is no way to wait for any
// one of several file locks.
const admissionPoll = 25 * time.Millisecond

// TakeBootSlot waits for a turn to boot a guest on accel, and until memoryMiB MiB of memory are
// available.
func TakeBootSlot(ctx context.Context, accel string, memoryMiB int) (*Slot, error) {
	return takeSlot(ctx, "boot", bootSlots(accel), memoryMiB)
}

// TakeRestoreSlot does what TakeBootSlot does, for a guest that will be restored.
func TakeRestoreSlot(ctx context.Context, memoryMiB int) (*Slot, error) {
	return takeSlot(ctx, "restore", restoreSlots(), memoryMiB)
}

func takeSlot(ctx context.Context, kind string, slots, memoryMiB int) (*Slot, error) {
	dir, err := ownDir(sharedBase(), "boot slot")
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(admissionPoll)
	defer tick.Stop()
	for {
		short, err := shortOfMemory(memoryMiB)
		if err != nil {
			return nil, err
		}
		if short == "" {
			s, err := trySlot(dir, kind, slots)
			if s != nil || err != nil {
				return s, err
			}
		}
		select {
		case <-ctx.Done():
			what := fmt.Sprintf("%d other guests are at it (%s)", slots, kind)
			if short != "" {
				what = short
			}
			return nil, &verdict.Error{Verdict: verdict.Host, Op: "boot slot", Err: fmt.Errorf("%s: %w", what, context.Cause(ctx)),
				Hint: "run fewer lanes at once (go test -parallel N)"}
		case <-tick.C:
		}
	}
}

func trySlot(dir, kind string, n int) (*Slot, error) {
	for i := range n {
		f, err := TryLock(filepath.Join(dir, kind+"-"+strconv.Itoa(i)))
		if err == nil {
			return &Slot{f}, nil
		}
		if !errors.Is(err, ErrLocked) {
			return nil, &verdict.Error{Verdict: verdict.Host, Op: "boot slot", Err: err}
		}
	}
	return nil, nil
}

// headroomMiB is the memory in MiB that a lane needs in addition to the guest's: for QEMU itself,
// the video memory, proxy and client.
const headroomMiB = 192

// shortOfMemory says how much memory is missing, or returns "" if there is enough. If the host's
// whole memory is too small for the guest, it returns an error, because waiting does not help.
func shortOfMemory(memoryMiB int) (string, error) {
	total, available, err := meminfo()
	if err != nil {
		// Without /proc/meminfo, let the lane try.
		return "", nil
	}
	need := memoryMiB + headroomMiB
	if total < need {
		return "", &verdict.Error{Verdict: verdict.Host, Op: "memory", Err: fmt.Errorf("the lane needs %d MiB and this host has %d", need, total), Hint: "give the guest less memory"}
	}
	if available < need {
		return fmt.Sprintf("the lane needs %d MiB of memory and %d are available", need, available), nil
	}
	return "", nil
}

// meminfo returns total and available memory in MiB.
func meminfo() (total, available int, err error) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		k, v, _ := strings.Cut(sc.Text(), ":")
		n, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(v), " kB"))
		switch k {
		case "MemTotal":
			total = n / 1024
		case "MemAvailable":
			available = n / 1024
		}
	}
	if err := sc.Err(); err != nil {
		return 0, 0, err
	}
	if total == 0 || available == 0 {
		return 0, 0, errors.New("no MemTotal or MemAvailable")
	}
	return total, available, nil
}
