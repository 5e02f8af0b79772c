package scenario

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spicelane/spicelane/fixtures/digest"
	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/impair"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice/control"
)

// A MiddleBox is a machine between client and proxy that forgets silent connections: a firewall, a
// NAT, a load balancer. It tells neither end.
type MiddleBox struct {
	// Limit is how long it remembers a silent connection.
	Limit time.Duration
	// DataOnly makes it a box that ends TCP itself, as haproxy, nginx and most load balancers do.
	// Then only data is a sign of life; TCP keepalive probes are not. Otherwise every segment is a
	// sign of life, as for a firewall or a NAT.
	DataOnly bool
}

// signs returns what the box counts as signs of life.
func (b MiddleBox) signs(h impair.Heard) uint64 {
	if b.DataOnly {
		return h.Bytes
	}
	return h.Segments
}

func (b MiddleBox) what() string {
	if b.DataOnly {
		return "data"
	}
	return "a segment"
}

// Idle puts a middle box between client and proxy. It lets the inputs channel be silent for longer
// than the box remembers it, and demands that a key still arrives. spice-server pings the display
// every 15 s, but inputs and cursor only every 300 s. With a limit between these, the picture keeps
// changing but the keyboard is dead, unless client or proxy keep the connection alive.
//
// If the key does not arrive and the box has forgotten its connection, that is a product fault: the
// product did not send what the box counts as a sign of life. The hop is the path, because either
// end could have sent it. The error says which channels were forgotten.
//
// The suite needs a lane with Config.Link, the built-in proxy inside this process, and Linux. It
// takes a quarter longer than the box's limit.
func Idle(box MiddleBox) func(tb testing.TB, lane *harness.Lane) {
	return func(tb testing.TB, lane *harness.Lane) {
		r := begin(tb, lane)
		defer r.end()
		s := r.stream()
		const key = control.KeyShift // it drives no scene
		r.down(s, key)
		r.up(s, key)
		forgotten, err := r.silence(box)
		r.must(err, "let the inputs channel be silent")
		wait := patience
		if forgotten[inputsChannel] > 0 {
			wait = deadPatience
		}
		for _, state := range []digest.KeyState{digest.KeyDown, digest.KeyUp} {
			r.must(box.explain(forgotten, r.press(s, key, state, wait)))
		}
	}
}

const inputsChannel = "inputs:0"

// deadPatience limits, under KVM, the wait for a key whose connection the box has forgotten. The
// key can arrive only over a new connection of the client.
const deadPatience = time.Second

// press sends a key, and waits until the guest has seen it.
func (r *run) press(s *Stream, key uint16, state digest.KeyState, wait time.Duration) error {
	sent := control.Up
	if state == digest.KeyDown {
		sent = control.Down
	}
	ctx, cancel := r.within(wait)
	defer cancel()
	if err := r.client.SendKey(ctx, key, sent); err != nil {
		return &verdict.Error{Verdict: drive.VerdictOf(err), Op: "send a key", Err: err}
	}
	_, err := s.Await(ctx, fmt.Sprintf("key %#04x after the silence", key), func(e digest.Event) bool {
		got, ok := e.(digest.Scancode)
		return ok && got.Code == guestCode(key) && got.State == state
	})
	return err
}

// explain adds to the error of a key that did not arrive that the box has forgotten its connection.
func (b MiddleBox) explain(forgotten map[string]time.Duration, err error) error {
	after, inputs := forgotten[inputsChannel]
	if err == nil || !inputs {
		return err
	}
	hint := fmt.Sprintf("let client or proxy send TCP keepalive probes more often than every %v", b.Limit)
	if b.DataOnly {
		hint = "TCP keepalive does not help against a box that ends TCP: raise its limit above the 300 s in which spice-server pings inputs"
	}
	return &verdict.Error{Verdict: verdict.Product, Hop: verdict.HopPath, Op: "idle",
		Err: fmt.Errorf("the keyboard is dead: a middle box forgot %s after %v without %s (forgotten: %s): %w", inputsChannel,
			after.Round(100*time.Millisecond), b.what(), strings.Join(slices.Sorted(maps.Keys(forgotten)), ", "), err), Hint: hint}
}

// A watched records what a middle box knows about a connection.
type watched struct {
	signs uint64
	alive time.Time // when the last sign of life was seen
	bytes uint64
	spoke time.Time // when the last data was seen
}

// silence acts as the box until the inputs channel has carried no data for a quarter longer than
// the box's limit. It returns the channels that the box has forgotten, and after how long.
func (r *run) silence(box MiddleBox) (forgotten map[string]time.Duration, err error) {
	forgotten = map[string]time.Duration{}
	seen := map[*impair.Conn]*watched{}
	tick := time.NewTicker(box.Limit / 50)
	defer tick.Stop()
	ctx, cancel := context.WithTimeoutCause(r.ctx, 10*box.Limit, errors.New("the inputs channel is never silent for long enough"))
	defer cancel()
	for {
		channels, err := r.lane.Channels()
		if err != nil {
			return nil, err
		}
		over := false
		for _, c := range channels {
			h, err := c.Heard()
			if err != nil {
				return nil, &verdict.Error{Verdict: verdict.Host, Op: "idle", Err: err}
			}
			now := time.Now()
			w := seen[c.Conn]
			if w == nil {
				w = &watched{alive: now, spoke: now}
				seen[c.Conn] = w
			}
			if n := box.signs(h); n != w.signs {
				w.signs, w.alive = n, now
			}
			if h.Bytes != w.bytes {
				w.bytes, w.spoke = h.Bytes, now
			}
			if silent := now.Sub(w.alive); silent >= box.Limit && forgotten[c.Channel] == 0 {
				forgotten[c.Channel] = silent
				if err := r.lane.FreezeChannel(c.Channel); err != nil {
					return nil, err
				}
			}
			over = over || c.Channel == inputsChannel && now.Sub(w.spoke) >= box.Limit*5/4
		}
		if over {
			return forgotten, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, &verdict.Error{Verdict: verdict.Harness, Op: "idle", Err: context.Cause(ctx)}
		}
	}
}
