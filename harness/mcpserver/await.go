package mcpserver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/screen"
	"github.com/spicelane/spicelane/harness/serial"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/internal/inert"
	"github.com/spicelane/spicelane/spice/control"
)

// Limits of await.
const (
	maxAwait     = 60 * time.Second
	defaultAwait = 10 * time.Second
	maxPattern   = 1000    // bytes of a regular expression
	maxLine      = 4 << 10 // bytes of a serial line that are searched
	awaitBack    = 1 << 20 // bytes at the end of the serial log that are searched first
)

// The client itself ends the wait for an event, because only the client knows what it saw last. So
// the client gets the whole timeout, and the call gets eventGrace more. Of that, answerTime is for
// the client's answer.
const (
	eventGrace = time.Second
	answerTime = 200 * time.Millisecond
)

type awaitParams struct {
	laneName
	Text      string         `json:"text,omitempty" jsonschema:"a regular expression (RE2) that one line of the screen's text has to match"`
	Serial    string         `json:"serial,omitempty" jsonschema:"a regular expression (RE2) that one line of the serial console has to match, printed already or later"`
	Event     string         `json:"event,omitempty" jsonschema:"an event that has to be among the newest of the guest's digest, such as keypress"`
	Fields    map[string]any `json:"fields,omitempty" jsonschema:"with event: values that it must have, such as {\"unicode\":\"a\"}"`
	StillMS   int            `json:"still_ms,omitempty" jsonschema:"how many milliseconds no pixel may change; a blinking cursor does not count"`
	TimeoutMS int            `json:"timeout_ms,omitempty" jsonschema:"how long to wait, 10000 by default, at most 60000"`
}

type awaitResult struct {
	Saw      string  `json:"saw" jsonschema:"what met the condition"`
	WaitedMS float64 `json:"waited_ms"`
}

func (s *server) await(ctx context.Context, in awaitParams) (*mcp.CallToolResult, awaitResult, error) {
	none := awaitResult{}
	limit := defaultAwait
	if in.TimeoutMS != 0 {
		limit = time.Duration(in.TimeoutMS) * time.Millisecond
	}
	if in.TimeoutMS < 0 || limit > maxAwait {
		return nil, none, fmt.Errorf("timeout_ms: %d is not between 1 and %d", in.TimeoutMS, maxAwait.Milliseconds())
	}
	wait, err := s.condition(in, limit)
	if err != nil {
		return nil, none, err
	}
	most := limit
	if in.Event != "" {
		most += eventGrace
	}
	ctx, cancel := context.WithTimeoutCause(ctx, most, fmt.Errorf("not within %v", limit))
	defer cancel()
	began := time.Now()
	saw, err := wait(ctx)
	if err != nil {
		return nil, none, err
	}
	return nil, awaitResult{cut(inert.Text(saw), maxLine), float64(time.Since(began).Microseconds()) / 1000}, nil
}

// condition returns the function that waits for the condition in the parameters. There must be
// exactly one condition.
func (s *server) condition(in awaitParams, limit time.Duration) (wait func(context.Context) (saw string, err error), err error) {
	n := 0
	for _, given := range []bool{in.Text != "", in.Serial != "", in.Event != "", in.StillMS != 0} {
		if given {
			n++
		}
	}
	switch {
	case n != 1:
		return nil, errors.New("give exactly one of text, serial, event and still_ms")
	case in.Fields != nil && in.Event == "":
		return nil, errors.New("fields: they are those of an event, which is missing")
	case in.Text != "":
		re, err := pattern("text", in.Text)
		return func(ctx context.Context) (string, error) { return s.awaitText(ctx, in.Lane, re) }, err
	case in.Serial != "":
		re, err := pattern("serial", in.Serial)
		return func(ctx context.Context) (string, error) { return s.awaitSerial(ctx, in.Lane, re) }, err
	case in.Event != "":
		return func(ctx context.Context) (string, error) { return s.awaitEvent(ctx, in, limit) }, nil
	}
	still := time.Duration(in.StillMS) * time.Millisecond
	if still < 0 || still > maxAwait {
		return nil, fmt.Errorf("still_ms: %d is not between 1 and %d", in.StillMS, maxAwait.Milliseconds())
	}
	if still >= limit { // NB: the screen could not meet that, and the product would be blamed
		return nil, fmt.Errorf("still_ms: %d takes longer than the timeout_ms of %d", in.StillMS, limit.Milliseconds())
	}
	return func(ctx context.Context) (string, error) {
		return "no pixel changed for " + still.String(), s.watch(ctx, in.Lane, screen.Still{For: still, IgnoreBlink: true}.Await)
	}, nil
}

