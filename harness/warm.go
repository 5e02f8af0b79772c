package harness

import (
	"context"
	"errors"
	"fmt"
	"image"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/host"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/qemu/dbusdisplay"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/harness/warm"
	"github.com/spicelane/spicelane/qmp"
)

// warmCache returns the cache of saved machines, below CacheDir. SPICELANE_WARM_SIZE limits its
// size.
func warmCache() (*warm.Cache, error) {
	size, err := warm.ParseSize(os.Getenv(warm.EnvSize))
	if err != nil {
		return nil, &verdict.Error{Verdict: verdict.Harness, Op: warm.EnvSize, Err: err}
	}
	dir, err := filepath.Abs(filepath.Join(host.CacheDir(), "warm"))
	if err != nil {
		return nil, verdict.Classify("cache directory", err)
	}
	return &warm.Cache{Dir: dir, MaxBytes: size}, nil
}

// A warmState is what a lane knows about saved states of its machine.
type warmState struct {
	cache *warm.Cache
	id    warm.Identity
	// entry is the state from which the machine is restored; nil if it boots.
	entry *warm.Entry
	// claim is the right to save the booting machine; nil if it is not saved.
	claim *warm.Claim
	// cold is why the machine boots; nil if it is restored.
	cold *warm.ColdError
}

// makerPoll is how often a lane checks whether another one has saved the state that both want.
// Waiting for a file lock could not be interrupted.
const makerPoll = 100 * time.Millisecond

// findState decides whether the machine is restored, and pins the state. It returns an error if the
// lane must not boot.
func (b *bringUp) findState(ctx context.Context, mc qemu.Config) error {
	w := &b.warm
	if b.cfg.Warm == WarmOff {
		w.cold = &warm.ColdError{Why: "asked for"}
		return nil
	}
	err := b.lookUp(ctx, mc)
	if w.entry != nil {
		b.undo.push(w.entry.Close)
	}
	if w.claim != nil {
		b.undo.push(w.claim.Close)
	}
	if err != nil && !errors.As(err, &w.cold) {
		return err
	}
	return b.mayBoot()
}

// mayBoot returns an error if the lane would boot and must not.
func (b *bringUp) mayBoot() error {
	cold := b.warm.cold
	if b.cfg.Warm != WarmRequire || cold == nil {
		return nil
	}
	f := &verdict.Error{Verdict: verdict.Harness, Op: "warm=require", Err: cold, Hint: "bring such a lane up once with warm=auto: it saves its state"}
	if cold.Host {
		f.Verdict, f.Hint = verdict.Host, "free some space, or set "+host.EnvCacheDir+" to a directory that can be written"
	}
	return f
}

// lookUp finds the state, waits for another lane that is about to save it, or claims the right to
// save it. A *warm.ColdError says why the machine boots.
func (b *bringUp) lookUp(ctx context.Context, mc qemu.Config) (err error) {
	w := &b.warm
	if w.cache, err = warmCache(); err != nil {
		return err
	}
	if b.banner() == "" {
		return &warm.ColdError{Why: "its guest has no banner that tells when it is up"}
	}
	if w.id, err = w.cache.Identify(ctx, mc); err != nil {
		return err
	}
	w.cache.Sweep()
	tick := time.NewTicker(makerPoll)
	defer tick.Stop()
	// A lane that takes longer than a boot may take will not save anything.
	limit := time.NewTimer(host.Scaled(b.cfg.timeout(), string(mc.Accel)))
	defer limit.Stop()
	var first error // why there was none; that an entry was deleted is said only once
	for {
		entry, miss := w.cache.Open(w.id)
		if miss == nil {
			w.entry = entry
			return w.release()
		}
		if first == nil {
			first = miss
		}
		if w.claim != nil || errors.Is(miss, warm.ErrQuarantined) {
			return first
		}
		claim, err := w.cache.Claim(w.id)
		if err == nil {
			w.claim = claim
			continue // it may have been saved between the two checks
		}
		if !errors.Is(err, warm.ErrBusy) {
			return joinReasons(first, err)
		}
		select {
		case <-tick.C:
		case <-limit.C:
			return &warm.ColdError{Why: "another lane has been about to save this machine's state for too long"}
		case <-ctx.Done():
			return &verdict.Error{Verdict: verdict.Harness, Op: "saved state", Err: fmt.Errorf("waited for another lane to save it: %w", context.Cause(ctx))}
		}
	}
}

// joinReasons says why there is no state and why none will be saved.
func joinReasons(miss, unsaved error) error {
	var why, nor *warm.ColdError
	if !errors.As(miss, &why) || !errors.As(unsaved, &nor) || why.Why == nor.Why {
		return unsaved
	}
	return &warm.ColdError{Why: why.Why + "; " + nor.Why, Host: why.Host || nor.Host, Err: unsaved}
}

// release returns the right to save, if this lane has it.
func (w *warmState) release() error {
	if w.claim == nil {
		return nil
	}
	c := w.claim
	w.claim = nil
	return c.Close()
}

