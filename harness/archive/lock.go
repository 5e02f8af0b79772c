package archive

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/spicelane/spicelane/harness/proc"
	"github.com/spicelane/spicelane/harness/verdict"
)

// Writers share an archive; a process that deletes needs it alone. Each holds a lock, an object in
// locks/: there is one per writer, and at most one exclusive lock. A writer first makes its object
// and then looks for the exclusive lock. A deleter first makes the exclusive lock and then looks
// for writers. So at least one of the two sees the other.
//
// A holder changes its object four times per lease. A lock whose object has not changed for a whole
// lease is dead. A waiter measures the lease on its own monotonic clock, so that no clock that
// jumps, here or there, ends a lock that is alive. If the holder ran on this computer and no longer
// runs, its lock is dead at once.
const (
	locks     = "locks/"
	exclusive = locks + "exclusive"
	writers   = locks + "writers/"
)

// DefaultLease is how long a lock outlives a holder that has vanished.
const DefaultLease = time.Minute

// A lockFile is the content of a lock's object.
type lockFile struct {
	// Holder is unique for each hold.
	Holder string `json:"holder"`
	// Process describes the process that holds the lock, for people.
	Process string `json:"process"`
	// Kernel identifies the process table that PID belongs to. Start is the process's start time,
	// which tells it from later processes with the same PID.
	Kernel string `json:"kernel,omitempty"`
	PID    int    `json:"pid,omitempty"`
	Start  uint64 `json:"start,omitempty"`
	// Beat increases each time the holder renews the lock.
	Beat int `json:"beat"`
}

// A LockError says that the archive is in use.
type LockError struct {
	Location string
	// Process describes the process that holds the lock.
	Process string
	Err     error
}

func (e *LockError) Error() string {
	return fmt.Sprintf("archive %s: it is in use by %s: %v", e.Location, e.Process, e.Err)
}
func (e *LockError) Unwrap() error { return e.Err }

// Verdict returns Harness: nothing is wrong with what was tested.
func (e *LockError) Verdict() verdict.Kind { return verdict.Harness }

// A hold is a lock that is held.
type hold struct {
	a      *Archive
	name   string
	file   lockFile
	cancel context.CancelFunc
	done   chan struct{}

	mu   sync.Mutex
	lost error
}

// lock takes a writer's lock, or the exclusive one. It waits for others until ctx ends.
func (a *Archive) lock(ctx context.Context, alone bool) (*hold, error) {
	h := &hold{a: a, done: make(chan struct{})}
	h.file = thisProcess()
	h.file.Holder = uuid.NewString()
	h.name = writers + h.file.Holder
	if alone {
		h.name = exclusive
	}
	w := waiter{a: a, seen: map[string]sighting{}}
	for held := false; !held; {
		var err error
		if held, err = h.try(ctx, &w); err != nil {
			h.remove()
			if ctx.Err() != nil && w.process != "" { // err is then what ctx interrupted
				err = &LockError{Location: a.store.Location(), Process: w.process, Err: context.Cause(ctx)}
			}
			return nil, err
		}
	}
	beat, cancel := context.WithCancel(context.WithoutCancel(ctx))
	h.cancel = cancel
	go h.keep(beat)
	return h, nil
}

// try makes the lock's object and looks for a conflicting lock. If it returns false, it has waited
// for that one for a moment.
func (h *hold) try(ctx context.Context, w *waiter) (held bool, err error) {
	err = h.write(ctx, true)
	if errors.Is(err, fs.ErrExist) {
		return false, w.wait(ctx, h.name)
	}
	if err != nil {
		return false, err
	}
	other, err := h.obstacle(ctx)
	if err != nil || other == "" {
		return err == nil, err
	}
	if h.name == exclusive {
		return true, w.waitFor(ctx, h, other)
	}
	// The exclusive lock has priority; otherwise both would wait for each other.
	if err := h.a.store.Delete(ctx, h.name); err != nil {
		return false, err
	}
	return false, w.wait(ctx, other)
}

// remove deletes the lock's object if it is this hold's. If that fails, the lease ends the lock.
func (h *hold) remove() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if f, _, err := h.a.readLock(ctx, h.name); err == nil && f.Holder == h.file.Holder {
		_ = h.a.store.Delete(ctx, h.name)
	}
}

// obstacle returns the name of a conflicting lock; empty if there is none.
func (h *hold) obstacle(ctx context.Context) (string, error) {
	if h.name != exclusive {
		_, err := h.a.store.Stat(ctx, exclusive)
		if errors.Is(err, fs.ErrNotExist) {
			return "", nil
		}
		return exclusive, err
	}
	for o, err := range h.a.store.List(ctx, writers) {
		return o.Name, err
	}
	return "", nil
}

