package harness

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/host"
	"github.com/spicelane/spicelane/harness/impair"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/serial"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/internal/hostport"
)

// Faults that a test can inject into a lane. Those of QEMU are methods of Lane.Machine: Pause,
// Resume, Reset, Kill.

// A Part names a process of a lane.
type Part string

// The parts of a lane.
const (
	PartQEMU   Part = "qemu"
	PartProxy  Part = "proxy"
	PartClient Part = "client"
)

// noteFault records on the timeline what a test does to the lane.
func (l *Lane) noteFault(fields map[string]any) {
	l.tampered.Store(true)
	l.log.Add("fault", fields)
}

// Signal sends sig to the process of a part. SIGSTOP stops the part; Signal returns when it has
// stopped. SIGCONT continues it. SIGKILL kills it, which ends the lane. A part inside this process
// cannot get signals; see Config.Processes. ctx limits the wait until the part has stopped.
func (l *Lane) Signal(ctx context.Context, p Part, sig syscall.Signal) error {
	s := l.State().PIDs
	pid, ok := map[Part]int{PartQEMU: s.QEMU, PartProxy: s.Proxy, PartClient: s.Client}[p]
	if !ok {
		return &verdict.Error{Verdict: verdict.Harness, Op: "signal", Err: fmt.Errorf("a lane has no part %q", p)}
	}
	if pid == 0 {
		return &verdict.Error{Verdict: verdict.Harness, Op: "signal " + string(p), Err: errors.New("it is not a separate process"), Hint: "set Config.Processes"}
	}
	l.noteFault(map[string]any{"part": p, "signal": sig.String()})
	if err := syscall.Kill(pid, sig); err != nil {
		return &verdict.Error{Verdict: verdict.Harness, Op: "signal " + string(p), Err: err}
	}
	if sig == syscall.SIGSTOP {
		if err := awaitStopped(ctx, pid); err != nil {
			e := &verdict.Error{Verdict: verdict.Host, Op: "signal " + string(p), Err: err}
			if ctx.Err() != nil {
				e.Verdict = verdict.Harness // its caller gave up
			}
			return e
		}
	}
	return nil
}

// stoppedGrace is how long the kernel may take to stop a process.
const stoppedGrace = 5 * time.Second

// awaitStopped waits until every thread of a process has stopped. A thread that is running when the
// signal is sent continues until it enters the kernel.
func awaitStopped(ctx context.Context, pid int) error {
	// Nothing tells when a process that is not our own child has stopped.
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	limit := time.NewTimer(stoppedGrace)
	defer limit.Stop()
	for {
		running, err := runningThreads(pid)
		if err != nil || running == 0 {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waited until %d threads of process %d are stopped: %w", running, pid, context.Cause(ctx))
		case <-limit.C:
			return fmt.Errorf("%d threads of process %d are not stopped after %v", running, pid, stoppedGrace)
		}
	}
}

// runningThreads counts the threads that are neither stopped (proc(5): state T, or t under a
// tracer) nor gone.
func runningThreads(pid int) (n int, err error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil {
		return 0, err
	}
	for _, task := range tasks {
		b, err := os.ReadFile(task)
		if err != nil {
			continue // it has just ended
		}
		// The state follows the name, which is in brackets and may contain brackets.
		_, rest, _ := strings.Cut(string(b[strings.LastIndexByte(string(b), ')')+1:]), " ")
		if !strings.HasPrefix(rest, "T") && !strings.HasPrefix(rest, "t") && !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X") {
			n++
		}
	}
	return n, nil
}

// Relay returns the relay between client and proxy, which can impair, cut and freeze the client's
// connections while the lane is up. Its method Shaped says whether the kernel does that. It is nil
// without Config.Link.
func (l *Lane) Relay() *impair.Relay {
	l.tampered.Store(true) // the caller may do anything with it
	return l.startedRelay()
}

func (l *Lane) startedRelay() *impair.Relay {
	l.relayMu.Lock()
	defer l.relayMu.Unlock()
	return l.relay
}

// SetLink changes how the connection between client and proxy is impaired.
func (l *Lane) SetLink(link impair.Profile) error {
	relay := l.startedRelay()
	if relay == nil {
		return errNoRelay
	}
	l.noteFault(map[string]any{"link": link.String()})
	if err := relay.Set(link); err != nil {
		return &verdict.Error{Verdict: verdict.Harness, Op: "link", Err: err}
	}
	return nil
}

var errNoRelay = &verdict.Error{Verdict: verdict.Harness, Op: "link", Err: errors.New("this lane has no relay between its client and the proxy"), Hint: "set Config.Link; a zero Link will do"}

