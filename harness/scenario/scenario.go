package scenario

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/spicelane/spicelane/fixtures/digest"
	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice/control"
)

// A Suite checks one aspect of a lane. Run fails the test if the lane does not pass.
type Suite struct {
	// Name is one word.
	Name string
	Run  func(tb testing.TB, lane *harness.Lane)
}

// Suites returns the suites with the given names, or all without names. Each leaves the lane as it
// found it, so that one lane can go through all of them, in the order of Suites(). Suites panics if
// a name is unknown.
func Suites(names ...string) []Suite {
	if len(names) == 0 {
		return slices.Clone(suites)
	}
	var list []Suite
	for _, name := range names {
		i := slices.IndexFunc(suites, func(s Suite) bool { return s.Name == name })
		if i < 0 {
			panic(fmt.Sprintf("scenario: there is no suite %q", name))
		}
		list = append(list, suites[i])
	}
	return list
}

var suites = []Suite{
	{"boot", Boot},
	{"surfaces", Surfaces},
	{"screenshot", Screenshot},
	{"picture", Picture},
	{"digest", Digest},
	{"events", Events},
	{"type", Type},
	{"keyboard", Keyboard},
	{"pointer", Pointer},
	{"clipboard", Clipboard},
	{"monitors", Monitors},
	{"modes", Modes},
	{"tone", Tone},
	{"reconnect", Reconnect},
	{"record", Record},
	{"native", Native},
}

// ForAnyGuest returns the suites that need no digest. They, too, leave the lane as they found it.
// The fixture's text "shell" is the prompt of a shell on the screen. Without that text, the suites
// that type leave out what they cannot see.
func ForAnyGuest() []Suite {
	return append(Suites("boot", "surfaces", "screenshot", "picture"), Suite{"readback", ReadBack})
}

// Run runs suites on a lane, each as a subtest. Without suites, it runs all of [Suites]. If the
// guest shows no digest, it runs those of [ForAnyGuest], and of those only the ones that look at
// pictures if the lane has no guest. If its server is a running one, they leave out what takes the
// server's own picture.
func Run(t *testing.T, lane *harness.Lane, suites ...Suite) {
	t.Helper()
	if len(suites) == 0 {
		suites = Suites()
		switch {
		case lane.Machine() == nil:
			suites = Suites("surfaces", "screenshot", "picture")
		case !showsDigest(lane):
			suites = ForAnyGuest()
		}
	}
	for _, s := range suites {
		t.Run(s.Name, func(t *testing.T) { s.Run(t, lane) })
	}
}

// patience limits every single wait of a suite, under KVM. What is awaited takes a tenth of a
// second, or two seconds of the guest's own clock.
const patience = 10 * time.Second

// A run is a running suite.
type run struct {
	testing.TB
	lane   *harness.Lane
	client *control.Driver
	// ctx ends with the suite and with the lane.
	ctx context.Context
	// undo has the steps for end, which runs them last to first.
	undo []func()
}

// begin starts a suite. The caller must call end.
func begin(tb testing.TB, lane *harness.Lane) *run {
	tb.Helper()
	client, err := lane.Control()
	if err != nil {
		tb.Fatalf("%s fault: there is nothing that a suite could drive: %v", verdict.Of(err), err)
	}
	ctx, cancel := context.WithCancelCause(lane.Context())
	r := &run{TB: tb, lane: lane, client: client, ctx: ctx}
	stop := make(chan struct{})
	joined := make(chan struct{})
	go func() {
		defer close(joined)
		select {
		case <-lane.Done():
			cancel(lane.Err())
		case <-stop:
		}
	}()
	r.later(func() {
		close(stop)
		<-joined
		cancel(nil)
	})
	begun := false
	defer func() {
		if !begun {
			r.end()
		}
	}()
	if r.digests() {
		ctx, cancel := r.within(patience)
		defer cancel()
		s, err := OpenStream(ctx, lane)
		r.must(err, "read the digest")
		defer s.Close()
		r.settled(s)
	}
	begun = true
	return r
}

