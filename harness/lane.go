package harness

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/spicelane/spicelane/fixtures"
	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/headless"
	"github.com/spicelane/spicelane/harness/host"
	"github.com/spicelane/spicelane/harness/impair"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/serial"
	"github.com/spicelane/spicelane/harness/timeline"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/harness/warm"
	"github.com/spicelane/spicelane/internal/hostport"
	"github.com/spicelane/spicelane/spice/control"
	"github.com/spicelane/spicelane/spice/pki"
)

// A Lane is a guest in QEMU, the proxy in front of it and a client behind
// that, all up. Its methods may be called from any goroutine.
type Lane struct {
	cfg     Config
	fixture *fixtures.Fixture // nil with Config.Image
	log     *timeline.Writer
	run     *host.RunDir
	undo    undoStack
	dir     string
	uuid    string
	ready   time.Duration

	guest   qemu.Config                  // what a machine of this lane boots
	running atomic.Pointer[qemu.Machine] // see machine
	proxy   *part                        // nil without one
	client  *part                        // nil without one

	warm       warmth
	backendPKI *pki.Bundle // with Config.BackendTLS
	secrets    secrets
	apiToken   string // of the built-in proxy's HTTP API
	newVV      headless.VVSource
	source     *laneConsole  // of the built-in proxy inside this process
	ticket     string        // after ChangeTicket; guarded by mu
	relay      *impair.Relay // with Config.Link

	// ownProxy is the built-in proxy if it runs inside this process, else nil.
	ownProxy *headless.Proxy

	// driver drives the client; nil without one, and with Config.ReleaseControl.
	driver *control.Driver

	mu    sync.Mutex
	state registry.State

	// outage is while the backend is stopped, see StopBackend; guarded by mu.
	outage   *outage
	watchFor []fixtures.Failure
	failures *consoleWatch
	resets   resetWatch
	watchdog *host.Watchdog
	test     testNote // guarded by mu

	// ctx is what Context returns: the test's, or one that endCtx ends with the lane.
	ctx     context.Context
	endCtx  context.CancelCauseFunc
	beats   int
	closing chan struct{} // closed when Close begins
	closed  chan struct{} // closed when it has ended
	// closeErr is what Close returned; valid after closed.
	closeErr error
	done     chan struct{} // closed when a part has ended, or Close has begun
	err      error         // why, valid after done
	joined   sync.WaitGroup
}

// Start brings a lane up and returns when it is ready: the guest's banner is on
// its serial line, and the client holds its picture, with a readable digest if
// the fixture shows one. ctx bounds the start only; the lane then lives until
// Close, which the caller owes.
//
// Every error has a verdict, see verdict.Of. When Start fails nothing is left
// running, and the artifact directory tells what happened.
func Start(ctx context.Context, cfg Config) (*Lane, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	l := &Lane{cfg: cfg, closing: make(chan struct{}), closed: make(chan struct{}), done: make(chan struct{})}
	if err := l.start(ctx); err != nil {
		err = verdict.Classify("", l.blameState(err))
		l.failed(err)
		return nil, err
	}
	return l, nil
}

// A startStep is one thing that a lane's start waits for.
type startStep struct {
	name string
	run  func(context.Context, *string) error
}

