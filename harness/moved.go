package harness

import (
	"context"
	"image"
	"time"

	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/headless"
	"github.com/spicelane/spicelane/harness/host"
	"github.com/spicelane/spicelane/harness/impair"
	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/timeline"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice/control"
)

// Names that moved to other packages. They stay for one release.

// Deprecated: use the types of packages verdict, registry, drive and headless.
type (
	// Deprecated: use verdict.Kind.
	Verdict = verdict.Kind
	// Deprecated: use verdict.Error.
	Fault = verdict.Error
	// Deprecated: use verdict.Report.
	VerdictReport = verdict.Report
	// Deprecated: use verdict.ConsoleError.
	ConsoleError = verdict.ConsoleError
	// Deprecated: use registry.State.
	State = registry.State
	// Deprecated: use registry.Step.
	Step = registry.Step
	// Deprecated: use drive.AwaitError.
	AwaitError = drive.AwaitError
	// Deprecated: use drive.SmokeConfig.
	SmokeConfig = drive.SmokeConfig
	// Deprecated: use drive.SmokeReport.
	SmokeReport = drive.SmokeReport
	// Deprecated: use drive.LatencyConfig.
	LatencyConfig = drive.LatencyConfig
	// Deprecated: use drive.Latencies.
	Latencies = drive.Latencies
	// Deprecated: use headless.ClientConfig.
	ClientConfig = headless.ClientConfig
	// Deprecated: use headless.ProxyConfig.
	ProxyConfig = headless.ProxyConfig
	// Deprecated: use registry.Registry.
	Registry = registry.Registry
	// Deprecated: use registry.Addr.
	Addr = registry.Addr
	// Deprecated: use registry.ProxyAddrs.
	ProxyAddrs = registry.ProxyAddrs
	// Deprecated: use registry.PIDs.
	PIDs = registry.PIDs
	// Deprecated: use timeline.Writer.
	Timeline = timeline.Writer
	// Deprecated: use drive.SmokeCheck.
	SmokeCheck = drive.SmokeCheck
	// Deprecated: use host.Progress.
	Progress = host.Progress
	// Deprecated: use host.Report.
	DoctorReport = host.Report
	// Deprecated: use host.Check.
	DoctorCheck = host.Check
	// Deprecated: use headless.Client.
	Client = headless.Client
	// Deprecated: use headless.Proxy.
	Proxy = headless.Proxy
	// Deprecated: use ScreenshotFunc.
	Shot = ScreenshotFunc
)

// Deprecated: use the constants of packages verdict, timeline, registry and host.
const (
	Product         = verdict.Product
	Harness         = verdict.Harness
	Host            = verdict.Host
	VerdictFile     = verdict.File
	TimelineFile    = timeline.File
	StateStarting   = registry.StateStarting
	StateReady      = registry.StateReady
	StateFailed     = registry.StateFailed
	StateStopped    = registry.StateStopped
	EnvTimeoutScale = host.EnvTimeoutScale
)

// VerdictOf returns whose fault err is.
//
// Deprecated: use verdict.Of.
func VerdictOf(err error) verdict.Kind { return verdict.Of(err) }

// CacheDir returns where lanes keep what they can use again.
//
// Deprecated: use host.CacheDir.
func CacheDir() string { return host.CacheDir() }

// AwaitDigest waits for a digest on a control socket.
//
// Deprecated: use drive.AwaitDigest.
func AwaitDigest(ctx context.Context, d *control.Driver, what string, f func(Digest) bool) (Digest, error) {
	return drive.AwaitDigest(ctx, d, what, f)
}

// ReadDigest reads the digest on the screen behind a control socket.
//
// Deprecated: use drive.ReadDigest.
func ReadDigest(ctx context.Context, d *control.Driver) (Digest, error) {
	return drive.ReadDigest(ctx, d)
}

// Smoke asks a control socket whether the console behind it is right.
//
// Deprecated: use drive.Smoke.
func Smoke(ctx context.Context, cfg drive.SmokeConfig) (*drive.SmokeReport, error) {
	return drive.Smoke(ctx, cfg)
}

// ScanPicture reads the digest in a picture.
//
// Deprecated: use drive.ScanPicture.
func ScanPicture(img image.Image) (Digest, error) { return drive.ScanPicture(img) }

// WritePNG writes a picture to path.
//
// Deprecated: use drive.WritePNG.
func WritePNG(path string, img image.Image) error { return drive.WritePNG(path, img) }

