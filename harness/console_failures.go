package harness

import (
	"regexp"
	"sync"

	"github.com/spicelane/spicelane/fixtures"
	"github.com/spicelane/spicelane/harness/serial"
	"github.com/spicelane/spicelane/harness/timeline"
	"github.com/spicelane/spicelane/harness/verdict"
)

// failurePatterns are lines on a serial console that mean that a guest has
// failed, whatever guest it is. A fixture's entry adds its own. A soft one is
// noted on the timeline; any other ends the lane.
var failurePatterns = []fixtures.Failure{
	{Name: "kernel panic", Pattern: regexp.MustCompile(`Kernel panic - not syncing|^panic: |^panic\(cpu`)},
	{Name: "kernel oops", Pattern: regexp.MustCompile(`\bOops: [0-9a-f]{4}|BUG: unable to handle|BUG: kernel NULL pointer|general protection fault:`)},
	{Name: "out of memory", Pattern: regexp.MustCompile(`Out of memory: Kill(ed)? process|Memory cgroup out of memory|oom-kill:`)},
	{Name: "root not found", Pattern: regexp.MustCompile(`VFS: Unable to mount root fs|ALERT!.*does not exist\.\s+Dropping to a shell`)},
	{Name: "emergency shell", Pattern: regexp.MustCompile(`You are in emergency mode|Entering emergency mode|^\(initramfs\)|^dracut:/#|Give root password for maintenance`)},
	{Name: "boot loader rescue", Pattern: regexp.MustCompile(`^grub rescue>|error: unknown filesystem\.`)},
	{Name: "nothing to boot", Pattern: regexp.MustCompile(`BdsDxe: No bootable option or device was found|No bootable device|Boot failed: not a bootable disk`)},
	{Name: "firmware assertion", Pattern: regexp.MustCompile(`ASSERT(_EFI_ERROR|_RETURN_ERROR)?[ (:]|^ASSERT \[`)},
	{Name: "firmware exception", Pattern: regexp.MustCompile(`!!!! X64 Exception Type|!!!! IA32 Exception Type`)},
	{Name: "failed service", Soft: true, Pattern: regexp.MustCompile(`\[FAILED\] Failed to start`)},
	{Name: "lockup", Soft: true, Pattern: regexp.MustCompile(`watchdog: BUG: soft lockup|rcu: INFO: rcu_.*detected stalls|INFO: task .* blocked for more than`)},
	{Name: "kernel warning", Soft: true, Pattern: regexp.MustCompile(`WARNING: CPU: \d+ PID: \d+ at `)},
}

// consoleWatch looks for failures in what a guest says.
type consoleWatch struct {
	patterns []fixtures.Failure
	log      *timeline.Writer

	once   sync.Once
	failed chan struct{}
	err    *verdict.ConsoleError // valid after failed
}

func newConsoleWatch(fx *fixtures.Fixture, log *timeline.Writer) *consoleWatch {
	w := &consoleWatch{patterns: failurePatterns, log: log, failed: make(chan struct{})}
	if fx != nil {
		w.patterns = append(w.patterns[:len(w.patterns):len(w.patterns)], fx.Failures...)
	}
	return w
}

// look judges one line of console.
func (w *consoleWatch) look(line serial.Line, console *serial.Log) {
	for _, p := range w.patterns {
		if !p.Pattern.MatchString(line.Text) {
			continue
		}
		w.log.AddAt(line.Time, "console_failure", map[string]any{"name": p.Name, "soft": p.Soft, "text": line.Text})
		if p.Soft {
			continue
		}
		w.once.Do(func() {
			w.err = &verdict.ConsoleError{Name: p.Name, Line: line.Text, Context: console.Tail(reportLines)}
			close(w.failed)
		})
		return
	}
}
