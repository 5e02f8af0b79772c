package harness

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spicelane/spicelane/fixtures"
	"github.com/spicelane/spicelane/harness/serial"
	"github.com/spicelane/spicelane/harness/timeline"
	"github.com/spicelane/spicelane/harness/verdict"
)

// kernel matches what Linux puts before its messages on a console: with printk.time=1, the default
// of every distribution, the time; in some builds also a thread or processor.
const kernel = `^(?:<\d+>)?(?:\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? )?`

// defaultFailures are lines on a serial console that mean that a guest has failed, whatever the
// guest. Each pattern is tied to the format of one program that can know: a kernel, firmware, a
// boot loader, an initial RAM disk, systemd. If the boot may continue, or other programs may print
// such a line, the failure is soft.
var defaultFailures = []fixtures.Failure{
	{Name: "kernel panic", Pattern: regexp.MustCompile(kernel + `Kernel panic - not syncing|^panic\(cpu \d|` +
		`^KDB: enter: panic|^Stopped at +\S+\+0x[0-9a-f]+:|^cpu\d+: Begin traceback`)}, // Linux, XNU, FreeBSD, OpenBSD, NetBSD
	{Name: "kernel oops", Pattern: regexp.MustCompile(kernel + `(?:Oops: [0-9a-f]{4}|Internal error: Oops|BUG: unable to handle|BUG: kernel NULL pointer|` +
		`Unable to handle kernel|kernel BUG at |general protection fault[:,])`)},
	{Name: "out of memory", Pattern: regexp.MustCompile(kernel + `Out of memory: Kill(?:ed)? process`)},
	{Name: "root not found", Pattern: regexp.MustCompile(kernel + `VFS: (?:Unable to mount root fs|Cannot open root device)|^ALERT!.*does not exist\.\s+Dropping to a shell`)},
	{Name: "emergency shell", Pattern: regexp.MustCompile(`^You are in emergency mode|^Entering emergency mode\.|^\(initramfs\)|^dracut:/#|^Give root password for (?:system )?maintenance`)},
	{Name: "boot loader rescue", Pattern: regexp.MustCompile(`^grub rescue>|^Entering rescue mode\.\.\.`)},
	{Name: "nothing to boot", Pattern: regexp.MustCompile(`^BdsDxe: No bootable option or device was found|^No bootable device\.`)},
	{Name: "firmware assertion", Pattern: regexp.MustCompile(`^(?:DXE_)?ASSERT!?:? (?:\[\S+\]:? )?\S*\.[ch] ?\(\d+\): |^ASSERT_(?:EFI|RETURN)_ERROR \(Status = `)},
	{Name: "firmware exception", Pattern: regexp.MustCompile(`^!!!! \S+ Exception Type - `)},

	{Name: "panic", Soft: true, Pattern: regexp.MustCompile(`^panic: `)}, // a BSD kernel's first line, and any Go program's
	{Name: "memory limit", Soft: true, Pattern: regexp.MustCompile(kernel + `(?:Memory cgroup out of memory: |oom-kill:constraint=CONSTRAINT_MEMCG)`)},
	{Name: "boot device failed", Soft: true, Pattern: regexp.MustCompile(`^Boot [Ff]ailed[:.]|^BdsDxe: failed to (?:load|start) |^No more network devices`)},
	{Name: "boot loader error", Soft: true, Pattern: regexp.MustCompile(`^error: (?:unknown filesystem|no such (?:device|partition)|file .* not found|symbol .* not found)`)},
	{Name: "failed service", Soft: true, Pattern: regexp.MustCompile(`^\[FAILED\] Failed to start`)},
	{Name: "lockup", Soft: true, Pattern: regexp.MustCompile(kernel + `(?:watchdog: BUG: soft lockup|rcu: INFO: rcu_.*detected stalls|INFO: task .* blocked for more than)`)},
	{Name: "kernel warning", Soft: true, Pattern: regexp.MustCompile(kernel + `WARNING: CPU: \d+ PID: \d+ at `)},
}

// allFailures, among the failures to ignore, means all of them.
const allFailures = "all"

// consoleFailures returns the failures that a lane is watched for: the default ones, changed by the
// fixture, changed by the lane.
func consoleFailures(fx *fixtures.Fixture, cfg Config) ([]fixtures.Failure, error) {
	list := defaultFailures
	var err error
	if fx != nil {
		if list, err = changeFailures(list, fx.IgnoreFailures, fx.Failures); err != nil {
			return nil, &verdict.Error{Verdict: verdict.Harness, Op: "fixture " + fx.Source() + ": ignore_failures", Err: err}
		}
	}
	if list, err = changeFailures(list, cfg.IgnoreFailures, cfg.Failures); err != nil {
		return nil, &verdict.Error{Verdict: verdict.Harness, Op: "IgnoreFailures", Err: err}
	}
	for i, f := range list {
		if f.Name == "" || f.Pattern == nil {
			return nil, &verdict.Error{Verdict: verdict.Harness, Op: fmt.Sprintf("Failures[%d]", i), Err: fmt.Errorf("a failure needs a name and a pattern")}
		}
	}
	return list, nil
}

