package headless

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spicelane/spicelane/harness/screen/text"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/sources"
	"github.com/spicelane/spicelane/spice/pki"
	"github.com/spicelane/spicelane/spice/proxy"
	"github.com/spicelane/spicelane/spice/vv"
)

// A lane's proxy and client can be separate processes. That needs no extra binary: the program that
// brings the lane up starts itself again in a role. `spicelane up` and tests both use this. A
// program supports it only by calling Main.

// envPart tells a process that it was started for a role. The process reads the role as JSON, with
// its secrets, from standard input. On descriptor 3 it reports that it is ready.
const envPart = "SPICELANE_PLAY_PART"

// readyFD is the descriptor on which a part reports that it is ready.
const readyFD = 3

// mainCalled is set when Main was called in a process without a role.
var mainCalled atomic.Bool

// Main runs the role for which this process was started, and then exits. In any other process it
// returns at once. Call it first in main, or in TestMain:
//
//	func TestMain(m *testing.M) {
//		headless.Main()
//		os.Exit(m.Run())
//	}
func Main() {
	if os.Getenv(envPart) == "" {
		mainCalled.Store(true)
		return
	}
	_ = os.Unsetenv(envPart)
	if err := play(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(verdict.Of(err).ExitCode())
	}
	os.Exit(0)
}

// CanPlay returns an error if this program has not called Main. Started again, it would repeat its
// normal work.
func CanPlay() error {
	if mainCalled.Load() {
		return nil
	}
	return &verdict.Error{Verdict: verdict.Harness, Err: errors.New("this program cannot be started once more as a proxy or client"),
		Hint: "call headless.Main first thing in main or TestMain"}
}

// A Role is what a process should run, with its configuration. Either Proxy or Client is set.
type Role struct {
	Proxy  *ProxyRole  `json:"proxy,omitempty"`
	Client *ClientRole `json:"client,omitempty"`
}

// A ProxyRole is the role of a proxy with its own certificates.
type ProxyRole struct {
	// Sources is the text of a sources.yaml.
	Sources  string `json:"sources"`
	APIToken string `json:"api_token"`
	// Takeover, KeepVV, KeepSource and KeepUUID are as in ProxyConfig.
	Takeover   proxy.Takeover `json:"takeover,omitempty"`
	KeepVV     string         `json:"keep_vv"`
	KeepSource string         `json:"keep_source"`
	KeepUUID   string         `json:"keep_uuid"`
}

// A ClientRole is the role of a client.
type ClientRole struct {
	// VV is the path of a virt-viewer file. It is read for each session.
	VV string `json:"vv"`
	// Through, if not empty, is the host:port to connect to instead of VV's address.
	Through string `json:"through,omitempty"`
	// Socket, Timeline, TimelineStart and Film are as in ClientConfig.
	Socket        string    `json:"socket"`
	Timeline      string    `json:"timeline"`
	TimelineStart time.Time `json:"timeline_start"`
	Film          string    `json:"film,omitempty"`
	// Fonts are the guest's fonts: their names or files.
	Fonts []string `json:"fonts,omitempty"`
}

// A Command starts this program again in a role.
type Command struct {
	Argv []string
	// Env is added to this process's environment.
	Env []string
	// Stdin is what the process reads on its standard input.
	Stdin []byte
}

// Command returns the command that starts this program again in the role. The process writes a
// Ready to descriptor 3.
func (r Role) Command() (*Command, error) {
	if err := CanPlay(); err != nil {
		return nil, err
	}
	exe, err := os.Executable()
	if err != nil {
		return nil, verdict.Classify("part", err)
	}
	b, err := json.Marshal(r)
	if err != nil {
		return nil, verdict.Classify("part", err)
	}
	return &Command{Argv: []string{exe}, Env: []string{envPart + "=1"}, Stdin: b}, nil
}

// A Ready is what a daemon reports when it can be used: a proxy its addresses, a client its control
// socket.
type Ready struct {
	Addr    string `json:"addr,omitempty"`
	TLSAddr string `json:"tls_addr,omitempty"`
	API     string `json:"api,omitempty"`
	// WebSocket is the address of the proxy's WebSocket port, if it has one.
	WebSocket string `json:"websocket,omitempty"`
	Socket    string `json:"socket,omitempty"`
}

