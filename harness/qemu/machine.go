package qemu

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spicelane/spicelane/harness/proc"
	"github.com/spicelane/spicelane/harness/serial"
	"github.com/spicelane/spicelane/internal/socketpair"
	"github.com/spicelane/spicelane/qmp"
)

// A Machine is a running QEMU with its console, its QMP connection and its watchers. Its methods
// may be called from any goroutine.
type Machine struct {
	cfg   Config
	log   *slog.Logger
	argv  []string // as written to qemu.argv
	start time.Time

	proc       *proc.Process
	qmp        *qmp.Client
	console    *serial.Log
	qmpBegan   time.Time
	transcript *os.File
	stderrFrom int64 // where this machine's output begins in qemu.log
	spice      SPICEAddr

	stopFollowing context.CancelFunc
	followed      chan struct{} // closed when the console is read to its end
	watched       chan struct{} // closed when the last event is handled

	mu     sync.Mutex
	resets resets // guarded by mu
	asked  Kind   // what this side asked for: KindClosed, KindKilled or ""
	guest  string // the reason of a SHUTDOWN event
	err    *ExitError

	done  chan struct{} // closed once err is set
	gone  chan struct{} // closed once the process is reaped and all is joined
	input serialInput

	screen screen
}

// SPICEAddr is the address of a machine's SPICE server.
type SPICEAddr struct {
	Unix    string // path of the socket, or ""
	Host    string // with Port or TLSPort
	Port    int    // 0: none
	TLSPort int    // 0: none
}

// Limits for QEMU's answers and its end. They apply to a QEMU that does not react; ctx may end a
// wait earlier.
const (
	queryLimit = 5 * time.Second // one QMP query while watching
	quitGrace  = 3 * time.Second // each of QMP quit, SIGTERM and SIGKILL
	stopLimit  = 5 * time.Second // from closing its QMP connection to the end of the process
)

// portTries is how often Start tries again if another process took the port that was free a moment
// ago.
const portTries = 8

// tailLines is how many lines of each log an error contains.
const tailLines = 20

// Start starts the machine and returns once QEMU answers on QMP, or with LoadState, once the state
// is restored. ctx limits only the start: the machine runs until Close, which the caller must call.
// If Accel is auto (or ""), Start decides, see ChooseAccel.
//
// The error is a *HostError, a *ConfigError, an *ExitError if QEMU ended for another reason, or
// ctx's cause.
func Start(ctx context.Context, cfg Config) (*Machine, error) {
	var err error
	if cfg.Binary == "" {
		if cfg.Binary, err = FindQEMU(os.Getenv); err != nil {
			return nil, err
		}
	}
	if cfg.display() != NoDisplay && !cfg.DBusDisplay {
		cfg.DBusDisplay = HasDBusDisplay(ctx, cfg.Binary)
	}
	return start(ctx, cfg)
}

// start does what Start does, for a configuration that already says how to read the screen.
func start(ctx context.Context, cfg Config) (*Machine, error) {
	// QEMU runs in another directory than this process.
	var err error
	for _, path := range []*string{&cfg.Dir, &cfg.SocketDir, &cfg.Disk, &cfg.Kernel, &cfg.Initrd,
		&cfg.Firmware.Code, &cfg.Firmware.Vars, &cfg.Spice.Unix, &cfg.Spice.X509Dir} {
		if *path == "" {
			continue
		}
		if *path, err = filepath.Abs(*path); err != nil {
			return nil, err
		}
	}
	if fw := cfg.Firmware; fw.Code != "" && fw.Vars != "" && (fw.CodeFormat == "" || fw.VarsFormat == "") {
		if cfg.Firmware, err = fw.identify(); err != nil {
			return nil, err
		}
	}
	if cfg.Accel == "" || cfg.Accel == AccelAuto {
		choice, err := ChooseAccel(ctx, cfg, AccelOptions{})
		if err != nil {
			return nil, err
		}
		cfg.Accel = choice.Accel
	}
	if cfg.Spice.Port != AnyPort && cfg.Spice.TLSPort != AnyPort {
		return startOnce(ctx, cfg)
	}
	for try := 1; ; try++ {
		withPorts := cfg
		if err := pickPorts(ctx, &withPorts.Spice); err != nil {
			return nil, err
		}
		m, err := startOnce(ctx, withPorts)
		var busy *portBusyError
		if err == nil || try == portTries || !errors.As(err, &busy) {
			return m, err
		}
		cfg.logger().Debug("a free port was taken meanwhile", "spice", withPorts.Spice.Port, "try", try)
	}
}

