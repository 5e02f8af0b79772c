package host

import (
	"bufio"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spicelane/spicelane/harness/verdict"
)

// A Watchdog tells an idle guest from a host that does not let the guest run: an overloaded CI
// machine, a suspended virtual machine, a hanging disk. It measures how late its own ticks come,
// how long QEMU's threads waited for a processor, and how much processor time QEMU used.
type Watchdog struct {
	stop chan struct{}
	done chan struct{}
	load func(Load) // nil if nobody wants it

	mu      sync.Mutex
	pid     int
	samples []hostSample // of pid; the newest last; at most watchdogKeep
}

// A hostSample is one tick's measurements.
type hostSample struct {
	at      time.Time
	late    time.Duration // how late the tick came
	cpu     time.Duration // QEMU's processor time since its start
	waiting waits         // for a processor, since the start of each thread
}

// waits has how long each thread of a process was ready but did not run, by thread.
type waits map[string]time.Duration

// since returns the longest wait of one thread from before to w. A thread that had waited long before
// does not hide another one that waits now.
func (w waits) since(before waits) (longest time.Duration) {
	for thread, now := range w {
		longest = max(longest, now-before[thread])
	}
	return longest
}

// A usage is what a process has used besides processor time.
type usage struct {
	memory        int64 // resident, in bytes
	read, written int64 // bytes from and to disks since its start
}

const (
	watchdogTick = 100 * time.Millisecond
	watchdogKeep = 6000 // ten minutes
)

// StartWatchdog watches the process pid until Close. It calls load, if that is not nil, twice a
// second.
func StartWatchdog(pid int, load func(Load)) *Watchdog {
	w := &Watchdog{stop: make(chan struct{}), done: make(chan struct{}), load: load, pid: pid}
	go w.run()
	return w
}

// A Load is what the host and QEMU did in one interval. Fractions are of one processor's time.
type Load struct {
	At   time.Time // its end
	Over time.Duration
	// QEMU is how much QEMU ran. Waited is how long one of its threads was ready but did not run.
	QEMU, Waited float64
	// HeldUp is how long this process itself did not run when it should have.
	HeldUp float64
	// Busy and Steal are fractions of the time of all processors: what was in use, and, if the host
	// is a virtual machine, what others took. They are 0 if the kernel does not report them.
	Busy, Steal float64
	// Memory is QEMU's resident memory in bytes.
	Memory int64
	// DiskRead and DiskWritten are the bytes that QEMU read from and wrote to disks. They do not
	// contain what the kernel had in its cache.
	DiskRead, DiskWritten int64
	// LoadAverage is the host's load average of the last minute.
	LoadAverage float64
}

// LoadInterval is the time from one Load to the next.
const LoadInterval = loadTicks * watchdogTick

// loadTicks is the number of ticks from one Load to the next.
const loadTicks = 5

// A loadMeter makes Loads from samples.
type loadMeter struct {
	pid    int
	first  hostSample
	used   usage
	host   hostTimes
	heldUp time.Duration
	ticks  int
}

// add adds a sample, and returns the Load when it is time for one.
func (m *loadMeter) add(pid int, s hostSample) (l Load, ok bool) {
	if m.first.at.IsZero() || pid != m.pid {
		*m = loadMeter{pid: pid, first: s, used: readUsage(procDir, pid), host: readHostTimes()}
		return l, false
	}
	m.heldUp += s.late
	if m.ticks++; m.ticks < loadTicks {
		return l, false
	}
	over, now := s.at.Sub(m.first.at), readHostTimes()
	part := func(d time.Duration) float64 { return math.Round(1000*max(0, float64(d)/float64(over))) / 1000 }
	l = Load{At: s.at, Over: over, QEMU: part(s.cpu - m.first.cpu), Waited: part(s.waiting.since(m.first.waiting)), HeldUp: part(m.heldUp)}
	l.Busy, l.Steal = now.since(m.host)
	used := readUsage(procDir, pid)
	l.Memory, l.DiskRead, l.DiskWritten = used.memory, max(0, used.read-m.used.read), max(0, used.written-m.used.written)
	l.LoadAverage = readLoadAverage(procDir)
	*m = loadMeter{pid: pid, first: s, used: used, host: now}
	return l, over > 0
}