// machine returns QEMU. It ends the suite if the lane has no guest.
func (r *run) machine() *qemu.Machine {
	r.Helper()
	m := r.lane.Machine()
	if m == nil {
		r.Fatalf("%s fault: this suite needs a guest, and the lane has none; see Config.Server", verdict.Harness)
	}
	return m
}

// compares tells whether the client's picture can be compared with that of the machine or the server,
// and otherwise logs what is left out.
func (r *run) compares() bool {
	r.Helper()
	if r.lane.Machine() == nil {
		if _, err := r.lane.Truth(); err != nil {
			r.left("the server's own picture", "a running server (Config.Server) cannot be asked for it")
			return false
		}
	}
	return true
}

// digests tells whether the guest shows a digest.
func (r *run) digests() bool { return showsDigest(r.lane) }

func showsDigest(lane *harness.Lane) bool {
	fx := lane.Fixture()
	return fx != nil && fx.Digest != nil
}

// settled waits until nothing more happens by itself in a guest that has just started. If the guest
// has an agent, that is when the agent knows about the client.
func (r *run) settled(s *Stream) {
	r.Helper()
	driven := s.Last().ChannelHashes != (digest.ChannelHashes{}) || slices.ContainsFunc(s.events, func(e digest.Event) bool {
		switch e.(type) {
		case digest.Agent: // a guest's start has these
			return false
		}
		return true
	})
	if !driven && r.greets() {
		r.greeted(s)
	}
}

// later makes end call f, even after a failure.
func (r *run) later(f func()) { r.undo = append(r.undo, f) }

// restore makes end call f, unless the suite has failed: a lane in an unexpected state is left
// alone, so that it can be examined.
func (r *run) restore(f func()) {
	r.later(func() {
		if !r.Failed() {
			f()
		}
	})
}

// end undoes what the suite has made. It is deferred, so that it also runs when a failure ends the
// test's goroutine.
func (r *run) end() {
	if n := len(r.undo); n > 0 {
		f := r.undo[n-1]
		r.undo = r.undo[:n-1]
		defer r.end() // also if f fails the test
		f()
	}
}

// must ends the suite if err is not nil.
func (r *run) must(err error, doing ...any) {
	r.Helper()
	if err == nil {
		return
	}
	what := fmt.Sprint(doing...)
	if what != "" {
		err = fmt.Errorf("%s: %w", what, err)
	}
	r.lane.NoteFailure(&verdict.Error{Verdict: verdictOf(err), Hop: verdict.HopOf(err), Err: err})
	if tb, ok := r.TB.(noter); ok {
		tb.note(err)
	}
	r.Fatalf("%s fault: %v", verdictOf(err), err)
}

// want ends the suite as a product failure if ok is false.
func (r *run) want(ok bool, format string, args ...any) {
	r.Helper()
	if !ok {
		r.must(&verdict.Error{Verdict: verdict.Product, Err: fmt.Errorf(format, args...)})
	}
}

// verdictOf does what verdict.Of does, but an error that the client answered is Product, unless the
// request was wrong.
func verdictOf(err error) verdict.Kind {
	var f *verdict.Error
	var e *control.Error
	if !errors.As(err, &f) && errors.As(err, &e) && e.Code != control.CodeBadParams && e.Code != control.CodeUnknownMethod {
		return verdict.Product
	}
	return verdict.Of(err)
}

// isCode tells whether err is an answer with that code.
func isCode(err error, code control.Code) bool { return errors.Is(err, &control.Error{Code: code}) }

// left logs what is not tested, and why.
func (r *run) left(what, why string) {
	r.Helper()
	r.Logf("left out: %s: %s", what, why)
}

// offers tells whether the client has all of the verbs, and otherwise logs what is left out.
func (r *run) offers(what string, methods ...string) bool {
	r.Helper()
	for _, m := range methods {
		if !r.client.Supports(m) {
			r.left(what, fmt.Sprintf("the client (%s) has no verb %s", r.client.Server().ServerName, m))
			return false
		}
	}
	return true
}