func pattern(name, expr string) (*regexp.Regexp, error) {
	if len(expr) > maxPattern {
		return nil, fmt.Errorf("%s: the expression has %d bytes, at most %d are allowed", name, len(expr), maxPattern)
	}
	re, err := regexp.Compile(expr)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return re, nil
}

// watch calls f with a lane's screen.
func (s *server) watch(ctx context.Context, lane string, f func(context.Context, screen.Source) error) error {
	return s.drive(ctx, lane, func(d *control.Driver) error {
		src, err := drive.WatchScreen(ctx, d)
		if err != nil {
			return err
		}
		defer src.Close()
		if err := f(ctx, src); err != nil {
			return &verdict.Error{Verdict: verdict.Product, Op: "await", Err: err}
		}
		return nil
	})
}

func (s *server) awaitText(ctx context.Context, lane string, re *regexp.Regexp) (saw string, err error) {
	reader, err := s.textReader(lane)
	if err != nil {
		return "", err
	}
	err = s.watch(ctx, lane, func(ctx context.Context, src screen.Source) error {
		hit, err := screen.AwaitText(ctx, src, reader, screen.TextQuery{Pattern: re})
		saw = fmt.Sprintf("%q at %d,%d", hit.Text, hit.Rect.Min.X, hit.Rect.Min.Y)
		return err
	})
	return saw, err
}

func (s *server) awaitEvent(ctx context.Context, in awaitParams, limit time.Duration) (saw string, err error) {
	cond := &control.DigestCondition{Event: in.Event}
	for name, value := range in.Fields {
		b, err := json.Marshal(value)
		if err != nil {
			return "", err
		}
		if cond.Fields == nil {
			cond.Fields = make(map[string]json.RawMessage)
		}
		cond.Fields[name] = b
	}
	deadline, _ := ctx.Deadline()
	err = s.drive(ctx, in.Lane, func(d *control.Driver) error {
		if !d.Supports(control.MethodAwait) {
			return &verdict.Error{Verdict: verdict.Harness, Op: "await", Err: fmt.Errorf("the lane's client (%s) cannot wait for an event", d.Server().ServerName)}
		}
		// Less time is left if this call had to wait for other calls.
		ms := uint32(max(1, min(limit, time.Until(deadline)-answerTime).Milliseconds()))
		res, err := d.Await(ctx, control.AwaitParams{Condition: control.Condition{Digest: cond}, TimeoutMS: &ms})
		if err == nil && len(res.Seen) > 0 {
			saw = res.Seen[0].Saw
		}
		var e *control.Error
		if errors.As(err, &e) && e.Code == control.CodeTimeout {
			return &verdict.Error{Verdict: verdict.Product, Op: "await", Err: err}
		}
		return err
	})
	return saw, err
}

func (s *server) awaitSerial(ctx context.Context, lane string, re *regexp.Regexp) (string, error) {
	l, err := s.find(lane, registry.FindReady)
	if err != nil {
		return "", err
	}
	if l.SerialLog == "" {
		return "", errNoSerial(l)
	}
	offset := int64(0)
	if st, err := os.Stat(l.SerialLog); err == nil {
		offset = max(0, st.Size()-awaitBack)
	}
	w := &lineWatch{re: re}
	if err := serial.FollowFrom(ctx, l.SerialLog, offset, w); err != nil {
		return "", &verdict.Error{Verdict: verdict.Harness, Op: "await", Err: err}
	}
	if w.found {
		return string(w.line), nil
	}
	if re.Match(w.line) { // an incomplete line, such as a prompt
		return string(w.line), nil
	}
	return "", &verdict.Error{Verdict: verdict.Product, Op: "await", Err: fmt.Errorf("awaited a serial line that matches %q, saw last %q: %w", re, w.last, context.Cause(ctx))}
}

// A lineWatch searches the lines that are written to it.
type lineWatch struct {
	re    *regexp.Regexp
	found bool
	line  []byte // the incomplete line, or the one that was found
	last  []byte
}

// Write implements [io.Writer]. It returns io.ErrClosedPipe when a line has been found.
func (w *lineWatch) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 && !w.found {
		part, rest, whole := bytes.Cut(p, []byte("\n"))
		w.line = append(w.line, part[:min(len(part), max(0, maxLine-len(w.line)))]...)
		p = rest
		if !whole {
			break
		}
		w.line = bytes.TrimSuffix(w.line, []byte("\r"))
		if w.re.Match(w.line) {
			w.found = true
			break
		}
		w.last, w.line = w.line, nil
	}
	if w.found {
		return 0, io.ErrClosedPipe
	}
	return n, nil
}