// hostTimes are the times of all processors since the start, in the kernel's ticks.
type hostTimes struct{ all, idle, steal uint64 }

// readHostTimes reads the first line of /proc/stat, see proc(5): user, nice, system, idle, iowait,
// irq, softirq, steal.
func readHostTimes() hostTimes {
	f, err := os.Open("/proc/stat")
	if err != nil {
		return hostTimes{}
	}
	defer f.Close()
	line, err := bufio.NewReaderSize(f, 256).ReadString('\n')
	fields := strings.Fields(line)
	if err != nil || len(fields) < 9 || fields[0] != "cpu" {
		return hostTimes{}
	}
	var t hostTimes
	for i, s := range fields[1:9] {
		n, _ := strconv.ParseUint(s, 10, 64)
		t.all += n
		switch i {
		case 3, 4:
			t.idle += n
		case 7:
			t.steal = n
		}
	}
	return t
}

const procDir = "/proc"

// readUsage reads a process's statm and io, see proc(5). What the kernel does not report is 0.
func readUsage(proc string, pid int) usage {
	dir := filepath.Join(proc, strconv.Itoa(pid))
	var u usage
	if b, err := os.ReadFile(filepath.Join(dir, "statm")); err == nil {
		if fields := strings.Fields(string(b)); len(fields) > 1 {
			pages, _ := strconv.ParseInt(fields[1], 10, 64)
			u.memory = pages * int64(os.Getpagesize())
		}
	}
	b, err := os.ReadFile(filepath.Join(dir, "io"))
	if err != nil {
		return u
	}
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		n, _ := strconv.ParseInt(value, 10, 64)
		switch name {
		case "read_bytes":
			u.read = n
		case "write_bytes":
			u.written = n
		}
	}
	return u
}

// readLoadAverage returns the host's load average of the last minute, or 0 if it is not known.
func readLoadAverage(proc string) float64 {
	b, err := os.ReadFile(filepath.Join(proc, "loadavg"))
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(b), " ")
	v, _ := strconv.ParseFloat(first, 64)
	return v
}

// since returns the busy and the stolen fraction of the time from before to t.
func (t hostTimes) since(before hostTimes) (busy, steal float64) {
	if t.all <= before.all || before.all == 0 || t.idle < before.idle || t.steal < before.steal {
		return 0, 0
	}
	all := float64(t.all - before.all)
	part := func(n uint64) float64 { return math.Round(1000*float64(n)/all) / 1000 }
	idle, stolen := t.idle-before.idle, t.steal-before.steal
	return part(t.all - before.all - min(idle+stolen, t.all-before.all)), part(stolen)
}

// Follow makes w watch another process from now on.
func (w *Watchdog) Follow(pid int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pid, w.samples = pid, nil
}

// Close ends the watchdog.
func (w *Watchdog) Close() error {
	close(w.stop)
	<-w.done
	return nil
}

func (w *Watchdog) run() {
	defer close(w.done)
	t := time.NewTicker(watchdogTick)
	defer t.Stop()
	last := time.Now()
	var meter loadMeter
	for {
		select {
		case <-w.stop:
			return
		case <-t.C:
		}
		now := time.Now()
		s := hostSample{at: now, late: max(0, now.Sub(last)-watchdogTick)}
		pid := w.watched()
		s.cpu, s.waiting = schedulerTimes(pid)
		last = now
		w.add(pid, s)
		if w.load == nil {
			continue
		}
		if l, ok := meter.add(pid, s); ok {
			w.load(l)
		}
	}
}

func (w *Watchdog) watched() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pid
}

// add keeps a sample of pid, unless w now watches another process. Differences between the times of
// two processes mean nothing.
func (w *Watchdog) add(pid int, s hostSample) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if pid != w.pid {
		return
	}
	w.samples = append(w.samples, s)
	if len(w.samples) > watchdogKeep {
		w.samples = w.samples[len(w.samples)-watchdogKeep:]
	}
}