// A ChannelConn is one SPICE channel of the lane's client, as seen by the relay.
type ChannelConn struct {
	// Channel is its type and number, such as "display:0".
	Channel string
	*impair.Conn
}

// Channels returns the client's connections. The built-in proxy says which channel each of them is.
func (l *Lane) Channels() ([]ChannelConn, error) {
	relay := l.startedRelay()
	if relay == nil {
		return nil, errNoRelay
	}
	if l.ownProxy == nil {
		return nil, &verdict.Error{Verdict: verdict.Harness, Op: "channels", Err: errors.New("only the built-in proxy inside this process says which connection is which channel")}
	}
	names := make(map[string]string)
	for _, s := range l.ownProxy.Sessions() {
		for _, c := range s.Channels {
			names[c.Client] = c.Channel
		}
	}
	var out []ChannelConn
	for _, c := range relay.Conns() {
		if name, ok := names[c.FarAddr().String()]; ok {
			out = append(out, ChannelConn{name, c})
		}
	}
	return out, nil
}

// CutChannel resets the connection of one of the client's channels, such as "display:0".
func (l *Lane) CutChannel(name string) error {
	return l.onChannel("cut", name, func(c ChannelConn) { c.Cut() })
}

// FreezeChannel makes one of the client's channels half open: no data passes any more, and neither
// end gets an error.
func (l *Lane) FreezeChannel(name string) error {
	return l.onChannel("freeze", name, func(c ChannelConn) { c.Freeze() })
}

// HoldChannel makes the client a slow reader of one of its channels. The relay holds back what the
// server sends there until ReleaseChannel. Nothing is lost. When the buffers on the way are full,
// the server cannot send any more.
func (l *Lane) HoldChannel(name string) error {
	return l.onChannel("hold", name, func(c ChannelConn) { c.Hold() })
}

// ReleaseChannel lets the client read again.
func (l *Lane) ReleaseChannel(name string) error {
	return l.onChannel("release", name, func(c ChannelConn) { c.Release() })
}

func (l *Lane) onChannel(what, name string, f func(ChannelConn)) error {
	all, err := l.Channels()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(c ChannelConn) bool { return c.Channel == name })
	if i < 0 {
		var have []string
		for _, c := range all {
			have = append(have, c.Channel)
		}
		return &verdict.Error{Verdict: verdict.Harness, Op: what, Err: fmt.Errorf("the client has no channel %s; it has %v", name, have)}
	}
	l.noteFault(map[string]any{"channel": name, "what": what})
	f(all[i])
	return nil
}

// ChangeTicket gives QEMU's SPICE server a new ticket and tells the source, like a program that
// rotates tickets.
func (l *Lane) ChangeTicket(ctx context.Context) error {
	if err := l.changeTicket(ctx, true); err != nil {
		return err
	}
	return l.SyncTicket()
}

// ChangeTicketSilently gives QEMU's SPICE server a new ticket and does not tell the source. The
// proxy continues with the old one, and new channels are refused until SyncTicket.
func (l *Lane) ChangeTicketSilently(ctx context.Context) error { return l.changeTicket(ctx, false) }

func (l *Lane) changeTicket(ctx context.Context, told bool) error {
	if l.standIn != nil {
		return l.errGuestless("change ticket")
	}
	ticket := l.newSecret("ticket")
	if err := l.machine().QMP().SetSPICETicket(ctx, ticket); err != nil {
		return verdict.Classify("change ticket", err)
	}
	l.noteFault(map[string]any{"what": "ticket changed", "told": told})
	l.mu.Lock()
	l.ticket = ticket
	l.mu.Unlock()
	return nil
}

// SyncTicket tells the source QEMU's present ticket.
func (l *Lane) SyncTicket() error {
	if l.source == nil {
		return &verdict.Error{Verdict: verdict.Harness, Op: "ticket", Err: errors.New("only the built-in proxy inside this process can get a ticket")}
	}
	return l.source.set(l.proxiedConsole())
}

// impairMode returns where the lane's Link is impaired.
func (c Config) impairMode() impair.Mode { return cmp.Or(c.ImpairMode, c.LinkIn, impair.Auto) }

// checkLink returns an error if Link must be impaired in the kernel and this host cannot do that.
func (c Config) checkLink() error {
	if c.Link == nil || c.impairMode() != impair.InKernel {
		return nil
	}
	if lack := impair.Probe(); lack != nil {
		return &verdict.Error{Verdict: verdict.Host, Op: "link in the kernel", Err: lack, Hint: "set Config.ImpairMode to impair.Auto or impair.InProcess"}
	}
	return nil
}

// An outage is the time from StopBackend to StartBackend.
type outage struct {
	of   *qemu.Machine
	over chan struct{} // closed when another machine runs
}

