// Package keylatency measures the latency of a key: the time from sending it in the client until
// the pixels change, and until the guest's digest shows it. It measures both directly and through
// the proxy.
//
//	r, err := keylatency.Measure(ctx, keylatency.Config{Keys: 200})
//	if err != nil { … }
//	err = r.Write("artifacts/latency") // CSV files, a plot, the figures
//
// Two clients connect to one guest, one through the proxy and one directly. They press their keys
// in turns, so that a slow machine affects both. [drive.KeyLatencies] explains how it distinguishes
// a key's effect from what the guest draws by itself.
//
// The guest must show a digest and report keys in it. Beacon does so; after F10 it does nothing
// else with keys. Most of the latency comes from QEMU, which reads the guest's screen every 30 ms.
// So even without a network, a key takes between 0 and 30 ms, with a median of 15 ms.
//
// The package asserts nothing, because its figures are valid only for one machine, QEMU, fixture
// and load. Package harness has a test that compares the two paths.
package keylatency

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spicelane/spicelane/fixtures/digest"
	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/bench"
	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/headless"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice/control"
	"github.com/spicelane/spicelane/spice/vv"
)

// A Config says what to measure. The zero Config measures Beacon behind the built-in proxy.
type Config struct {
	// Lane is the lane to measure. It must have a proxy, the built-in one or another, and the built-in
	// client, because the two paths must differ in nothing else. It runs inside this process: Measure
	// ignores Processes and ReleaseControl. By default its Dir is temporary.
	Lane harness.Config
	// Key is the key to press (see drive.LatencyConfig). Default: "a".
	Key string
	// Keys is the number of keys to press on each path. Default: 200.
	Keys int
	// OnStep, if not nil, gets the progress every 20 keys. It must not block.
	OnStep func(what string)
}

func (c Config) keys() int {
	if c.Keys == 0 {
		return 200
	}
	return c.Keys
}

func (c Config) say(format string, args ...any) {
	if c.OnStep != nil {
		c.OnStep(fmt.Sprintf(format, args...))
	}
}

func (c Config) check() error {
	switch {
	case c.Keys < 0:
		return fmt.Errorf("%d keys cannot be pressed", c.Keys)
	case c.Lane.Proxy == harness.None:
		return errors.New("without a proxy there is one path only")
	case c.Lane.Client != harness.Builtin:
		return errors.New("the two paths are compared with the built-in client on both")
	}
	if c.Key != "" {
		if _, err := control.ParseKey(c.Key); err != nil {
			return err
		}
	}
	return c.Lane.Check()
}

// saysEvery is the number of keys between two calls of OnStep.
const saysEvery = 20

// Measure starts a lane, measures it and ends it. Its errors have a verdict (see verdict.Of). It
// counts lost keys, which are not an error, except the first key.
func Measure(ctx context.Context, cfg Config) (_ *Report, err error) {
	if err := cfg.check(); err != nil {
		return nil, fault(verdict.Harness, err)
	}
	machine, err := bench.ThisMachine(ctx)
	if err != nil {
		return nil, err
	}
	lc := cfg.Lane
	lc.Processes, lc.ReleaseControl = false, false
	if lc.Name == "" {
		lc.Name = "keylatency"
	}
	if lc.Dir == "" {
		if lc.Dir, err = os.MkdirTemp("", "spicelane-keylatency-"); err != nil {
			return nil, fault(verdict.Host, err)
		}
		defer os.RemoveAll(lc.Dir)
	}
	cfg.say("the lane to come up")
	lane, err := harness.Start(ctx, lc)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, lane.Close()) }()
	proxied, err := lane.Control()
	if err != nil {
		return nil, err
	}

	direct, err := headless.StartClient(ctx, headless.ClientConfig{
		VV:     func(context.Context) (*vv.File, error) { return lane.DirectVV(), nil },
		Socket: filepath.Join(lane.State().RunDir, "direct.sock"),
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, direct.Close()) }()
	driver, err := drive.Dial(ctx, "keylatency", filepath.Join(lane.State().RunDir, "direct.sock"))
	if err != nil {
		return nil, err
	}
	defer driver.Close()

	began := time.Now()
	l, err := measure(ctx, cfg, lane, driver, proxied)
	if err != nil {
		return nil, lane.Attribute(began, why(lane, driver, proxied, err))
	}
	st := lane.State()
	r := &Report{
		Machine: machine, Fixture: st.Fixture, Accel: st.Accel, Warm: st.Warm, Display: st.Display, Compression: st.Compression,
		Proxy: harness.Builtin.String(), At: began, Keys: cfg.keys(), Direct: PathOf(l[0]), Proxied: PathOf(l[1]),
	}
	if st.Image != "" {
		r.Fixture = filepath.Base(st.Image)
	}
	if lc.Proxy.IsCommand() {
		program, _, _ := strings.Cut(strings.TrimSpace(lc.Proxy.String()), " ")
		r.Proxy = filepath.Base(program)
	}
	return r, nil
}

// measure presses the keys, directly and through the proxy.
func measure(ctx context.Context, cfg Config, lane *harness.Lane, direct, proxied *control.Driver) ([]drive.Latencies, error) {
	fx := lane.Fixture()
	if fx == nil || fx.Digest == nil {
		within, cancel := context.WithTimeoutCause(ctx, lane.Scaled(digestTime), errors.New("it shows none"))
		defer cancel()
		if _, err := lane.AwaitDigest(within, "a digest", func(digest.Digest) bool { return true }); err != nil {
			return nil, &verdict.Error{Verdict: verdict.Harness, Op: "key latency", Err: err, Hint: "measure with a guest that shows a digest"}
		}
	}
	if fx != nil && fx.Name == "beacon" {
		was, err := drive.ReadDigest(ctx, proxied)
		if err == nil {
			err = lane.Press(ctx, "F10")
		}
		if err == nil {
			within, cancel := context.WithTimeoutCause(ctx, lane.Scaled(keyPatience), errors.New("the key was lost"))
			defer cancel()
			_, err = lane.AwaitDigest(within, "F10", func(d digest.Digest) bool { return d.ChannelHashes.Keypress != was.ChannelHashes.Keypress })
		}
		if err != nil {
			return nil, err
		}
	}
	lc := drive.LatencyConfig{Key: cfg.Key, Keys: cfg.keys(), Patience: lane.Scaled(keyPatience), OnKeys: func(n int) {
		if n%saysEvery == 0 && n < cfg.keys() {
			cfg.say("key %d of %d each path", n+1, cfg.keys())
		}
	}}
	return drive.KeyLatencies(ctx, lc, direct, proxied)
}

// keyPatience is the time after which a key counts as lost, under KVM.
const keyPatience = 2 * time.Second

// digestTime is how long an unknown guest with a picture may take to show a digest, under KVM.
const digestTime = 2 * time.Second

// why returns err, or, if a client has ended together with the lane, the lane's error.
func why(lane *harness.Lane, direct, proxied *control.Driver, err error) error {
	select {
	case <-direct.Done():
	case <-proxied.Done():
	default:
		return err
	}
	// If one of the lane's parts has ended, the lane reports it in a moment.
	t := time.NewTimer(time.Second)
	defer t.Stop()
	select {
	case <-lane.Done():
		if end := lane.Err(); end != nil {
			return end
		}
	case <-t.C:
	}
	return err
}

func fault(v verdict.Kind, err error) error {
	return &verdict.Error{Verdict: v, Op: "key latency", Err: err}
}