// pickPorts replaces AnyPort by free ports.
func pickPorts(ctx context.Context, s *Spice) error {
	for _, port := range []*int{&s.Port, &s.TLSPort} {
		if *port != AnyPort {
			continue
		}
		var lc net.ListenConfig
		// NB: both listeners stay open until both ports are picked, so that they differ.
		ln, err := lc.Listen(ctx, "tcp", net.JoinHostPort(s.addr(), "0"))
		if err != nil {
			return &HostError{What: fmt.Sprintf("no TCP port to be had on %s: %v", s.addr(), err), Err: err}
		}
		defer ln.Close()
		*port = ln.Addr().(*net.TCPAddr).Port
	}
	return nil
}

// startOnce starts QEMU with a complete configuration.
func startOnce(ctx context.Context, cfg Config) (*Machine, error) {
	args, err := Argv(cfg)
	if err != nil {
		return nil, err
	}
	if err := makeDir(cfg.Dir); err != nil {
		return nil, err
	}
	m := &Machine{
		cfg:      cfg,
		log:      cfg.logger(),
		argv:     args,
		start:    time.Now(),
		console:  serial.NewLog(serial.Config{}),
		followed: make(chan struct{}),
		watched:  make(chan struct{}),
		screen:   newScreen(),
		done:     make(chan struct{}),
		gone:     make(chan struct{}),
	}
	if err := m.launch(ctx); err != nil {
		return nil, err
	}
	if err := m.connected(ctx); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// launch starts the process and its listeners and does the handshake on QMP. If it fails, nothing
// is left running.
func (m *Machine) launch(ctx context.Context) (err error) {
	cfg := m.cfg
	var undo []func()
	defer func() {
		if err != nil {
			for i := len(undo) - 1; i >= 0; i-- {
				undo[i]()
			}
		}
	}()

	argvFile := filepath.Join(cfg.Dir, ArgvFile)
	if err := os.WriteFile(argvFile, []byte(CommandLine(m.argv)+"\n"), 0o644); err != nil {
		return fileError(argvFile, err)
	}
	serialPath := filepath.Join(cfg.Dir, SerialLog)
	serialFile, err := appendTo(serialPath)
	if err != nil {
		return err
	}
	serialFrom, err := serialFile.Seek(0, 2)
	if err == nil && cfg.LoadState != "" {
		_, err = serialFile.Write(cfg.Said)
	}
	if err = errors.Join(err, serialFile.Close()); err != nil {
		return fileError(serialPath, err)
	}
	if cfg.LoadState != "" {
		// Another attempt must not begin with the same lines again.
		undo = append(undo, func() { os.Truncate(serialPath, serialFrom) })
	}
	stderr, err := appendTo(filepath.Join(cfg.Dir, QEMULog))
	if err != nil {
		return err
	}
	defer stderr.Close() // QEMU has its own descriptor
	if m.stderrFrom, err = stderr.Seek(0, 2); err != nil {
		return fileError(stderr.Name(), err)
	}
	if m.transcript, err = appendTo(filepath.Join(cfg.Dir, QMPTranscript)); err != nil {
		return err
	}
	undo = append(undo, func() { m.transcript.Close() })

	m.removeSockets() // left by a machine that was killed here

	// The owner's QMP connection is one end of a socket pair: there is no path to wait for, and no
	// other client can take it.
	ours, theirs, err := socketpair.New("qmp")
	if err != nil {
		return fmt.Errorf("make a QMP connection: %w", err)
	}
	defer theirs.Close()
	const theirFD = "3" // the first of ExtraFiles
	cmd := exec.Command(m.argv[0], append(m.argv[1:len(m.argv):len(m.argv)],
		"-chardev", "socket,id=owner,fd="+theirFD, "-mon", "chardev=owner,mode=control")...)
	cmd.Dir = cfg.Dir
	cmd.Env = append(os.Environ(), cfg.Spice.env()...)
	cmd.Stdout, cmd.Stderr = stderr, stderr
	cmd.ExtraFiles = []*os.File{theirs}
	if cfg.Spice.Ticket != "" {
		ticket, err := filledPipe(cfg.Spice.Ticket)
		if err != nil {
			ours.Close()
			return fmt.Errorf("pass the ticket: %w", err)
		}
		defer ticket.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, ticket) // becomes ticketFD
	}
	m.start = time.Now()
	if m.proc, err = proc.Start(cmd); err != nil {
		ours.Close()
		if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.EACCES) {
			return &HostError{What: fmt.Sprintf("QEMU cannot be run: %v", err), Hint: hintQEMU, Err: err}
		}
		return fmt.Errorf("start QEMU: %w", err)
	}
	theirs.Close() // or its end would never be seen
	undo = append(undo, func() {
		m.proc.Signal(syscall.SIGKILL)
		select {
		case <-m.proc.Exited():
		case <-time.After(quitGrace): // it is stuck in the kernel
		}
		m.removeSockets()
	})

	followCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	m.stopFollowing = stop
	go m.follow(followCtx, serialPath, serialFrom)
	undo = append(undo, func() { stop(); <-m.followed })

	m.qmpBegan = time.Now()
	m.qmp, err = qmp.NewClient(ctx, ours, qmp.Config{Transcript: m.transcript, Logger: m.log})
	if err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("start QEMU: %w", context.Cause(ctx))
		}
		// QEMU has closed the connection, so it is ending.
		select {
		case <-m.proc.Exited():
			return m.diagnose(m.exitError())
		case <-time.After(stopLimit):
			return fmt.Errorf("start QEMU: %w", err)
		}
	}
	return nil
}