// start is the one straight way from a Config to a ready lane. What it makes it
// pushes on the undo stack.
func (l *Lane) start(ctx context.Context) error {
	began := time.Now()
	if err := l.directories(); err != nil {
		return err
	}
	var fx *fixtures.Fixture
	var err error
	if l.cfg.Image == "" {
		if fx, err = fixtures.Find(l.cfg.fixture()); err != nil {
			return verdict.Classify("fixture", err)
		}
	}
	l.fixture = fx
	if l.watchFor, err = consoleFailures(fx, l.cfg); err != nil {
		return err
	}
	l.uuid = uuid.NewString()
	if ctx.Err() != nil {
		// What it would take is known only roughly before the host was looked at.
		if err := l.enoughTime(ctx, string(qemu.TCG), false, true); err != nil {
			return err
		}
	}

	var mc qemu.Config
	var slot *host.Slot
	defer func() { slot.Release() }()
	err = l.step(ctx, "host", func(ctx context.Context, detail *string) (err error) {
		if err = host.EnoughDescriptors(); err != nil {
			return err
		}
		if err = l.cfg.checkLink(); err != nil {
			return err
		}
		if mc, err = l.machineConfig(ctx); err != nil {
			return err
		}
		*detail = join(string(mc.Accel), l.state.AccelReason)
		firmware := mc.Firmware.Code != ""
		if err = l.enoughTime(ctx, string(mc.Accel), l.cfg.Warm != WarmOff, firmware); err != nil {
			return err
		}
		if err = l.findState(ctx, mc); err != nil {
			return err
		}
		// Before it waits for its turn, and after.
		defer func() {
			if err == nil {
				err = l.enoughTime(ctx, string(mc.Accel), l.warm.entry != nil, firmware)
			}
		}()
		if err = l.enoughTime(ctx, string(mc.Accel), l.warm.entry != nil, firmware); err != nil {
			return err
		}
		if l.warm.entry != nil {
			slot, err = host.TakeRestoreSlot(ctx, mc.MemoryMiB)
		} else {
			slot, err = host.TakeBootSlot(ctx, string(mc.Accel), mc.MemoryMiB)
		}
		return err
	})
	if err != nil {
		return err
	}
	// How long a boot may take is known only now that the accelerator is.
	turn := time.Now()
	l.guest = mc
	bootCtx, cancel := context.WithTimeoutCause(ctx, host.Scaled(l.cfg.timeout(), string(mc.Accel)),
		fmt.Errorf("the lane was not ready %v after its start", host.Scaled(l.cfg.timeout(), string(mc.Accel))))
	defer cancel()

	err = l.step(bootCtx, "qemu", func(ctx context.Context, detail *string) (err error) {
		slot, err = l.startMachine(ctx, mc, slot, detail)
		return err
	})
	if err != nil {
		return err
	}
	steps := []startStep{
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
		steps = []startStep{
			{"proxy", l.startProxy},
			{"banner", l.awaitBanner},
			{"save", l.saveState},
			{"client", l.startClient},
			{"picture", l.awaitPicture},
			{"digest", l.awaitFirstDigest},
		}
	}
	for _, s := range steps {
		if err := l.step(bootCtx, s.name, s.run); err != nil {
			return err
		}
		if s.name == booted && l.warm.entry == nil {
			slot.Release()
		}
	}
	l.proved()
	l.noteStart(time.Since(turn))
	if l.cfg.ReleaseControl && l.driver != nil {
		_ = l.driver.Close()
		l.driver = nil
	}
	l.ready = time.Since(began)
	l.setState(func(s *registry.State) {
		s.State = registry.StateReady
		s.ReadyMS = l.ready.Milliseconds()
	})
	l.log.Add("lane", map[string]any{"state": registry.StateReady, "ready_ms": l.ready.Milliseconds()})
	l.ctx, l.endCtx = context.WithCancelCause(context.Background())
	l.joined.Add(1)
	go l.watch()
	return nil
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

// machineConfig looks at the host and says what machine to start. It makes no
// files: the disk image and the firmware's variables are still those that the
// machine's own are made from.
func (l *Lane) machineConfig(ctx context.Context) (qemu.Config, error) {
	cfg := l.cfg
	mc := qemu.Config{
		Name: cfg.name(), Dir: l.dir, SocketDir: l.run.Path,
		Image: cfg.Image, Kernel: cfg.Kernel, Initrd: cfg.Initrd, Append: cfg.Append,
		MemoryMiB: cfg.MemoryMiB, CPUs: cfg.CPUs,
		Display: cmp.Or(cfg.Display, qemu.QXL),
		Args:    cfg.ExtraArgs,
		UUID:    l.uuid,
		Logger:  cfg.log(),
		OnReset: l.noteReset,
		Spice:   qemu.Spice{Compression: cfg.Compression, Ticket: l.newSecret("ticket"), SingleClient: cfg.SingleClient},
	}
	if fx := l.fixture; fx != nil {
		image, err := l.image(ctx, fx)
		if err != nil {
			return mc, verdict.Classify("fixture "+fx.Name, err)
		}
		mc.Image = image
		mc.Kernel, mc.Initrd, mc.Append = or(mc.Kernel, fx.KernelPath()), or(mc.Initrd, fx.InitrdPath()), or(mc.Append, fx.Append)
		if mc.MemoryMiB == 0 {
			mc.MemoryMiB = fx.MemoryMiB
		}
		if mc.CPUs == 0 {
			mc.CPUs = fx.CPUs
		}
		mc.Devices, mc.Audio, mc.Tablet, mc.Agent = fx.Devices, fx.Audio, fx.Tablet, fx.Agent
		mc.BIOS = fx.Firmware == fixtures.BIOS || fx.Firmware == fixtures.NoFirmware
	}
	mc.Devices = append(slices.Clip(mc.Devices), cfg.Devices...)
	switch cfg.Agent {
	case AgentOn:
		mc.Agent = true
	case AgentOff:
		mc.Agent = false
	}
	if mc.MemoryMiB == 0 {
		mc.MemoryMiB = 256
	}
	var err error
	if mc.Binary, err = qemu.FindQEMU(os.Getenv); err != nil {
		return mc, verdict.Classify("", err)
	}
	if !mc.BIOS {
		fw, err := qemu.FindOVMF(os.Getenv)
		if err != nil {
			return mc, verdict.Classify("", err)
		}
		mc.Firmware = fw
	}
	choice, err := host.ChooseAccel(ctx, mc, l.banner(), cfg.Accel)
	if err != nil {
		return mc, verdict.Classify("", err)
	}
	mc.Accel = choice.Accel
	if mc.Spice, err = l.spiceFor(mc.Spice); err != nil {
		return mc, err
	}
	l.setState(func(s *registry.State) {
		s.Accel, s.AccelReason = string(choice.Accel), choice.Reason
		s.ConsoleUUID = l.uuid
	})
	return mc, nil
}

// slowImage is from what size on it is said that an image is read.
const slowImage = 512 << 20

// image is the file of a fixture's image. Where the cache cannot hold it, it is
// the lane's own.
func (l *Lane) image(ctx context.Context, fx *fixtures.Fixture) (string, error) {
	cache := filepath.Join(host.CacheDir(), "fixtures")
	if n := fx.Unread(cache); n > slowImage && l.cfg.OnBegin != nil {
		l.cfg.OnBegin(fmt.Sprintf("host (reads %d MiB of %s for its checksum)", n>>20, fx.ImagePath()))
	}
	image, err := fx.Materialize(ctx, cache)
	var damaged *fixtures.ImageError
	if err == nil || errors.As(err, &damaged) {
		return image, err
	}
	own, ownErr := fx.Materialize(ctx, l.run.Path)
	if ownErr != nil {
		return "", err
	}
	return own, nil
}

// startMachine restores the machine or boots it, as findState has decided. It
// returns the slot to hold from now on: a machine whose state turns out to be of
// no use boots, and needs another one.
func (l *Lane) startMachine(ctx context.Context, mc qemu.Config, slot *host.Slot, detail *string) (*host.Slot, error) {
	own := l.ownFiles(mc)
	if l.warm.entry != nil {
		m, err := l.restore(ctx, own)
		if err == nil {
			l.machineIsUp(m)
			*detail = fmt.Sprintf("pid %d, restored from a state of %s", m.PID(), l.warm.entry.SavedAt().Local().Format(time.DateTime))
			return slot, nil
		}
		var cold *warm.ColdError
		if !errors.As(err, &cold) {
			return slot, verdict.Classify("qemu", err)
		}
		if err := l.bootInstead(cold); err != nil {
			return slot, err
		}
		slot.Release()
		if slot, err = host.TakeBootSlot(ctx, string(mc.Accel), mc.MemoryMiB); err != nil {
			return nil, err
		}
	}
	m, err := l.boot(ctx, own, mc)
	if err != nil {
		return slot, verdict.Classify("qemu", err)
	}
	l.machineIsUp(m)
	*detail = fmt.Sprintf("pid %d, cold: %s", m.PID(), l.warm.cold.Why)
	return slot, nil
}

// ownFiles is mc with names for the machine's own disk and variables.
func (l *Lane) ownFiles(mc qemu.Config) qemu.Config {
	if mc.Image != "" {
		mc.Disk = l.run.File("disk.qcow2")
	}
	if mc.Firmware.Code != "" {
		mc.Firmware.Vars = l.run.File("vars.fd")
	}
	return mc
}

// boot makes the machine's own files from those of the template and starts it
// from nothing.
func (l *Lane) boot(ctx context.Context, mc, template qemu.Config) (*qemu.Machine, error) {
	if err := qemu.HasSPICE(ctx, mc.Binary); err != nil {
		return nil, err
	}
	if mc.Firmware.Code != "" {
		if err := qemu.CopyVars(template.Firmware.Vars, mc.Firmware.Vars); err != nil {
			return nil, err
		}
	}
	if mc.Image != "" {
		if err := qemu.Overlay(ctx, mc.Image, mc.Disk); err != nil {
			return nil, err
		}
	}
	return qemu.Start(ctx, mc)
}

// machineIsUp takes over the machine that was started.
func (l *Lane) machineIsUp(m *qemu.Machine) {
	l.running.Store(m)
	l.undo.push(m.Close)
	l.failures = newConsoleWatch(l.watchFor, l.log)
	l.watchdog = host.StartWatchdog(m.PID())
	l.undo.push(l.watchdog.Close)
	l.joined.Add(1)
	go l.recordSerial(m)
	addr := m.Spice().Unix
	if addr == "" {
		addr = hostport.Join(m.Spice().Host, max(m.Spice().TLSPort, m.Spice().Port))
	}
	l.setState(func(s *registry.State) {
		s.PIDs.QEMU = m.PID()
		s.QMP, s.QMPTools = m.Config().QMPSocket(), m.Config().ToolSocket()
		s.SPICE.Addr = addr
		s.Warm = l.warm.entry != nil
		if !s.Warm {
			s.ColdReason = l.warm.cold.Why
		}
	})
}

// recordSerial copies the guest's lines to the timeline until the console ends.
func (l *Lane) recordSerial(m *qemu.Machine) {
	defer l.joined.Done()
	c := m.Serial().Reader(0)
	scan := l.failures.scan(m.Serial())
	for {
		// NB: not bounded: the console ends with the machine.
		line, err := c.Look(context.Background())
		if err != nil {
			return
		}
		if line.Complete {
			l.log.AddAt(line.Time, "serial", map[string]any{"n": line.N, "text": line.Text})
		}
		scan.look(line)
	}
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
	if l.machine() != nil {
		var stop func()
		ctx, stop = l.whileUp(ctx)
		defer stop()
	}
	if err := f(ctx, &detail); err != nil {
		err = l.reason(l.judgeWait(began, verdict.Classify(name, err)))
		// What ended the wait may only be a consequence of QEMU's end.
		if l.machine() != nil {
			if end := l.machine().Err(); end != nil {
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

// release undoes everything and joins everybody.
func (l *Lane) release() error {
	if l.driver != nil {
		_ = l.driver.Close()
	}
	// The timeline is the last to be closed; whoever writes to it is joined
	// before, which needs the machine to be gone.
	var err error
	if l.machine() != nil {
		err = l.stopParts()
		l.joined.Wait()
	}
	return errors.Join(err, l.undo.run())
}

// stopParts ends client, proxy and machine, in this order, so that none of them
// complains about the others.
func (l *Lane) stopParts() error {
	var errs []error
	if l.client != nil {
		errs = append(errs, l.client.Close())
	}
	if l.proxy != nil {
		errs = append(errs, l.proxy.Close())
	}
	if l.machine() != nil {
		errs = append(errs, l.machine().Close())
	}
	return errors.Join(errs...)
}

// watch ends the lane when any part of it ends.
func (l *Lane) watch() {
	defer l.joined.Done()
	err := l.awaitEnd(l.proxy, l.client, nil)
	defer func() {
		close(l.done)
		l.endCtx(err)
	}()
	if errors.Is(err, errLaneClosed) {
		return
	}
	l.err = err
	l.log.Add("verdict", map[string]any{"verdict": verdict.Of(err), "reason": err.Error()})
	ended := func(s *registry.State) {
		s.State, s.Reason = registry.StateFailed, err.Error()
		s.Verdict, s.Hop = verdict.Of(err), verdict.HopOf(err)
		var exit *qemu.ExitError
		if errors.As(err, &exit) && exit.Kind == qemu.KindShutdown {
			s.State, s.EndedBy = registry.StateStopped, registry.EndedByGuest
		}
	}
	// NB: the file first: who sees the lane ended reads it.
	s := l.State()
	ended(&s)
	l.writeVerdictOf(s, err)
	l.setState(ended)
}

// errLaneClosed ends what still waits for something when the lane is closed.
var errLaneClosed = &verdict.Error{Verdict: verdict.Harness, Err: errors.New("the lane was closed")}

// awaitEnd waits until the lane is closed or a part of it ends by itself, and says
// why. It returns nil when over is closed. A backend that was stopped on purpose is no
// end, see StopBackend.
//
// NB: proxy and client are passed, not read from the lane: while it starts they come
// later.
func (l *Lane) awaitEnd(proxy, client *part, over <-chan struct{}) error {
	m := l.machine()
	gone := m.Done()
	var back <-chan struct{} // closed when another machine runs
	for {
		select {
		case <-over:
			return nil
		case <-l.closing:
			return errLaneClosed
		case <-gone:
			o := l.outageOf(m)
			if o == nil {
				return l.reason(verdict.Classify("", m.Err()))
			}
			gone, back = nil, o.over
		case <-back:
			m = l.machine()
			gone, back = m.Done(), nil
		case <-l.failures.failed:
			return verdict.Classify("", l.failures.err)
		case <-l.log.Failed():
			// Whoever looks for the reason of a failure later would not find it.
			return verdict.Classify("", l.log.Err())
		case <-proxy.Done():
			return l.proxyEnd(proxy)
		case <-client.Done():
			return l.clientEnd(proxy, client)
		}
	}
}

// consequenceGrace is how long the end of QEMU or the proxy may lag behind the end
// of what was connected to it: the kernel closes its sockets before it can be
// reaped.
const consequenceGrace = 500 * time.Millisecond

// clientEnd says why the client ended, which may be a consequence of the proxy's
// or of QEMU's end.
func (l *Lane) clientEnd(proxy, client *part) error {
	t := time.NewTimer(consequenceGrace)
	defer t.Stop()
	select {
	case <-l.machine().Done():
		return verdict.Classify("", l.machine().Err())
	case <-proxy.Done():
		return l.proxyEnd(proxy)
	case <-t.C:
		return &verdict.Error{Verdict: verdict.Product, Hop: verdict.HopClient, Err: fmt.Errorf("the client ended: %w", client.Err())}
	}
}

// proxyEnd says why the proxy ended, which may be a consequence of QEMU's end.
func (l *Lane) proxyEnd(proxy *part) error {
	t := time.NewTimer(consequenceGrace)
	defer t.Stop()
	select {
	case <-l.machine().Done():
		return verdict.Classify("", l.machine().Err())
	case <-t.C:
		return &verdict.Error{Verdict: verdict.Product, Hop: verdict.HopProxy, Err: fmt.Errorf("the proxy ended: %w", proxy.Err())}
	}
}

// Done is closed when any part of the lane has ended, or Close was called.
func (l *Lane) Done() <-chan struct{} { return l.done }

// Err says why the lane ended by itself; nil while it is up or when it was
// closed.
func (l *Lane) Err() error {
	select {
	case <-l.done:
		return l.err
	default:
		return nil
	}
}

// Close ends the lane: client, proxy, QEMU, each bounded, then removes what is
// not an artifact. It is idempotent: whoever calls it again, at the same time or
// later, waits for the first and gets its error.
func (l *Lane) Close() error {
	l.mu.Lock()
	select {
	case <-l.closing:
		l.mu.Unlock()
		<-l.closed
		return l.closeErr
	default:
		close(l.closing)
	}
	l.mu.Unlock()
	defer close(l.closed)
	<-l.done
	// What everybody was told to do is noted before it is done: whoever sees
	// the supervisor gone finds the final word.
	err := l.stopParts()
	l.setState(func(s *registry.State) {
		if s.State == registry.StateReady || s.State == registry.StateStarting {
			s.State, s.Reason, s.EndedBy = registry.StateStopped, "it was ended on request", registry.EndedByRequest
		}
		s.PIDs = registry.PIDs{}
	})
	if l.err == nil {
		l.writeVerdict(nil)
	}
	l.closeErr = errors.Join(err, l.release())
	return l.closeErr
}

// State describes the lane as it is now.
func (l *Lane) State() registry.State {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}

func (l *Lane) setState(change func(*registry.State)) {
	l.mu.Lock()
	change(&l.state)
	s := l.state
	l.mu.Unlock()
	if l.cfg.OnState != nil {
		l.cfg.OnState(s)
	}
}

// Dir is the artifact directory.
func (l *Lane) Dir() string { return l.dir }

// Control drives the lane's client over its control socket. There is an error in a lane
// without a client, and in one whose control socket was left to others.
func (l *Lane) Control() (*control.Driver, error) {
	switch {
	case l.driver != nil:
		return l.driver, nil
	case l.cfg.ReleaseControl:
		return nil, &verdict.Error{Verdict: verdict.Harness, Op: "control", Err: errors.New("this lane's control socket was left to others"), Hint: "connect to State().ControlSocket"}
	}
	return nil, errNoClient
}

// Proxy is the built-in proxy. There is an error if it does not run inside this process.
func (l *Lane) Proxy() (*headless.Proxy, error) {
	if l.ownProxy == nil {
		return nil, &verdict.Error{Verdict: verdict.Harness, Op: "proxy", Err: errors.New("the built-in proxy does not run inside this process")}
	}
	return l.ownProxy, nil
}

// Machine is QEMU: QMP, pause, reset, kill. After StartBackend it is another.
func (l *Lane) Machine() *qemu.Machine { return l.machine() }

// machine is QEMU, nil before it has been started.
func (l *Lane) machine() *qemu.Machine { return l.running.Load() }

// Serial is what the guest says on its serial console.
func (l *Lane) Serial() *serial.Log { return l.machine().Serial() }

// Fixture is the entry that the lane was started from; nil with Config.Image.
func (l *Lane) Fixture() *fixtures.Fixture { return l.fixture }

// ReadyAfter is how long the lane took from Start to ready.
func (l *Lane) ReadyAfter() time.Duration { return l.ready }

// newSecret is 160 random bits in hex: a ticket or API token.
func newSecret() string {
	var b [20]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

func join(a, b string) string {
	if b == "" {
		return a
	}
	return a + ": " + b
}
