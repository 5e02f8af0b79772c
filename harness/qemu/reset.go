package qemu

import (
	"fmt"
	"time"

	"github.com/spicelane/spicelane/qmp"
)

// A Reset says that the machine was reset.
type Reset struct {
	Time time.Time
	// Guest is true if the guest did it, and false for the reset button.
	Guest bool
	// Reason is QEMU's word (ShutdownCause in its qapi/run-state.json), such as
	// "guest-reset" or "host-qmp-system-reset"; "" from a QEMU that gives none.
	Reason string
	// Total is how many times the machine has been reset, including this one.
	Total int
}

// A guest is in a loop if it has reset itself loopResets times, each time within resetGap of the
// previous one, and in at least loopTime altogether. An installation reboots two or three times,
// with longer pauses. QEMU's BIOS turns one reset into several: it resets again within milliseconds
// if it finds that it has run before.
const (
	loopResets = 10
	loopTime   = 2 * time.Second
	resetGap   = 15 * time.Second
)

// resets has the history of a machine's resets.
type resets struct {
	total int
	inRow int // by the guest, each soon after the one before
	first time.Time
	last  time.Time
}

// add records a reset and tells whether the guest is in a loop. limit is how many resets make a
// loop; less than 1 means no limit.
func (r *resets) add(now time.Time, guest bool, limit int) (loop bool) {
	r.total++
	switch {
	case !guest:
		r.inRow = 0
	case r.inRow == 0 || now.Sub(r.last) > resetGap:
		r.inRow, r.first = 1, now
	default:
		r.inRow++
	}
	r.last = now
	return limit > 0 && r.inRow >= limit && now.Sub(r.first) >= loopTime
}

// noteReset records a RESET event, calls Config.OnReset, and ends a machine whose guest is in a
// loop.
func (m *Machine) noteReset(ev qmp.Event) {
	guest, _ := ev.Data["guest"].(bool)
	reason, _ := ev.Data["reason"].(string)
	now := ev.Timestamp.Time()
	m.mu.Lock()
	loop := m.resets.add(now, guest, m.cfg.loopResets())
	r := m.resets
	m.mu.Unlock()
	if m.cfg.OnReset != nil {
		m.cfg.OnReset(Reset{Time: now, Guest: guest, Reason: reason, Total: r.total})
	}
	if loop {
		m.end(KindResetLoop, fmt.Sprintf("the guest resets itself over and over: %d times in %.1f s (%s)",
			r.inRow, r.last.Sub(r.first).Seconds(), reason))
	}
}

// Resets returns how often the machine was reset, by either side.
func (m *Machine) Resets() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.resets.total
}

func (c Config) loopResets() int {
	if c.LoopResets == 0 {
		return loopResets
	}
	return c.LoopResets
}