// connected takes the steps that need the QMP connection. From here on the machine has its
// watchers, and Close undoes everything.
func (m *Machine) connected(ctx context.Context) error {
	// NB: subscribe before asking for the state, so that no change is missed. Events before the
	// handshake show in the state.
	events := m.qmp.Subscribe()
	go m.watch(events)
	go m.join()

	if path := m.cfg.LoadState; path != "" {
		if err := m.loadState(ctx, path); err != nil {
			return err
		}
	}
	if m.cfg.Spice.enabled() {
		info, err := m.qmp.QuerySPICE(ctx)
		if err != nil {
			return m.orEnd(fmt.Errorf("ask where SPICE listens: %w", err))
		}
		m.spice = SPICEAddr{Unix: m.cfg.Spice.Unix, Port: info.Port, TLSPort: info.TLSPort}
		if m.spice.Unix == "" {
			m.spice.Host = m.cfg.Spice.addr()
		}
	}
	m.log.Debug("machine started", "name", m.cfg.name(), "pid", m.proc.PID(), "qemu", m.qmp.Version(), "accel", m.cfg.Accel)
	return nil
}

func (m *Machine) loadState(ctx context.Context, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return &ConfigError{What: fmt.Sprintf("the saved state cannot be read: %v", err), Err: err}
	}
	defer f.Close()
	err = m.qmp.LoadState(ctx, f)
	if err == nil || ctx.Err() != nil {
		return err
	}
	// QEMU prints the reason on its standard error, and most versions then exit.
	m.awaitGone(stopLimit)
	e := &StateError{Path: path, Err: err}
	if tail := m.StderrTail(tailLines); len(tail) > 0 {
		e.Said = unadorned(errorLine(tail))
	}
	return e
}

// orEnd returns why the machine ended, if err is only a consequence of that; otherwise it returns
// err.
func (m *Machine) orEnd(err error) error {
	var closed *qmp.ClosedError
	if !errors.As(err, &closed) {
		return err
	}
	select {
	case <-m.done:
		return m.diagnose(m.Err().(*ExitError))
	case <-time.After(stopLimit):
		return err
	}
}

// follow reads the console's log file.
func (m *Machine) follow(ctx context.Context, path string, from int64) {
	defer close(m.followed)
	if err := serial.FollowFrom(ctx, path, from, m.console); err != nil {
		m.log.Error("the serial console is lost", "err", err)
	}
}

// watch handles events until the connection ends.
func (m *Machine) watch(events *qmp.Subscription) {
	defer close(m.watched)
	defer events.Close()
	m.checkState()
	for {
		ev, err := events.Next(context.Background()) // ends with the connection
		if err != nil {
			return
		}
		m.log.Debug("QEMU event", "event", ev.Event, "data", ev.Data)
		switch ev.Event {
		case qmp.EventShutdown:
			reason, _ := ev.Data["reason"].(string)
			m.mu.Lock()
			m.guest = reason
			m.mu.Unlock()
		case qmp.EventReset:
			m.noteReset(ev)
		case qmp.EventGuestPanicked:
			m.end(KindPanicked, "the guest panicked")
		case qmp.EventBlockIOError:
			if full, _ := ev.Data["nospace"].(bool); full {
				m.end(KindDiskFull, "the host's disk is full: the guest could not write to its disk")
			}
		case qmp.EventStop:
			m.checkState()
		}
	}
}

