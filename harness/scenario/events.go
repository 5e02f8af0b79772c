package scenario

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/control"
)

// Events demands that the control socket loses no event silently. The surface_drawn events,
// together with those counted as dropped, must be as many as the client has drawn. Each
// digest_updated event must be a new frame of the guest, and the last one must be the frame on
// the screen.
func Events(tb testing.TB, lane *harness.Lane) {
	r := begin(tb, lane)
	defer r.end()
	s := r.stream()
	account := r.account()
	for range quietFrames {
		r.tap(s, "Shift")
	}
	account.settle()
}

// An account compares the control socket's events with what the client has drawn.
type account struct {
	*run
	draws, digests *control.Subscription // draws is nil if the client does not count what it draws
	drawn          uint64                // draws before
	first          uint32                // the digest's frame counter before

	received uint64 // of draws
	frames   []uint32
}

// account begins to count events.
func (r *run) account() *account {
	r.Helper()
	a := &account{run: r}
	ctx, cancel := r.within(patience)
	defer cancel()
	counts := r.offers("events against draws", control.MethodStats)
	// While the guest is paused it draws nothing between the two requests.
	r.must(r.lane.WhilePaused(ctx, func() error {
		for {
			var err error
			before := r.draws()
			if counts {
				if a.draws, err = r.client.Subscribe(ctx, control.EventSurfaceDrawn); err != nil {
					return err
				}
			}
			if r.client.SupportsEvent(control.EventDigestUpdated) {
				if a.digests, err = r.client.Subscribe(ctx, control.EventDigestUpdated); err != nil {
					return err
				}
				d, err := drive.ReadDigest(ctx, r.client)
				if err != nil {
					return err
				}
				a.first = d.FrameCounter
			}
			if a.drawn = r.draws(); a.drawn == before {
				return nil
			}
			a.close() // the client was still drawing
		}
	}))
	r.later(a.close)
	return a
}

// draws counts what the client has drawn; 0 if it does not count.
func (r *run) draws() (n uint64) {
	r.Helper()
	if !r.client.Supports(control.MethodStats) {
		return 0
	}
	var st spice.Stats
	r.must(r.client.Stats(r.ctx, &st))
	for _, op := range st.Ops {
		n += op.Count
	}
	return n
}

func (a *account) close() {
	for _, s := range []*control.Subscription{a.draws, a.digests} {
		if s != nil {
			s.Close()
		}
	}
	a.draws, a.digests = nil, nil
}

// settlePoll is how often an account is checked until it adds up. Nothing tells that no further
// event is on its way.
const settlePoll = 100 * time.Millisecond

// settlePatience limits, under KVM, how long events may be in flight.
const settlePatience = 3 * time.Second

// settle demands that the account adds up once the guest is idle.
func (a *account) settle() {
	a.Helper()
	ctx, cancel := a.within(settlePatience)
	defer cancel()
	tick := time.NewTicker(settlePoll)
	defer tick.Stop()
	a.must(a.lane.WhilePaused(ctx, func() error {
		for {
			wrong := a.wrong(a.ctx)
			if wrong == nil {
				return nil
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return &verdict.Error{Verdict: verdict.Product, Hop: verdict.HopClient, Op: "control socket", Err: wrong}
			}
		}
	}))
}

// wrong takes the events that have come, and returns an error if the account does not add up.
func (a *account) wrong(ctx context.Context) error {
	var errs []error
	if a.draws != nil {
		if err := each(a.draws, func(control.Event) error { a.received++; return nil }); err != nil {
			return err
		}
		errs = append(errs, drawsAddUp(a.received, a.draws.Dropped(), a.run.draws()-a.drawn))
	}
	if a.digests != nil {
		now, err := drive.ReadDigest(ctx, a.client)
		if err != nil {
			return err
		}
		err = each(a.digests, func(e control.Event) error {
			var d control.Digest
			err := e.Decode(&d)
			a.frames = append(a.frames, d.FrameCounter)
			return err
		})
		if err != nil {
			return err
		}
		errs = append(errs, framesAddUp(a.first, a.frames, a.digests.Dropped(), now.FrameCounter))
	}
	return errors.Join(errs...)
}

// each calls f with the events that have come.
func each(s *control.Subscription, f func(control.Event) error) error {
	past, cancel := context.WithCancel(context.Background())
	cancel()
	for {
		e, err := s.Next(past)
		if err != nil {
			return nil // there are no more
		}
		if e.Name == control.EventDropped {
			continue
		}
		if err := f(e); err != nil {
			return err
		}
	}
}

// drawsAddUp compares the number of events with the number of draws.
func drawsAddUp(received, dropped, drawn uint64) error {
	if received+dropped == drawn {
		return nil
	}
	return fmt.Errorf("%d surface_drawn events were received and %d dropped, and the client has drawn %d times", received, dropped, drawn)
}

// framesAddUp compares the frames that digest_updated reported with the guest's counter, which rose
// from first to last. A frame has no event if the next frame replaced it before it was sent.
func framesAddUp(first uint32, frames []uint32, dropped uint64, last uint32) error {
	before := first
	for i, f := range frames {
		if i == 0 && f == first {
			continue // it was on its way when the counter was read
		}
		if f <= before || f > last {
			return fmt.Errorf("digest_updated reported frame %d after frame %d, and the guest is at frame %d", f, before, last)
		}
		before = f
	}
	switch told := uint64(len(frames)); {
	case before != last && dropped == 0:
		return fmt.Errorf("digest_updated reported frame %d last, and the guest is at frame %d", before, last)
	case told+dropped > uint64(last-first)+1:
		return fmt.Errorf("%d digest_updated events were received and %d dropped, of %d frames", told, dropped, last-first)
	}
	return nil
}