// schedulerTimes returns the scheduler's times of a process's threads (Linux,
// Documentation/scheduler/sched-stats.rst: time on a processor, and time waiting on a run queue,
// both in nanoseconds). cpu is the total. They are 0 if the kernel does not report them.
func schedulerTimes(pid int) (cpu time.Duration, waiting waits) {
	waiting = waits{}
	files, _ := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/schedstat")
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		fields := strings.Fields(string(b))
		if len(fields) < 2 {
			continue
		}
		on, _ := strconv.ParseInt(fields[0], 10, 64)
		off, _ := strconv.ParseInt(fields[1], 10, 64)
		cpu += time.Duration(on)
		waiting[filepath.Base(filepath.Dir(f))] = time.Duration(off)
	}
	return cpu, waiting
}

// A Progress is what the host let QEMU do during a wait.
type Progress struct {
	// Over is the length of the observed time.
	Over time.Duration
	// HeldUp is how long this process itself did not run when it should have.
	HeldUp time.Duration
	// CPU is the processor time that QEMU used. Starved is how long one of its threads waited for a
	// processor.
	CPU, Starved time.Duration
	// Stopped means that a signal (SIGSTOP) or a debugger has stopped QEMU.
	Stopped bool
}

// stallShare is the fraction of a wait that the host must have taken before it is blamed.
const stallShare = 0.5

// Stalled tells whether the host, not the guest, explains that nothing happened.
func (p Progress) Stalled() bool {
	if p.Over < time.Second {
		return false
	}
	lost := max(p.HeldUp, p.Starved)
	return float64(lost) > stallShare*float64(p.Over)
}

func (p Progress) String() string {
	if p.Over == 0 {
		return "nothing is known of what the host did"
	}
	pct := func(d time.Duration) float64 { return 100 * float64(d) / float64(p.Over) }
	s := fmt.Sprintf("in the last %v QEMU used %.0f %% of a processor, waited %.0f %% for one, and the harness was held up %.0f %%",
		p.Over.Round(100*time.Millisecond), pct(p.CPU), pct(p.Starved), pct(p.HeldUp))
	switch {
	case p.Stopped:
		return s + ": QEMU is stopped by a signal (kill -CONT lets it go on)"
	case p.Stalled():
		return s + ": the host stalled"
	case pct(p.CPU) < 1:
		return s + ": the guest is idle"
	case pct(p.CPU+p.Starved) > 95: // it wants the processor all the time, and gets its share
		return s + ": the guest spins"
	}
	return s
}

// Since returns what happened from the given moment until now.
func (w *Watchdog) Since(from time.Time) Progress {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := len(w.samples)
	for i > 0 && w.samples[i-1].at.After(from) {
		i--
	}
	seen := w.samples[i:]
	if len(seen) < 2 {
		return Progress{}
	}
	first, last := seen[0], seen[len(seen)-1]
	p := Progress{Stopped: stopped(w.pid), Over: last.at.Sub(first.at), CPU: last.cpu - first.cpu, Starved: last.waiting.since(first.waiting)}
	for _, s := range seen[1:] {
		p.HeldUp += s.late
	}
	return p
}

// A wait is an error that says that something did not happen in time.
type wait interface {
	error
	// Awaited returns what was awaited.
	Awaited() string
}

// Explain annotates err, the error of a wait since began, with what the host let QEMU do meanwhile.
// It changes the verdict to Host if the host did not let the guest run, unless a signal has stopped
// QEMU. It returns errors that are no waits, or no product faults, unchanged.
func (w *Watchdog) Explain(began time.Time, err error) error {
	var (
		e *verdict.Error
		f wait
	)
	if w == nil || !errors.As(err, &f) || !errors.As(err, &e) || e.Verdict != verdict.Product {
		return err
	}
	p := w.Since(began)
	g := *e
	g.Hint = p.String()
	if p.Stalled() && !p.Stopped {
		g.Verdict, g.Hop = verdict.Host, ""
	}
	return &g
}
