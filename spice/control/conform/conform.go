// Package conform checks that any control socket follows protocol 1.2: every verb, event and error
// code, framing, ordering, and how it handles clients that are rude, slow or gone.
//
//	for _, r := range conform.Run(ctx, "/run/lane/control.sock", conform.Options{}) {
//		fmt.Println(r)
//	}
//
// It writes and reads bytes instead of using control.Driver, so that it also finds mistakes that
// driver and server share. The console gets a few harmless keys (Shift, Control, an arrow) and the
// text "conform". No other client may be connected to the socket meanwhile.
//
// A check that is impossible, because the guest draws nothing or the server does not offer the
// verb, is skipped with the reason. It does not pass.
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

// Outcome says how a check ended.
type Outcome string

// The outcomes.
const (
	Pass Outcome = "pass"
	Fail Outcome = "fail"
	Skip Outcome = "skip"
)

// Result is the result of one check.
type Result struct {
	Name    string        `json:"name"`    // the claim, as a sentence
	Outcome Outcome       `json:"outcome"` // pass, fail or skip
	Detail  string        `json:"detail,omitempty"`
	Took    time.Duration `json:"took_ns"`
}

// String returns the result in one line.
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

// Options configure a run. The zero value is useful.
type Options struct {
	// Patience is how long a check waits for an answer, and for an event that the guest has to
	// cause. Zero means 5 s.
	Patience time.Duration

	// Burst makes the console cause n surface_drawn events at once. If it is nil, the check of
	// dropped events is skipped, and the other checks of events need a guest that causes them.
	Burst func(n int)

	// OnResult, if not nil, is called with each result as it comes.
	OnResult func(Result)
}

func (o Options) patience() time.Duration {
	if o.Patience <= 0 {
		return 5 * time.Second
	}
	return o.Patience
}

// Run runs all checks against the socket, one after another, and returns one result for each. When
// ctx ends, the remaining checks fail with that reason.
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
	run  func(*probe)
}

// skip is the reason why a check is impossible.
type skip string

func (s skip) Error() string { return string(s) }

func skipf(format string, args ...any) error { return skip(fmt.Sprintf(format, args...)) }

func runCheck(ctx context.Context, path string, opts Options, ch check) (err error) {
	if ctx.Err() != nil {
		return fmt.Errorf("not run: %w", context.Cause(ctx))
	}
	p := &probe{ctx: ctx, path: path, opts: opts}
	defer p.close()
	defer func() {
		switch r := recover().(type) {
		case nil:
		case *outcome:
			err = r.err
		default:
			panic(r)
		}
	}()
	ch.run(p)
	return nil
}

// outcome ends a check early. The checking methods of probe and line panic with it, so that a check
// is a plain list of what it sends and expects.
type outcome struct{ err error }

// fail ends the check as failed.
func (p *probe) fail(err error) { panic(&outcome{err}) }

// failf ends the check as failed.
func (p *probe) failf(format string, args ...any) { p.fail(fmt.Errorf(format, args...)) }

// skipf ends the check as skipped.
func (p *probe) skipf(format string, args ...any) { p.fail(skipf(format, args...)) }

// probe is the environment of a check.
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
	events []message // events that came before an expected answer
	nextID int
	hello  helloResult
}

// message is any line from the server, with its raw fields.
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

// str returns a field as a string; "" if it is not one.
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

// dial connects and sends nothing. The server may still be busy with the previous client; see free.
func (p *probe) dial() *line {
	var d net.Dialer
	conn, err := d.DialContext(p.ctx, "unix", p.path)
	if err != nil {
		p.fail(err)
	}
	if dl, ok := p.ctx.Deadline(); ok {
		_ = conn.SetDeadline(dl)
	}
	l := &line{p: p, conn: conn, r: bufio.NewReader(conn), nextID: 1000}
	p.lines = append(p.lines, l)
	return l
}

// free waits until the server serves a new client, and returns its connection. Only one premature
// request has been sent on it.
func (p *probe) free() *line {
	deadline := time.Now().Add(p.opts.patience())
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		l := p.dial()
		if _, err := io.WriteString(l.conn, `{"id":0,"method":"status","params":{}}`+"\n"); err == nil {
			m, err := l.tryRead(p.opts.patience())
			if err == nil && m.code() == "no_hello_yet" {
				return l
			}
			if err == nil && m.code() != "busy" {
				p.failf("a request before hello was answered %s, want no_hello_yet", m)
			}
		}
		l.conn.Close()
		if time.Now().After(deadline) {
			p.failf("the server was busy for %s after the last client had gone", p.opts.patience())
		}
		select {
		case <-tick.C:
		case <-p.ctx.Done():
			p.fail(context.Cause(p.ctx))
		}
	}
}

// open returns a connection after a successful hello.
func (p *probe) open() *line {
	l := p.free()
	m := l.ask("hello", `{"client_name":"conform","protocol_version":"1.2"}`)
	if err := json.Unmarshal(m["result"], &l.hello); err != nil || !m.ok() {
		p.failf("hello was answered %s", m)
	}
	return l
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
func (l *line) send(s string) { l.write(s + "\n") }

// write writes bytes.
func (l *line) write(s string) {
	if _, err := io.WriteString(l.conn, s); err != nil {
		l.p.failf("the server stopped reading: %w", err)
	}
}

// errSilent says that the server sent nothing for a while; the connection stays.
var errSilent = errors.New("no line")

// tryRead reads the next line, whatever it is. The error is errSilent if none comes in time.
func (l *line) tryRead(within time.Duration) (message, error) {
	_ = l.conn.SetReadDeadline(time.Now().Add(within))
	raw, err := l.r.ReadBytes('\n')
	if err != nil {
		var ne net.Error
		if errors.As(err, &ne) && ne.Timeout() {
			return nil, fmt.Errorf("%w within %s", errSilent, within)
		}
		return nil, err
	}
	var m message
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("the server sent something other than a JSON object: %s", clip(string(raw)))
	}
	return m, nil
}

