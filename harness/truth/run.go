// Package truth has a real spice-server draw steps, and compares the server's memory with the
// pictures of the headless client: connected directly, and through a proxy.
//
//	report, err := truth.Run(ctx, truth.Config{Helper: helper, Dir: dir})
//	if err == nil {
//		err = report.Err() // names the first failed step, and the hop at fault
//	}
//
// [Server] is the server alone, for tests that draw by themselves. The steps are in package
// catalogue, the commands in package qxl, and docs/truth.md describes all of it.
package truth

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"image"
	"image/png"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/spicelane/spicelane/harness/coverage"
	"github.com/spicelane/spicelane/harness/truth/catalogue"
	"github.com/spicelane/spicelane/harness/truth/qxl"
	"github.com/spicelane/spicelane/harness/witness"
	"github.com/spicelane/spicelane/internal/hostport"
	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/canvas"
	"github.com/spicelane/spicelane/spice/wire"
)

// Config configures a Run. Helper and Dir are required.
type Config struct {
	// Helper is the path of the helper, see package truthserver.
	Helper string
	// Dir is the directory for the pictures of differences. It is created.
	Dir string
	// Groups are the steps; nil means the whole catalogue.
	Groups []catalogue.Group
	// Settings are the compressions with which the steps run; nil means DefaultSettings.
	Settings []Setting
	// Proxy returns the path through a proxy; nil means BuiltinProxy. If NoProxy is set, there is
	// no proxied client.
	Proxy   func(context.Context, Backend) (Path, error)
	NoProxy bool
	// Foreign, if set, starts another client, which connects through the proxy and shows its
	// picture.
	Foreign func(context.Context, Backend) (Foreign, error)
	// Gtk is the path of spicy-screenshot, whose picture is compared after each group. Empty means
	// none.
	Gtk string
	// MostFailures is the number of failures after which the run stops; 0 means 100.
	MostFailures int
	// Memory is the size of the device's memory in bytes; 0 means DefaultMemory.
	Memory int
	// Pixels, if set, makes the pixels of all images instead of the images' own functions.
	// catalogue.Coarse makes small recordings.
	Pixels func(*qxl.Image) []byte
	// Shrink reduces the first failure of each group to the fewest drawings that still show it.
	Shrink bool
	// Record, if set, is a directory for spice-server's recordings, one per group. Groups that are
	// Unrecorded and steps that are not Recordable are left out.
	Record string
	// Say, if set, is called with the progress. It must not block.
	Say func(string)

	// Spoil, if set, changes the configuration of a client ("direct", "proxied") before it
	// connects, and Look changes its pictures. Tests inject faults with them.
	Spoil func(name string, cfg *spice.Config)
	Look  func(name string, picture *canvas.Image)
	// Dialed, if set, is called with each client that has connected.
	Dialed func(name string, client *spice.Client)
}

// Foreign is a client of another project.
type Foreign interface {
	// Screenshot returns the primary surface as the client shows it.
	Screenshot(context.Context) (image.Image, error)
	Close() error
}

// DefaultSettings returns ten settings: each compression alone, glz with zlib, and auto_glz and
// quic with JPEG.
func DefaultSettings() []Setting {
	var all []Setting
	for _, c := range Compressions {
		all = append(all, Setting{Compression: c})
	}
	return append(all, Setting{Compression: "glz", Zlib: true}, Setting{Compression: "auto_glz", JPEG: true}, Setting{Compression: "quic", JPEG: true})
}

// Failure is a step whose result is not the stated one.
type Failure struct {
	Step      int    `json:"step"`
	Group     string `json:"group"`
	Operation string `json:"operation"`
	Words     string `json:"words"`
	Setting   string `json:"setting"`
	// Hop is the hop at fault: HopServer, HopClient, HopProxy, HopForeign.
	Hop string `json:"hop"`
	// What says what differs. Message is the first message that differs, if the proxy is at fault.
	What    string `json:"what"`
	Message string `json:"message,omitempty"`
	// Dir contains the pictures: server.png, direct.png, proxied.png, difference.png.
	Dir string `json:"dir,omitempty"`
	// Smallest has the fewest commands that show the failure, if Config.Shrink is set.
	Smallest []string `json:"smallest,omitempty"`

	shown *canvas.Image // the picture in direct.png
}

func (f *Failure) String() string {
	s := fmt.Sprintf("step %d (%s, %s) with %s: the %s is wrong: %s", f.Step, f.Operation, f.Words, f.Setting, f.Hop, f.What)
	if f.Message != "" {
		s += "; " + f.Message
	}
	if f.Dir != "" {
		s += "; pictures in " + f.Dir
	}
	for _, words := range f.Smallest {
		s += "\n\tit takes " + words
	}
	return s
}

// Row is the table's row for an operation.
type Row struct {
	Operation string                 `json:"operation"`
	Steps     int                    `json:"steps"` // of the catalogue
	Ran       int                    `json:"ran"`   // steps times settings
	By        map[catalogue.Kind]int `json:"by"`    // as stated, by what was stated
	Failed    int                    `json:"failed"`
}

