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

// start is the one straight way from a Config to a ready lane. What it makes it
// pushes on the undo stack.
func (l *Lane) start(ctx context.Context) error {
	began := time.Now()
	if err := l.directories(); err != nil {
		return err
	}
	if l.cfg.guestless() {
		return l.startGuestless(ctx, began)
	}
	if err := l.chooseGuest(ctx); err != nil {
		return err
	}
	defer func() { l.slot.Release() }()
	if err := l.step(ctx, "host", l.prepareHost); err != nil {
		return err
	}
	// How long a boot may take is known only now that the accelerator is.
	turn := time.Now()
	limit := host.Scaled(l.cfg.timeout(), string(l.guest.Accel))
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("the lane was not ready %v after its start", limit))
	defer cancel()
	if err := l.step(ctx, "qemu", l.startMachine); err != nil {
		return err
	}
	if err := l.startParts(ctx); err != nil {
		return err
	}
	l.proved()
	l.noteStart(time.Since(turn))
	l.isReady(time.Since(began))
	return nil
}

// chooseGuest says what the guest is: its fixture, what counts as its failure, its UUID.
func (l *Lane) chooseGuest(ctx context.Context) (err error) {
	if l.cfg.Image == "" {
		if l.fixture, err = fixtures.Find(l.cfg.fixture()); err != nil {
			return verdict.Classify("fixture", err)
		}
	}
	if l.watchFor, err = consoleFailures(l.fixture, l.cfg); err != nil {
		return err
	}
	l.uuid = uuid.NewString()
	if ctx.Err() != nil {
		// What it would take is known only roughly before the host was looked at.
		return l.enoughTime(ctx, string(qemu.TCG), false, true)
	}
	return nil
}

// prepareHost looks at the host, decides what machine to start and whether it is restored,
// and waits for its turn.
func (l *Lane) prepareHost(ctx context.Context, detail *string) (err error) {
	if err = host.EnoughDescriptors(); err != nil {
		return err
	}
	if err = l.cfg.checkLink(); err != nil {
		return err
	}
	if l.guest, err = l.machineConfig(ctx); err != nil {
		return err
	}
	accel, firmware := string(l.guest.Accel), l.guest.Firmware.Code != ""
	*detail = join(accel, l.state.AccelReason)
	if err = l.enoughTime(ctx, accel, l.cfg.Warm != WarmOff, firmware); err != nil {
		return err
	}
	if err = l.findState(ctx, l.guest); err != nil {
		return err
	}
	// Before it waits for its turn, and after.
	if err = l.enoughTime(ctx, accel, l.warm.entry != nil, firmware); err != nil {
		return err
	}
	if l.warm.entry != nil {
		l.slot, err = host.TakeRestoreSlot(ctx, l.guest.MemoryMiB)
	} else {
		l.slot, err = host.TakeBootSlot(ctx, accel, l.guest.MemoryMiB)
	}
	if err != nil {
		return err
	}
	return l.enoughTime(ctx, accel, l.warm.entry != nil, firmware)
}

// startParts puts proxy and client in front of the machine and waits until the guest is up
// and its picture there.
func (l *Lane) startParts(ctx context.Context) error {
	type step struct {
		name string
		run  func(context.Context, *string) error
	}
	steps := []step{
		{"proxy", l.startProxy},
		{"client", l.startClient},
		{"banner", l.awaitBanner},
		{"picture", l.awaitPicture},
		{"digest", l.awaitFirstDigest},
	}
	booted := "banner"
	if l.warm.claim != nil {
		booted = "save"
		// What is saved is a guest that no client has reached yet: each restored
		// one meets its first client anew.
		steps = []step{
			{"proxy", l.startProxy},
			{"banner", l.awaitBanner},
			{"save", l.saveState},
			{"client", l.startClient},
			{"picture", l.awaitPicture},
			{"digest", l.awaitFirstDigest},
		}
	}
	for _, s := range steps {
		if err := l.step(ctx, s.name, s.run); err != nil {
			return err
		}
		if s.name == booted && l.warm.entry == nil {
			l.slot.Release()
		}
	}
	return nil
}

// isReady says that the lane is ready, and watches it from now on.
func (l *Lane) isReady(after time.Duration) {
	if l.cfg.ReleaseControl && l.driver != nil {
		_ = l.driver.Close()
		l.driver = nil
	}
	l.ready = after
	l.setState(func(s *registry.State) {
		s.State = registry.StateReady
		s.ReadyMS = after.Milliseconds()
	})
	l.log.Add("lane", map[string]any{"state": registry.StateReady, "ready_ms": after.Milliseconds()})
	l.ctx, l.endCtx = context.WithCancelCause(context.Background())
	l.joined.Add(1)
	go l.watch()
}