// checkState ends the machine if it has stopped for a reason from which it does not recover.
func (m *Machine) checkState() {
	ctx, cancel := context.WithTimeout(context.Background(), queryLimit)
	defer cancel()
	st, err := m.qmp.QueryStatus(ctx)
	if err != nil {
		return // the connection ended, which is noticed elsewhere
	}
	switch st.State {
	case qmp.StateInternalError:
		m.end(KindInternalError, fmt.Sprintf("QEMU stopped it with internal-error: %s cannot execute what the guest does", m.cfg.Accel))
	case qmp.StateGuestPanicked:
		m.end(KindPanicked, "the guest panicked")
	case qmp.StateIOError:
		m.end(KindIOError, "the host failed to read or write the guest's disk image")
	case qmp.StateShutdown: // with -no-shutdown
		m.end(KindShutdown, "the guest shut down")
	}
}

// join waits for the process to end, then for everything that listened to it.
func (m *Machine) join() {
	defer close(m.gone)
	<-m.proc.Exited()
	<-m.qmp.Done() // the kernel has closed QEMU's end
	<-m.watched
	e := m.exitError()
	m.end(e.Kind, e.Reason)
	m.input.close()
	m.transcript.Close()
	m.removeSockets()
}

// exitError describes the end of a process that has exited.
func (m *Machine) exitError() *ExitError {
	m.mu.Lock()
	asked, guest := m.asked, m.guest
	m.mu.Unlock()
	e := &ExitError{Argv: m.argv}
	var status syscall.WaitStatus
	if state := m.proc.State(); state != nil {
		status, _ = state.Sys().(syscall.WaitStatus)
	}
	switch {
	case asked == KindKilled:
		e.Kind, e.Reason = KindKilled, "it was killed on request"
	case asked == KindClosed:
		e.Kind, e.Reason = KindClosed, "it was closed"
	case guest == "guest-panic": // with -action panic=shutdown
		e.Kind, e.Reason = KindPanicked, "the guest panicked"
	case strings.HasPrefix(guest, "guest-"):
		e.Kind, e.Reason = KindShutdown, "the guest shut down ("+guest+")"
	case guest == "host-signal": // one that QEMU handles: it ends like after quit, with code 0
		e.Kind, e.Reason = KindSignal, "QEMU was told to end by a signal ("+guest+")"
	case status.Signaled():
		sig := status.Signal()
		e.Kind, e.Reason = KindSignal, fmt.Sprintf("QEMU was killed by signal %d (%v)", int(sig), sig)
		switch sig {
		case syscall.SIGSEGV, syscall.SIGABRT, syscall.SIGBUS, syscall.SIGILL, syscall.SIGFPE:
			e.Kind, e.Reason = KindCrash, fmt.Sprintf("QEMU crashed with signal %d (%v)", int(sig), sig)
		}
	default:
		e.Kind, e.Reason = KindExit, fmt.Sprintf("QEMU exited with code %d", status.ExitStatus())
		if guest != "" {
			e.Reason += " (" + guest + ")"
		}
	}
	e.Stderr, e.Serial = m.StderrTail(tailLines), m.console.Tail(tailLines)
	return e
}

// end records the first reason why the machine makes no more progress, and wakes every waiter.
func (m *Machine) end(kind Kind, reason string) {
	m.mu.Lock()
	if m.err != nil {
		m.mu.Unlock()
		return
	}
	// Complete the error before done is closed.
	e := &ExitError{Kind: kind, Reason: reason, Argv: m.argv}
	m.err = e
	m.mu.Unlock()

	// The guest's last output is in the log before the end is reported.
	m.stopFollowing()
	<-m.followed
	e.Stderr, e.Serial = m.StderrTail(tailLines), m.console.Tail(tailLines)
	m.console.End(e)
	close(m.done)
	if kind != KindClosed {
		m.log.Info("machine ended", "name", m.cfg.name(), "kind", kind, "reason", reason)
	}
}

// Config returns the configuration, with Start's decisions filled in.
func (m *Machine) Config() Config { return m.cfg }