// within limits one wait, and names it.
func (r *run) within(d time.Duration) (context.Context, context.CancelFunc) {
	d = r.lane.Scaled(d)
	return context.WithTimeoutCause(r.ctx, d, fmt.Errorf("not within %v", d))
}

// stream follows the guest's digest until the suite's end.
func (r *run) stream() *Stream {
	r.Helper()
	ctx, cancel := r.within(patience)
	defer cancel()
	s, err := OpenStream(ctx, r.lane)
	r.must(err, "read the digest")
	r.later(s.Close)
	return s
}

// complete demands that the stream has shown everything.
func (r *run) complete(s *Stream, fromBoot bool) {
	r.Helper()
	ctx, cancel := r.within(patience)
	defer cancel()
	r.must(s.Complete(ctx, fromBoot))
}

// await waits for an event that no wait has returned yet.
func (r *run) await(s *Stream, what string, match func(digest.Event) bool) digest.Event {
	r.Helper()
	ctx, cancel := r.within(patience)
	defer cancel()
	e, err := s.Await(ctx, what, match)
	r.must(err)
	return e
}

// awaitA does what await does, for events of one type.
func awaitA[E digest.Event](r *run, s *Stream, what string, match func(E) bool) E {
	r.Helper()
	e := r.await(s, what, func(e digest.Event) bool {
		got, ok := e.(E)
		return ok && match(got)
	})
	return e.(E)
}

// tap presses a key, waits until the guest has seen it, releases it, and waits again. It waits
// twice because the guest's digest can show only so many events of one moment.
func (r *run) tap(s *Stream, key string) {
	r.Helper()
	codes, err := control.ParseKey(key)
	if err != nil || len(codes) != 1 {
		r.Fatalf("%s fault: %q is not one key: %v", verdict.Harness, key, err)
	}
	r.down(s, codes[0])
	after := s.read
	r.up(s, codes[0])
	s.read = after // what the key led to may have come before its release
}

func (r *run) down(s *Stream, code uint16) digest.Scancode {
	r.Helper()
	r.must(r.client.SendKey(r.ctx, code, control.Down))
	return awaitA(r, s, fmt.Sprintf("key %#04x going down", code), func(e digest.Scancode) bool {
		return e.Code == guestCode(code) && e.State == digest.KeyDown
	})
}

func (r *run) up(s *Stream, code uint16) digest.Scancode {
	r.Helper()
	r.must(r.client.SendKey(r.ctx, code, control.Up))
	return awaitA(r, s, fmt.Sprintf("key %#04x going up", code), func(e digest.Scancode) bool {
		return e.Code == guestCode(code) && e.State == digest.KeyUp
	})
}

// The control socket's Pause key is Control and Pause on the wire; only a keyboard sends a code of
// three bytes for it.
const (
	keyPause   uint16 = 0xe046
	guestPause uint16 = 0xe11d
)

// guestCode returns what the guest reports for a key of the control socket.
func guestCode(code uint16) uint16 {
	if code == keyPause {
		return guestPause
	}
	return code
}

// hold makes the guest only report keys until the suite's end.
func (r *run) hold(s *Stream) {
	r.Helper()
	r.holding(s, true)
	r.restore(func() { r.holding(s, false) })
}

// holding makes the guest only report keys, or act on them again.
func (r *run) holding(s *Stream, on bool) {
	r.Helper()
	for range 2 { // it may be as it should already
		r.must(r.client.SendKey(r.ctx, keyF10, control.Down))
		h := awaitA(r, s, "F10 to hold or to let go", func(digest.Hold) bool { return true })
		r.up(s, keyF10)
		if h.On == on {
			return
		}
	}
	r.want(false, "F10 does not switch the guest's holding")
}

const keyF10 = control.KeyF1 + 9
