package harness

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spicelane/spicelane/fixtures"
	"github.com/spicelane/spicelane/harness/headless"
	"github.com/spicelane/spicelane/harness/host"
	"github.com/spicelane/spicelane/harness/impair"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/screen/text"
	"github.com/spicelane/spicelane/harness/serial"
	"github.com/spicelane/spicelane/harness/timeline"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice/control"
	"github.com/spicelane/spicelane/spice/pki"
	"github.com/spicelane/spicelane/spice/proxy"
)

// A Lane is a running guest in QEMU, the proxy in front of it and a client that connects through
// the proxy. Its methods may be called from any goroutine.
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
	standIn *standIn                     // with Config.Server, instead of a machine
	proxy   *part                        // nil without one
	client  *part                        // nil without one

	backendPKI *pki.Bundle // with Config.BackendTLS
	secrets    secrets
	apiToken   string // of the built-in proxy's HTTP API
	newVV      headless.VVSource
	source     *laneConsole  // of the built-in proxy inside this process
	ticket     string        // after ChangeTicket; guarded by mu
	relayMu    sync.Mutex    // held while relay is set
	relay      *impair.Relay // with Config.Link
	witness    *witnessOf    // with Config.Witness

	// ownProxy is the built-in proxy if it runs inside this process, otherwise nil.
	ownProxy *headless.Proxy

	// driver drives the client; nil without one, and with Config.ReleaseControl.
	driver *control.Driver

	// loadFonts returns the guest's fonts. They are loaded late, because most lanes read no text.
	loadFonts func() ([]*text.Font, error)
	// textMemory remembers where text was read last.
	textMemory text.Memory

	mu    sync.Mutex
	state registry.State

	publishing sync.Mutex // held while state is changed; taken before mu

	// outage is set while the backend is stopped, see StopBackend; guarded by mu.
	outage *outage

	// consoles has a channel for each machine, which is closed when the machine's console has been
	// read to its end.
	consoles sync.Map
	// tampered is set when the test has interfered with a part or a connection.
	tampered atomic.Bool
	watchFor []fixtures.Failure
	failures *consoleWatch
	resets   resetWatch
	watchdog *host.Watchdog
	spice    spiceMeter
	test     testNote // guarded by mu

	// ctx is what Context returns: the test's context, or one that endCtx ends with the lane.
	ctx     context.Context
	endCtx  context.CancelCauseFunc
	beats   int
	beatErr error             // of the first beat that failed; guarded by mu
	judged  *verdict.Report   // what the verdict file says; guarded by mu
	covered map[string]uint64 // what the client was sent; set by Close when that has ended
	closing chan struct{}     // closed when Close begins
	closed  chan struct{}     // closed when it has ended
	// closeErr is what Close returned; valid after closed.
	closeErr error
	done     chan struct{} // closed when a part has ended, or Close has begun
	err      error         // why, valid after done
	joined   sync.WaitGroup
}

// Start brings a lane up and returns when it is ready: the guest's banner is on its serial line,
// and the client has its picture, with a readable digest if the fixture shows one. ctx limits only
// the start. The lane then runs until Close, which the caller must call.
//
// Every error has a verdict, see verdict.Of. If Start fails, nothing is left running, and the
// artifact directory has the evidence.
func Start(ctx context.Context, cfg Config) (*Lane, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	l := &Lane{cfg: cfg, closing: make(chan struct{}), closed: make(chan struct{}), done: make(chan struct{})}
	l.loadFonts = sync.OnceValues(func() ([]*text.Font, error) { return text.LoadAll(l.State().Fonts...) })
	b := &bringUp{Lane: l}
	if err := b.start(ctx); err != nil {
		err = verdict.Classify("", b.blameState(calledOff(ctx, err)))
		b.failed(err)
		return nil, err
	}
	return l, nil
}

// calledOff returns err without its blame if the start ended only because the caller cancelled it. A
// wait in vain says nothing then. A deadline does not count, also not one that the caller keeps itself:
// it is the time that the lane had.
func calledOff(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	if !errors.Is(ctx.Err(), context.Canceled) || errors.Is(cause, context.DeadlineExceeded) || verdict.Of(err) == verdict.Host || !errors.Is(err, cause) {
		return err
	}
	return &verdict.Error{Verdict: verdict.Harness, Op: "start", Err: fmt.Errorf("it was called off: %w; until then: %v", cause, err)}
}

// slowImage is the size in bytes from which the start reports that it reads an image.
const slowImage = 512 << 20

// State returns the lane's present state.
func (l *Lane) State() registry.State {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}

func (l *Lane) setState(change func(*registry.State)) {
	// NB: held until the state is published, or an older one could be published after a newer one.
	l.publishing.Lock()
	defer l.publishing.Unlock()
	l.mu.Lock()
	change(&l.state)
	s := l.state
	l.mu.Unlock()
	if l.cfg.OnState != nil {
		l.cfg.OnState(s)
	}
}

// Dir returns the artifact directory.
func (l *Lane) Dir() string { return l.dir }

// Control returns the driver of the lane's client. It returns an error in a lane without a client,
// and if Config.ReleaseControl left the control socket to others.
func (l *Lane) Control() (*control.Driver, error) {
	switch {
	case l.driver != nil:
		return l.driver, nil
	case l.cfg.ReleaseControl:
		return nil, &verdict.Error{Verdict: verdict.Harness, Op: "control", Err: errors.New("this lane's control socket was left to others"), Hint: "connect to State().ControlSocket"}
	}
	return nil, errNoClient
}

// errUndriven returns why the lane has no driver.
func (l *Lane) errUndriven() error {
	_, err := l.Control()
	return err
}

// Proxy returns the built-in proxy. It returns an error if that does not run inside this process.
func (l *Lane) Proxy() (*headless.Proxy, error) {
	if l.ownProxy == nil {
		return nil, &verdict.Error{Verdict: verdict.Harness, Op: "proxy", Err: errors.New("the built-in proxy does not run inside this process")}
	}
	return l.ownProxy, nil
}

// Machine returns QEMU, to pause, reset or kill it, or to use QMP. After StartBackend it returns
// the new machine. It returns nil in a lane without a guest; see Config.Server.
func (l *Lane) Machine() *qemu.Machine { return l.machine() }

// machine returns QEMU, or nil before it is started.
func (l *Lane) machine() *qemu.Machine { return l.running.Load() }

// Serial returns the log of the guest's serial console. In a lane without a guest, see
// Config.Server, the log is empty and has ended, with an error that says so.
func (l *Lane) Serial() *serial.Log {
	if m := l.machine(); m != nil {
		return m.Serial()
	}
	log := serial.NewLog(serial.Config{})
	log.End(l.errGuestless("serial console"))
	return log
}

// Fixture returns the lane's fixture; nil with Config.Image, and in a lane without a guest.
func (l *Lane) Fixture() *fixtures.Fixture { return l.fixture }

// SeveralClients tells whether another client may come beside the lane's. If not, it ends the session
// of the lane's client, or is refused; see Config.SingleClient and Config.Takeover.
func (l *Lane) SeveralClients() bool {
	return !l.cfg.SingleClient && (l.cfg.Takeover == "" || l.cfg.Takeover == proxy.TakeoverShare)
}

// ReadyAfter returns the time from Start to ready.
func (l *Lane) ReadyAfter() time.Duration { return l.ready }

// newSecret returns 160 random bits in hex: a ticket or an API token.
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
