package harness

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/spicelane/spicelane/fixtures"
	"github.com/spicelane/spicelane/harness/qemu"
)

// classify gives err its verdict by what it is. op says what was being done; an
// error that already has a verdict keeps it.
func classify(op string, err error) error {
	if err == nil {
		return nil
	}
	var (
		f       *Fault
		host    *qemu.HostError
		conf    *qemu.ConfigError
		boot    *qemu.BootError
		exit    *qemu.ExitError
		missing *fixtures.NotFoundError
		said    *ConsoleError
	)
	switch {
	case errors.As(err, &f):
		return err
	case errors.As(err, &host):
		return &Fault{Verdict: Host, Op: op, Err: err}
	case errors.As(err, &conf), errors.As(err, &missing):
		return &Fault{Verdict: Harness, Op: op, Err: err}
	case errors.As(err, &exit):
		return &Fault{Verdict: exitVerdict(exit.Kind), Op: op, Err: err}
	case errors.As(err, &said), errors.As(err, &boot):
		return &Fault{Verdict: Product, Op: op, Err: err}
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return &Fault{Verdict: Host, Op: op, Err: err, Hint: "the disk is full: free some space or choose another directory"}
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return &Fault{Verdict: Host, Op: op, Err: err, Hint: "choose a directory that can be written"}
	case errors.Is(err, syscall.EADDRINUSE):
		return &Fault{Verdict: Host, Op: op, Err: err, Hint: "another program has that port: end it or choose another"}
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return &Fault{Verdict: Host, Op: op, Err: err, Hint: "this host does not have that address"}
	}
	return &Fault{Verdict: Harness, Op: op, Err: err}
}

// exitVerdict says whose fault the end of a machine is.
func exitVerdict(k qemu.Kind) Verdict {
	switch k {
	case qemu.KindShutdown, qemu.KindPanicked, qemu.KindCrash:
		return Product
	case qemu.KindInternalError, qemu.KindDiskFull, qemu.KindIOError, qemu.KindSignal:
		// Nobody here sends QEMU a signal unasked: the kernel (out of memory), or a
		// person.
		return Host
	default:
		return Harness
	}
}

// Details is the long form of what stands behind a fault: QEMU's argv, the last
// lines on the serial console and on its stderr. Empty if there is none.
func (f *Fault) Details() string {
	var r interface{ Report() string }
	if errors.As(f.Err, &r) {
		return r.Report()
	}
	var d interface{ Details() string }
	if errors.As(f.Err, &d) {
		return d.Details()
	}
	return ""
}

// CacheDir is where what can be had again is kept: $SPICELANE_CACHE_DIR, else
// spicelane below the user's cache directory, else below os.TempDir.
func CacheDir() string {
	if d := os.Getenv(qemu.EnvCacheDir); d != "" {
		return d
	}
	if d, err := os.UserCacheDir(); err == nil {
		return filepath.Join(d, "spicelane")
	}
	return filepath.Join(os.TempDir(), "spicelane-"+strconv.Itoa(os.Getuid()), "cache")
}

// EnvTimeoutScale multiplies every timeout of a lane.
const EnvTimeoutScale = "SPICELANE_TIMEOUT_SCALE"

// tcgFactor is how much longer things may take without KVM: measured, a boot
// takes four times as long; the rest is for machines that are busy.
const tcgFactor = 6

// scaled is d, stretched for TCG and by $SPICELANE_TIMEOUT_SCALE.
func scaled(d time.Duration, accel string) time.Duration {
	f := 1.0
	if s, err := strconv.ParseFloat(os.Getenv(EnvTimeoutScale), 64); err == nil && s > 0 {
		f = s
	}
	if accel != "kvm" {
		f *= tcgFactor
	}
	return time.Duration(float64(d) * f)
}

func hostPort(host string, port int) string {
	return net.JoinHostPort(host, fmt.Sprint(port))
}
