package harness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spicelane/spicelane/harness/headless"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/sources"
	"github.com/spicelane/spicelane/spice/pki"
	"github.com/spicelane/spicelane/spice/proxy"
	"github.com/spicelane/spicelane/spice/vv"
)

// With Config.Processes the built-in proxy and client are processes that can be
// stopped and killed, and no binary has to be there: the program that imports this
// package, most often a test binary, is started once more and plays the part
// before its own code begins.

// envPart tells a process to play a part. What it has to know stands as JSON on its
// standard input, secrets too; it says on descriptor 3 that it is ready.
const envPart = "SPICELANE_PLAY_PART"

// A partScript is what a process that plays a part has to know.
type partScript struct {
	// Of the proxy.
	Sources  string `json:"sources,omitempty"` // sources.yaml itself
	APIToken string `json:"api_token,omitempty"`
	KeepUUID string `json:"keep_uuid,omitempty"`

	// VV is the virt-viewer file that the proxy keeps and the client reads.
	VV string `json:"vv,omitempty"`

	// Of the client.
	Socket        string    `json:"socket,omitempty"`
	Through       string    `json:"through,omitempty"`
	Timeline      string    `json:"timeline,omitempty"`
	TimelineStart time.Time `json:"timeline_start,omitzero"`
}

// init plays the part that this process was started for, if it was, and ends it.
func init() {
	p := Part(os.Getenv(envPart))
	if p == "" {
		return
	}
	_ = os.Unsetenv(envPart)
	if err := play(p); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(verdict.Of(err).ExitCode())
	}
	os.Exit(0)
}

func play(p Part) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var s partScript
	if err := json.NewDecoder(os.Stdin).Decode(&s); err != nil {
		return fmt.Errorf("%s is for processes that the harness starts: %w", envPart, err)
	}
	ready := os.NewFile(3, "ready")
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	switch p {
	case PartProxy:
		return playProxy(ctx, s, ready, log)
	case PartClient:
		return playClient(ctx, s, ready, log)
	}
	return fmt.Errorf("%s: there is no part %q", envPart, p)
}

func playProxy(ctx context.Context, s partScript, ready *os.File, log *slog.Logger) error {
	list, err := sources.Parse("the lane's console", []byte(s.Sources))
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
	proxy, err := headless.StartProxy(headless.ProxyConfig{
		Config: proxy.Config{TLS: bundle, Consoles: catalog, APIToken: s.APIToken, Logger: log},
		KeepVV: s.VV, KeepSource: laneSource, KeepUUID: s.KeepUUID,
	})
	if err != nil {
		return err
	}
	if err := sayReady(ready, Ready{Addr: proxy.Addr(), TLSAddr: proxy.TLSAddr(), API: "http://" + proxy.APIAddr()}); err != nil {
		return errors.Join(err, proxy.Close())
	}
	failed := make(chan error, 1)
	go func() { failed <- proxy.Wait() }()
	select {
	case <-ctx.Done():
		return proxy.Close()
	case err := <-failed:
		return errors.Join(err, proxy.Close())
	}
}

func playClient(ctx context.Context, s partScript, ready *os.File, log *slog.Logger) error {
	c, err := headless.StartClient(ctx, headless.ClientConfig{
		VV: func(context.Context) (*vv.File, error) {
			b, err := os.ReadFile(s.VV)
			if err != nil {
				return nil, err
			}
			f, err := vv.Parse(s.VV, b)
			if err != nil || s.Through == "" {
				return f, err
			}
			return headless.VVThrough(f, s.Through)
		},
		Socket: s.Socket, Timeline: s.Timeline, TimelineStart: s.TimelineStart, Logger: log,
	})
	if err != nil {
		return err
	}
	if err := sayReady(ready, Ready{Socket: s.Socket}); err != nil {
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

func sayReady(f *os.File, r Ready) error {
	return errors.Join(json.NewEncoder(f).Encode(r), f.Close())
}

// playedPart starts this program once more in a part and waits until it is ready.
func (l *Lane) playedPart(ctx context.Context, p Part, s partScript) (*part, Ready, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, Ready{}, verdict.Classify(string(p), err)
	}
	script, err := json.Marshal(s)
	if err != nil {
		return nil, Ready{}, verdict.Classify(string(p), err)
	}
	return l.readyChild(ctx, child{name: string(p), argv: []string{exe}, env: []string{envPart + "=" + string(p)}, stdin: script})
}

// readyChild starts a child that says on its descriptor 3 when it is ready, and
// waits for that. The part is nil only if nothing was started.
func (l *Lane) readyChild(ctx context.Context, c child) (*part, Ready, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, Ready{}, verdict.Classify(c.name, err)
	}
	defer r.Close()
	c.ready = w
	p, err := l.startChild(c)
	w.Close()
	if err != nil {
		return nil, Ready{}, err
	}
	var ready Ready
	err = awaitReady(ctx, p, r, &ready)
	return p, ready, err
}
