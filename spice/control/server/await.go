package server

import (
	"cmp"
	"context"
	"fmt"
	"image"
	"strings"
	"time"

	"github.com/spicelane/spicelane/spice/control"
	"github.com/spicelane/spicelane/spice/control/internal/ndjson"
)

// defaultAwait is how long await waits by default.
const defaultAwait = 10 * time.Second

// awaitCondition answers await.
func (cn *connection) awaitCondition(c *call) (any, error) {
	var p control.AwaitParams
	if err := strictParams(c.Params, &p); err != nil {
		return nil, err
	}
	a := Awaiter{Console: cn.srv.cfg.Console, Digests: cn.watchDigest, Finder: cn.srv.cfg.Finder, Pointer: cn.srv.pointer.Load}
	res, err := a.Await(c.ctx, p)
	if err != nil {
		return nil, err
	}
	return res, nil
}

// An Awaiter waits for conditions on a console.
type Awaiter struct {
	Console Console
	// Digests returns the watcher of the console's digests. It is called only for conditions that
	// need it. If it is nil or returns nil, these conditions are refused.
	Digests func() *DigestWatcher
	// Finder is for the conditions screen and text; they are refused if it is nil.
	Finder Finder
	// Pointer returns where the mouse pointer was moved last; nil if that is not known. It may be
	// nil, too.
	Pointer func() *image.Point
}

// Await waits until the condition is met. It checks it now, and whenever something happens on the
// console. The error is a *control.Error, or ctx's error. With the code timeout or disconnected,
// its data is a control.AwaitResult. Other codes, such as bad_params, say why the condition cannot
// be checked.
func (a Awaiter) Await(ctx context.Context, p control.AwaitParams) (control.AwaitResult, error) {
	w := &wait{console: a.Console, finder: a.Finder, pointer: a.Pointer}
	if w.pointer == nil {
		w.pointer = func() *image.Point { return nil }
	}
	root, err := w.compile(ctx, p.Condition, "params")
	if err != nil {
		return control.AwaitResult{}, err
	}
	if w.looksAtDigests {
		if a.Digests != nil {
			w.digests = a.Digests()
		}
		if w.digests == nil {
			return control.AwaitResult{}, errorf(control.CodeBadParams, "the server does not read digests")
		}
		select {
		case <-w.digests.looked: // a watcher that has just begun knows nothing before that
		case <-ctx.Done():
			return control.AwaitResult{}, ctx.Err()
		}
	}
	timeout := defaultAwait
	if p.TimeoutMS != nil {
		timeout = time.Duration(*p.TimeoutMS) * time.Millisecond
	}
	return w.run(ctx, root, timeout)
}

// A wait is one call of await.
type wait struct {
	console Console
	finder  Finder
	pointer func() *image.Point
	// digests is set before the first check if looksAtDigests is.
	digests        *DigestWatcher
	looksAtDigests bool

	start  time.Time
	leaves []*leaf
}

// A leaf is a condition that combines no others, and what it saw last.
type leaf struct {
	want string
	look func() sight
	met  bool
	saw  string
	last string // the last thing seen that was not blind

	found *control.MatchResult
	err   error // why it can never be checked
}

// A sight is what a condition sees at one moment.
type sight struct {
	met bool
	saw string // for a person
	// blind means that there was nothing to check; saw says why.
	blind bool
	// found is what the conditions screen and text found.
	found *control.MatchResult
	// err says why the condition can never be checked. It ends the wait.
	err error
	// again is when the condition may be met without a new event; zero means never.
	again time.Time
}

// A node checks a condition and reports whether it is met now. If the condition may be met later
// without a new event, it moves again forward to that time.
type node func(again *time.Time) bool

