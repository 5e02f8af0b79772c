package bench

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/verdict"
)

// A Machine describes the machine and software that the figures depend on.
type Machine struct {
	CPU       string `json:"cpu"`
	CPUs      int    `json:"cpus"`
	MemoryMiB int    `json:"memory_mib"`
	Kernel    string `json:"kernel"`
	QEMU      string `json:"qemu"`
	Go        string `json:"go"`
	// Load is the load average of the last minute when the measurement began.
	Load float64 `json:"load"`
}

// ThisMachine describes this machine. It returns a host fault if there is no QEMU.
func ThisMachine(ctx context.Context) (Machine, error) {
	m := Machine{CPUs: runtime.NumCPU(), Go: runtime.Version()}
	binary, err := qemu.FindQEMU(os.Getenv)
	if err == nil {
		m.QEMU, err = qemu.Version(ctx, binary)
	}
	if err != nil {
		return m, &verdict.Error{Verdict: verdict.Host, Err: err}
	}
	m.QEMU = strings.TrimPrefix(m.QEMU, "QEMU emulator version ")
	m.CPU = field("/proc/cpuinfo", "model name")
	kb, _ := strconv.Atoi(strings.TrimSuffix(field("/proc/meminfo", "MemTotal"), " kB"))
	m.MemoryMiB = kb / 1024
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = strings.TrimSpace(string(b))
	}
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		first, _, _ := strings.Cut(string(b), " ")
		m.Load, _ = strconv.ParseFloat(first, 64)
	}
	return m, nil
}

// field returns the value after "name:" in a file of /proc; empty if there is none.
func field(path, name string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		if k, v, ok := strings.Cut(sc.Text(), ":"); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// A Memory is the memory of a lane's processes, in MiB. RSS is the resident memory. PSS divides
// shared pages among the processes that use them, so it is closer to the cost of one more lane.
type Memory struct {
	Warm    bool    `json:"warm"`
	QEMURSS float64 `json:"qemu_rss_mib"`
	QEMUPSS float64 `json:"qemu_pss_mib"`
	// Proxy and client are the same program, and share its pages. RSS and PSS are the sums.
	ProxyRSS  float64 `json:"proxy_rss_mib"`
	ProxyPSS  float64 `json:"proxy_pss_mib"`
	ClientRSS float64 `json:"client_rss_mib"`
	ClientPSS float64 `json:"client_pss_mib"`
	RSS       float64 `json:"rss_mib"`
	PSS       float64 `json:"pss_mib"`
}

// memory measures the memory of a cold and a warm lane after the smoke check.
func (b *bench) memory(ctx context.Context) error {
	for _, warm := range []harness.Warm{harness.WarmOff, harness.WarmRequire} {
		if warm != harness.WarmOff && b.report.Warm == nil {
			continue
		}
		b.say("the memory of a lane, warm: %s", warm)
		m, err := b.laneMemory(ctx, warm)
		if err != nil {
			return err
		}
		b.report.Memory = append(b.report.Memory, m)
	}
	return nil
}

func (b *bench) laneMemory(ctx context.Context, warm harness.Warm) (m Memory, err error) {
	cfg := b.cfg.parts(b.lane(warm))
	defer os.RemoveAll(cfg.Dir)
	lane, err := harness.Start(ctx, cfg)
	if err != nil {
		return m, err
	}
	s := lane.State()
	_, err = drive.Smoke(ctx, drive.SmokeConfig{Socket: s.ControlSocket})
	m.Warm = s.Warm
	m.QEMURSS, m.QEMUPSS = resident(s.PIDs.QEMU)
	m.ProxyRSS, m.ProxyPSS = resident(s.PIDs.Proxy)
	m.ClientRSS, m.ClientPSS = resident(s.PIDs.Client)
	m.RSS, m.PSS = round(m.QEMURSS+m.ProxyRSS+m.ClientRSS), round(m.QEMUPSS+m.ProxyPSS+m.ClientPSS)
	if cerr := lane.Close(); err == nil {
		err = cerr
	}
	return m, err
}

// resident returns the memory of a process, in MiB; 0 if there is no process.
func resident(pid int) (rss, pss float64) {
	if pid == 0 {
		return 0, 0
	}
	file := filepath.Join("/proc", fmt.Sprint(pid), "smaps_rollup")
	mib := func(name string) float64 {
		kb, _ := strconv.ParseFloat(strings.TrimSuffix(field(file, name), " kB"), 64)
		return round(kb / 1024)
	}
	return mib("Rss"), mib("Pss")
}

// ownCPU returns the processor time of this process so far.
func ownCPU() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