// Report is the result of a run.
type Report struct {
	Settings []string      `json:"settings"`
	Steps    int           `json:"steps"` // of the catalogue
	Ran      int           `json:"ran"`   // steps times settings
	Rows     []*Row        `json:"rows"`
	Failures []Failure     `json:"failures"`
	Stopped  string        `json:"stopped,omitempty"` // why not everything ran
	Fresh    int           `json:"fresh"`             // pictures of clients that connected after a group
	Gtk      int           `json:"gtk"`               // pictures of spice-gtk
	Foreign  int           `json:"foreign"`           // pictures of a foreign client
	Took     time.Duration `json:"took_ns"`
	// Coverage is what the direct and the proxied client received.
	Coverage spice.Coverage `json:"coverage"`
}

// OK reports whether every step had the stated result.
func (r *Report) OK() bool { return len(r.Failures) == 0 && r.Stopped == "" }

func (r *Report) row(operation string) *Row {
	for _, row := range r.Rows {
		if row.Operation == operation {
			return row
		}
	}
	row := &Row{Operation: operation, By: map[catalogue.Kind]int{}}
	r.Rows = append(r.Rows, row)
	return row
}

// runner is a run in progress.
type runner struct {
	cfg    Config
	report *Report
	relay  *witness.Relay
	port   atomic.Int32 // the server's, to which relay leads
	path   Path
	ticket string
	stats  []spice.Stats

	ctx     context.Context // of the walk
	primary catalogue.Surface
	setting Setting
	server  *Server
	direct  *viewer
	proxied *viewer
	foreign Foreign
	mark    uint32 // the last value of the sentinel
	healed  bool   // the last step left a difference that was as expected
	lost    *lost  // since the direct client was paused; nil: it was not
	refused bool   // the clients have refused to draw something, and trust their surface no more
	shown   bool   // the clients have shown that they take part
	truth   canvas.Image
	before  []byte // the primary surface before a step
}

// errStopped ends a run that has failed often enough.
var errStopped = errors.New("truth: enough steps have failed")

// Run runs the steps of all groups with each setting. The error is about the run itself; failed
// steps are in the report.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	if cfg.Groups == nil {
		cfg.Groups = catalogue.Groups()
	}
	if cfg.Settings == nil {
		cfg.Settings = DefaultSettings()
	}
	cfg.MostFailures = cmp.Or(cfg.MostFailures, 100)
	if cfg.Proxy == nil {
		cfg.Proxy = BuiltinProxy
	}
	if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("truth: %w", err)
	}
	if cfg.Record != "" {
		if err := os.MkdirAll(cfg.Record, 0o755); err != nil {
			return nil, fmt.Errorf("truth: %w", err)
		}
	}
	r := &runner{ctx: ctx, cfg: cfg, report: &Report{}, ticket: rand.Text()}
	started := time.Now()
	err := r.walk(ctx)
	if errors.Is(err, errStopped) {
		r.report.Stopped = fmt.Sprintf("after %d failures", len(r.report.Failures))
		err = nil
	}
	r.report.Took = time.Since(started)
	r.report.Coverage = spice.CoverageOf(r.stats...)
	return r.report, errors.Join(err, coverage.Write(cfg.Dir, r.report.Coverage))
}

func (r *runner) walk(ctx context.Context) (err error) {
	for _, g := range r.cfg.Groups {
		r.report.Steps += len(g.Steps)
		for _, s := range g.Steps {
			r.report.row(s.Operation).Steps++
		}
	}
	for _, s := range r.cfg.Settings {
		r.report.Settings = append(r.report.Settings, s.String())
	}
	if !r.cfg.NoProxy {
		if r.relay, err = witness.Start(witness.Config{Dial: dialPort(&r.port)}); err != nil {
			return fmt.Errorf("truth: %w", err)
		}
		defer r.relay.Close()
		if r.path, err = r.cfg.Proxy(ctx, r.backend()); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, r.path.Close()) }()
	}
	defer func() { err = errors.Join(err, r.stop()) }()
	for i, setting := range r.cfg.Settings {
		r.setting = setting
		if err := r.stop(); err != nil {
			return err
		}
		for _, g := range r.cfg.Groups {
			if !suits(g, setting) || g.Once && i != firstFor(g, r.cfg.Settings) || r.cfg.Record != "" && g.Unrecorded {
				continue
			}
			if r.cfg.Say != nil {
				r.cfg.Say(fmt.Sprintf("%s: %s, %d steps", setting, g.Name, len(g.Steps)))
			}
			if err := r.group(ctx, &g); err != nil {
				return err
			}
		}
	}
	return nil
}

// suits tells whether a group runs with a setting.
func suits(g catalogue.Group, s Setting) bool { return !s.JPEG || g.JPEG }

// firstFor returns the index of the first setting with which a group runs; -1 if there is none.
func firstFor(g catalogue.Group, all []Setting) int {
	return slices.IndexFunc(all, func(s Setting) bool { return suits(g, s) })
}