// run checks now, and whenever something has happened, until the condition is met.
func (w *wait) run(ctx context.Context, root node, timeout time.Duration) (control.AwaitResult, error) {
	wake, stop := wakeOn(w.console, w.digests)
	defer stop()
	w.start = time.Now()
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	again := time.NewTimer(timeout)
	defer again.Stop()
	for {
		var at time.Time
		met := root(&at)
		for _, l := range w.leaves {
			if l.err != nil {
				return control.AwaitResult{}, l.err
			}
		}
		if met {
			return control.AwaitResult{WaitedMS: milliseconds(time.Since(w.start)), Seen: w.seen()}, nil
		}
		if st := w.console.Status(); !st.SPICEConnected {
			return control.AwaitResult{}, w.fail(control.CodeDisconnected, "the session is over: "+cmp.Or(st.Error, "not connected"))
		}
		again.Stop()
		if !at.IsZero() {
			again.Reset(time.Until(at))
		}
		select {
		case <-wake:
		case <-again.C:
		case <-deadline.C:
			return control.AwaitResult{}, w.fail(control.CodeTimeout, fmt.Sprintf("not within %s", timeout))
		case <-ctx.Done():
			return control.AwaitResult{}, ctx.Err()
		}
	}
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (w *wait) seen() []control.ConditionResult {
	results := make([]control.ConditionResult, 0, len(w.leaves))
	for _, l := range w.leaves {
		results = append(results, control.ConditionResult{Condition: l.want, Met: l.met, Saw: l.saw, Match: l.found})
	}
	return results
}

// fail returns an error that says which conditions were not met and what they saw last.
func (w *wait) fail(code control.Code, why string) error {
	var missing []string
	for _, l := range w.leaves {
		if !l.met {
			missing = append(missing, fmt.Sprintf("%s (last seen: %s)", l.want, l.saw))
		}
	}
	e := errorf(code, "%s: %s", why, strings.Join(missing, "; "))
	data, err := ndjson.Marshal(control.AwaitResult{WaitedMS: milliseconds(time.Since(w.start)), Seen: w.seen()})
	if err == nil {
		e.Data = data
	}
	return e
}

// compile validates a condition and prepares it for checking.
func (w *wait) compile(ctx context.Context, c control.Condition, at string) (node, error) {
	var found []string
	var n node
	var err error
	take := func(name string, set bool, make func() (node, error)) {
		if !set || err != nil {
			return
		}
		found = append(found, name)
		n, err = make()
	}
	take("all", c.All != nil, func() (node, error) { return w.combine(ctx, c.All, at+".all", true) })
	take("any", c.Any != nil, func() (node, error) { return w.combine(ctx, c.Any, at+".any", false) })
	take("surface", c.Surface != nil, func() (node, error) { return w.surface(*c.Surface) })
	take("stable", c.Stable != nil, func() (node, error) { return w.stable(*c.Stable) })
	take("region", c.Region != nil, func() (node, error) { return w.region(*c.Region) })
	take("digest", c.Digest != nil, func() (node, error) { return w.digest(*c.Digest) })
	take("agent", c.Agent != nil, func() (node, error) { return w.agent(*c.Agent) })
	take("cursor", c.Cursor != nil, func() (node, error) { return w.cursor(*c.Cursor) })
	take("screen", c.Screen != nil, func() (node, error) { return w.found(ctx, c.Screen, nil) })
	take("text", c.Text != nil, func() (node, error) { return w.found(ctx, nil, c.Text) })
	if err != nil {
		return nil, err
	}
	if len(found) != 1 {
		return nil, errorf(control.CodeBadParams, "%s: want exactly one of all, any, surface, stable, region, digest, agent, cursor, screen, text; got %d", at, len(found))
	}
	return n, nil
}

// combine makes a condition of several. All of them are checked each time, so that the report
// describes one moment.
func (w *wait) combine(ctx context.Context, cs []control.Condition, at string, all bool) (node, error) {
	if len(cs) == 0 {
		return nil, errorf(control.CodeBadParams, "%s is empty", at)
	}
	var nodes []node
	for i, c := range cs {
		n, err := w.compile(ctx, c, fmt.Sprintf("%s[%d]", at, i))
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, n)
	}
	return func(again *time.Time) bool {
		met := 0
		for _, n := range nodes {
			if n(again) {
				met++
			}
		}
		return met == len(nodes) || !all && met > 0
	}, nil
}

// leaf adds a condition that combines no others.
func (w *wait) leaf(want string, look func() sight) (node, error) {
	l := &leaf{want: want, look: look}
	w.leaves = append(w.leaves, l)
	return func(again *time.Time) bool {
		now := l.look()
		l.met, l.saw, l.found, l.err = now.met, now.saw, now.found, now.err
		switch {
		case !now.blind:
			l.last = now.saw
		case l.last != "":
			// What was on the screen before it disappeared helps more than its absence.
			l.saw = l.last + "; then " + now.saw
		}
		if at := now.again; !l.met && !at.IsZero() && (again.IsZero() || at.Before(*again)) {
			*again = at
		}
		return l.met
	}, nil
}
