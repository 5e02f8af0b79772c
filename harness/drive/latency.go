package drive

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/spicelane/spicelane/fixtures/digest"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice/control"
)

// A LatencyConfig says what KeyLatencies measures. The zero value is useful.
type LatencyConfig struct {
	// Key is the key to press, in the form of control.ParseKey. The guest must show it in its
	// digest as a key press and do nothing else with it. Default: "a".
	Key string
	// Keys is how many keys each driver presses. Default, and if negative: 200.
	Keys int
	// Patience is the time after which a key counts as lost. Default: 12 s, which is enough for a
	// guest without KVM.
	Patience time.Duration
	// OnKeys is called with the number of keys that each driver has pressed, beginning with 0. It
	// must not block. Default: none.
	OnKeys func(pressed int)
}

func (c LatencyConfig) key() string {
	if c.Key == "" {
		return "a"
	}
	return c.Key
}

func (c LatencyConfig) keys() int {
	if c.Keys <= 0 {
		return 200
	}
	return c.Keys
}

func (c LatencyConfig) patience() time.Duration {
	if c.Patience <= 0 {
		return 12 * time.Second
	}
	return c.Patience
}

// Latencies are the times of keys on one path, in the order in which they were pressed. Every key
// is in both lists or in none.
type Latencies struct {
	// Picture is the time from sending a key to the first pixels that it changed: to the draw that
	// the client's surface_drawn reports.
	Picture []time.Duration
	// Digest is the time from sending a key to receiving the digest that shows it.
	Digest []time.Duration
	// Lost is the number of keys that no digest showed in time.
	Lost int
	// Unclear is the number of keys that could not be timed: the client dropped events, or no draw
	// came before the digest.
	Unclear int
}

const (
	// keyRest is the pause after a key: two refreshes of QEMU's display, 30 ms each, in which the
	// guest shows the key's release.
	keyRest = 60 * time.Millisecond
	// keySpread is the longest additional pause, at random. Without it, keys would always come at
	// the same moment between two refreshes.
	keySpread = 60 * time.Millisecond
)

// KeyLatencies presses keys through each of the drivers and measures how long each takes to the
// picture and to the digest. It returns one Latencies per driver. All drivers must be connected to
// the same guest. With several drivers, for example one through the proxy and one without it, keys
// are pressed in turns, in a changing order, so that a slow machine affects all alike. The first
// key of each driver is not counted, because it may be slow for other reasons. If a first key is
// lost, that is an error.
//
// The clients must read digests themselves, as ours do. A picture that the guest draws by itself,
// such as that of a blinking cursor, does not count as the answer to a key, because its digest does
// not show the key. There is one exception: if such a picture and the key's picture arrive so close
// together that the client reads one digest for both, the first of the two is timed.
func KeyLatencies(ctx context.Context, cfg LatencyConfig, drivers ...*control.Driver) ([]Latencies, error) {
	codes, err := control.ParseKey(cfg.key())
	if err != nil {
		return nil, keyFault(verdict.Harness, err)
	}
	var watchers []*keyWatcher
	for _, d := range drivers {
		e, err := newKeyWatcher(ctx, d, cfg.patience())
		if err != nil {
			return nil, err
		}
		defer e.events.Close()
		watchers = append(watchers, e)
	}
	var newest uint32 // the frame that showed the last key
	for i := range cfg.keys() + 1 {
		if cfg.OnKeys != nil && i > 0 {
			cfg.OnKeys(i - 1)
		}
		for _, k := range rand.Perm(len(watchers)) {
			e := watchers[k]
			if err := e.rest(ctx, newest); err != nil {
				return nil, err
			}
			if err := e.press(ctx, codes); err != nil {
				return nil, err
			}
			newest = max(newest, e.last.FrameCounter)
		}
		if i == 0 {
			for _, e := range watchers {
				if e.sum.Lost > 0 {
					return nil, &verdict.Error{Verdict: verdict.Product, Op: "key latency",
						Err:  &AwaitError{Wanted: fmt.Sprintf("the first %q in a digest", cfg.key()), Last: DescribeDigest(e.last), Err: fmt.Errorf("not within %v", cfg.patience())},
						Hint: "the guest has to report the key in its digest"}
				}
				e.sum = Latencies{}
			}
		}
	}
	if cfg.OnKeys != nil {
		cfg.OnKeys(cfg.keys())
	}
	out := make([]Latencies, len(watchers))
	for i, e := range watchers {
		out[i] = e.sum
	}
	return out, nil
}