func play() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var r Role
	if err := json.NewDecoder(os.Stdin).Decode(&r); err != nil {
		return fmt.Errorf("%s is for processes that the harness starts: %w", envPart, err)
	}
	say := func(r Ready) error {
		f := os.NewFile(readyFD, "ready")
		return errors.Join(json.NewEncoder(f).Encode(r), f.Close())
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	switch {
	case r.Proxy != nil:
		return r.Proxy.play(ctx, log, say)
	case r.Client != nil:
		return r.Client.play(ctx, log, say)
	}
	return fmt.Errorf("%s: it says neither proxy nor client", envPart)
}

func (r *ProxyRole) play(ctx context.Context, log *slog.Logger, say func(Ready) error) error {
	list, err := sources.Parse("the lane's console", []byte(r.Sources))
	if err != nil {
		return err
	}
	catalog, err := sources.NewCatalog(list...)
	if err != nil {
		return err
	}
	defer catalog.Close()
	bundle, err := pki.New(pki.Config{})
	if err != nil {
		return err
	}
	return RunProxy(ctx, ProxyConfig{
		Config: proxy.Config{TLS: bundle, Consoles: catalog, APIToken: r.APIToken, Logger: log, Takeover: r.Takeover},
		KeepVV: r.KeepVV, KeepSource: r.KeepSource, KeepUUID: r.KeepUUID,
	}, say)
}

func (r *ClientRole) play(ctx context.Context, log *slog.Logger, say func(Ready) error) error {
	return RunClient(ctx, ClientConfig{
		VV: func(context.Context) (*vv.File, error) {
			f, err := vv.ReadFile(r.VV)
			if err != nil || r.Through == "" {
				return f, err
			}
			return f.Through(r.Through)
		},
		Socket: r.Socket, Timeline: r.Timeline, TimelineStart: r.TimelineStart, Film: r.Film, Logger: log,
		Fonts: func() ([]*text.Font, error) { return text.LoadAll(r.Fonts...) },
	}, say)
}

// shutdownTimeout is how long a terminating proxy waits for its sessions.
const shutdownTimeout = 10 * time.Second

// RunProxy runs a proxy until ctx ends. If the proxy ends earlier, it returns why. It calls ready
// when the proxy can be used; an error of ready ends the proxy.
func RunProxy(ctx context.Context, cfg ProxyConfig, ready func(Ready) error) error {
	p, err := StartProxy(ctx, cfg)
	if err != nil {
		return err
	}
	if err := ready(Ready{Addr: p.Addr(), TLSAddr: p.TLSAddr(), API: "http://" + p.APIAddr(), WebSocket: p.WebSocketAddr()}); err != nil {
		return errors.Join(err, p.Close())
	}
	ended := make(chan error, 1)
	go func() { ended <- p.Wait() }()
	select {
	case <-ctx.Done():
		// Each viewer gets a notice. Sessions that remain after the limit are cut.
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		return errors.Join(p.Shutdown(bounded), p.Close())
	case err := <-ended:
		if err = errors.Join(err, p.Close()); err != nil {
			return &verdict.Error{Verdict: verdict.Harness, Op: "proxy", Err: err}
		}
		return nil
	}
}

// RunClient runs a client until ctx ends. If the client ends earlier, it returns why. It calls
// ready when the socket can be used; an error of ready ends the client.
func RunClient(ctx context.Context, cfg ClientConfig, ready func(Ready) error) error {
	c, err := StartClient(ctx, cfg)
	if err != nil {
		return err
	}
	if err := ready(Ready{Socket: cfg.Socket}); err != nil {
		return errors.Join(err, c.Close())
	}
	select {
	case <-ctx.Done():
		return c.Close()
	case <-c.Done():
		if err := c.Wait(); err != nil {
			return &verdict.Error{Verdict: verdict.Product, Op: "client", Err: err}
		}
		return nil
	}
}
