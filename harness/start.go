package harness

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"
	"github.com/spicelane/spicelane/fixtures"
	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/host"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/serial"
	"github.com/spicelane/spicelane/harness/timeline"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice/control"
)

// A bringUp is a lane that is coming up, with what only its start needs.
type bringUp struct {
	*Lane
	slot *host.Slot // the turn to boot
	warm warmState
}

// start takes the lane from its Config to ready. For everything it makes, it pushes a step on the
// undo stack.
func (b *bringUp) start(ctx context.Context) error {
	began := time.Now()
	if err := b.directories(); err != nil {
		return err
	}
	// NB: do this before anything watches the lane.
	if err := b.startWitness(); err != nil {
		return err
	}
	if b.cfg.guestless() {
		return b.startGuestless(ctx, began)
	}
	if err := b.chooseGuest(ctx); err != nil {
		return err
	}
	defer func() { b.slot.Release() }()
	if err := b.step(ctx, "host", b.prepareHost); err != nil {
		return err
	}
	// The length of a boot depends on the accelerator, which is known only now.
	turn := time.Now()
	limit := host.Scaled(b.cfg.timeout(), string(b.guest.Accel))
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("the lane was not ready %v after its start", limit))
	defer cancel()
	if err := b.step(ctx, "qemu", b.startMachine); err != nil {
		return err
	}
	if err := b.startParts(ctx); err != nil {
		return err
	}
	b.proved()
	b.noteStart(time.Since(turn))
	b.isReady(time.Since(began))
	return nil
}

// chooseGuest determines the guest: its fixture, its failures, its UUID.
func (b *bringUp) chooseGuest(ctx context.Context) (err error) {
	if b.cfg.Image == "" {
		if b.fixture, err = fixtures.Find(b.cfg.fixture()); err != nil {
			return verdict.Classify("fixture", err)
		}
	}
	if b.watchFor, err = consoleFailures(b.fixture, b.cfg); err != nil {
		return err
	}
	b.uuid = uuid.NewString()
	if ctx.Err() != nil {
		// Before the host has been checked, the time needed is known only roughly.
		return b.enoughTime(ctx, string(qemu.TCG), false, true)
	}
	return nil
}

// prepareHost checks the host, decides which machine to start and whether to restore it, and waits
// for its turn.
func (b *bringUp) prepareHost(ctx context.Context, detail *string) (err error) {
	if err = host.EnoughDescriptors(); err != nil {
		return err
	}
	if err = b.cfg.checkLink(); err != nil {
		return err
	}
	if b.guest, err = b.machineConfig(ctx); err != nil {
		return err
	}
	accel, firmware := string(b.guest.Accel), b.guest.Firmware.Code != ""
	*detail = join(accel, b.state.AccelReason)
	if err = b.enoughTime(ctx, accel, b.cfg.Warm != WarmOff, firmware); err != nil {
		return err
	}
	if err = b.findState(ctx, b.guest); err != nil {
		return err
	}
	// Check before waiting for a turn, and again after it.
	if err = b.enoughTime(ctx, accel, b.warm.entry != nil, firmware); err != nil {
		return err
	}
	if b.warm.entry != nil {
		b.slot, err = host.TakeRestoreSlot(ctx, b.guest.MemoryMiB)
	} else {
		b.slot, err = host.TakeBootSlot(ctx, accel, b.guest.MemoryMiB)
	}
	if err != nil {
		return err
	}
	return b.enoughTime(ctx, accel, b.warm.entry != nil, firmware)
}

