package control

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"
	"unicode/utf16"
)

const (
	// defaultConfirm is how long closed-loop typing waits for the guest to show
	// a key before it counts it as lost.
	defaultConfirm = 2 * time.Second

	// maxOddities bounds how many surprises a type answer lists.
	maxOddities = 32
)

// TypeParams are the params of type.
type TypeParams struct {
	Text string `json:"text"`
	// Layout is the guest's keyboard: us (also if empty), uk, de or fr.
	Layout string `json:"layout,omitempty"`
	// DelayMS is the pause between characters in milliseconds, 10 if nil, 0
	// with Confirm.
	DelayMS *uint32 `json:"delay_ms,omitempty"`
	// Confirm sends the next character only when the guest's digest has shown
	// the last one.
	Confirm bool `json:"confirm,omitempty"`
	// ConfirmMS is how long to wait for that in milliseconds, 2000 if nil.
	ConfirmMS *uint32 `json:"confirm_ms,omitempty"`
}

// TypeResult is the result of type. All but the first two are of closed-loop
// typing.
type TypeResult struct {
	// CharsSent are the characters typed, KeysSent the key events, down and up.
	CharsSent int `json:"chars_sent"`
	KeysSent  int `json:"keys_sent"`
	// Seen are the characters that the guest showed, in time and in order.
	Seen int `json:"seen"`
	// Lost are the characters that it did not show.
	Lost int `json:"lost"`
	// Reordered are those that it showed after a later one.
	Reordered int `json:"reordered"`
	// Unexpected are the key presses it showed that nobody had sent.
	Unexpected int `json:"unexpected"`
	// Latency is from sending a character to the arrival of the pixels that
	// show it.
	Latency *Percentiles `json:"latency,omitempty"`
	// Oddities name the first of what was lost, reordered or unexpected.
	Oddities []string `json:"oddities,omitempty"`
}

// Percentiles sum up durations, in milliseconds.
type Percentiles struct {
	P50MS float64 `json:"p50_ms"`
	P95MS float64 `json:"p95_ms"`
	P99MS float64 `json:"p99_ms"`
	MaxMS float64 `json:"max_ms"`
}

// percentiles sums up durations by nearest rank; nil if there are none.
func percentiles(ds []time.Duration) *Percentiles {
	if len(ds) == 0 {
		return nil
	}
	slices.Sort(ds)
	rank := func(p float64) float64 {
		i := int(math.Ceil(p*float64(len(ds)))) - 1
		return milliseconds(ds[max(i, 0)])
	}
	return &Percentiles{P50MS: rank(0.50), P95MS: rank(0.95), P99MS: rank(0.99), MaxMS: rank(1)}
}

// typeText is the verb type.
func (s *session) typeText(c *call) (any, error) {
	begun := false
	defer func() {
		if !begun {
			s.pass(c)
		}
	}()
	var p TypeParams
	if err := decodeParams(c.Params, &p); err != nil {
		return nil, err
	}
	if p.Layout == "" {
		p.Layout = "us"
	}
	l, ok := layouts[p.Layout]
	if !ok {
		return nil, errorf(CodeBadParams, "params.layout is %q: want one of %v", abbreviate([]byte(p.Layout)), Layouts())
	}
	chars, unmappable := l.keystrokes(p.Text)
	if len(unmappable) > 0 {
		return nil, errorf(CodeUnmappable, "the layout %s has no %s; nothing was typed", p.Layout, nameRunes(unmappable))
	}
	delay := defaultCharDelay
	if p.Confirm {
		delay = 0
	}
	if p.DelayMS != nil {
		delay = time.Duration(*p.DelayMS) * time.Millisecond
	}
	var res TypeResult
	begun = true
	defer close(c.turn.done)
	_, err := s.inTurn(c, func(ctx context.Context) (uint32, error) {
		if !p.Confirm {
			n, err := s.typeChars(ctx, chars, delay)
			res.CharsSent, res.KeysSent = int(n), keyEvents(chars[:n])
			return n, err
		}
		return 0, s.typeConfirmed(ctx, &res, []rune(normalize(p.Text)), chars, delay, p.ConfirmMS)
	})
	if err != nil {
		return nil, err
	}
	return res, nil
}

// keyEvents counts what typeStrokes sends.
func keyEvents(chars [][]stroke) int {
	n := 0
	for _, strokes := range chars {
		for _, st := range strokes {
			n += 2
			if st.shift {
				n += 2
			}
			if st.altgr {
				n += 2
			}
		}
	}
	return n
}

// loop is closed-loop typing under way.
type loop struct {
	res     *TypeResult
	late    []rune // characters given up on
	latency []time.Duration
	prev    []json.RawMessage // keypresses of the digest before
}

