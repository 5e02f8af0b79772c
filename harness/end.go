package harness

import (
	"errors"
	"fmt"
	"time"

	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/verdict"
)

// release undoes everything and waits for all goroutines.
func (l *Lane) release() error {
	if l.driver != nil {
		_ = l.driver.Close()
	}
	// The timeline is closed last. Those who write to it must have ended before, and that needs the
	// machine to be gone.
	var err error
	if l.machine() != nil || l.standIn != nil {
		err = l.stopParts()
		l.joined.Wait()
	}
	return errors.Join(err, l.undo.run())
}

// stopParts ends client, proxy and machine, in this order, so that none of them complains about the
// end of another.
func (l *Lane) stopParts() error {
	var errs []error
	if l.client != nil {
		errs = append(errs, l.client.Close())
	}
	if l.proxy != nil {
		errs = append(errs, l.proxy.Close())
	}
	if l.machine() != nil {
		errs = append(errs, l.machine().Close())
	}
	return errors.Join(errs...)
}

// watch ends the lane when any part of it ends.
func (l *Lane) watch() {
	defer l.joined.Done()
	err := l.firstEnd(l.proxy, l.client, nil)
	defer func() {
		close(l.done)
		l.endCtx(err)
	}()
	if errors.Is(err, errLaneClosed) {
		return
	}
	l.err = err
	ended := func(s *registry.State) {
		s.State, s.Reason = registry.StateFailed, err.Error()
		s.Verdict, s.Hop = verdict.Of(err), verdict.HopOf(err)
		if switchedOff(err) {
			s.State, s.EndedBy = registry.StateStopped, registry.EndedByGuest
		}
	}
	if switchedOff(err) {
		l.log.Add("lane", map[string]any{"state": registry.StateStopped, "reason": err.Error()})
	} else {
		l.log.Add("verdict", map[string]any{"verdict": verdict.Of(err), "reason": err.Error()})
	}
	// NB: write the file first, because a reader looks at it after seeing the lane's end.
	s := l.State()
	ended(&s)
	l.writeVerdictOf(s, err)
	l.setState(ended)
}

// switchedOff tells whether err says that the guest has switched itself off. That ends a lane, but
// only the lane's test knows whether it was intended. So the verdict is a fault until Close.
func switchedOff(err error) bool {
	var exit *qemu.ExitError
	return errors.As(err, &exit) && exit.Kind == qemu.KindShutdown
}

// errLaneClosed ends pending waits when the lane is closed.
var errLaneClosed = &verdict.Error{Verdict: verdict.Harness, Err: errors.New("the lane was closed")}

// awaitEnd waits until the lane is closed or a part of it ends by itself, and returns the reason.
// It returns nil when over is closed. A backend that was stopped on purpose does not count; see
// StopBackend.
//
// NB: proxy and client are parameters, because a starting lane sets its fields later.
func (l *Lane) awaitEnd(proxy, client *part, over <-chan struct{}) error {
	err := l.firstEnd(proxy, client, over)
	if err != nil && isClosed(l.closing) {
		// Close ends the parts, so their ends are no reason. But a lane that had ended before has a
		// reason.
		select {
		case <-l.done:
			if l.err != nil {
				return l.err
			}
		default:
		}
		return errLaneClosed
	}
	return err
}

// firstEnd does what awaitEnd does, but also reports the ends of parts that Close ends.
func (l *Lane) firstEnd(proxy, client *part, over <-chan struct{}) error {
	m := l.machine()
	gone := l.backendDone()
	var back <-chan struct{} // closed when another machine runs
	for {
		select {
		case <-over:
			return nil
		case <-l.closing:
			return errLaneClosed
		case <-gone:
			var o *outage
			if l.standIn == nil {
				o = l.outageOf(m)
			}
			if o == nil {
				return l.backendEnd()
			}
			gone, back = nil, o.over
		case <-back:
			m = l.machine()
			gone, back = m.Done(), nil
		case <-l.failures.failed:
			return verdict.Classify("", l.failures.err)
		case <-l.witness.failed():
			return l.witness.err()
		case <-l.log.Failed():
			// Record it now: nobody could find the reason later.
			return verdict.Classify("", l.log.Err())
		case <-proxy.Done():
			return l.proxyEnd(proxy)
		case <-client.Done():
			return l.clientEnd(proxy, client)
		}
	}
}

