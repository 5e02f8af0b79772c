package harness

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/spicelane/spicelane/fixtures/digest"
	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/host"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/serial"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice/control"
)

// Scaled returns d, a time that is long enough with KVM, scaled for this lane's accelerator and by
// $SPICELANE_TIMEOUT_SCALE.
func (l *Lane) Scaled(d time.Duration) time.Duration { return host.Scaled(d, l.State().Accel) }

// Attribute annotates a failed wait with what the host did since began, and changes its verdict to
// Host if the host starved the guest. The waits of this package have done so already.
func (l *Lane) Attribute(began time.Time, err error) error { return l.judgeWait(began, err) }

// A Digest is the guest's report on its screen.
type Digest = digest.Digest

// AwaitSerial waits for a line on the guest's serial console that contains text. While the backend
// is stopped on purpose, it waits for lines of the next guest; see StopBackend.
func (l *Lane) AwaitSerial(ctx context.Context, text string) (serial.Line, error) {
	if l.standIn != nil {
		return serial.Line{}, l.errGuestless("await serial line")
	}
	caller := ctx
	ctx, stop := l.whileUp(ctx)
	defer stop()
	began := time.Now()
	for {
		m := l.machine()
		line, err := m.Serial().Await(ctx, serial.Contains(text))
		if err == nil {
			l.noteAwaited(began, fmt.Sprintf("the serial line %q", text))
			return line, nil
		}
		if l.nextMachine(ctx, m) {
			continue
		}
		var await *serial.AwaitError
		if errors.As(err, &await) && l.machine().Err() == nil {
			kind := verdict.Product
			if caller.Err() == nil && ctx.Err() != nil {
				kind = verdict.Of(err) // the lane ended the wait, for a reason that has a verdict
			}
			return line, l.reason(l.judgeWait(began, &verdict.Error{Verdict: kind, Op: "await serial line", Err: err}))
		}
		return line, verdict.Classify("await serial line", err)
	}
}

// nextMachine waits for the machine that replaces m, and tells whether there is one. It returns
// false at once if m was not stopped on purpose.
func (l *Lane) nextMachine(ctx context.Context, m *qemu.Machine) bool {
	if l.machine() != m {
		return true
	}
	o := l.outageOf(m)
	if o == nil {
		return l.machine() != m
	}
	select {
	case <-o.over:
		return true
	case <-ctx.Done():
		return false
	}
}

// AwaitDigest waits until the client's picture shows a digest that f accepts, and returns it. what
// names the awaited digest in the error.
func (l *Lane) AwaitDigest(ctx context.Context, what string, f func(Digest) bool) (Digest, error) {
	if l.driver == nil {
		return Digest{}, l.errUndriven()
	}
	ctx, stop := l.whileUp(ctx)
	defer stop()
	began := time.Now()
	d, err := drive.AwaitDigest(ctx, l.driver, what, f)
	if err == nil {
		l.noteAwaited(began, what)
		return d, nil
	}
	return d, l.askHops(l.judgeWait(began, l.explain(err)), f)
}

// awaitSurface waits for a primary surface with something on it.
func (l *Lane) awaitSurface(ctx context.Context) (control.Surface, error) {
	ctx, stop := l.whileUp(ctx)
	defer stop()
	s, err := drive.AwaitSurface(ctx, l.driver)
	return s, l.explain(err)
}

// explain replaces an error by its cause, if that is known: a failure that the guest reported, or
// the end of a part.
func (l *Lane) explain(err error) error {
	if err == nil || l.client == nil {
		return err
	}
	if said := l.reason(nil); said != nil {
		return said
	}
	var hungUp <-chan struct{}
	if l.driver != nil { // see Config.ReleaseControl
		hungUp = l.driver.Done()
	}
	select {
	case <-l.closing:
	case <-l.backendDone():
	case <-l.proxy.Done():
	case <-l.client.Done():
	case <-hungUp: // the end of a part also closes the control socket
	default:
		return err
	}
	soon, cancel := context.WithTimeout(context.Background(), consequenceGrace)
	defer cancel()
	if end := l.awaitEnd(l.proxy, l.client, soon.Done()); end != nil {
		return end
	}
	return err
}

// whileUp returns a copy of ctx that is cancelled when a part of the lane ends or the guest resets
// itself unexpectedly. The cause of the cancellation is the reason.
func (l *Lane) whileUp(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	proxy, client := l.proxy, l.client
	var joined sync.WaitGroup
	joined.Go(func() {
		if err := l.awaitEnd(proxy, client, ctx.Done()); err != nil {
			cancel(err)
		}
	})
	reset := l.resets.next()
	joined.Go(func() { l.resets.cancelAtReset(ctx, cancel, reset) })
	return ctx, func() {
		cancel(nil)
		joined.Wait()
	}
}