// typeConfirmed types each character and waits until a digest shows it.
func (s *session) typeConfirmed(ctx context.Context, res *TypeResult, text []rune, chars [][]stroke, delay time.Duration, confirmMS *uint32) error {
	w := s.watchDigest()
	if w == nil {
		return errorf(CodeBadParams, "params.confirm: the server does not read digests")
	}
	limit := defaultConfirm
	if confirmMS != nil {
		limit = time.Duration(*confirmMS) * time.Millisecond
	}
	wake, stop := s.waker()
	defer stop()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	lp := &loop{res: res}

	// What is on the screen now is the past.
	seq := 0
	for {
		if d, ok := w.last(); ok {
			_, seq = w.since(-1)
			lp.prev = keypresses(d)
			break
		}
		select {
		case <-wake:
		case <-timer.C:
			return errorf(CodeNoDigest, "no digest within %s: closed-loop typing needs a guest that shows one", limit)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	pause := time.NewTimer(math.MaxInt64)
	defer pause.Stop()
	for i, strokes := range chars {
		sent := time.Now()
		if err := s.typeStrokes(ctx, strokes); err != nil {
			return err
		}
		res.CharsSent++
		res.KeysSent += keyEvents(chars[i : i+1])
		timer.Reset(limit)
		for shown := false; !shown; {
			var ds []Digest
			ds, seq = w.since(seq)
			for _, d := range ds {
				if lp.take(d, text[i], sent) {
					shown = true
				}
			}
			if shown {
				break
			}
			if st := s.srv.cfg.Console.Status(); !st.SpiceConnected {
				return errorf(CodeDisconnected, "the session ended after %d of %d characters: %s", i, len(chars), cmpOr(st.Error, "not connected"))
			}
			select {
			case <-wake:
			case <-timer.C:
				lp.late = append(lp.late, text[i])
				lp.odd("%q, character %d, was not shown within %s", text[i], i, limit)
				shown = true
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if delay > 0 && i < len(chars)-1 {
			pause.Reset(delay)
			select {
			case <-pause.C:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	res.Lost = len(lp.late)
	res.Latency = percentiles(lp.latency)
	return nil
}

// take looks at a new digest and reports whether it shows the character that is
// being waited for.
func (lp *loop) take(d Digest, want rune, sent time.Time) bool {
	now := keypresses(d)
	fresh := newEvents(lp.prev, now)
	lp.prev = now
	shown := false
	for _, raw := range fresh {
		switch {
		case !shown && keypressIs(raw, want):
			shown = true
			lp.res.Seen++
			at := time.UnixMicro(d.DrawnAtUS)
			if d.DrawnAtUS == 0 {
				at = time.UnixMicro(d.WallclockUS)
			}
			lp.latency = append(lp.latency, max(at.Sub(sent), 0))
		default:
			i := slices.IndexFunc(lp.late, func(r rune) bool { return keypressIs(raw, r) })
			if i < 0 {
				lp.res.Unexpected++
				lp.odd("a key press that was not sent: %s", raw)
				continue
			}
			lp.late = slices.Delete(lp.late, i, i+1)
			lp.res.Reordered++
			lp.odd("late: %s", raw)
		}
	}
	return shown
}

func (lp *loop) odd(format string, args ...any) {
	if len(lp.res.Oddities) < maxOddities {
		lp.res.Oddities = append(lp.res.Oddities, fmt.Sprintf(format, args...))
	}
}

// keypresses are the key presses among a digest's newest events, oldest first.
func keypresses(d Digest) []json.RawMessage {
	var keys []json.RawMessage
	for _, raw := range d.Events {
		var ev map[string]json.RawMessage
		if json.Unmarshal(raw, &ev) == nil && ev["keypress"] != nil {
			keys = append(keys, raw)
		}
	}
	return keys
}

// newEvents are the events of now that come after those of prev: what is left
// when the longest end of prev that now begins with is taken away. Two presses
// of one key have different times, so that no event is taken for another.
func newEvents(prev, now []json.RawMessage) []json.RawMessage {
	equal := func(a, b json.RawMessage) bool { return string(a) == string(b) }
	for n := min(len(prev), len(now)); n > 0; n-- {
		if slices.EqualFunc(prev[len(prev)-n:], now[:n], equal) {
			return now[n:]
		}
	}
	return now
}

// keypressIs reports whether a keypress event is of the character. Enter is
// shown as a carriage return.
func keypressIs(raw json.RawMessage, want rune) bool {
	var ev struct {
		Keypress struct {
			Unicode  string `json:"unicode"`
			Scancode uint16 `json:"scancode"`
		} `json:"keypress"`
	}
	if json.Unmarshal(raw, &ev) != nil {
		return false
	}
	const uefiEscape = 0x17 // UEFI's scan code of a key without a character
	if want == 0x1b && ev.Keypress.Scancode == uefiEscape {
		return true
	}
	if want == '\n' {
		want = '\r'
	}
	got := utf16.Encode([]rune(ev.Keypress.Unicode))
	wanted := utf16.Encode([]rune{want})
	return slices.Equal(got, wanted)
}
