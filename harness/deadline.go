package harness

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spicelane/spicelane/harness/host"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/internal/atomicfile"
)

// A lane that cannot be ready in time fails at once instead of at its deadline. For that, the
// harness remembers how long the fastest start of such a lane took on this host. Less time than
// that is not enough.

// A DeadlineError says that there is less time than a lane needs.
type DeadlineError struct {
	// Left is the time that was left until the deadline, negative after it.
	Left time.Duration
	// Needed is the least time that such a lane needs to be ready on this host.
	Needed time.Duration
	// How says what takes the time: "to boot" or "to be restored".
	How string
	// Deadline names the deadline: "the context's deadline" or "Config.Timeout".
	Deadline string
	// measured is the number of starts of which Needed is the fastest; 0 for the general minimum.
	measured int
}

func (e *DeadlineError) Error() string {
	left := "is past by " + shown(-e.Left)
	if e.Left >= 0 {
		left = "leaves " + shown(e.Left)
	}
	needs := "the lane needs some"
	switch {
	case e.measured > 0:
		needs = fmt.Sprintf("the lane needs %s %s (the fastest of %d here)", shown(e.Needed), e.How, e.measured)
	case e.Needed > 0:
		needs = fmt.Sprintf("the lane needs more than %s %s", shown(e.Needed), e.How)
	}
	return fmt.Sprintf("%s %s, and %s", e.Deadline, left, needs)
}

func shown(d time.Duration) string { return d.Round(10 * time.Millisecond).String() }

// deadlineName is the key of a context's value that names its deadline.
type deadlineName struct{}

// firmwareBoot is less than any host needs from QEMU's start to the banner of a guest with UEFI
// firmware under TCG: a third of the time measured on reasonably fast cores. For KVM, and for
// guests without firmware, nothing is known before the first start.
const firmwareBoot = 1500 * time.Millisecond

const startsFile = "starts.json"

// guestsKept is the number of guests whose times are kept: those that started last.
const guestsKept = 64

// starts are how long lanes took to be ready on this host, by startKey.
type starts map[string]startTimes

type startTimes struct {
	// At is when the newest of them was ready.
	At time.Time `json:"at"`
	// Count is the number of starts, FastestMS the time of the fastest in milliseconds.
	Count     int   `json:"count"`
	FastestMS int64 `json:"fastest_ms"`
}

func readStarts() starts {
	s := starts{}
	b, err := os.ReadFile(filepath.Join(host.CacheDir(), startsFile))
	if err != nil || json.Unmarshal(b, &s) != nil {
		return starts{} // it will be written again
	}
	return s
}

// startKey returns the same key for lanes that take equally long to be ready. A lane that is refused
// is not measured, so the times of one that is slower for any reason would refuse it for ever.
func (b *bringUp) startKey(accel string, restored bool) string {
	c := b.cfg
	guest := or(c.Image, c.fixture())
	if c.Image == "" && b.fixture != nil {
		guest = or(b.fixture.ImagePath(), guest)
	}
	link := ""
	if c.Link != nil {
		link = c.Link.String()
	}
	return fmt.Sprintf("%s kernel=%s initrd=%s append=%q banner=%q memory=%d cpus=%d devices=%q args=%q qemu=%s proxy=%q client=%q link=%q accel=%s restored=%t",
		version(guest), version(c.Kernel), version(c.Initrd), c.Append, b.banner(), c.MemoryMiB, c.CPUs, c.Devices, c.ExtraArgs,
		version(b.guest.Binary), c.Proxy, c.Client, link, accel, restored)
}

// version returns path, and which version of it there is if it is a file.
func version(path string) string {
	st, err := os.Stat(path)
	if path == "" || err != nil || !st.Mode().IsRegular() {
		return path
	}
	return fmt.Sprintf("%s (%d bytes of %s)", path, st.Size(), st.ModTime().UTC().Format(time.RFC3339Nano))
}

// noteStart remembers how long the lane took to be ready, without the time before the machine's
// start. It ignores errors.
func (b *bringUp) noteStart(took time.Duration) {
	s := readStarts()
	key := b.startKey(b.State().Accel, b.State().Warm)
	t := s[key]
	if ms := took.Milliseconds(); t.Count == 0 || ms < t.FastestMS {
		t.FastestMS = ms
	}
	t.At, t.Count = time.Now(), t.Count+1
	s[key] = t
	for len(s) > guestsKept {
		delete(s, slices.MinFunc(slices.Collect(maps.Keys(s)), func(a, b string) int { return s[a].At.Compare(s[b].At) }))
	}
	if text, err := json.MarshalIndent(s, "", "  "); err == nil && os.MkdirAll(host.CacheDir(), 0o700) == nil {
		_ = atomicfile.Write(filepath.Join(host.CacheDir(), startsFile), append(text, '\n'), 0o600)
	}
}

// needs returns the least time that the lane needs to be ready, and the number of starts of which
// that is the fastest. The time is 0 if it is not known.
func (b *bringUp) needs(accel string, restored, firmware bool) (time.Duration, int) {
	if t := readStarts()[b.startKey(accel, restored)]; t.Count > 0 {
		return time.Duration(t.FastestMS) * time.Millisecond, t.Count
	}
	if firmware && !restored && accel == string(qemu.TCG) {
		return firmwareBoot, 0
	}
	return 0, 0
}

// enoughTime returns a *DeadlineError if the lane cannot be ready in time, or if the context has
// already expired.
func (b *bringUp) enoughTime(ctx context.Context, accel string, restored, firmware bool) error {
	e := &DeadlineError{How: "to boot", Left: host.Scaled(b.cfg.timeout(), accel), Deadline: "Config.Timeout"}
	if restored {
		e.How = "to be restored"
	}
	e.Needed, e.measured = b.needs(accel, restored, firmware)
	if at, ok := ctx.Deadline(); ok && time.Until(at) < e.Left {
		e.Left, e.Deadline = time.Until(at), "the context's deadline"
		if name, ok := ctx.Value(deadlineName{}).(string); ok {
			e.Deadline = name
		}
	}
	if e.Left > 0 && e.Left >= e.Needed {
		return nil
	}
	return &verdict.Error{Verdict: verdict.Harness, Op: "deadline", Err: e, Hint: "give it more time"}
}