// Argv returns the command line, program first; CommandLine converts it to a text for a shell.
func (m *Machine) Argv() []string { return m.argv }

// PID returns QEMU's process id.
func (m *Machine) PID() int { return m.proc.PID() }

// QMPBegan returns when the clock of qmp.ndjson started.
func (m *Machine) QMPBegan() time.Time { return m.qmpBegan }

// QMP returns the machine's QMP connection, which belongs to the machine: do not close it.
func (m *Machine) QMP() *qmp.Client { return m.qmp }

// Serial returns the log of the guest's first serial port.
func (m *Machine) Serial() *serial.Log { return m.console }

// Spice returns the address of the SPICE server.
func (m *Machine) Spice() SPICEAddr { return m.spice }

// Started returns when QEMU was started.
func (m *Machine) Started() time.Time { return m.start }

// Done returns a channel that is closed when the machine can make no more progress. Until Close,
// QEMU may still be there, for example for a last picture.
func (m *Machine) Done() <-chan struct{} { return m.done }

// Gone returns a channel that is closed when QEMU's process is gone and everything is joined.
func (m *Machine) Gone() <-chan struct{} { return m.gone }

// Err returns nil while the machine runs, then why it ended: an *ExitError.
func (m *Machine) Err() error {
	select {
	case <-m.done:
		return m.err
	default:
		return nil
	}
}

// Wait blocks until the machine has ended and returns why: nil if it was closed, otherwise an
// *ExitError, the same for every caller. A shutdown is an *ExitError of KindShutdown.
func (m *Machine) Wait() error {
	<-m.done
	if m.err.Kind == KindClosed {
		return nil
	}
	return m.err
}

// AwaitBoot waits for the line that shows that the guest has booted. If the machine ended first,
// the error is an *ExitError, otherwise a *BootError.
func (m *Machine) AwaitBoot(ctx context.Context, banner serial.Matcher) (serial.Line, error) {
	line, err := m.console.Await(ctx, banner)
	if err == nil {
		return line, nil
	}
	var end *ExitError
	if errors.As(err, &end) {
		return line, end
	}
	var await *serial.AwaitError
	if errors.As(err, &await) {
		err = await.Err
	}
	return line, &BootError{
		Resets: m.Resets(),
		Wanted: banner.String(),
		After:  time.Since(m.start),
		Argv:   m.argv,
		Stderr: m.StderrTail(tailLines),
		Serial: m.console.Tail(tailLines),
		Err:    err,
	}
}

// Pause stops the processors. It is idempotent.
func (m *Machine) Pause(ctx context.Context) error { return m.qmp.Stop(ctx) }

// Resume continues a paused machine. It is idempotent.
func (m *Machine) Resume(ctx context.Context) error { return m.qmp.Cont(ctx) }

// resumeGrace is how long QEMU may take to continue after WhilePaused.
const resumeGrace = 3 * time.Second

// A ResumeError says that the machine is paused and should not be.
type ResumeError struct{ Err error }

func (e *ResumeError) Error() string { return "the machine does not run on: " + e.Err.Error() }

func (e *ResumeError) Unwrap() error { return e.Err }

// WhilePaused runs f while the processors are stopped, and continues them even if ctx has ended. If
// that fails, the error is a *ResumeError, joined with f's. A machine that did not run before, because
// somebody had paused it, does not run afterwards either.
func (m *Machine) WhilePaused(ctx context.Context, f func() error) error {
	st, err := m.qmp.QueryStatus(ctx)
	switch {
	case err != nil:
		return err
	case !st.Running:
		return f()
	}
	err = m.Pause(ctx)
	if err == nil {
		err = f()
	} else if ctx.Err() == nil && !errors.Is(err, context.DeadlineExceeded) {
		return err // QEMU refused, or is gone
	}
	// NB: QEMU may still stop for a command whose answer nobody has waited for, and nothing else
	// would continue it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), resumeGrace)
	defer cancel()
	if rerr := m.Resume(ctx); rerr != nil {
		err = errors.Join(err, &ResumeError{rerr})
	}
	return err
}

// Reset presses the reset button.
func (m *Machine) Reset(ctx context.Context) error { return m.qmp.SystemReset(ctx) }

