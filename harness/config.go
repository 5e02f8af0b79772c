package harness

import (
	"log/slog"
	"time"

	"github.com/spicelane/spicelane/fixtures"
	"github.com/spicelane/spicelane/harness/impair"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/screen/text"
	"github.com/spicelane/spicelane/harness/witness"
	"github.com/spicelane/spicelane/spice/control/server"
	"github.com/spicelane/spicelane/spice/proxy"
	"github.com/spicelane/spicelane/spice/wire"
)

// An Agent says whether the guest gets the agent's virtio-serial port.
type Agent string

const (
	AgentAuto Agent = "auto" // as in the fixture; the default
	AgentOn   Agent = "on"
	AgentOff  Agent = "off"
)

// A Warm says whether the machine is restored from a state that was saved at its banner.
type Warm string

const (
	WarmAuto    Warm = "auto"    // restore a saved state, otherwise boot and save; the default
	WarmOff     Warm = "off"     // boot; read and write no states
	WarmRequire Warm = "require" // restore a saved state, otherwise fail
)

// DefaultNeedles is the directory of a lane's reference images if Config.Needles is empty.
const DefaultNeedles = "testdata/needles"

// A Config describes the lane to bring up. The zero Config boots Beacon behind the built-in proxy,
// to which the built-in client connects with TLS.
type Config struct {
	// Name is the lane's name in paths and messages; default: "lane".
	Name string `json:"name,omitempty"`
	// Dir is the artifact directory. Start creates it if necessary. Default: a new directory below
	// os.TempDir; under Up, the test's artifact directory.
	Dir string `json:"dir,omitempty"`

	// Server is what serves the console: "qemu"; "truth", which is spice-server without a guest, on
	// which the test itself draws (see Truth and docs/truth.md); or HOST:PORT, a running SPICE
	// server. Default: qemu. Without QEMU there is no guest, no serial console and no QMP.
	Server string `json:"server,omitempty"`
	// ServerTicket is the ticket of a running Server. Default: none.
	ServerTicket string `json:"-"`

	// Fixture is the name of a built-in guest image, or the path of a YAML entry of your own.
	// Default: "beacon".
	Fixture string `json:"fixture,omitempty"`
	// Image boots this disk image (qcow2 or raw, never written to) instead of a fixture. It has no
	// known banner; see Banner.
	Image string `json:"image,omitempty"`
	// Banner is the text on the serial line that shows that the guest is up. Default: the
	// fixture's. With Image there is none, and the lane is ready with its first picture.
	Banner string `json:"banner,omitempty"`
	// Failures are lines on the serial console that mean that the guest has failed, in addition to
	// the built-in ones and the fixture's. A failure with the name of another one replaces it. See
	// docs/fixtures.md.
	Failures []fixtures.Failure `json:"failures,omitempty"`
	// IgnoreFailures are names of failures that this lane ignores; "all" means all except those in
	// Failures. Default: none.
	IgnoreFailures []string `json:"ignore_failures,omitempty"`
	// Kernel, Initrd and Append boot a kernel directly.
	Kernel string `json:"kernel,omitempty"`
	Initrd string `json:"initrd,omitempty"`
	Append string `json:"append,omitempty"`
	// MemoryMiB is the guest's memory in MiB. Default: the fixture's, else 256.
	MemoryMiB int `json:"memory_mib,omitempty"`
	// CPUs is the number of virtual processors. Default: 1.
	CPUs int `json:"cpus,omitempty"`

	// Accel is auto, kvm or tcg. Default: $SPICELANE_ACCEL, else auto. If a probe guest runs on
	// KVM, auto uses KVM; otherwise it uses TCG and says why.
	Accel qemu.Accel `json:"accel,omitempty"`
	// Display is qxl, virtio or std. Default: qxl.
	Display qemu.Display `json:"display,omitempty"`
	// Compression is off, auto_glz, auto_lz, quic, glz or lz. QEMU's SPICE server is then on a
	// TCP port: on a unix socket it does not compress. Default: QEMU's default, auto_glz. On a unix
	// socket that has the same effect as off.
	Compression qemu.Compression `json:"compression,omitempty"`
	// Streaming is off, filter or all: whether spice-server sends areas that change fast as video.
	// Default: QEMU's own default, off.
	Streaming string `json:"streaming,omitempty"`
	// BackendTLS also uses TLS on QEMU's SPICE port. Between client and proxy there is always TLS.
	BackendTLS bool `json:"backend_tls,omitempty"`
	// SingleClient keeps spice-server's rule that a new client disconnects the previous one. By
	// default several clients may be connected, so that a viewer can look at a lane without ending
	// its test. Set it to test that rule, and in tests that connect and disconnect in quick
	// succession: spice-server 0.15.1 crashes then if it serves several clients.
	SingleClient bool `json:"single_client,omitempty"`
	// Agent is auto, on or off: whether the guest gets the agent's virtio-serial port. Default:
	// auto, as in the fixture.
	Agent Agent `json:"agent,omitempty"`

	// Proxy is the proxy between QEMU and the client: Builtin, None, or a Command with placeholders
	// such as {sources} {tls} {port} {tls_port} {vv}. Default: Builtin.
	Proxy Program `json:"proxy,omitzero"`
	// Takeover says what the built-in proxy does with a second viewer: proxy.TakeoverShare,
	// TakeoverRefuse or TakeoverReplace. Default: TakeoverShare, which leaves it to the console.
	Takeover proxy.Takeover `json:"takeover,omitempty"`
	// Client is the client of the console: Builtin, None, or a Command with the placeholders {vv}
	// {socket} {dir} {ready}. Default: Builtin.
	Client Program `json:"client,omitzero"`
	// Warm is auto, off or require: whether to restore the machine from a state saved at its
	// banner. Default: auto.
	Warm Warm `json:"warm,omitempty"`

	// Link puts a relay between client and proxy that impairs the connection. A zero Link impairs
	// nothing, but lets a test change, cut and freeze the connection while the lane is up. Default:
	// none. See Lane.Relay.
	Link *impair.Profile `json:"link,omitempty"`
	// ImpairMode says where the impairment happens: impair.InKernel, by netem, which needs a user
	// who may create network namespaces; impair.InProcess; or impair.Auto, which uses the kernel if
	// possible. Default: impair.Auto. The timeline says which one is used, and why.
	ImpairMode impair.Mode `json:"impair_mode,omitempty"`
	// Deprecated: use ImpairMode, which wins if both are set.
	LinkIn impair.Mode `json:"link_in,omitempty"`

	// Needles is the directory of reference images, see Lane.AwaitScreen. Default: DefaultNeedles.
	Needles string `json:"needles,omitempty"`
	// Fonts are further fonts that the guest may write in, see Lane.Text. Default: only those of
	// package text.
	Fonts []*text.Font `json:"-"`

	// Film says whether the client's picture is filmed, and which lanes keep the film: off, failures
	// or always. See lane.html in docs/reading-a-red-lane.md. Only the built-in client films.
	// Default: $SPICELANE_FILM, else failures.
	Film Film `json:"film,omitempty"`

	// Devices are values for further -device options, after the fixture's.
	Devices []string `json:"devices,omitempty"`
	// ExtraArgs are added at the end of QEMU's argv.
	ExtraArgs []string `json:"extra_args,omitempty"`

	// Timeout limits the time from start to ready under KVM. It is multiplied under TCG and by
	// $SPICELANE_TIMEOUT_SCALE. Default: 30 s.
	Timeout time.Duration `json:"timeout,omitempty"`

	// Witness puts a relay between QEMU and the proxy that records QEMU's messages. It compares them
	// byte by byte with those that the client receives, on all channels except main. A message that
	// did not arrive as it was sent ends the lane with a fault of the proxy. If all messages arrived
	// and a picture is wrong, the client is at fault. Witness needs a proxy, the built-in client
	// inside this process, and a QEMU without TLS. Default: a wrong picture is the path's fault.
	Witness bool `json:"witness,omitempty"`

	// Processes runs the built-in proxy and client as separate processes, so that they can be
	// stopped and killed; see Lane.Signal. They run this program (os.Executable) again, which must
	// call headless.Main first in main or TestMain. Default: they run inside this process.
	Processes bool `json:"processes,omitempty"`
	// ReleaseControl leaves the client's control socket to other programs once the lane is ready,
	// because a socket serves one client at a time. The lane itself then cannot be driven.
	ReleaseControl bool `json:"release_control,omitempty"`
	// Logger gets the harness's log messages. Default: none.
	Logger *slog.Logger `json:"-"`
	// OnBegin is called when a step begins, and OnStep when it ends, with its duration. They must
	// not block.
	OnBegin func(name string)   `json:"-"`
	OnStep  func(registry.Step) `json:"-"`
	// OnState is called on each change of the lane's state. It must not block.
	OnState func(registry.State) `json:"-"`
	// OnLoad is called twice a second with the load of QEMU and the host, including during the start.
	// It must not block.
	OnLoad func(Load) `json:"-"`

	// test is the name of the lane's test, or empty without one.
	test string
	// soonGone says that go test removes Dir, in a line, or is empty.
	soonGone string
	// startFailed gets a lane that did not come up, before it is torn down.
	startFailed func(*Lane, error)
	// leaked gets an error that names the secrets in the files of a lane that did not come up.
	leaked func(error)
	// changedScreen is called when a reference image was replaced; if nil, that is returned as an
	// error.
	changedScreen func(error)
	// updating says what to do with reference images, instead of the flag -update-screens.
	updating updating
	// defect is a fault that a test puts into the lane's parts.
	defect defect
	// patience limits, under KVM, the waits for equal pictures. Default: samePatience.
	patience time.Duration
}

func (c Config) name() string    { return or(c.Name, "lane") }
func (c Config) needles() string { return or(c.Needles, DefaultNeedles) }
func (c Config) fixture() string { return or(c.Fixture, "beacon") }

func (c Config) samePatience() time.Duration {
	if c.patience > 0 {
		return c.patience
	}
	return samePatience
}

func (c Config) log() *slog.Logger {
	if c.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Logger
}

func (c Config) timeout() time.Duration {
	if c.Timeout > 0 {
		return c.Timeout
	}
	return 30 * time.Second
}

// A defect makes a proxy or a client faulty, for tests that check that the harness notices.
type defect struct {
	// proxy returns what replaces a message on its way through the proxy.
	proxy func(wire.ChannelID, witness.Message) []witness.Message
	// tap may change what the client receives before it decodes it.
	tap func(wire.ChannelID) wire.Tap
	// console returns what the client's control socket drives instead of the real console.
	console func(server.Console) server.Console
	// newcomer is like tap, for a client that connects to QEMU itself to find the hop at fault.
	newcomer func(wire.ChannelID) wire.Tap
}

func or(s, def string) string {
	if s == "" {
		return def
	}
	return s
}