// read reads the next line, whatever it is.
func (l *line) read(within time.Duration) message {
	m, err := l.tryRead(within)
	if err != nil {
		l.p.fail(err)
	}
	return m
}

// tryAnswer reads the next line that is not an event; it keeps events for later.
func (l *line) tryAnswer() (message, error) {
	deadline := time.Now().Add(l.p.opts.patience())
	for {
		m, err := l.tryRead(time.Until(deadline))
		if err != nil {
			return nil, err
		}
		if _, isEvent := m["event"]; !isEvent {
			return m, nil
		}
		l.events = append(l.events, m)
	}
}

// answer reads the next line that is not an event; what names the request.
func (l *line) answer(what string) message {
	m, err := l.tryAnswer()
	if err != nil {
		l.p.failf("%s: %w", what, err)
	}
	return m
}

// tryEvent returns the next event of a name, from those kept or from the connection.
func (l *line) tryEvent(name string) (message, error) {
	for i, m := range l.events {
		if m.str("event") == name {
			l.events = append(l.events[:i:i], l.events[i+1:]...)
			return m, nil
		}
	}
	deadline := time.Now().Add(l.p.opts.patience())
	for {
		m, err := l.tryRead(time.Until(deadline))
		if err != nil {
			return nil, fmt.Errorf("waiting for %s: %w", name, err)
		}
		if m.str("event") == name {
			return m, nil
		}
		l.events = append(l.events, m)
	}
}

// another returns the next event of a name; false if none comes.
func (l *line) another(name string) (message, bool) {
	m, err := l.tryEvent(name)
	if err != nil && !errors.Is(err, errSilent) {
		l.p.fail(err)
	}
	return m, err == nil
}

// ask sends a request with a new id and returns its answer.
func (l *line) ask(method, params string) message {
	l.nextID++
	return l.askID(fmt.Sprint(l.nextID), method, params)
}

func (l *line) askID(id, method, params string) message {
	what := method + " " + clip(params)
	l.send(fmt.Sprintf(`{"id":%s,"method":%q,"params":%s}`, id, method, params))
	m := l.answer(what)
	if got := string(m["id"]); got != id {
		l.p.failf("%s: the answer has id %s, want %s: %s", what, got, id, m)
	}
	if _, has := m["ok"]; !has {
		l.p.failf("%s: the answer has no ok: %s", what, m)
	}
	return m
}

// succeed sends a request, demands success, and returns the result.
func (l *line) succeed(method, params string) message {
	m := l.ask(method, params)
	if !m.ok() {
		l.p.failf("%s %s was answered %s, want a success", method, clip(params), m)
	}
	if res, isObject := m["result"]; !isObject || !strings.HasPrefix(string(res), "{") {
		l.p.failf("%s: the result is no object: %s", method, m)
	}
	return m.sub("result")
}

// refuse sends a request and demands an error code.
func (l *line) refuse(code, method, params string) {
	l.wantCode(l.ask(method, params), code, method+" "+clip(params))
}

// wantCode demands an error with that code and a message.
func (l *line) wantCode(m message, code, what string) {
	if m.ok() || m.code() != code {
		l.p.failf("%s was answered %s, want the error %s", what, m, code)
	}
	if m.sub("error").str("message") == "" {
		l.p.failf("%s: the error %s has no message", what, code)
	}
}

// wantAnswer demands success with that id.
func (l *line) wantAnswer(id string) {
	if m := l.answer("request " + id); !m.ok() || string(m["id"]) != id {
		l.p.failf("the answer was %s, want a success with the id %s", m, id)
	}
}

// alive checks that the connection still answers.
func (l *line) alive() { l.succeed("status", "{}") }

// ended checks that the server closes the connection without another line.
func (l *line) ended() {
	m, err := l.tryRead(l.p.opts.patience())
	if err == nil {
		l.p.failf("the connection goes on with %s, want its end", m)
	}
	if !errors.Is(err, io.EOF) {
		l.p.failf("the connection ends with %w, want a plain end", err)
	}
}

// wantNames checks that the field is an array of exactly these strings.
func (l *line) wantNames(res message, field string, want ...string) {
	var got []string
	if err := json.Unmarshal(res[field], &got); err != nil || got == nil {
		l.p.failf("%s is no array of strings: %s", field, res)
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		l.p.failf("%s is %q, want %q", field, got, want)
	}
}

// number checks that a field is a number within bounds.
func (l *line) number(data message, name string, least, most float64) {
	var f *float64
	if err := json.Unmarshal(data[name], &f); err != nil || f == nil {
		l.p.failf("%s is no number: %s", name, data)
	}
	if *f < least || *f > most {
		l.p.failf("%s is %v, want %v to %v", name, *f, least, most)
	}
}

// wallclock checks that wallclock_us is near this host's clock.
func (l *line) wallclock(data message) {
	now := float64(time.Now().UnixMicro())
	const hour = 3600e6
	l.number(data, "wallclock_us", now-hour, now+hour)
}