// startParts starts proxy and client, and waits until the guest is up and its picture has arrived.
func (b *bringUp) startParts(ctx context.Context) error {
	type step struct {
		name string
		run  func(context.Context, *string) error
	}
	steps := []step{
		{"proxy", b.startProxy},
		{"client", b.startClient},
		{"banner", b.awaitBanner},
		{"picture", b.awaitPicture},
		{"digest", b.awaitFirstDigest},
	}
	booted := "banner"
	if b.warm.claim != nil {
		booted = "save"
		// The saved guest must not have met a client: each restored one meets its first client
		// anew.
		steps = []step{
			{"proxy", b.startProxy},
			{"banner", b.awaitBanner},
			{"save", b.saveState},
			{"client", b.startClient},
			{"picture", b.awaitPicture},
			{"digest", b.awaitFirstDigest},
		}
	}
	for _, s := range steps {
		if err := b.step(ctx, s.name, s.run); err != nil {
			return err
		}
		if s.name == booted && b.warm.entry == nil {
			b.slot.Release()
		}
	}
	return nil
}

// isReady marks the lane as ready and starts to watch it.
func (b *bringUp) isReady(after time.Duration) {
	if b.cfg.ReleaseControl && b.driver != nil {
		_ = b.driver.Close()
		b.driver = nil
	}
	b.ready = after
	b.setState(func(s *registry.State) {
		s.State = registry.StateReady
		s.ReadyMS = after.Milliseconds()
	})
	b.log.Add("lane", map[string]any{"state": registry.StateReady, "ready_ms": after.Milliseconds()})
	b.ctx, b.endCtx = context.WithCancelCause(context.Background())
	b.joined.Add(1)
	go b.watch()
}

// directories creates the artifact directory and the run directory, and opens the timeline.
func (b *bringUp) directories() error {
	dir := b.cfg.Dir
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "spicelane-lane-"); err != nil {
			return directoryFault(err)
		}
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return directoryFault(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return directoryFault(err)
	}
	// QEMU appends to its logs, but the files must belong to one lane only.
	for _, name := range laneFiles {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return directoryFault(err)
		}
	}
	b.dir = dir
	if err := host.RoomForLane(dir); err != nil {
		return err
	}
	if b.log, err = timeline.Open(filepath.Join(dir, timeline.File), time.Now()); err != nil {
		return directoryFault(err)
	}
	b.undo.push(b.log.Close)
	if b.run, err = host.NewRunDir(); err != nil {
		return err
	}
	b.undo.push(b.run.Remove)
	b.setState(func(s *registry.State) {
		*s = registry.State{
			Name: b.cfg.name(), Dir: dir, Fixture: b.cfg.fixture(), Image: b.cfg.Image,
			Display: string(cmp.Or(b.cfg.Display, qemu.QXL)), Compression: string(b.cfg.Compression),
			State: registry.StateStarting, RunDir: b.run.Path,
		}
		if !b.cfg.guestless() {
			s.SerialLog = filepath.Join(dir, qemu.SerialLog)
		}
		if b.cfg.Image != "" {
			s.Fixture = ""
		}
	})
	b.noteBegin()
	return nil
}

// directoryFault says what is wrong with the artifact directory.
func directoryFault(err error) error {
	err = verdict.Classify("lane directory", err)
	var f *verdict.Error
	if errors.As(err, &f) && f.Hint == "" {
		f.Hint = "choose another directory"
	}
	return err
}

func (l *Lane) banner() string {
	if l.cfg.Banner != "" {
		return l.cfg.Banner
	}
	if l.fixture != nil {
		return l.fixture.Banner
	}
	return ""
}

func (b *bringUp) awaitBanner(ctx context.Context, detail *string) error {
	banner := b.banner()
	if banner == "" {
		*detail = "none expected"
		return nil
	}
	line, err := b.machine().AwaitBoot(ctx, serial.Contains(banner))
	if err != nil {
		return verdict.Classify("boot", err)
	}
	*detail = fmt.Sprintf("%q", line.Text)
	return nil
}

func (b *bringUp) awaitPicture(ctx context.Context, detail *string) error {
	if b.driver == nil {
		*detail = "no client"
		return nil
	}
	var s control.Surface
	var err error
	if b.wantsDigest() {
		// Read the digest in the client: sending the whole picture to this process takes longer.
		s, err = b.awaitReadable(ctx)
	} else {
		s, err = b.awaitSurface(ctx)
	}
	if err != nil {
		return err
	}
	*detail = fmt.Sprintf("%d×%d", s.Width, s.Height)
	return nil
}