// consequenceGrace limits the wait, after the end of a part, for the end of QEMU or the proxy,
// which may be the cause. The kernel closes a process's sockets before the process can be reaped.
const consequenceGrace = 500 * time.Millisecond

// backendEnd returns why QEMU, or the server in its place, has ended: the failure that the guest
// reported, if there is one.
func (l *Lane) backendEnd() error {
	if l.standIn == nil {
		l.awaitLastWords(l.machine())
	}
	return l.reason(verdict.Classify("", l.backendErr()))
}

// awaitLastWords waits, after a machine has ended, until the guest's last output has been checked.
// It arrives on another socket than the end. A guest that panics prints why before QEMU reports the
// panic, but the line may be read later.
func (l *Lane) awaitLastWords(m *qemu.Machine) {
	if l.failures == nil {
		return
	}
	read, _ := l.consoles.Load(m)
	ended, _ := read.(chan struct{})
	t := time.NewTimer(consequenceGrace)
	defer t.Stop()
	select {
	case <-l.failures.failed:
	case <-ended:
	case <-t.C: // a machine that is paused in its panic keeps its console open
	}
}

// clientEnd returns why the client ended. The reason may be the end of the proxy or of QEMU.
func (l *Lane) clientEnd(proxy, client *part) error {
	t := time.NewTimer(consequenceGrace)
	defer t.Stop()
	select {
	case <-l.backendDone():
		return l.backendEnd()
	case <-proxy.Done():
		return l.proxyEnd(proxy)
	case <-t.C:
		return l.reason(&verdict.Error{Verdict: verdict.Product, Hop: verdict.HopClient, Err: fmt.Errorf("the client ended: %w", client.Err())})
	}
}

// proxyEnd returns why the proxy ended. The reason may be the end of QEMU.
func (l *Lane) proxyEnd(proxy *part) error {
	t := time.NewTimer(consequenceGrace)
	defer t.Stop()
	select {
	case <-l.backendDone():
		return l.backendEnd()
	case <-t.C:
		return &verdict.Error{Verdict: verdict.Product, Hop: verdict.HopProxy, Err: fmt.Errorf("the proxy ended: %w", proxy.Err())}
	}
}

// Done returns a channel that is closed when any part of the lane has ended, or Close was called.
func (l *Lane) Done() <-chan struct{} { return l.done }

// Err returns why the lane ended by itself. It returns nil while the lane is up, and after a normal
// Close.
func (l *Lane) Err() error {
	select {
	case <-l.done:
		return l.err
	default:
		return nil
	}
}

// Close ends the lane: client, proxy, QEMU, each within a time limit. Then it removes everything
// except the artifacts. It is idempotent: further calls, even concurrent ones, wait for the first
// and return its error.
func (l *Lane) Close() error {
	l.mu.Lock()
	select {
	case <-l.closing:
		l.mu.Unlock()
		<-l.closed
		return l.closeErr
	default:
		close(l.closing)
	}
	l.mu.Unlock()
	defer close(l.closed)
	l.log.Add("lane", map[string]any{"state": "ending"})
	<-l.done
	// Record the final state before releasing the lane: a reader who sees that the supervisor has
	// ended must find it.
	err := l.stopParts()
	l.covered = l.carried()
	noteCarried(l.covered)
	l.setState(func(s *registry.State) {
		if s.State == registry.StateReady || s.State == registry.StateStarting {
			s.State, s.Reason, s.EndedBy = registry.StateStopped, "it was ended on request", registry.EndedByRequest
		}
		s.PIDs = registry.PIDs{}
	})
	switch failure := l.failure(); {
	case switchedOff(l.err):
		l.judgeSwitchedOff(failure)
	case failure == nil:
		l.writeVerdict(nil)
	default:
		l.addCarried()
	}
	l.closeErr = errors.Join(err, l.release())
	l.leaveReplay(l.hasFailed())
	return l.closeErr
}
