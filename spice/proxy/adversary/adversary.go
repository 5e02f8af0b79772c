// Package adversary attacks a SPICE proxy and reports wrong answers.
//
//	results := adversary.Run(ctx, adversary.Target{
//		TLSAddr: "proxy.example:5901",
//		TLS:     &tls.Config{RootCAs: pool, ServerName: "proxy.example"},
//		Token:   func(ctx context.Context) (string, error) { … }, // opens one session
//	}, func(r adversary.Result) {
//		fmt.Println(r) // PASS token/replayed: permission_denied
//	})
//
// Each case does one thing that a proxy on a hostile network must expect. It compares the answer
// with the exact one that the protocol and common sense demand. After each case the proxy must
// still serve a well-behaved client. Cases that need more of the target than it offers (its
// console, its clock, its API) are skipped, with the reason.
//
// Every case can fail: the package's tests run each one against a relay that permits everything,
// where it must fail.
//
// The package needs only the proxy's ports. It draws no pictures and measures no speed. To see what
// a case does, read its function, which fits one screen.
package adversary

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spicelane/spicelane/spice/console"
)

// Target is the proxy to attack.
type Target struct {
	// TLSAddr is its TLS port. Addr is its plaintext port and APIAddr its HTTP API;
	// cases about one that is empty are skipped.
	TLSAddr string
	Addr    string
	APIAddr string

	// WebSocketAddr is its port for WebSockets in TLS, and WebSocketPath the path there; empty
	// means /websockify. Without the address the cases about WebSockets are skipped.
	WebSocketAddr string
	WebSocketPath string

	// TLS says how to verify its certificate; nil means not at all.
	TLS *tls.Config

	// Token returns the SPICE password for another session of the good console. If the target has
	// tokens, each call returns a new one.
	Token func(ctx context.Context) (string, error)
	// Spent, if not nil, is called with each token that has opened a session.
	Spent func(token string)
	// Doubtful, if not nil, is called with each token after which the target could not reach its
	// console. The target may count such a token as spent or as unspent.
	Doubtful func(token string)
	// OneSession says that a token opens only one session, so a replayed or borrowed one must be
	// refused. A relay that passes on the console's own ticket has no such rule.
	OneSession bool
	// Reads says that the target reads messages and refuses those that the protocol does not have.
	Reads bool

	// Lead, if not nil, tells the target that its console is now a server of this package.
	Lead func(c console.Console)
	// ConsoleAddr is the address of the target's only console, for targets without Lead. This
	// package listens there, in plaintext and with the ticket Ticket. If both are unset, the cases
	// about consoles are skipped.
	ConsoleAddr string
	// Foreign is a token that the target has not issued, such as one of another proxy; empty for
	// none.
	Foreign string
	// Vanish, if not nil, removes the console from the target's sources until Lead is called.
	Vanish func()
	// Advance, if not nil, moves the clock of the target's tokens.
	Advance func(d time.Duration)
	// EndSessions, if not nil, ends all sessions as an operator would.
	EndSessions func()

	// Patience is how long the target may take to disconnect a silent client; 0 means 15 s.
	Patience time.Duration
}

func (t *Target) patience() time.Duration {
	if t.Patience == 0 {
		return 15 * time.Second
	}
	return t.Patience
}

// plays reports whether this package can play the target's console.
func (t *Target) plays() bool { return t.Lead != nil || t.ConsoleAddr != "" }

// Case is one attack.
type Case struct {
	Name string // as in "token/replayed"
	Want string // the answer
	// Reason is the reason that this repository's proxy must have in its audit log after the case;
	// empty for none.
	Reason string

	needs []need
	run   func(a *attack) string
}

// need is something that a case needs of the target.
type need struct {
	name string
	has  func(t *Target) bool
}