// awaitReadable waits until the client's picture shows a digest.
func (b *bringUp) awaitReadable(ctx context.Context) (control.Surface, error) {
	if _, err := b.AwaitDigest(ctx, "any digest", func(Digest) bool { return true }); err != nil {
		return control.Surface{}, err
	}
	st, err := b.driver.Status(ctx)
	if err != nil {
		return control.Surface{}, b.explain(&verdict.Error{Verdict: drive.VerdictOf(err), Op: "status", Err: err})
	}
	if s, ok := st.Primary(); ok {
		return s, nil
	}
	return control.Surface{}, &verdict.Error{Verdict: verdict.Product, Op: "status", Err: errors.New("there is a digest, but no surface 0")}
}

// wantsDigest tells whether the lane has a client and a guest that shows a digest.
func (l *Lane) wantsDigest() bool {
	return l.driver != nil && l.fixture != nil && l.fixture.Digest != nil
}

func (b *bringUp) awaitFirstDigest(ctx context.Context, detail *string) error {
	if !b.wantsDigest() {
		*detail = "none expected"
		return nil
	}
	d, err := b.AwaitDigest(ctx, "any digest", func(Digest) bool { return true })
	if err != nil {
		return err
	}
	*detail = fmt.Sprintf("frame %d", d.FrameCounter)
	return nil
}

// step runs one step of the start, reports what is being waited for, and records how long it took.
func (b *bringUp) step(ctx context.Context, name string, f func(ctx context.Context, detail *string) error) error {
	if b.cfg.OnBegin != nil {
		b.cfg.OnBegin(name)
	}
	began := time.Now()
	var detail string
	if b.machine() != nil || b.standIn != nil {
		var stop func()
		ctx, stop = b.whileUp(ctx)
		defer stop()
	}
	if err := f(ctx, &detail); err != nil {
		err = b.reason(b.judgeWait(began, verdict.Classify(name, err)))
		// The wait may have ended only because QEMU ended, or because of a failure that the guest
		// reported before.
		if b.machine() != nil {
			if end := b.machine().Err(); end != nil {
				b.awaitLastWords(b.machine())
				if said := b.reason(nil); said != nil {
					return verdict.Classify(name, said)
				}
				var exit *qemu.ExitError
				if !errors.As(err, &exit) {
					return verdict.Classify(name, end)
				}
			}
		}
		return verdict.Classify(name, err)
	}
	s := registry.Step{Name: name, MS: time.Since(began).Milliseconds(), Detail: detail}
	b.log.Add("step", map[string]any{"name": name, "ms": s.MS, "detail": detail})
	b.setState(func(st *registry.State) { st.Steps = append(st.Steps, s) })
	if b.cfg.OnStep != nil {
		b.cfg.OnStep(s)
	}
	return nil
}

// failed tears down a lane that did not come up.
func (b *bringUp) failed(err error) {
	if b.log != nil {
		b.log.Add("verdict", map[string]any{"verdict": verdict.Of(err), "reason": err.Error()})
	}
	b.lastPictures()
	if b.log != nil {
		b.setState(func(s *registry.State) {
			s.State, s.Reason = registry.StateFailed, err.Error()
			s.Verdict, s.Hop = verdict.Of(err), verdict.HopOf(err)
		})
		b.writeVerdict(err)
	}
	if b.cfg.startFailed != nil {
		b.cfg.startFailed(b.Lane, err)
	}
	close(b.closing)
	b.closeErr = b.release()
	if b.log != nil {
		b.leaveReplay(true)
	}
	close(b.closed)
	if b.cfg.leaked != nil && b.dir != "" {
		if err := b.searchSecrets(); err != nil {
			b.cfg.leaked(err)
		}
	}
}
