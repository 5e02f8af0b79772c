// Package conform checks that a control socket, anybody's, keeps protocol 1.2:
// every verb, event and error code, framing, ordering, and what happens to
// clients that are rude, slow or gone.
//
//	for _, r := range conform.Run(ctx, "/run/lane/control.sock", conform.Options{}) {
//		fmt.Println(r)
//	}
//
// It speaks to the socket in bytes and not through control.Driver, so that a
// mistake which both halves share is still found. The console behind the socket
// gets a few harmless keys (Shift, Control, an arrow) and the text "conform".
// Nothing else may be connected to the socket meanwhile.
//
// A check that cannot be made, because the guest draws nothing or the server
// does not offer the verb, is skipped with the reason, not passed.
package conform

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// Outcome is how a check ended.
type Outcome string

// The outcomes.
const (
	Pass Outcome = "pass"
	Fail Outcome = "fail"
	Skip Outcome = "skip"
)

// Result is one check.
type Result struct {
	Name    string        `json:"name"`    // what is claimed, as a sentence
	Outcome Outcome       `json:"outcome"` // pass, fail or skip
	Detail  string        `json:"detail,omitempty"`
	Took    time.Duration `json:"took_ns"`
}

// String is one line for a person.
func (r Result) String() string {
	s := fmt.Sprintf("%-4s  %s", r.Outcome, r.Name)
	if r.Detail != "" {
		s += ": " + r.Detail
	}
	return s
}

// Failed returns the results that failed.
func Failed(rs []Result) []Result {
	var failed []Result
	for _, r := range rs {
		if r.Outcome == Fail {
			failed = append(failed, r)
		}
	}
	return failed
}

// Options tune a run. The zero value is useful.
type Options struct {
	// Patience is how long a check waits for an answer, and for an event that
	// the guest has to cause. Zero is 5 s.
	Patience time.Duration

	// Burst makes the console behind the socket cause n surface_drawn events
	// at once. Nil: dropping is checked only if the guest draws fast enough by
	// itself.
	Burst func(n int)

	// OnResult is told each result as it comes; nil tells nobody.
	OnResult func(Result)
}

func (o Options) patience() time.Duration {
	if o.Patience <= 0 {
		return 5 * time.Second
	}
	return o.Patience
}

// Run makes all checks against the socket, one after another, and returns one
// result for each. When ctx ends, what is left fails with its reason.
func Run(ctx context.Context, path string, opts Options) []Result {
	var results []Result
	for _, ch := range checks {
		begin := time.Now()
		r := Result{Name: ch.name, Outcome: Pass}
		err := runCheck(ctx, path, opts, ch)
		if s := (skip("")); errors.As(err, &s) {
			r.Outcome, r.Detail = Skip, string(s)
		} else if err != nil {
			r.Outcome, r.Detail = Fail, err.Error()
		}
		r.Took = time.Since(begin)
		results = append(results, r)
		if opts.OnResult != nil {
			opts.OnResult(r)
		}
	}
	return results
}

// check is one claim.
type check struct {
	name string
	run  func(*probe) error
}

// skip is the reason for which a check could not be made.
type skip string

func (s skip) Error() string { return string(s) }

func skipf(format string, args ...any) error { return skip(fmt.Sprintf(format, args...)) }

func runCheck(ctx context.Context, path string, opts Options, ch check) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("not run: %w", context.Cause(ctx))
	}
	p := &probe{ctx: ctx, path: path, opts: opts}
	defer p.close()
	return ch.run(p)
}

// probe is what a check works with.
type probe struct {
	ctx   context.Context
	path  string
	opts  Options
	lines []*line
}

func (p *probe) close() {
	for _, l := range p.lines {
		l.conn.Close()
	}
}

// line is one connection.
type line struct {
	p      *probe
	conn   net.Conn
	r      *bufio.Reader
	events []message // those that came while an answer was awaited
	nextID int
	hello  helloResult
}

// message is any line from the server, its fields as they stood.
type message map[string]json.RawMessage

func (m message) String() string {
	b, err := json.Marshal(m)
	if err != nil {
		return err.Error()
	}
	return clip(string(b))
}

func clip(s string) string {
	const most = 300
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

// str returns a field as a string, "" if it is none.
func (m message) str(name string) string {
	var s string
	_ = json.Unmarshal(m[name], &s)
	return s
}

func (m message) ok() bool { return string(m["ok"]) == "true" }

func (m message) sub(name string) message {
	var sub message
	_ = json.Unmarshal(m[name], &sub)
	return sub
}

// code returns the error code, "" for a success.
func (m message) code() string { return m.sub("error").str("code") }

type helloResult struct {
	ServerName       string   `json:"server_name"`
	ProtocolVersion  string   `json:"protocol_version"`
	SupportedMethods []string `json:"supported_methods"`
	SupportedEvents  []string `json:"supported_events"`
}

// dial connects and says nothing. A server that is still cleaning up after the
// client before may be busy for a moment, so a hello is tried first on
// connections of their own.
func (p *probe) dial() (*line, error) {
	var d net.Dialer
	conn, err := d.DialContext(p.ctx, "unix", p.path)
	if err != nil {
		return nil, err
	}
	if dl, ok := p.ctx.Deadline(); ok {
		_ = conn.SetDeadline(dl)
	}
	l := &line{p: p, conn: conn, r: bufio.NewReader(conn), nextID: 1000}
	p.lines = append(p.lines, l)
	return l, nil
}

// free waits until the server serves a new client, and returns its connection,
// on which nothing has been said but a request that came too early.
func (p *probe) free() (*line, error) {
	deadline := time.Now().Add(p.opts.patience())
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		l, err := p.dial()
		if err != nil {
			return nil, err
		}
		if err := l.send(`{"id":0,"method":"status","params":{}}`); err == nil {
			m, err := l.read(p.opts.patience())
			if err == nil && m.code() == "no_hello_yet" {
				return l, nil
			}
			if err == nil && m.code() != "busy" {
				return nil, fmt.Errorf("a request before hello was answered %s, want no_hello_yet", m)
			}
		}
		l.conn.Close()
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("the server was busy for %s after the last client had gone", p.opts.patience())
		}
		select {
		case <-tick.C:
		case <-p.ctx.Done():
			return nil, context.Cause(p.ctx)
		}
	}
}