// directories makes the artifact and the run directory and opens the timeline.
func (l *Lane) directories() error {
	dir := l.cfg.Dir
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
	// QEMU appends to its logs, and a lane's files are one lane's.
	for _, name := range laneFiles {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return directoryFault(err)
		}
	}
	l.dir = dir
	if err := host.RoomForLane(dir); err != nil {
		return err
	}
	if l.log, err = timeline.Open(filepath.Join(dir, timeline.File), time.Now()); err != nil {
		return directoryFault(err)
	}
	l.undo.push(l.log.Close)
	if l.run, err = host.NewRunDir(); err != nil {
		return err
	}
	l.undo.push(l.run.Remove)
	l.setState(func(s *registry.State) {
		*s = registry.State{
			Name: l.cfg.name(), Dir: dir, Fixture: l.cfg.fixture(), Image: l.cfg.Image,
			Display: string(cmp.Or(l.cfg.Display, qemu.QXL)), Compression: string(l.cfg.Compression),
			State: registry.StateStarting, RunDir: l.run.Path, SerialLog: filepath.Join(dir, qemu.SerialLog),
		}
		if l.cfg.Image != "" {
			s.Fixture = ""
		}
	})
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

func (l *Lane) awaitBanner(ctx context.Context, detail *string) error {
	banner := l.banner()
	if banner == "" {
		*detail = "none expected"
		return nil
	}
	line, err := l.machine().AwaitBoot(ctx, serial.Contains(banner))
	if err != nil {
		return verdict.Classify("boot", err)
	}
	*detail = fmt.Sprintf("%q", line.Text)
	return nil
}

func (l *Lane) awaitPicture(ctx context.Context, detail *string) error {
	if l.driver == nil {
		*detail = "no client"
		return nil
	}
	var s control.Surface
	var err error
	if l.wantsDigest() {
		// What can be read is a picture; to have all of it sent to be looked at
		// takes longer than reading it.
		s, err = l.awaitReadable(ctx)
	} else {
		s, err = l.awaitSurface(ctx)
	}
	if err != nil {
		return err
	}
	*detail = fmt.Sprintf("%d×%d", s.Width, s.Height)
	return nil
}

// awaitReadable waits until the client's picture shows a digest.
func (l *Lane) awaitReadable(ctx context.Context) (control.Surface, error) {
	if _, err := l.AwaitDigest(ctx, "any digest", func(Digest) bool { return true }); err != nil {
		return control.Surface{}, err
	}
	st, err := l.driver.Status(ctx)
	if err != nil {
		return control.Surface{}, l.explain(&verdict.Error{Verdict: drive.VerdictOf(err), Op: "status", Err: err})
	}
	if s, ok := st.Primary(); ok {
		return s, nil
	}
	return control.Surface{}, &verdict.Error{Verdict: verdict.Product, Op: "status", Err: errors.New("there is a digest, but no surface 0")}
}

// wantsDigest tells whether the guest shows a digest where the client looks.
func (l *Lane) wantsDigest() bool {
	return l.driver != nil && l.fixture != nil && l.fixture.Digest != nil
}

func (l *Lane) awaitFirstDigest(ctx context.Context, detail *string) error {
	if !l.wantsDigest() {
		*detail = "none expected"
		return nil
	}
	d, err := l.AwaitDigest(ctx, "any digest", func(Digest) bool { return true })
	if err != nil {
		return err
	}
	*detail = fmt.Sprintf("frame %d", d.FrameCounter)
	return nil
}

// step runs one part of the start, says what is being waited for and notes how
// long it took.
func (l *Lane) step(ctx context.Context, name string, f func(ctx context.Context, detail *string) error) error {
	if l.cfg.OnBegin != nil {
		l.cfg.OnBegin(name)
	}
	began := time.Now()
	var detail string
	if l.machine() != nil || l.standIn != nil {
		var stop func()
		ctx, stop = l.whileUp(ctx)
		defer stop()
	}
	if err := f(ctx, &detail); err != nil {
		err = l.reason(l.judgeWait(began, verdict.Classify(name, err)))
		// What ended the wait may only be a consequence of QEMU's end, or of what the guest
		// said before that.
		if l.machine() != nil {
			if end := l.machine().Err(); end != nil {
				l.awaitLastWords(l.machine())
				if said := l.reason(nil); said != nil {
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
	l.log.Add("step", map[string]any{"name": name, "ms": s.MS, "detail": detail})
	l.setState(func(st *registry.State) { st.Steps = append(st.Steps, s) })
	if l.cfg.OnStep != nil {
		l.cfg.OnStep(s)
	}
	return nil
}

// failed ends what there is of a lane that did not come up.
func (l *Lane) failed(err error) {
	if l.log != nil {
		l.log.Add("verdict", map[string]any{"verdict": verdict.Of(err), "reason": err.Error()})
	}
	l.lastPictures()
	if l.log != nil {
		l.setState(func(s *registry.State) {
			s.State, s.Reason = registry.StateFailed, err.Error()
			s.Verdict, s.Hop = verdict.Of(err), verdict.HopOf(err)
		})
		l.writeVerdict(err)
	}
	if l.cfg.startFailed != nil {
		l.cfg.startFailed(l, err)
	}
	close(l.closing)
	l.closeErr = l.release()
	close(l.closed)
}
