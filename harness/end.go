package harness

import (
	"errors"
	"fmt"
	"time"

	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/verdict"
)

// release undoes everything and joins everybody.
func (l *Lane) release() error {
	if l.driver != nil {
		_ = l.driver.Close()
	}
	// The timeline is the last to be closed; whoever writes to it is joined
	// before, which needs the machine to be gone.
	var err error
	if l.machine() != nil || l.standIn != nil {
		err = l.stopParts()
		l.joined.Wait()
	}
	return errors.Join(err, l.undo.run())
}

// stopParts ends client, proxy and machine, in this order, so that none of them
// complains about the others.
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
	l.log.Add("verdict", map[string]any{"verdict": verdict.Of(err), "reason": err.Error()})
	ended := func(s *registry.State) {
		s.State, s.Reason = registry.StateFailed, err.Error()
		s.Verdict, s.Hop = verdict.Of(err), verdict.HopOf(err)
		var exit *qemu.ExitError
		if errors.As(err, &exit) && exit.Kind == qemu.KindShutdown {
			s.State, s.EndedBy = registry.StateStopped, registry.EndedByGuest
		}
	}
	// NB: the file first: who sees the lane ended reads it.
	s := l.State()
	ended(&s)
	l.writeVerdictOf(s, err)
	l.setState(ended)
}

// errLaneClosed ends what still waits for something when the lane is closed.
var errLaneClosed = &verdict.Error{Verdict: verdict.Harness, Err: errors.New("the lane was closed")}

// awaitEnd waits until the lane is closed or a part of it ends by itself, and says
// why. It returns nil when over is closed. A backend that was stopped on purpose is no
// end, see StopBackend.
//
// NB: proxy and client are passed, not read from the lane: while it starts they come
// later.
func (l *Lane) awaitEnd(proxy, client *part, over <-chan struct{}) error {
	err := l.firstEnd(proxy, client, over)
	if err != nil && isClosed(l.closing) {
		// Close ends the parts: what they say then is no reason. A lane that had ended
		// before has one.
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

// firstEnd is awaitEnd, but for parts that Close ends.
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
			// Whoever looks for the reason of a failure later would not find it.
			return verdict.Classify("", l.log.Err())
		case <-proxy.Done():
			return l.proxyEnd(proxy)
		case <-client.Done():
			return l.clientEnd(proxy, client)
		}
	}
}

// consequenceGrace is how long the end of QEMU or the proxy may lag behind the end
// of what was connected to it: the kernel closes its sockets before it can be
// reaped.
const consequenceGrace = 500 * time.Millisecond

// backendEnd says why QEMU, or what stands in its place, has ended: by what the guest said
// of its failure, if it said anything.
func (l *Lane) backendEnd() error {
	if l.standIn == nil {
		l.awaitLastWords(l.machine())
	}
	return l.reason(verdict.Classify("", l.backendErr()))
}

// awaitLastWords waits, after a machine has ended, until what the guest said last was
// looked at. It comes on another socket than the end: a guest that says why it panics
// has said it before QEMU tells of the panic, and is heard after.
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
	case <-t.C: // a machine that is paused in its panic keeps its console
	}
}

// clientEnd says why the client ended, which may be a consequence of the proxy's
// or of QEMU's end.
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

// proxyEnd says why the proxy ended, which may be a consequence of QEMU's end.
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

// Done is closed when any part of the lane has ended, or Close was called.
func (l *Lane) Done() <-chan struct{} { return l.done }

// Err says why the lane ended by itself; nil while it is up or when it was
// closed.
func (l *Lane) Err() error {
	select {
	case <-l.done:
		return l.err
	default:
		return nil
	}
}

// Close ends the lane: client, proxy, QEMU, each bounded, then removes what is
// not an artifact. It is idempotent: a caller that calls it again, at the same time or
// later, waits for the first and gets its error.
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
	<-l.done
	// What everybody was told to do is noted before it is done: whoever sees
	// the supervisor gone finds the final word.
	err := l.stopParts()
	l.setState(func(s *registry.State) {
		if s.State == registry.StateReady || s.State == registry.StateStarting {
			s.State, s.Reason, s.EndedBy = registry.StateStopped, "it was ended on request", registry.EndedByRequest
		}
		s.PIDs = registry.PIDs{}
	})
	if l.err == nil {
		l.writeVerdict(nil)
	}
	l.closeErr = errors.Join(err, l.release())
	return l.closeErr
}