// outageOf returns the outage during which m ended; nil if m ended by itself.
func (l *Lane) outageOf(m *qemu.Machine) *outage {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.outage != nil && l.outage.of == m {
		return l.outage
	}
	return nil
}

// StopBackend kills QEMU like a power failure, but the lane stays: until StartBackend the proxy's
// console is unreachable. It first disconnects the lane's own client, because a client ends with
// its session.
func (l *Lane) StopBackend(ctx context.Context) error {
	if l.standIn != nil {
		return l.errGuestless("stop backend")
	}
	if l.driver == nil {
		return l.errUndriven()
	}
	if err := l.driver.Disconnect(ctx); err != nil {
		return &verdict.Error{Verdict: drive.VerdictOf(err), Op: "stop backend", Err: err}
	}
	m := l.machine()
	l.mu.Lock()
	// If the machine did not come up again, this is still the same outage.
	if l.outage == nil {
		l.outage = &outage{of: m, over: make(chan struct{})}
	}
	l.mu.Unlock()
	l.noteFault(map[string]any{"part": PartQEMU, "what": "backend stopped"})
	return verdict.Classify("stop backend", m.Kill())
}

// StartBackend boots the machine that StopBackend has killed, at the same address, with its disk
// and firmware variables as they were. It waits for the banner and connects the lane's client
// again. ctx limits the time; boots take turns.
func (l *Lane) StartBackend(ctx context.Context) error {
	l.mu.Lock()
	o := l.outage
	l.mu.Unlock()
	if o == nil {
		return &verdict.Error{Verdict: verdict.Harness, Op: "start backend", Err: errors.New("it has not been stopped"), Hint: "call StopBackend first"}
	}
	slot, err := host.TakeBootSlot(ctx, string(l.guest.Accel), l.guest.MemoryMiB)
	if err != nil {
		return err
	}
	defer slot.Release()
	defer l.ExpectReset()() // firmware may reset the machine during boot
	cfg := l.ownFiles(l.guest)
	cfg.Spice.Ticket = l.currentTicket(cfg.Spice.Ticket)
	m, err := l.startAgain(ctx, cfg)
	if err != nil {
		return verdict.Classify("start backend", err)
	}
	if err := l.succeed(m); err != nil {
		return err
	}
	l.noteFault(map[string]any{"part": PartQEMU, "what": "backend started", "pid": m.PID()})
	if l.source != nil {
		// The new machine may listen on another port; see startAgain.
		if err := l.SyncTicket(); err != nil {
			return err
		}
	}
	if banner := l.banner(); banner != "" {
		if _, err := m.AwaitBoot(ctx, serial.Contains(banner)); err != nil {
			return verdict.Classify("start backend", err)
		}
	}
	if err := l.driver.Reconnect(ctx); err != nil {
		return l.explain(&verdict.Error{Verdict: drive.VerdictOf(err), Op: "start backend", Err: err})
	}
	return nil
}

// startAgain starts a machine at the SPICE address of the present one. If that is taken by now, any
// port will do for the built-in proxy inside this process, which can be told.
func (l *Lane) startAgain(ctx context.Context, cfg qemu.Config) (*qemu.Machine, error) {
	same, was := cfg, l.machine().Spice()
	same.Spice.Port, same.Spice.TLSPort = was.Port, was.TLSPort
	m, err := qemu.Start(ctx, same)
	var lack *qemu.HostError
	if errors.As(err, &lack) && l.source != nil {
		return qemu.Start(ctx, cfg)
	}
	return m, err
}

// RestartBackend calls StopBackend and then StartBackend.
func (l *Lane) RestartBackend(ctx context.Context) error {
	if err := l.StopBackend(ctx); err != nil {
		return err
	}
	return l.StartBackend(ctx)
}

// succeed makes m the lane's machine and ends the outage.
func (l *Lane) succeed(m *qemu.Machine) error {
	l.mu.Lock()
	select {
	case <-l.closing:
		l.mu.Unlock()
		return errors.Join(&verdict.Error{Verdict: verdict.Harness, Op: "start backend", Err: errors.New("the lane was closed")}, m.Close())
	default:
	}
	l.running.Store(m)
	l.undo.push(m.Close)
	l.joined.Add(1)
	close(l.outage.over)
	l.outage = nil
	l.mu.Unlock()
	l.startConsole(m)
	l.watchdog.Follow(m.PID())
	l.setState(func(s *registry.State) {
		s.PIDs.QEMU = m.PID()
		if addr := m.Spice(); addr.Unix == "" {
			s.SPICE.Addr = hostport.Join(addr.Host, max(addr.TLSPort, addr.Port))
		}
	})
	return nil
}
