package harness

import (
	"context"
	"errors"
	"fmt"
	"image"
	"net"
	"path/filepath"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/spicelane/spicelane/fixtures/truthserver"
	"github.com/spicelane/spicelane/harness/host"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/truth"
	"github.com/spicelane/spicelane/harness/truth/catalogue"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice/proxy"
)

// The words for Config.Server; other values are addresses.
const (
	ServerQEMU  = "qemu"
	ServerTruth = "truth"
)

// A standIn is a SPICE server instead of QEMU: the truth server, or a running one.
type standIn struct {
	console proxy.Console
	truth   *truth.Server   // nil for a running server
	done    <-chan struct{} // closed when the server has ended; nil if that cannot be known
}

// guestless tells whether the lane has no guest.
func (c Config) guestless() bool { return c.Server != "" && c.Server != ServerQEMU }

// drawsAtWill tells whether the server is a running one, which nobody can pause.
func (s *standIn) drawsAtWill() bool { return s != nil && s.truth == nil }

// checkServer checks Server and the fields that exclude it.
func (c Config) checkServer() *FieldError {
	if !c.guestless() || c.Server == ServerTruth {
		if c.ServerTicket != "" {
			return fieldError("ServerTicket", "it is for a Server that is running, not for %q", or(c.Server, ServerQEMU))
		}
	}
	if !c.guestless() {
		return nil
	}
	if c.Image != "" || c.Fixture != "" || c.Kernel != "" {
		return fieldError("Server", "%q has no guest, and there is one: %q", c.Server, or(c.Image, or(c.Fixture, c.Kernel)))
	}
	if c.BackendTLS {
		return fieldError("BackendTLS", "%q is reached without TLS", c.Server)
	}
	if c.Server != ServerTruth {
		if _, _, err := splitServer(c.Server); err != nil {
			return fieldError("Server", "%q is not qemu, truth or HOST:PORT", c.Server)
		}
	}
	return c.checkGuestless()
}

// checkGuestless returns an error for a field that asks for what only a machine of the lane can have.
// Whoever sets it would believe that the lane tests it. A value that holds without a machine, too,
// such as Warm "off", is no error.
func (c Config) checkGuestless() *FieldError {
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"Initrd", c.Initrd != ""}, {"Append", c.Append != ""}, {"Banner", c.Banner != ""},
		{"Failures", len(c.Failures) > 0}, {"IgnoreFailures", len(c.IgnoreFailures) > 0},
		{"MemoryMiB", c.MemoryMiB != 0}, {"CPUs", c.CPUs != 0},
		{"Accel", c.Accel != "" && c.Accel != qemu.AccelAuto}, {"Display", c.Display != ""},
		{"Agent", c.Agent == AgentOn}, {"Warm", c.Warm == WarmRequire},
		{"Devices", len(c.Devices) > 0}, {"ExtraArgs", len(c.ExtraArgs) > 0},
	} {
		if f.set {
			return fieldError(f.name, "%q has no guest that it could be for", c.Server)
		}
	}
	switch running := c.Server != ServerTruth; {
	case running && c.Compression != "":
		return fieldError("Compression", "%q is running already, and has its own", c.Server)
	case running && c.Streaming != "", c.Streaming != "" && c.Streaming != "off":
		return fieldError("Streaming", "%q cannot be told what to send as video", c.Server)
	case c.SingleClient:
		return fieldError("SingleClient", "%q itself decides how many clients it serves", c.Server)
	}
	return nil
}