// write stores the lock's object.
func (h *hold) write(ctx context.Context, create bool) error {
	b, err := json.Marshal(h.file)
	if err != nil {
		return err
	}
	return h.a.store.Put(ctx, h.name, bytes.NewReader(b), int64(len(b)), create)
}

// keep renews the lock until it is released.
func (h *hold) keep(ctx context.Context) {
	defer close(h.done)
	tick := time.NewTicker(h.a.lease / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := h.check(ctx); err != nil {
			continue
		}
		h.file.Beat++
		// NB: an error here is harmless until another process takes the lock, which check reports.
		_ = h.write(ctx, false)
	}
}

// check returns an error if another process has taken the lock, because this one stood still for a
// whole lease. The caller must then write and delete nothing more.
func (h *hold) check(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.lost != nil {
		return h.lost
	}
	f, _, err := h.a.readLock(ctx, h.name)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && f.Holder != h.file.Holder:
		h.lost = &LockError{Location: h.a.store.Location(), Process: "another process",
			Err: errors.New("it has taken over the lock of this process, which stood still for too long; repeat the command")}
		return h.lost
	}
	return err
}

// release ends the lock.
func (h *hold) release() {
	h.cancel()
	<-h.done
	h.remove()
}

// readLock reads a lock. It also returns the object's text, which changes as long as the lock is
// alive.
func (a *Archive) readLock(ctx context.Context, name string) (lockFile, string, error) {
	var f lockFile
	b, err := a.read(ctx, name)
	if err != nil {
		return f, "", err
	}
	// NB: a lock that cannot be parsed never changes, so it ends after a lease.
	_ = json.Unmarshal(b, &f)
	return f, string(b), nil
}

// A sighting is what a waiter last saw of a lock.
type sighting struct {
	holder string
	text   string
	since  time.Time // when it was first seen with this text
	first  time.Time // when it was first seen with this holder
}

// A waiter waits for locks and removes dead ones.
type waiter struct {
	a       *Archive
	seen    map[string]sighting
	process string // the holder of the lock that it waits for
}

// waitFor waits until no lock conflicts with h; other is the first one that does. It renews h
// meanwhile.
func (w *waiter) waitFor(ctx context.Context, h *hold, other string) error {
	renewed := time.Now()
	for other != "" {
		if err := w.wait(ctx, other); err != nil {
			return err
		}
		if time.Since(renewed) > w.a.lease/4 {
			if err := h.check(ctx); err != nil {
				return err
			}
			h.file.Beat++
			if err := h.write(ctx, false); err != nil {
				return err
			}
			renewed = time.Now()
		}
		var err error
		if other, err = h.obstacle(ctx); err != nil {
			return err
		}
	}
	return nil
}

// wait waits for the lock called name for a moment, or removes it if its holder is dead.
func (w *waiter) wait(ctx context.Context, name string) error {
	f, text, err := w.a.readLock(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	w.process = f.Process
	last, ok := w.seen[name]
	if !ok || last.holder != f.Holder {
		// The pause below grows with the time that one holder keeps the lock, not with the total wait.
		last.holder, last.first = f.Holder, time.Now()
	}
	if !ok || last.text != text {
		last.text, last.since = text, time.Now()
		w.seen[name] = last
	}
	if f.dead() || time.Since(last.since) > w.a.lease {
		// NB: read it again right before, so that only the lock that was seen is removed.
		if _, now, err := w.a.readLock(ctx, name); err == nil && now == text {
			return w.a.store.Delete(ctx, name)
		}
		return nil
	}
	// Most locks last for milliseconds, and some for minutes.
	t := time.NewTimer(min(w.a.lease/8, time.Second, max(time.Since(last.first)/4, 5*time.Millisecond)))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// thisProcess describes this process.
func thisProcess() lockFile {
	host, _ := os.Hostname()
	f := lockFile{PID: os.Getpid(), Process: fmt.Sprintf("process %d on %s", os.Getpid(), host)}
	f.Kernel = kernel()
	f.Start = proc.ReadStat(f.PID).Start
	return f
}

// kernel identifies this boot of this computer, and the process numbers of this container in it;
// empty if that is unknown.
func kernel() string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	space, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return ""
	}
	return path.Join(strings.TrimSpace(string(boot)), space)
}

// dead reports whether the holder ran on this computer and no longer runs.
func (f lockFile) dead() bool {
	here := kernel()
	if here == "" || f.Kernel != here || f.Start == 0 {
		return false
	}
	now := proc.ReadStat(f.PID)
	return !now.Alive() || now.Start != f.Start
}