func keyFault(v verdict.Kind, err error) error {
	return &verdict.Error{Verdict: v, Op: "key latency", Err: err}
}

// A keyWatcher presses keys through one driver and watches the results.
type keyWatcher struct {
	driver   *control.Driver
	patience time.Duration
	events   *control.Subscription // surface_drawn and digest_updated, in their order
	last     digest.Digest         // the newest
	sum      Latencies
}

func newKeyWatcher(ctx context.Context, d *control.Driver, patience time.Duration) (*keyWatcher, error) {
	events, err := d.Subscribe(ctx, control.EventSurfaceDrawn, control.EventDigestUpdated)
	if err != nil {
		return nil, &verdict.Error{Verdict: VerdictOf(err), Op: "key latency", Err: err, Hint: "the client has to read digests itself"}
	}
	within, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("there was none within %v", patience))
	defer cancel()
	last, err := AwaitDigest(within, d, "a digest", func(digest.Digest) bool { return true })
	if err != nil {
		events.Close()
		return nil, err
	}
	return &keyWatcher{driver: d, patience: patience, events: events, last: last}, nil
}

// next returns what the next event reports: the time of a draw, a digest, or neither.
func (e *keyWatcher) next(ctx context.Context) (drawn time.Time, shown *digest.Digest, err error) {
	ev, err := e.events.Next(ctx)
	if err != nil {
		return drawn, nil, err
	}
	switch ev.Name {
	case control.EventSurfaceDrawn:
		var data control.SurfaceDrawnData
		err = ev.Decode(&data)
		drawn = time.UnixMicro(data.WallclockUS)
	case control.EventDigestUpdated:
		var d digest.Digest
		d, err = digestOf(ev.Data)
		shown = &d
	}
	return drawn, shown, err
}

// rest waits until the guest is idle, and records what it shows meanwhile. It also waits until this
// client has shown the frame with the last key, which another driver may have pressed.
func (e *keyWatcher) rest(ctx context.Context, frame uint32) error {
	pause, cancel := context.WithTimeout(ctx, keyRest+rand.N(keySpread))
	defer cancel()
	late, cancelLate := context.WithTimeoutCause(ctx, e.patience,
		fmt.Errorf("another client showed the key in frame %d, and this one only frame %d %v later", frame, e.last.FrameCounter, e.patience))
	defer cancelLate()
	for {
		until := pause
		if e.last.FrameCounter < frame {
			until = late
		}
		_, d, err := e.next(until)
		switch {
		case err == nil && d != nil:
			e.last = *d
		case err == nil:
		case ctx.Err() != nil:
			return keyFault(verdict.Harness, context.Cause(ctx))
		case until.Err() == nil || !errors.Is(err, context.Cause(until)):
			return keyFault(VerdictOf(err), err)
		case until == late:
			return keyFault(verdict.Product, &AwaitError{Wanted: fmt.Sprintf("frame %d, which another client has shown", frame), Last: DescribeDigest(e.last), Err: err})
		}
		if pause.Err() != nil && e.last.FrameCounter >= frame {
			return nil
		}
	}
}

// press presses the key and waits for the digest that shows it.
func (e *keyWatcher) press(ctx context.Context, codes []uint16) error {
	sent := time.Now()
	began := sent.Truncate(time.Microsecond) // with the resolution of the draws' times
	dropped := e.events.Dropped()
	if err := e.driver.Chord(ctx, codes...); err != nil {
		return keyFault(VerdictOf(err), err)
	}
	within, cancel := context.WithTimeout(ctx, e.patience)
	defer cancel()
	var first time.Time
	for {
		drawn, d, err := e.next(within)
		switch {
		case err != nil && ctx.Err() != nil:
			return keyFault(verdict.Harness, context.Cause(ctx))
		case err != nil && within.Err() != nil && errors.Is(err, context.Cause(within)):
			e.sum.Lost++
			return nil
		case err != nil:
			return keyFault(VerdictOf(err), err)
		case !drawn.IsZero():
			if first.IsZero() && !drawn.Before(began) {
				first = drawn
			}
		case d == nil:
		case d.ChannelHashes.Keypress == e.last.ChannelHashes.Keypress:
			// The guest drew this without the key.
			e.last, first = *d, time.Time{}
		default:
			e.last = *d
			if first.IsZero() || e.events.Dropped() != dropped {
				e.sum.Unclear++
				return nil
			}
			e.sum.Picture = append(e.sum.Picture, first.Sub(began))
			e.sum.Digest = append(e.sum.Digest, time.Since(sent))
			return nil
		}
	}
}