// dialPort returns a function that connects to a port of the loopback address; the port may change.
func dialPort(port *atomic.Int32) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", hostport.Join("127.0.0.1", int(port.Load())))
	}
}

// backend returns the server's address for proxies.
func (r *runner) backend() Backend {
	return Backend{Host: "127.0.0.1", Port: r.relay.Port(), Ticket: r.ticket}
}

// begin starts the server and the clients, unless the running ones fit the group.
func (r *runner) begin(ctx context.Context, g *catalogue.Group) error {
	record := ""
	if r.cfg.Record != "" {
		record = filepath.Join(r.cfg.Record, g.Name+".replay")
	}
	if r.server != nil && (r.server.cfg.Streaming != g.Streaming || r.server.cfg.Record != record) {
		if err := r.stop(); err != nil {
			return err
		}
	}
	if r.server == nil {
		cfg := ServerConfig{Helper: r.cfg.Helper, Dir: r.cfg.Dir, Setting: r.setting, Streaming: g.Streaming, Ticket: r.ticket, Memory: r.cfg.Memory,
			Record: record, Pixels: r.cfg.Pixels}
		var err error
		if r.server, err = StartServer(ctx, cfg); err != nil {
			return err
		}
	}
	if have, ok := r.server.surfaces[0]; !ok || have.Surface != g.Primary {
		if err := r.server.Primary(ctx, g.Primary); err != nil {
			return err
		}
		// A client may wait for a picture that has more than one colour.
		if err := r.server.Fill(ctx, image.Rect(0, 0, g.Primary.Width/2, g.Primary.Height), 0x5555); err != nil {
			return err
		}
	}
	if r.direct == nil {
		return r.dial(ctx)
	}
	return nil
}

