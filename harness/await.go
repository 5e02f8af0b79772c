package harness

import (
	"context"
	"errors"
	"time"

	"github.com/spicelane/spicelane/fixtures/digest"
	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/host"
	"github.com/spicelane/spicelane/harness/serial"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice/control"
)

// Scaled is d, a time that is long enough with KVM, stretched by what this
// lane's accelerator and $SPICELANE_TIMEOUT_SCALE make of it.
func (l *Lane) Scaled(d time.Duration) time.Duration { return host.Scaled(d, l.State().Accel) }

// Judge adds to a wait that began then and ended in vain what the host did
// meanwhile, and blames the host if it did not let the guest run. Waits of this
// package's are judged already.
func (l *Lane) Judge(began time.Time, err error) error { return l.judgeWait(began, err) }

// A Digest is what the guest says of itself on its screen.
type Digest = digest.Digest

// AwaitSerial waits for a line on the guest's serial console that holds text.
func (l *Lane) AwaitSerial(ctx context.Context, text string) (serial.Line, error) {
	ctx, stop := l.whileUp(ctx)
	defer stop()
	began := time.Now()
	line, err := l.Serial().Await(ctx, serial.Contains(text))
	if err != nil {
		var await *serial.AwaitError
		if errors.As(err, &await) && l.machine().Err() == nil {
			return line, l.reason(l.judgeWait(began, &verdict.Error{Verdict: verdict.Product, Op: "await serial line", Err: err}))
		}
		return line, verdict.Classify("await serial line", err)
	}
	return line, nil
}

// AwaitDigest waits until the client's picture shows a digest that f accepts and
// returns it. What says in the error what was awaited.
func (l *Lane) AwaitDigest(ctx context.Context, what string, f func(Digest) bool) (Digest, error) {
	if l.Client == nil {
		return Digest{}, errNoClient
	}
	ctx, stop := l.whileUp(ctx)
	defer stop()
	began := time.Now()
	d, err := drive.AwaitDigest(ctx, l.Client, what, f)
	return d, l.judgeWait(began, l.explain(err))
}

// awaitSurface waits for a primary surface with something on it.
func (l *Lane) awaitSurface(ctx context.Context) (control.Surface, error) {
	ctx, stop := l.whileUp(ctx)
	defer stop()
	s, err := drive.AwaitSurface(ctx, l.Client)
	return s, l.explain(err)
}

// explain replaces a lost control socket by what it was a consequence of, if
// that is known: the end of QEMU or of the client.
func (l *Lane) explain(err error) error {
	if err == nil || l.client == nil {
		return err
	}
	if said := l.reason(nil); said != nil {
		return said
	}
	select {
	case <-l.Client.Done():
	case <-l.machine().Done():
	default:
		return err
	}
	t := time.NewTimer(consequenceGrace)
	defer t.Stop()
	select {
	case <-l.machine().Done():
		return verdict.Classify("", l.machine().Err())
	case <-l.client.Done():
		return l.clientEnd(l.client)
	case <-t.C:
		return err
	}
}

// whileUp is ctx, cancelled when a part of the lane ends, with the reason as its
// cause.
func (l *Lane) whileUp(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := make(chan struct{})
	// NB: read here: while a lane starts, the client comes later.
	client := l.client
	var clientDone <-chan struct{}
	if client != nil {
		clientDone = client.Done()
	}
	go func() {
		select {
		case <-l.machine().Done():
			cancel(l.machine().Err())
		case <-l.failures.failed:
			cancel(l.failures.err)
		case <-clientDone:
			cancel(l.clientEnd(client))
		case <-ctx.Done():
		case <-stop:
		}
	}()
	return ctx, func() {
		close(stop)
		cancel(nil)
	}
}
