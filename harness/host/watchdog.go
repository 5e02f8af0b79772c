package host

import (
	"errors"
	"fmt"
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

	mu      sync.Mutex
	pid     int
	samples []hostSample // of pid; the newest last; at most watchdogKeep
}

// A hostSample is one tick's measurements.
type hostSample struct {
	at      time.Time
	late    time.Duration // how late the tick came
	cpu     time.Duration // QEMU's processor time since its start
	waiting time.Duration // the longest time that one of its threads was ready but did not run, since its start
}

const (
	watchdogTick = 100 * time.Millisecond
	watchdogKeep = 6000 // ten minutes
)

// StartWatchdog watches the process pid until Close.
func StartWatchdog(pid int) *Watchdog {
	w := &Watchdog{stop: make(chan struct{}), done: make(chan struct{}), pid: pid}
	go w.run()
	return w
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
	}
}

func (w *Watchdog) watched() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pid
}

// add keeps a sample of pid, unless w watches another process by now: differences between the times
// of two processes mean nothing.
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
// both in nanoseconds). cpu is the total, waiting that of the thread that waited longest. They are
// 0 if the kernel does not report them.
func schedulerTimes(pid int) (cpu, waiting time.Duration) {
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
		waiting = max(waiting, time.Duration(off))
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

// stallShare is the part of a wait that the host must have taken before it is blamed.
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

// Since returns what happened from a moment until now.
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
	p := Progress{Stopped: stopped(w.pid), Over: last.at.Sub(first.at), CPU: last.cpu - first.cpu, Starved: last.waiting - first.waiting}
	for _, s := range seen[1:] {
		p.HeldUp += s.late
	}
	return p
}

// A wait is an error that says that something awaited did not come.
type wait interface {
	error
	// Awaited returns what was awaited.
	Awaited() string
}

// Explain adds to a wait that began at began and failed what the host let QEMU do meanwhile. It
// blames the host if that did not let the guest run. Errors that are no waits, or no product
// faults, stay as they are.
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