// SaveState writes the machine's state to a new file at path and leaves the machine paused; Resume
// continues it. Copies of Disk and Firmware.Vars made while it is paused belong to the state
// (Config.LoadState).
func (m *Machine) SaveState(ctx context.Context, path string) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fileError(path, err)
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			discard(path)
		}
	}()
	if err := m.qmp.SaveState(ctx, f); err != nil {
		if full := roomFor(path); full != nil {
			return full
		}
		return fmt.Errorf("save the machine's state: %w", err)
	}
	return nil
}

// Freeze stops QEMU itself (SIGSTOP), with its SPICE server and QMP, as a stalled host would. Pause
// stops only the guest.
func (m *Machine) Freeze() { m.proc.Signal(syscall.SIGSTOP) }

// Thaw continues a frozen QEMU.
func (m *Machine) Thaw() { m.proc.Signal(syscall.SIGCONT) }

// Kill kills QEMU at once, as a fault for tests, and waits until the kernel has ended it. Wait then
// returns an *ExitError of KindKilled. An error means that QEMU or one of its connections has not
// ended in time.
func (m *Machine) Kill() error {
	m.ask(KindKilled)
	m.proc.Signal(syscall.SIGKILL)
	if m.awaitGone(quitGrace) {
		return nil
	}
	return m.stuck()
}

// stuck says what a killed QEMU is still waiting for.
func (m *Machine) stuck() error {
	select {
	case <-m.proc.Exited():
	default:
		return fmt.Errorf("QEMU (process %d) has not ended %v after it was killed: it is stuck in the kernel", m.proc.PID(), quitGrace)
	}
	for _, part := range []struct {
		done <-chan struct{}
		name string
	}{{m.qmp.Done(), "its QMP connection"}, {m.watched, "the watch on its events"}, {m.followed, "the reader of its console"}} {
		select {
		case <-part.done:
		default:
			return fmt.Errorf("QEMU (process %d) has ended, but %s has not after %v", m.proc.PID(), part.name, quitGrace)
		}
	}
	return fmt.Errorf("QEMU (process %d) has ended, but its files were not closed within %v", m.proc.PID(), quitGrace)
}

// Shutdown presses the power button and waits until the guest has switched itself off, or returns
// ctx's cause: not every guest reacts.
func (m *Machine) Shutdown(ctx context.Context) error {
	if err := m.qmp.Powerdown(ctx); err != nil {
		return m.orEnd(err)
	}
	select {
	case <-m.done: // NB: not gone, because QEMU stays after a guest's panic
	case <-ctx.Done():
		return fmt.Errorf("the guest did not react to its power button: %w", context.Cause(ctx))
	}
	if m.err.Kind != KindShutdown {
		return m.Wait()
	}
	select {
	case <-m.proc.Exited():
		<-m.gone // at once: the process was the last to be waited for
	default: // with -no-shutdown it stays
	}
	return nil
}

func (m *Machine) ask(kind Kind) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.asked == "" {
		m.asked = kind
	}
}

// Close ends QEMU (QMP quit, then SIGTERM, then SIGKILL to its process group, each with a time
// limit) and joins everything. It is idempotent and may be called at any time. An error means that
// QEMU or one of its connections has not ended in time.
func (m *Machine) Close() error {
	m.ask(KindClosed)
	m.Thaw() // a frozen process takes no notice of anything but SIGKILL
	ctx, cancel := context.WithTimeout(context.Background(), quitGrace)
	defer cancel()
	m.qmp.Quit(ctx) // if it does not work, a signal will
	if m.awaitGone(quitGrace) {
		return nil
	}
	m.proc.Signal(syscall.SIGTERM)
	if m.awaitGone(quitGrace) {
		return nil
	}
	m.proc.Signal(syscall.SIGKILL)
	if m.awaitGone(quitGrace) {
		return nil
	}
	return m.stuck()
}

func (m *Machine) awaitGone(limit time.Duration) bool {
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-m.gone:
		return true
	case <-t.C:
		return false
	}
}

// StderrTail returns the last n lines of QEMU's output.
func (m *Machine) StderrTail(n int) []string {
	return tailOf(filepath.Join(m.cfg.Dir, QEMULog), m.stderrFrom, n)
}

func (m *Machine) removeSockets() {
	for _, path := range []string{m.cfg.QMPSocket(), m.cfg.ToolSocket(), m.cfg.socket(serialSocket), m.cfg.Spice.Unix} {
		if st, err := os.Lstat(path); err == nil && st.Mode()&os.ModeSocket != 0 {
			os.Remove(path)
		}
	}
}