var (
	needPlain     = need{"a plaintext port", func(t *Target) bool { return t.Addr != "" }}
	needWebSocket = need{"a WebSocket port", func(t *Target) bool { return t.WebSocketAddr != "" }}
	needAPI       = need{"an HTTP API", func(t *Target) bool { return t.APIAddr != "" }}
	needConsole   = need{"a console that can be played", (*Target).plays}
	needLead      = need{"a console whose TLS can be chosen", func(t *Target) bool { return t.Lead != nil }}
	needForeign   = need{"a token of another proxy", func(t *Target) bool { return t.Foreign != "" }}
	needVanish    = need{"a console that can vanish", func(t *Target) bool { return t.Vanish != nil }}
	needClock     = need{"a clock that can be moved", func(t *Target) bool { return t.Advance != nil }}
	needEnd       = need{"sessions that can be ended", func(t *Target) bool { return t.EndSessions != nil }}
	needSession   = need{"tokens that open one session", func(t *Target) bool { return t.OneSession }}
	needReads     = need{"a proxy that reads messages", func(t *Target) bool { return t.Reads }}
)

// missing returns what the target lacks for a case; "" if nothing.
func (c *Case) missing(t *Target) string {
	for _, n := range c.needs {
		if !n.has(t) {
			return n.name
		}
	}
	return ""
}

// Result is the result of a case.
type Result struct {
	Case    Case
	Got     string
	Skipped string        // why it was not run; empty if it was
	After   error         // why a good client was not served afterwards
	Took    time.Duration // of the attack
}

// Failed reports whether the target gave a wrong answer, or no longer serves a good client.
func (r Result) Failed() bool { return r.Skipped == "" && (r.Got != r.Case.Want || r.After != nil) }

func (r Result) String() string {
	switch {
	case r.Skipped != "":
		return fmt.Sprintf("SKIP %s: needs %s", r.Case.Name, r.Skipped)
	case r.Got != r.Case.Want:
		return fmt.Sprintf("FAIL %s: got %q, want %q", r.Case.Name, r.Got, r.Case.Want)
	case r.After != nil:
		return fmt.Sprintf("FAIL %s: answered %q, but a good client was not served afterwards: %v", r.Case.Name, r.Got, r.After)
	}
	return fmt.Sprintf("PASS %s: %s", r.Case.Name, r.Got)
}

// Cases lists all cases, by group.
func Cases() []Case {
	var all []Case
	for _, group := range [][]Case{portCases(), linkCases(), tokenCases(), slowCases(), channelCases(), messageCases(), consoleCases(), apiCases(), webSocketCases()} {
		all = append(all, group...)
	}
	return all
}

// Run runs all cases against a target, one after the other, until ctx ends. If report is not nil,
// it calls it with each result.
func Run(ctx context.Context, t Target, report func(Result)) []Result {
	var results []Result
	for _, c := range Cases() {
		r := RunCase(ctx, t, c)
		if ctx.Err() != nil {
			break
		}
		results = append(results, r)
		if report != nil {
			report(r)
		}
	}
	return results
}

// RunCase runs one case, and then connects a good client.
func RunCase(ctx context.Context, t Target, c Case) Result {
	r := Result{Case: c}
	if r.Skipped = c.missing(&t); r.Skipped != "" {
		return r
	}
	began := time.Now()
	a := &attack{ctx: ctx, t: &t}
	r.Got = a.attempt(c.run)
	r.Took = time.Since(began)
	a.close()
	r.After = Serves(ctx, t)
	if r.After == nil && slices.ContainsFunc(c.needs, func(n need) bool { return n.name == needWebSocket.name }) {
		r.After = serves(ctx, t, true)
	}
	return r
}

// Serves connects a well-behaved client and returns why that failed.
func Serves(ctx context.Context, t Target) error { return serves(ctx, t, false) }

func serves(ctx context.Context, t Target, overWeb bool) error {
	a := &attack{ctx: ctx, t: &t, overWeb: overWeb}
	defer a.close()
	if t.plays() {
		a.good()
	}
	got := a.attempt(func(a *attack) string {
		s := a.session()
		if a.console == nil {
			return "ok"
		}
		return a.echo(s)
	})
	if got != "ok" {
		return errors.New(got)
	}
	return nil
}