// StartClient starts a headless client.
//
// Deprecated: use headless.StartClient.
func StartClient(ctx context.Context, cfg headless.ClientConfig) (*headless.Client, error) {
	return headless.StartClient(ctx, cfg)
}

// StartProxy starts a proxy.
//
// Deprecated: use headless.StartProxy.
func StartProxy(cfg headless.ProxyConfig) (*headless.Proxy, error) {
	return headless.StartProxy(context.Background(), cfg)
}

// KeyLatencies measures how long keys take.
//
// Deprecated: use drive.KeyLatencies.
func KeyLatencies(ctx context.Context, cfg drive.LatencyConfig, drivers ...*control.Driver) ([]drive.Latencies, error) {
	return drive.KeyLatencies(ctx, cfg, drivers...)
}

// PressKeys presses keys through a control socket.
//
// Deprecated: use drive.Press.
func PressKeys(ctx context.Context, d *control.Driver, keys ...string) error {
	return drive.Press(ctx, d, keys...)
}

// DialControl connects to a control socket.
//
// Deprecated: use drive.Dial.
func DialControl(ctx context.Context, name, socket string) (*control.Driver, error) {
	return drive.Dial(ctx, name, socket)
}

// FirstDifference says where two pictures differ first.
//
// Deprecated: use drive.FirstDifference.
func FirstDifference(got, want *image.NRGBA) string { return drive.FirstDifference(got, want) }

// Doctor says what this host can run.
//
// Deprecated: use host.Doctor.
func Doctor(ctx context.Context) *host.Report { return host.Doctor(ctx) }

// DefaultRegistry returns the registry of this user's lanes.
//
// Deprecated: use the zero registry.Registry.
func DefaultRegistry() Registry { return Registry{} }

// RunningTests returns the lanes of tests that run now.
//
// Deprecated: use registry.RunningTests.
func RunningTests() []State { return registry.RunningTests() }

// CheckName says what is wrong with a lane's name.
//
// Deprecated: use registry.CheckName.
func CheckName(name string) error { return registry.CheckName(name) }

// Alive tells whether a process runs.
//
// Deprecated: use host.Alive.
func Alive(pid int) bool { return host.Alive(pid) }

// AwaitSurface waits for a primary surface with something on it.
//
// Deprecated: use drive.AwaitSurface.
func AwaitSurface(ctx context.Context, d *control.Driver) (control.Surface, error) {
	return drive.AwaitSurface(ctx, d)
}

// FramebufferCRC returns the checksum that the digest in a picture should contain.
//
// Deprecated: use drive.FramebufferCRC.
func FramebufferCRC(img *image.NRGBA) uint32 { return drive.FramebufferCRC(img) }

// ScanDigest reads the digest in raw pixels.
//
// Deprecated: use drive.ScanDigest.
func ScanDigest(pix []byte, stride, w, h int) (control.Digest, error) {
	return drive.ScanDigest(pix, stride, w, h)
}

// SamePicture is AwaitScreensMatch.
//
// Deprecated: use AwaitScreensMatch.
func (l *Lane) SamePicture(ctx context.Context) error { return l.AwaitScreensMatch(ctx) }

// SamePictureAs is AwaitScreensMatchOf.
//
// Deprecated: use AwaitScreensMatchOf.
func (l *Lane) SamePictureAs(ctx context.Context, shot Shot, next func(context.Context) error) error {
	return l.AwaitScreensMatchOf(ctx, shot, next)
}

// ProvenPicture is AwaitVerifiedScreenshot.
//
// Deprecated: use AwaitVerifiedScreenshot.
func (l *Lane) ProvenPicture(ctx context.Context) (*image.NRGBA, Digest, error) {
	return l.AwaitVerifiedScreenshot(ctx)
}

// Still is WhilePaused.
//
// Deprecated: use WhilePaused.
func (l *Lane) Still(ctx context.Context, f func() error) error { return l.WhilePaused(ctx, f) }

// Judge is Attribute.
//
// Deprecated: use Attribute.
func (l *Lane) Judge(began time.Time, err error) error { return l.Attribute(began, err) }

// Link is Relay.
//
// Deprecated: use Relay.
func (l *Lane) Link() *impair.Relay { return l.Relay() }

// TellTicket is SyncTicket.
//
// Deprecated: use SyncTicket.
func (l *Lane) TellTicket() error { return l.SyncTicket() }

// Client is Control.
//
// Deprecated: use Control.
func (l *Lane) Client() (*control.Driver, error) { return l.Control() }