// open returns a connection on which hello has been said.
func (p *probe) open() (*line, error) {
	l, err := p.free()
	if err != nil {
		return nil, err
	}
	m, err := l.ask("hello", `{"client_name":"conform","protocol_version":"1.2"}`)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(m["result"], &l.hello); err != nil || !m.ok() {
		return nil, fmt.Errorf("hello was answered %s", m)
	}
	return l, nil
}

func has(list []string, s string) bool {
	for _, v := range list {
		if v == s {
			return true
		}
	}
	return false
}

// send writes one line.
func (l *line) send(s string) error {
	_, err := io.WriteString(l.conn, s+"\n")
	return err
}

// read takes the next line, whatever it is.
func (l *line) read(within time.Duration) (message, error) {
	_ = l.conn.SetReadDeadline(time.Now().Add(within))
	raw, err := l.r.ReadBytes('\n')
	if err != nil {
		var ne net.Error
		if errors.As(err, &ne) && ne.Timeout() {
			return nil, fmt.Errorf("no line within %s", within)
		}
		return nil, err
	}
	var m message
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("the server sent what is no JSON object: %s", clip(string(raw)))
	}
	return m, nil
}

// answer takes the next line that is no event; events are kept for later.
func (l *line) answer() (message, error) {
	deadline := time.Now().Add(l.p.opts.patience())
	for {
		m, err := l.read(time.Until(deadline))
		if err != nil {
			return nil, err
		}
		if _, isEvent := m["event"]; !isEvent {
			return m, nil
		}
		l.events = append(l.events, m)
	}
}

// event takes the next event of a name, from those kept or from the wire.
func (l *line) event(name string) (message, error) {
	return l.eventIn(name, l.p.opts.patience())
}

func (l *line) eventIn(name string, within time.Duration) (message, error) {
	for i, m := range l.events {
		if m.str("event") == name {
			l.events = append(l.events[:i:i], l.events[i+1:]...)
			return m, nil
		}
	}
	deadline := time.Now().Add(within)
	for {
		m, err := l.read(time.Until(deadline))
		if err != nil {
			return nil, fmt.Errorf("waiting for %s: %w", name, err)
		}
		if m.str("event") == name {
			return m, nil
		}
		l.events = append(l.events, m)
	}
}

// ask sends a request with an id of its own and returns its answer.
func (l *line) ask(method, params string) (message, error) {
	l.nextID++
	return l.askID(fmt.Sprint(l.nextID), method, params)
}

func (l *line) askID(id, method, params string) (message, error) {
	if err := l.send(fmt.Sprintf(`{"id":%s,"method":%q,"params":%s}`, id, method, params)); err != nil {
		return nil, err
	}
	m, err := l.answer()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, clip(params), err)
	}
	if got := string(m["id"]); got != id {
		return nil, fmt.Errorf("%s %s: the answer has id %s, want %s: %s", method, clip(params), got, id, m)
	}
	if _, has := m["ok"]; !has {
		return nil, fmt.Errorf("%s: the answer has no ok: %s", method, m)
	}
	return m, nil
}

// succeed asks and wants a success; it returns the result.
func (l *line) succeed(method, params string) (message, error) {
	m, err := l.ask(method, params)
	if err != nil {
		return nil, err
	}
	if !m.ok() {
		return nil, fmt.Errorf("%s %s was answered %s, want a success", method, clip(params), m)
	}
	res, isObject := m["result"]
	if !isObject || !strings.HasPrefix(string(res), "{") {
		return nil, fmt.Errorf("%s: the result is no object: %s", method, m)
	}
	return m.sub("result"), nil
}

// refuse asks and wants an error code.
func (l *line) refuse(code, method, params string) error {
	m, err := l.ask(method, params)
	if err != nil {
		return err
	}
	return wantCode(m, code, method+" "+clip(params))
}

func wantCode(m message, code, what string) error {
	if m.ok() || m.code() != code {
		return fmt.Errorf("%s was answered %s, want the error %s", what, m, code)
	}
	if m.sub("error").str("message") == "" {
		return fmt.Errorf("%s: the error %s has no message", what, code)
	}
	return nil
}

// alive checks that the connection still answers.
func (l *line) alive() error {
	_, err := l.succeed("status", "{}")
	if err != nil {
		return fmt.Errorf("the connection does not live on: %w", err)
	}
	return nil
}

// ended checks that the server closes the connection with nothing more to say.
func (l *line) ended() error {
	m, err := l.read(l.p.opts.patience())
	if err == nil {
		return fmt.Errorf("the connection goes on with %s, want its end", m)
	}
	if !errors.Is(err, io.EOF) {
		return fmt.Errorf("the connection ends with %w, want a plain end", err)
	}
	return nil
}