// splitServer parses HOST:PORT.
func splitServer(s string) (string, int, error) {
	at, port, err := net.SplitHostPort(s)
	if err != nil {
		return "", 0, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err == nil && (n == 0 || at == "") {
		err = errors.New("no host or no port")
	}
	return at, int(n), err
}

// TruthHelper returns the path of the truth server's helper, and compiles it if necessary. If the
// host lacks what that needs, the error is a host fault.
func TruthHelper(ctx context.Context) (string, error) {
	path, err := truthserver.Build(ctx, filepath.Join(host.CacheDir(), "truthserver"))
	var missing *truthserver.MissingError
	if errors.As(err, &missing) {
		return "", &verdict.Error{Verdict: verdict.Host, Op: "truth server", Err: err, Hint: "make setup, or apt-get install " + truthserver.Packages}
	}
	return path, err
}

// startGuestless starts a lane without a guest: server, proxy, client, picture.
func (b *bringUp) startGuestless(ctx context.Context, began time.Time) error {
	b.uuid = uuid.NewString()
	b.failures = newConsoleWatch(nil, b.log)
	err := b.step(ctx, "host", func(context.Context, *string) error {
		return errors.Join(host.EnoughDescriptors(), b.cfg.checkLink())
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, host.Scaled(b.cfg.timeout(), ""),
		fmt.Errorf("the lane was not ready %v after its start", host.Scaled(b.cfg.timeout(), "")))
	defer cancel()
	for _, s := range []struct {
		name string
		run  func(context.Context, *string) error
	}{
		{"server", b.startServer}, {"proxy", b.startProxy}, {"client", b.startClient}, {"picture", b.awaitPicture},
	} {
		if err := b.step(ctx, s.name, s.run); err != nil {
			return err
		}
	}
	b.isReady(time.Since(began))
	return nil
}

// startServer starts the server that replaces QEMU, or records its address.
func (b *bringUp) startServer(ctx context.Context, detail *string) error {
	if b.cfg.Server != ServerTruth {
		at, port, err := splitServer(b.cfg.Server)
		if err != nil {
			return verdict.Classify("server", err)
		}
		*detail = "is up already"
		b.secrets.add("ticket", b.cfg.ServerTicket)
		b.standsIn(&standIn{console: b.guestlessConsole(at, port, b.cfg.ServerTicket)}, 0)
		return nil
	}
	helper, err := TruthHelper(ctx)
	if err != nil {
		return err
	}
	ticket := b.newSecret("ticket")
	s, err := truth.StartServer(ctx, truth.ServerConfig{
		Helper: helper, Dir: b.run.Path, Ticket: ticket, Setting: truth.Setting{Compression: string(b.cfg.Compression)},
	})
	if err != nil {
		return verdict.Classify("truth server", err)
	}
	b.undo.push(s.Close)
	b.standsIn(&standIn{console: b.guestlessConsole("127.0.0.1", s.Port(), ticket), truth: s, done: s.Done()}, s.PID())
	if err := s.Primary(ctx, catalogue.Groups()[0].Primary); err != nil {
		return verdict.Classify("truth server", err)
	}
	// A picture to look at.
	for _, c := range catalogue.Random(1, 20).Do {
		if err := s.Push(ctx, c); err != nil {
			return verdict.Classify("truth server", err)
		}
	}
	return verdict.Classify("truth server", s.Draw(ctx, 0))
}

func (l *Lane) guestlessConsole(at string, port int, ticket string) proxy.Console {
	return proxy.Console{Source: laneSource, UUID: l.uuid, Name: l.cfg.name(), Hypervisor: "localhost",
		HypervisorIP: at, InsecurePort: port, Ticket: ticket}
}

func (b *bringUp) standsIn(s *standIn, pid int) {
	b.standIn = s
	b.setState(func(st *registry.State) {
		st.PIDs.QEMU = pid
		st.SPICE.Addr = net.JoinHostPort(s.console.HypervisorIP, strconv.Itoa(s.console.InsecurePort))
		st.Fixture, st.Display = "", ""
	})
}

// Truth returns the truth server of a lane with Config.Server "truth". Drawings on it go through
// the lane's proxy and client. It serves one caller at a time.
func (l *Lane) Truth() (*truth.Server, error) {
	if l.standIn == nil || l.standIn.truth == nil {
		return nil, &verdict.Error{Verdict: verdict.Harness, Op: "truth", Err: errors.New("this lane's server is not the truth server"), Hint: `set Config.Server to "truth"`}
	}
	return l.standIn.truth, nil
}

// errGuestless returns the error of operations that need a guest.
func (l *Lane) errGuestless(op string) error {
	return &verdict.Error{Verdict: verdict.Harness, Op: op, Err: fmt.Errorf("a lane whose server is %s has no guest", l.cfg.Server)}
}

// backendDone returns a channel that is closed when QEMU, or the server in its place, has ended.
func (l *Lane) backendDone() <-chan struct{} {
	if l.standIn != nil {
		return l.standIn.done
	}
	return l.machine().Done()
}

// backendErr returns why QEMU, or the server in its place, has ended.
func (l *Lane) backendErr() error {
	switch {
	case l.standIn == nil:
		return l.machine().Err()
	case l.standIn.truth == nil:
		return nil // the end of a running server cannot be known
	}
	return &verdict.Error{Verdict: verdict.Product, Op: "truth server", Err: l.standIn.truth.Err()}
}

// truthPicture returns the truth server's own picture.
func (l *Lane) truthPicture() (*image.NRGBA, error) {
	s, err := l.Truth()
	if err != nil {
		return nil, err
	}
	return s.Picture()
}