// changeFailures returns list without the ignored failures, and with more. A failure of more
// replaces the one with its name.
func changeFailures(list []fixtures.Failure, ignore []string, more []fixtures.Failure) ([]fixtures.Failure, error) {
	known := map[string]bool{allFailures: true}
	for _, f := range list {
		known[f.Name] = true
	}
	for _, name := range ignore {
		if !known[name] {
			return nil, fmt.Errorf("no failure is called %q; there are %s", name, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		}
	}
	replaced := map[string]bool{}
	for _, f := range more {
		replaced[f.Name] = true
	}
	list = slices.DeleteFunc(slices.Clone(list), func(f fixtures.Failure) bool {
		return replaced[f.Name] || slices.Contains(ignore, f.Name) || slices.Contains(ignore, allFailures)
	})
	return append(list, more...), nil
}

// A consoleWatch looks for failures in a guest's serial output.
type consoleWatch struct {
	failures []fixtures.Failure
	matchers []serial.Matcher // one for each failure
	log      *timeline.Writer

	once   sync.Once
	failed chan struct{}
	err    *verdict.ConsoleError // valid after failed

	mu   sync.Mutex
	soft []softFailure // the newest
}

// A softFailure is a failure that did not end the lane.
type softFailure struct {
	at   time.Time
	text string
}

// maxSoft is how many soft failures an error mentions.
const maxSoft = 3

func newConsoleWatch(failures []fixtures.Failure, log *timeline.Writer) *consoleWatch {
	w := &consoleWatch{failures: failures, log: log, failed: make(chan struct{})}
	for _, f := range failures {
		w.matchers = append(w.matchers, serial.Pattern(f.Pattern))
	}
	return w
}

// softSince describes the newest soft failures since then; empty if there are none.
func (w *consoleWatch) softSince(then time.Time) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var said []string
	for _, s := range w.soft {
		if !s.at.Before(then) {
			said = append(said, s.text)
		}
	}
	if len(said) == 0 {
		return ""
	}
	return "meanwhile the guest said " + strings.Join(said, ", ")
}

// A consoleScan is a consoleWatch on one machine's console. It belongs to one goroutine.
type consoleScan struct {
	*consoleWatch
	console *serial.Log
	n       int          // the newest line that was checked
	noted   map[int]bool // the failures that were found in it
}

func (w *consoleWatch) scan(console *serial.Log) *consoleScan {
	return &consoleScan{consoleWatch: w, console: console, n: -1}
}

// A line that matches while the guest still writes it is complete when the guest pauses for
// linePause. It may take lineLimit, which is less than consequenceGrace.
const (
	linePause = 100 * time.Millisecond
	lineLimit = 400 * time.Millisecond
)

// settled waits until the guest has completed the line, but at most lineLimit, and returns it. An
// error then quotes the whole line.
func (w *consoleScan) settled(line serial.Line) serial.Line {
	limit, stop := context.WithTimeout(context.Background(), lineLimit)
	defer stop()
	r := w.console.Reader(line.N)
	for !line.Complete && !line.Still {
		ctx, cancel := context.WithTimeout(limit, linePause)
		next, err := r.Look(ctx)
		cancel()
		if err != nil || next.N != line.N {
			break
		}
		line = next
	}
	return line
}

// look checks one line of console, which may be a line that has grown since.
func (w *consoleScan) look(line serial.Line) {
	if line.N != w.n {
		w.n, w.noted = line.N, map[int]bool{}
	}
	for i, f := range w.failures {
		if w.noted[i] || !w.matchers[i].Match(line) {
			continue
		}
		if line = w.settled(line); !w.matchers[i].Match(line) {
			continue // it was half of one text and half of the next
		}
		w.noted[i] = true
		said := line.Find(f.Pattern)
		w.log.AddAt(line.Time, "console_failure", map[string]any{"name": f.Name, "soft": f.Soft, "text": said})
		if f.Soft {
			w.mu.Lock()
			w.soft = append(w.soft, softFailure{line.Time, fmt.Sprintf("%q (%s)", said, f.Name)})
			w.soft = w.soft[max(0, len(w.soft)-maxSoft):]
			w.mu.Unlock()
			continue
		}
		w.once.Do(func() {
			w.err = &verdict.ConsoleError{Name: f.Name, Line: said, Context: w.console.Tail(reportLines)}
			close(w.failed)
		})
		return
	}
}