// restore starts the machine from the saved state. If the error wraps a *warm.ColdError, the state
// was unusable and has been deleted, and nothing is left of the machine.
func (b *bringUp) restore(ctx context.Context, mc qemu.Config) (*qemu.Machine, error) {
	e := b.warm.entry
	if err := e.Apply(&mc, mc.Disk, mc.Firmware.Vars); err != nil {
		var host *qemu.HostError
		if errors.As(err, &host) {
			return nil, err // the machine could not boot either
		}
		return nil, b.uselessState(err)
	}
	// Compare the checksums while QEMU starts. The guest does not run before that is done.
	verified := make(chan error, 1)
	go func() { verified <- e.Verify(ctx) }()
	m, err := qemu.Start(ctx, mc)
	bad := <-verified
	if err == nil {
		if bad == nil {
			bad = e.Unchanged()
		}
		if bad == nil {
			bad = b.wake(ctx, m)
		}
		if bad == nil {
			return m, nil
		}
		err = m.Close()
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	var state *qemu.StateError
	var exit *qemu.ExitError
	switch {
	case bad != nil:
		return nil, errors.Join(b.uselessState(bad), err)
	case errors.As(err, &state), errors.As(err, &exit):
		return nil, b.uselessState(err)
	}
	return nil, err
}

// wake continues a restored machine and checks that it runs.
func (b *bringUp) wake(ctx context.Context, m *qemu.Machine) error {
	if err := m.Resume(ctx); err != nil {
		return err
	}
	st, err := m.QMP().QueryStatus(ctx)
	if err == nil && st.State != qmp.StateRunning {
		err = fmt.Errorf("the restored machine is not running but %s", st.State)
	}
	return err
}

// uselessState deletes the state and says why the machine boots.
func (b *bringUp) uselessState(err error) error {
	cold := &warm.ColdError{Why: fmt.Sprintf("its saved state was thrown away: %v", err), Err: err}
	if derr := b.warm.entry.Discard(); derr != nil {
		cold.Why = fmt.Sprintf("its saved state is of no use and cannot be thrown away (%v): %v", derr, err)
		cold.Host = true
	}
	return cold
}

// fallBackToBoot makes a lane with an unusable saved state boot, and save if no other lane does.
func (b *bringUp) fallBackToBoot(cold *warm.ColdError) error {
	w := &b.warm
	_ = w.entry.Close()
	w.entry, w.cold = nil, cold
	if err := b.mayBoot(); err != nil {
		return err
	}
	if c, err := w.cache.Claim(w.id); err == nil {
		w.claim = c
		b.undo.push(c.Close)
	}
	// The restored machine's console output is not the booted one's.
	if err := os.Remove(filepath.Join(b.dir, qemu.SerialLog)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return verdict.Classify("lane directory", err)
	}
	return nil
}

// saveState saves the machine at its banner and lets it continue. If it cannot be saved, the lane
// still comes up. If the lane fails, it keeps the right to save, so that blameState sees that it was
// about to.
func (b *bringUp) saveState(ctx context.Context, detail *string) (failed error) {
	w := &b.warm
	defer func() {
		if failed == nil {
			_ = w.release()
		}
	}()
	err := b.awaitSettled(ctx)
	var size int64
	var took time.Duration
	if err == nil {
		size, took, err = b.writeState(ctx)
	}
	if err == nil {
		*detail = fmt.Sprintf("%d MiB, the guest was paused for %.2f s", size>>20, took.Seconds())
		return nil
	}
	if end := b.endAfter(err); end != nil {
		return end
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	*detail = "not saved: " + err.Error()
	var paused *qemu.ResumeError
	if errors.As(err, &paused) {
		return err
	}
	// Other lanes need not try for now.
	_ = w.cache.Quarantine(w.id, "it could not be saved: "+err.Error())
	return nil
}

// endGrace limits the wait for the end of a QEMU that has closed its QMP connection.
const endGrace = 5 * time.Second

// endAfter returns why the machine ended, if err is a consequence of that, and nil otherwise. QEMU's
// connection is closed before its end is known.
func (b *bringUp) endAfter(err error) error {
	m := b.machine()
	var closed *qmp.ClosedError
	if errors.As(err, &closed) {
		t := time.NewTimer(endGrace)
		defer t.Stop()
		select {
		case <-m.Done():
		case <-t.C:
		}
	}
	return m.Err()
}

// settleLimit is how long a guest may take from its banner to its first digest, under KVM.
const settleLimit = 5 * time.Second

// settlePoll is how often QEMU's own screen is checked meanwhile: no client is connected yet that
// would be notified of a new picture.
const settlePoll = 100 * time.Millisecond

// awaitSettled waits until the guest shows its digest, so that a restored lane has it at once. For
// a guest without a digest, the banner is enough.
func (b *bringUp) awaitSettled(ctx context.Context) error {
	if b.fixture == nil || b.fixture.Digest == nil {
		return nil
	}
	limit := host.Scaled(settleLimit, b.State().Accel)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("the guest showed no digest within %v of its banner", limit))
	defer cancel()
	return b.watchScreen(ctx, func(Digest) bool { return true })
}

// watchScreen reads QEMU's own screen until it shows a digest that f accepts. It reads the screen
// after each change that QEMU's D-Bus display reports, and regularly in between.
func (b *bringUp) watchScreen(ctx context.Context, f func(Digest) bool) error {
	m := b.machine()
	next := b.polledScreen()
	if d, release, err := m.Display(ctx); err == nil {
		defer release()
		next = watchedScreen(d, m)
	}
	for {
		img, err := next(ctx)
		if err == nil {
			var d Digest
			if d, err = drive.ScanPicture(img); err == nil && f(d) {
				return nil
			}
		}
		switch {
		case ctx.Err() != nil:
			return errors.Join(context.Cause(ctx), err)
		case m.Err() != nil:
			return m.Err()
		}
	}
}

// polledScreen returns a function that takes a picture every settlePoll.
func (b *bringUp) polledScreen() ScreenshotFunc {
	first := true
	return func(ctx context.Context) (*image.NRGBA, error) {
		if !first {
			t := time.NewTimer(settlePoll)
			defer t.Stop()
			select {
			case <-t.C:
			case <-ctx.Done():
			case <-b.machine().Done():
			}
		}
		first = false
		return b.machine().Screenshot(ctx)
	}
}

// unwatchedFor is how long a D-Bus display may report no change until a picture is taken anyway.
// QEMU does not report a new surface that has the size of the previous one.
const unwatchedFor = time.Second

// watchedScreen returns a function that waits for the screen's next change.
func watchedScreen(d *dbusdisplay.Display, m *qemu.Machine) ScreenshotFunc {
	var seen uint64
	return func(ctx context.Context) (*image.NRGBA, error) {
		soon, cancel := context.WithTimeout(ctx, unwatchedFor)
		defer cancel()
		p, err := d.Await(soon, seen)
		if err == nil {
			seen = p.Changes
			return p.NRGBA, nil
		}
		select {
		case <-soon.Done(): // the display may have ended long before
		case <-m.Done():
		}
		return m.Screenshot(ctx)
	}
}

// writeState saves the paused machine. It returns the size of what was saved and
// how long the guest was paused.
func (b *bringUp) writeState(ctx context.Context) (size int64, stood time.Duration, err error) {
	d, err := b.warm.claim.Draft()
	if err != nil {
		return 0, 0, err
	}
	m := b.machine()
	began := time.Now()
	err = m.WhilePaused(ctx, func() error { return b.writeParts(ctx, d) })
	stood = time.Since(began)
	if err != nil {
		return 0, stood, errors.Join(err, d.Abandon())
	}
	size, err = d.Publish(ctx, warm.Saved{At: time.Now(), QEMU: m.QMP().Version().String()})
	return size, stood, err
}

// writeParts writes the parts of the paused machine's state.
func (b *bringUp) writeParts(ctx context.Context, d *warm.Draft) error {
	if err := b.machine().SaveState(ctx, d.Path(warm.StatePart)); err != nil {
		return err
	}
	mc := b.machine().Config()
	for _, part := range []struct{ name, from string }{
		{warm.DiskPart, mc.Disk},
		{warm.VarsPart, mc.Firmware.Vars},
		{warm.SaidPart, filepath.Join(b.dir, qemu.SerialLog)},
	} {
		if part.from == "" {
			continue
		}
		if err := copyFile(part.from, d.Path(part.name)); err != nil {
			return err
		}
	}
	return nil
}

// copyFile copies a file. If the file system supports it, the copy shares its blocks.
func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// proved records that a restored lane became ready.
func (b *bringUp) proved() {
	if e := b.warm.entry; e != nil && b.driver != nil && !e.Restored() {
		e.MarkRestored()
	}
}

// blameState decides what err means for the saved state, and returns err. If this lane was about to
// save the state, no other lane should wait for it: it is quarantined. A state from which no guest
// has ever run is quarantined and deleted.
func (b *bringUp) blameState(err error) error {
	w := &b.warm
	if verdict.Of(err) != verdict.Product {
		return err
	}
	if w.claim != nil {
		_ = w.cache.Quarantine(w.id, "it did not come up: "+err.Error())
		return err
	}
	if w.entry == nil || w.entry.Restored() || b.guestLives() {
		return err
	}
	_ = w.cache.Quarantine(w.id, "restored, it did not come up: "+err.Error())
	_ = w.entry.Discard()
	return &verdict.Error{Verdict: verdict.Product, Err: err, Hint: "it was restored from a saved state that had not been used before and that is now thrown away: try again, or use warm=off"}
}

// guestLives tells from QEMU's own screen whether the guest continues to paint. If so, the restored
// guest is not at fault.
func (b *bringUp) guestLives() bool {
	if b.machine() == nil || b.machine().Err() != nil || b.fixture == nil || b.fixture.Digest == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), host.Scaled(settleLimit, b.State().Accel))
	defer cancel()
	var first *Digest
	return b.watchScreen(ctx, func(d Digest) bool {
		if first == nil {
			first = &d
		}
		return d.FrameCounter != first.FrameCounter
	}) == nil
}