// dial connects the direct, the proxied and the foreign client.
func (r *runner) dial(ctx context.Context) (err error) {
	if r.direct, err = r.dialDirect(ctx, "direct"); err != nil {
		return err
	}
	if r.path != nil {
		if r.proxied, err = r.dialProxied(ctx, "proxied"); err != nil {
			return err
		}
		if r.cfg.Foreign != nil {
			if r.foreign, err = r.cfg.Foreign(ctx, r.backend()); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *runner) dialDirect(ctx context.Context, name string) (*viewer, error) {
	cfg := spice.Config{Host: "127.0.0.1", Port: r.server.Port(), Password: r.ticket}
	return r.dialWith(ctx, name, cfg)
}

func (r *runner) dialProxied(ctx context.Context, name string) (*viewer, error) {
	r.port.Store(int32(r.server.Port()))
	cfg, err := r.path.Client(ctx)
	if err != nil {
		return nil, fmt.Errorf("truth: the proxy's virt-viewer file: %w", err)
	}
	return r.dialWith(ctx, name, cfg)
}

func (r *runner) dialWith(ctx context.Context, name string, cfg spice.Config) (*viewer, error) {
	if name == freshProxied {
		cfg.PreferredCompression = r.setting.preferred()
	}
	if name == freshDirect || name == freshProxied {
		// These clients only need a picture. Each channel costs the server an RSA key.
		cfg.Channels = func(id wire.ChannelID) bool { return id.Type == wire.ChannelDisplay }
	}
	if r.cfg.Spoil != nil {
		r.cfg.Spoil(name, &cfg)
	}
	v, err := dialViewer(ctx, name, cfg)
	if err == nil && r.cfg.Dialed != nil {
		r.cfg.Dialed(name, v.client)
	}
	if err == nil && r.cfg.Look != nil {
		v.look = func(c *canvas.Image) { r.cfg.Look(name, c) }
	}
	return v, err
}

// hangUp disconnects the clients of dial.
func (r *runner) hangUp() error {
	var errs []error
	for _, v := range []*viewer{r.direct, r.proxied} {
		if v != nil {
			r.stats = append(r.stats, v.client.Stats())
			if r.relay != nil {
				r.relay.Forget(v.client.MainState().ConnectionID)
			}
			errs = append(errs, v.client.Close())
		}
	}
	if r.foreign != nil {
		errs = append(errs, r.foreign.Close())
	}
	r.direct, r.proxied, r.foreign, r.shown = nil, nil, nil, false
	return errors.Join(errs...)
}

// stop ends clients and server.
func (r *runner) stop() error {
	err := r.hangUp()
	if r.server != nil {
		err = errors.Join(err, r.server.Close())
		r.server = nil
	}
	return err
}

// group runs the steps of a group.
func (r *runner) group(ctx context.Context, g *catalogue.Group) error {
	r.primary = g.Primary
	if len(g.Steps) > 0 && g.Steps[0].Replay != "" {
		// The surfaces of a recording would disturb the next one.
		if err := r.stop(); err != nil {
			return err
		}
	}
	for i := range g.Steps {
		s := &g.Steps[i]
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		expect := s.ExpectedWith(cmp.Or(r.setting.Compression, "off"))
		if r.cfg.Record != "" && !s.Recordable() {
			continue
		}
		r.report.Ran++
		row := r.report.row(s.Operation)
		row.Ran++
		var f *Failure
		var err error
		r.healed = false
		if expect.Kind == catalogue.Dies {
			f, err = r.deadly(ctx, g, s)
		} else {
			if err = r.begin(ctx, g); err == nil {
				f, err = r.step(ctx, s, expect)
			}
		}
		if err != nil {
			return fmt.Errorf("%w (step %s with %s)", err, s.Name(), r.setting)
		}
		if f == nil {
			if r.healed && expect.Kind == catalogue.Exact {
				row.By[catalogue.Within]++ // what JPEG loses
			} else {
				row.By[expect.Kind]++
			}
			continue
		}
		row.Failed++
		if err := r.failed(f, s); err != nil {
			return err
		}
		if s.Replay != "" {
			return nil // the rest builds on it
		}
	}
	if r.server == nil {
		return nil
	}
	return r.afterwards(ctx, g)
}

// failed records a failure and stops server and clients, because otherwise all later steps would
// fail, too.
func (r *runner) failed(f *Failure, s *catalogue.Step) error {
	if r.cfg.Shrink && !slices.ContainsFunc(r.report.Failures, func(o Failure) bool { return o.Group == s.Group }) {
		f.Smallest = r.smallest(s)
	}
	f.Step, f.Group, f.Operation, f.Words, f.Setting = s.Number, s.Group, s.Operation, s.Words, r.setting.String()
	r.report.Failures = append(r.report.Failures, *f)
	if err := r.stop(); err != nil {
		return err
	}
	if len(r.report.Failures) >= r.cfg.MostFailures {
		return errStopped
	}
	return nil
}

// smallest returns the fewest drawings that still show the failure of a step. It draws them on
// separate servers. It returns nil if the drawings alone do not show the failure.
func (r *runner) smallest(s *catalogue.Step) []string {
	var drawings []qxl.Command
	for _, g := range r.cfg.Groups {
		for i := range g.Steps {
			if g.Name == s.Group && g.Steps[i].Number <= s.Number {
				drawings = append(drawings, g.Steps[i].Do...)
			}
		}
	}
	fails := func(some []qxl.Command) bool {
		if r.ctx.Err() != nil {
			return false
		}
		step := *s
		step.Do, step.Batch = some, false
		cfg := r.cfg
		cfg.Groups = []catalogue.Group{{Name: s.Group, Primary: r.primary, Steps: []catalogue.Step{step}}}
		cfg.Settings, cfg.Shrink, cfg.Gtk, cfg.Record, cfg.Say, cfg.Foreign = []Setting{r.setting}, false, "", "", nil, nil
		cfg.Dir = filepath.Join(r.cfg.Dir, "shrinking")
		report, err := Run(r.ctx, cfg)
		return err == nil && len(report.Failures) > 0
	}
	defer os.RemoveAll(filepath.Join(r.cfg.Dir, "shrinking"))
	if !fails(drawings) {
		return nil // it takes more than these drawings
	}
	var words []string
	for _, c := range shrink(drawings, fails) {
		if d, ok := c.(*qxl.Drawable); ok {
			words = append(words, fmt.Sprintf("%T on surface %d in %v, clip %v: %+v", d.Op, d.Surface, d.Box, d.Clip.Rects, d.Op))
			continue
		}
		words = append(words, fmt.Sprintf("%T %+v", c, c))
	}
	return words
}

// stepTime limits the wait for a client after a step. It is long enough for a heavily loaded host;
// only a lost message takes all of it.
const stepTime = 15 * time.Second

// step carries out a step and compares the pictures. The Failure is nil if the step has the stated
// result.
func (r *runner) step(ctx context.Context, s *catalogue.Step, expect catalogue.Expect) (*Failure, error) {
	if !r.shown {
		// The first messages to a new client do not belong to the step.
		if err := r.sentinel(ctx); err != nil {
			return r.serverFailure(err)
		}
		if f, err := r.await(ctx); f != nil || err != nil {
			return f, err
		}
		r.direct.forget()
		r.shown = true
	}
	if expect.Kind == catalogue.Dropped {
		p := r.server.surfaces[0]
		r.before = append(r.before[:0], r.server.mem.all[p.at:p.at+uint64(p.stride*p.Height)]...)
	}
	r.direct.forget()
	if err := r.play(ctx, s); err != nil {
		return r.serverFailure(err)
	}
	if expect.Kind == catalogue.Dropped {
		p := r.server.surfaces[0]
		if !slices.Equal(r.before, r.server.mem.all[p.at:p.at+uint64(p.stride*p.Height)]) {
			return &Failure{Hop: HopServer, What: "it was to drop the command (" + expect.Reason + ") and drew"}, nil
		}
	}
	if err := r.sentinel(ctx); err != nil {
		return r.serverFailure(err)
	}
	if f, err := r.await(ctx); f != nil || err != nil {
		return f, err
	}
	if expect.Kind == catalogue.Dropped {
		if n := r.direct.draws(); n != 1 {
			return &Failure{Hop: HopServer, What: fmt.Sprintf("it was to drop the command (%s) and sent %d drawings besides the sentinel", expect.Reason, n-1)}, nil
		}
	}
	if l := r.lost; l != nil {
		r.lost = nil
		if n := l.frames(r); n < fewest {
			return &Failure{Hop: HopServer, What: fmt.Sprintf("it was to leave out frames for a client that does not read, and left out %d of %d", n, l.offered(r))}, nil
		}
	}
	f, healed, err := r.look(ctx, s, expect)
	r.healed = healed
	return f, err
}

// serverFailure returns a Failure for a server that died, and other errors as they are.
func (r *runner) serverFailure(err error) (*Failure, error) {
	var died *ServerDied
	if errors.As(err, &died) {
		return &Failure{Hop: HopServer, What: died.Error()}, nil
	}
	return nil, err
}

// play makes the server carry out a step.
func (r *runner) play(ctx context.Context, s *catalogue.Step) error {
	if s.Reset {
		if err := r.server.Reset(ctx); err != nil {
			return err
		}
		if err := r.server.Primary(ctx, r.primary); err != nil {
			return err
		}
	}
	if s.ResetCache {
		if err := r.server.ResetCache(ctx); err != nil {
			return err
		}
	}
	for _, c := range s.Do {
		if err := r.server.Push(ctx, c); err != nil {
			return err
		}
		d, drawing := c.(*qxl.Drawable)
		if !drawing || s.Batch {
			continue
		}
		if err := r.server.Draw(ctx, d.Surface); err != nil {
			return err
		}
	}
	if s.Replay != "" {
		if err := r.replayed(ctx, s); err != nil {
			return err
		}
	}
	if s.Monitors != nil {
		if err := r.server.Monitors(ctx, s.Monitors); err != nil {
			return err
		}
	}
	if s.Frames != nil {
		if err := r.frames(ctx, s.Frames); err != nil {
			return err
		}
	}
	return r.server.Draw(ctx, 0)
}

// replayed plays the next command of a recording.
func (r *runner) replayed(ctx context.Context, s *catalogue.Step) error {
	if r.server.replaying != s.Replay {
		if err := r.server.Replay(ctx, s.Replay); err != nil {
			return err
		}
	}
	if more, err := r.server.Next(ctx); err != nil || more {
		return err
	}
	return &BadRecording{Path: s.Replay, Err: fmt.Errorf("spice-server does not find %s", s.Words)}
}

// frameTime is the time between the frames of a region that should become a stream. spice-server
// makes a video of 20 frames that are less than 200 ms apart.
const frameTime = 15 * time.Millisecond

// patience times the planned number is the most frames drawn until a region has become a stream. On
// a busy host some frames are too late for the server to detect a video.
const patience = 20

// unread is the number of frames that one client gets while the other reads nothing. fewest is the
// number of them that the other must lose at least: without an acknowledgement spice-server sends
// at most 40 messages.
const (
	unread = 60
	fewest = 10
)

// frames redraws a region f.Count times at video rate, and longer if it has not become a stream by
// then. If the region is to grow or to lose frames, that happens while it is a stream.
func (r *runner) frames(ctx context.Context, f *catalogue.Frames) error {
	tick := time.NewTicker(frameTime)
	defer tick.Stop()
	before := r.direct.streamed()
	for i, drawn := 0, 0; drawn < f.Count; i++ {
		box := f.Box
		if drawn >= f.Count/2 {
			box.Max = box.Max.Add(f.Grow)
		}
		if f.Lose && drawn == f.Count/2 {
			var err error
			if r.lost, err = r.paused(ctx); err != nil {
				return err
			}
			r.direct.pause.Lock()
			defer r.direct.pause.Unlock()
		}
		im := catalogue.Frame(f, i, box.Dx(), box.Dy())
		d := &qxl.Drawable{Box: box, Clip: f.Clip, Effect: 1, Time: uint32(time.Now().UnixMilli()),
			Op: &qxl.Copy{Src: im, Area: im.Bounds(), Rop: qxl.RopPut}}
		if err := r.server.Push(ctx, d); err != nil {
			return err
		}
		if _, err := r.server.ask(ctx, "wake"); err != nil {
			return err
		}
		waiting := false
		switch drawn + 1 {
		case f.Count / 2:
			waiting = r.direct.streamed() == before
		case f.Count:
			waiting = r.lost != nil && r.lost.offered(r) < unread
		}
		if !waiting || i >= patience*f.Count {
			drawn++
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if f.Over == nil {
		return nil
	}
	return r.server.Push(ctx, f.Over)
}

// lost has the numbers of frames that both clients had shown when the direct one was paused. Its
// method frames returns how many fewer the direct client has shown since.
type lost struct{ direct, proxied uint64 }

// paused waits until both clients have shown everything, and returns their numbers of frames. It
// returns nil without a proxied client.
func (r *runner) paused(ctx context.Context) (*lost, error) {
	if r.proxied == nil {
		return nil, nil
	}
	if err := r.sentinel(ctx); err != nil {
		return nil, err
	}
	if f, err := r.await(ctx); f != nil || err != nil {
		return nil, err // the step's own wait says whose fault it is
	}
	return &lost{r.direct.streamed(), r.proxied.streamed()}, nil
}

// offered returns how many frames the server has sent since then to the client that reads.
func (l *lost) offered(r *runner) int { return int(r.proxied.streamed() - l.proxied) }

func (l *lost) frames(r *runner) int { return l.offered(r) - int(r.direct.streamed()-l.direct) }

// sentinel draws a pixel with a new value in the corner. A client that has this pixel has
// everything before it, too.
func (r *runner) sentinel(ctx context.Context) error {
	r.mark = r.mark%0x7ffe + 1 // fits 15 bits
	at := r.corner()
	return r.server.Fill(ctx, image.Rectangle{Min: at, Max: at.Add(image.Pt(1, 1))}, r.mark)
}

func (r *runner) corner() image.Point {
	p := r.server.surfaces[0]
	return image.Pt(p.Width-1, p.Height-1)
}

// await waits until the clients have the sentinel.
func (r *runner) await(ctx context.Context) (*Failure, error) {
	for _, v := range []*viewer{r.direct, r.proxied} {
		if v == nil {
			continue
		}
		if err := r.awaitOne(ctx, v); err != nil {
			if ctx.Err() != nil {
				return nil, err
			}
			f := &Failure{Hop: HopClient, What: fmt.Sprintf("the %s client does not get what was drawn last: %v", v.name, err)}
			if v == r.proxied {
				r.blame(f, true)
			}
			return f, nil
		}
	}
	return nil, nil
}

func (r *runner) awaitOne(ctx context.Context, v *viewer) error {
	ctx, cancel := context.WithTimeoutCause(ctx, stepTime, fmt.Errorf("not within %v", stepTime))
	defer cancel()
	return v.await(ctx, r.corner(), r.mark, mask(r.server.surfaces[0].Format))
}

// blame blames the proxy for f if the proxied client did not receive what the server sent. all
// means that everything that the server sent must have arrived.
func (r *runner) blame(f *Failure, all bool) {
	if d := r.messages(all); d != "" {
		f.Hop, f.Message = HopProxy, d
	}
}

// messages compares the messages that the server sent to the proxied session with those that its
// client received. It returns the first difference, or "".
func (r *runner) messages(all bool) string {
	session := r.proxied.client.MainState().ConnectionID
	for _, ch := range []wire.ChannelID{displayChannel, cursorChannel} {
		if d := witness.FirstDifference(r.relay.Of(session, ch), r.proxied.of(ch), all); d != nil {
			return "of what the server said " + d.String()
		}
	}
	return ""
}

// look compares all pictures of a step. healed means that the step left a difference as expected,
// and that the difference is gone.
func (r *runner) look(ctx context.Context, s *catalogue.Step, expect catalogue.Expect) (f *Failure, healed bool, err error) {
	if s.Cursor != nil {
		if f, err := r.cursor(ctx, s); f != nil || err != nil {
			return f, false, err
		}
	}
	if s.Monitors != nil {
		if f, err := r.heads(ctx, s); f != nil || err != nil {
			return f, false, err
		}
	}
	surfaces := touched(s, r.server)
	for _, id := range surfaces {
		if id != 0 {
			if err := r.server.Draw(ctx, id); err != nil {
				f, err := r.serverFailure(err)
				return f, false, err
			}
		}
		f, off := r.surface(id, s, expect)
		if f != nil {
			if id == 0 && r.foreign != nil && f.Hop == HopClient && f.shown != nil {
				err = r.secondOpinion(ctx, f, s, expect)
			}
			return f, false, err
		}
		healed = healed || off
	}
	if r.proxied != nil {
		if d := r.messages(false); d != "" {
			return &Failure{Hop: HopProxy, What: "the picture is right, but not all messages have arrived as they were sent", Message: d}, false, nil
		}
	}
	if r.foreign != nil {
		if f, err := r.lookForeign(ctx, s, expect); f != nil || err != nil {
			return f, false, err
		}
	}
	if r.refused {
		r.refused = false
		return nil, true, r.hangUp()
	}
	if healed {
		if err := r.heal(ctx, surfaces); err != nil {
			f, err := r.serverFailure(err)
			return f, false, err
		}
		f, err := r.await(ctx)
		return f, true, err
	}
	return nil, false, nil
}

// touched returns the primary surface and the other existing surfaces on which a step draws.
func touched(s *catalogue.Step, server *Server) []uint32 {
	ids := []uint32{0}
	for _, c := range s.Do {
		if d, ok := c.(*qxl.Drawable); ok && !slices.Contains(ids, d.Surface) {
			if _, there := server.surfaces[d.Surface]; there {
				ids = append(ids, d.Surface)
			}
		}
	}
	return ids
}

// surface compares a surface of the server with the clients'. off means that they differ as
// expected.
func (r *runner) surface(id uint32, s *catalogue.Step, expect catalogue.Expect) (f *Failure, off bool) {
	sf := r.server.surfaces[id]
	want := sf.cells(r.server.mem.all, &r.truth)
	r.truth = *want
	direct, err := r.direct.surface(id)
	if err != nil {
		return &Failure{Hop: HopClient, What: fmt.Sprintf("surface %d: %v", id, err)}, false
	}
	d := compare(id, want, direct)
	var proxied *canvas.Image
	var p *Difference
	if r.proxied != nil {
		if proxied, err = r.proxied.surface(id); err != nil {
			f := &Failure{Hop: HopClient, What: fmt.Sprintf("proxied, surface %d: %v", id, err)}
			r.blame(f, true)
			return f, false
		}
		if p = compare(id, want, proxied); p != nil && d != nil && compare(id, direct, proxied) == nil {
			p = nil // as wrong as the direct one
		}
	}
	problem := r.problem(id)
	if problem != "" && expect.Kind == catalogue.ServerWrong {
		r.refused = true
		return nil, true
	}
	if problem != "" {
		return r.wrong(HopClient, "the client says itself that it cannot draw this: "+problem, s, want, direct, proxied), false
	}
	switch {
	case d == nil && p == nil:
		return nil, false
	case expect.Kind == catalogue.ServerWrong && p == nil:
		return nil, true
	case r.lossy(expect) && r.within(d, s, expect) && r.within(p, s, expect):
		return nil, true
	case d != nil:
		return r.wrong(HopClient, d.String(), s, want, direct, proxied), false
	}
	f = r.wrong(HopClient, "only behind the proxy, from the same messages: "+p.String(), s, want, direct, proxied)
	if r.blame(f, true); f.Hop == HopProxy {
		f.What = p.String()
	}
	return f, false
}

// problem returns what the direct client reports that it cannot draw on a surface, or "".
func (r *runner) problem(id uint32) string {
	if info, ok := r.direct.client.Surface(0, id); ok {
		return info.Problem
	}
	return ""
}

// lossy tells whether a step's pictures may be encoded with loss.
func (r *runner) lossy(expect catalogue.Expect) bool {
	return expect.Kind == catalogue.Within || r.setting.JPEG
}

// jpegMost is the largest allowed mean difference of a photograph's colours, of 255, if the server
// uses JPEG. Real differences are 2 to 4, and 9 after an exclusive or.
const jpegMost = 12

// within tells whether a difference is inside a step's box and small enough.
func (r *runner) within(d *Difference, s *catalogue.Step, expect catalogue.Expect) bool {
	if d == nil {
		return true
	}
	most := expect.Most
	if expect.Kind != catalogue.Within {
		most = jpegMost
	}
	inside := d.Surface != 0 || d.Rect.In(s.Box())
	return inside && d.within(most)
}

// wrong returns a Failure and writes its pictures to a directory.
func (r *runner) wrong(hop, what string, s *catalogue.Step, want, direct, proxied *canvas.Image) *Failure {
	f := &Failure{Hop: hop, What: what, shown: direct}
	dir := filepath.Join(r.cfg.Dir, fmt.Sprintf("%d-%s", s.Number, r.setting))
	other := direct
	if proxied != nil && compare(0, want, direct) == nil {
		other = proxied
	}
	pictures := map[string]image.Image{"server.png": Picture(want), "direct.png": Picture(direct), "difference.png": differencePicture(want, other)}
	if proxied != nil {
		pictures["proxied.png"] = Picture(proxied)
	}
	if err := writePictures(dir, pictures); err != nil {
		f.What += fmt.Sprintf(" (no pictures: %v)", err)
		return f
	}
	f.Dir = dir
	return f
}

func writePictures(dir string, pictures map[string]image.Image) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, im := range pictures {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		if err := errors.Join(png.Encode(f, im), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// heal fills surfaces that differ with one colour, which every client draws equally, and draws the
// sentinel.
func (r *runner) heal(ctx context.Context, ids []uint32) error {
	for _, id := range ids {
		sf := r.server.surfaces[id]
		all := image.Rect(0, 0, sf.Width, sf.Height)
		if err := r.server.Push(ctx, &qxl.Drawable{Surface: id, Box: all, Op: &qxl.Fill{Brush: qxl.Solid(0x123456), Rop: qxl.RopPut}}); err != nil {
			return err
		}
		if err := r.server.Draw(ctx, id); err != nil {
			return err
		}
	}
	return r.sentinel(ctx)
}

// cursor waits until the clients have the expected pointer.
func (r *runner) cursor(ctx context.Context, s *catalogue.Step) (*Failure, error) {
	for _, v := range []*viewer{r.direct, r.proxied} {
		if v == nil {
			continue
		}
		wait, cancel := context.WithTimeout(ctx, stepTime)
		// Each step moves, hides or shows the pointer. When that has arrived, the shape must be
		// right.
		err := v.client.Await(wait, func() bool { return v.cursorIsAt(s.Cursor) })
		cancel()
		if err == nil && v.cursorDiffers(s.Cursor) == "" {
			continue
		}
		if ctx.Err() != nil {
			return nil, err
		}
		f := &Failure{Hop: HopClient, What: fmt.Sprintf("%s: %s", v.name, v.cursorDiffers(s.Cursor))}
		if v == r.proxied {
			r.blame(f, true)
		}
		return f, nil
	}
	return nil, nil
}

// heads waits until the clients have received the monitors.
func (r *runner) heads(ctx context.Context, s *catalogue.Step) (*Failure, error) {
	for _, v := range []*viewer{r.direct, r.proxied} {
		if v == nil {
			continue
		}
		wait, cancel := context.WithTimeout(ctx, stepTime)
		err := v.client.Await(wait, func() bool { return sameHeads(v.client.Heads(0), s.Monitors) })
		cancel()
		if err == nil {
			continue
		}
		if ctx.Err() != nil {
			return nil, err
		}
		f := &Failure{Hop: HopClient, What: fmt.Sprintf("%s: its monitors are %+v, want %+v", v.name, v.client.Heads(0), s.Monitors)}
		if v == r.proxied {
			r.blame(f, true)
		}
		return f, nil
	}
	return nil, nil
}

func sameHeads(got []spice.Head, want []qxl.Monitor) bool {
	if len(got) != len(want) {
		return false
	}
	for i, g := range got {
		w := want[i]
		if g.ID != w.ID || g.Surface != w.Surface || int(g.X) != w.Area.Min.X || int(g.Y) != w.Area.Min.Y ||
			int(g.Width) != w.Area.Dx() || int(g.Height) != w.Area.Dy() {
			return false
		}
	}
	return true
}

// deadly plays a step that ends the server. It uses a separate server without clients, because the
// server's own drawing does not depend on clients.
func (r *runner) deadly(ctx context.Context, g *catalogue.Group, s *catalogue.Step) (*Failure, error) {
	server, err := StartServer(ctx, ServerConfig{Helper: r.cfg.Helper, Dir: r.cfg.Dir, Setting: r.setting, Memory: 64 << 20})
	if err != nil {
		return nil, err
	}
	defer server.Close()
	if err := server.Primary(ctx, g.Primary); err != nil {
		return nil, err
	}
	old := r.server
	r.server = server
	err = r.play(ctx, s)
	r.server = old
	var died *ServerDied
	switch {
	case errors.As(err, &died):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return &Failure{Hop: HopServer, What: "it was to die (" + s.Expect.Reason + ") and lives"}, nil
}

// afterwards connects clients after a group and compares their pictures.
func (r *runner) afterwards(ctx context.Context, g *catalogue.Group) error {
	last := catalogue.Step{Number: g.First + 999, Group: g.Name, Operation: "after " + g.Name, Words: "a client that connects afterwards"}
	fail := func(f *Failure, words string) error {
		last.Words = words
		return r.failed(f, &last)
	}
	names := []string{freshDirect}
	if r.path != nil {
		names = append(names, freshProxied)
	}
	for _, name := range names {
		f, err := r.fresh(ctx, name)
		if err != nil {
			return err
		}
		if f != nil {
			return fail(f, name)
		}
		r.report.Fresh++
	}
	if r.cfg.Gtk == "" || g.Primary.Format != qxl.SurfaceXRGB {
		return nil
	}
	f, err := r.gtk(ctx)
	if err != nil {
		return err
	}
	if f != nil {
		return fail(f, "spice-gtk")
	}
	r.report.Gtk++
	return nil
}

// The clients that connect after a group.
const (
	freshDirect  = "fresh direct"
	freshProxied = "fresh proxied"
)

// preferred returns a compression that differs from s. The client that connects through the proxy
// after a group requests it.
func (s Setting) preferred() wire.ImageCompression {
	if s.Compression == "lz" {
		return wire.CompressionQuic
	}
	return wire.CompressionLZ
}

// fresh connects a new client and compares its picture.
func (r *runner) fresh(ctx context.Context, name string) (*Failure, error) {
	dial := r.dialDirect
	if name == freshProxied {
		dial = r.dialProxied
	}
	v, err := dial(ctx, name)
	if err != nil {
		return &Failure{Hop: HopClient, What: err.Error()}, nil
	}
	defer func() {
		r.stats = append(r.stats, v.client.Stats())
		if r.relay != nil {
			r.relay.Forget(v.client.MainState().ConnectionID)
		}
		v.client.Close()
	}()
	if err := r.sentinel(ctx); err != nil {
		return r.serverFailure(err)
	}
	if err := r.awaitOne(ctx, v); err != nil {
		return &Failure{Hop: HopClient, What: fmt.Sprintf("%s: %v", name, err)}, nil
	}
	sf := r.server.surfaces[0]
	want := sf.cells(r.server.mem.all, nil)
	got, err := v.surface(0)
	if err != nil {
		return &Failure{Hop: HopClient, What: fmt.Sprintf("%s: %v", name, err)}, nil
	}
	d := compare(0, want, got)
	if d == nil || r.setting.JPEG && d.within(jpegMost) {
		return nil, nil
	}
	s := &catalogue.Step{Number: int(r.mark)}
	return r.wrong(HopClient, name+": "+d.String(), s, want, got, nil), nil
}
