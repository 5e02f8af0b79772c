package server

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"
	"unicode/utf16"

	"github.com/spicelane/spicelane/internal/fresh"
	"github.com/spicelane/spicelane/internal/quantile"
	"github.com/spicelane/spicelane/spice/control"
	"github.com/spicelane/spicelane/spice/control/internal/keyboard"
	"github.com/spicelane/spicelane/spice/control/internal/ndjson"
)

const (
	// defaultConfirm is how long typing with Confirm waits for the guest to show a key before it
	// counts as lost.
	defaultConfirm = 2 * time.Second

	// maxAnomalies limits how many anomalies a type answer lists.
	maxAnomalies = 32
)

// percentiles summarises durations by nearest rank; nil if there are none.
func percentiles(ds []time.Duration) *control.Percentiles {
	if len(ds) == 0 {
		return nil
	}
	slices.Sort(ds)
	rank := func(q float64) float64 { return milliseconds(quantile.OfSorted(ds, q)) }
	return &control.Percentiles{P50MS: rank(0.50), P95MS: rank(0.95), P99MS: rank(0.99), MaxMS: rank(1)}
}

// typeText answers type.
func (cn *connection) typeText(c *call) (any, error) {
	begun := false
	defer func() {
		if !begun {
			cn.pass(c)
		}
	}()
	var p control.TypeParams
	if err := decodeParams(c.Params, &p); err != nil {
		return nil, err
	}
	t := cn.typist()
	text, err := t.prepare(p)
	if err != nil {
		return nil, err
	}
	var res control.TypeResult
	begun = true
	defer close(c.turn.done)
	err = cn.inTurn(c, func(ctx context.Context) error {
		res, err = text.send(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return res, nil
}

// A Typist types texts on a console. Only one text at a time may be typed on one
// console.
type Typist struct {
	Console Console
	// Digests returns the watcher of the console's digests. It is called only for typing with
	// Confirm. If it is nil or returns nil, typing with Confirm is refused.
	Digests func() *DigestWatcher
}

// Type types a text and returns when that is done. The error is a *control.Error, or ctx's.
func (t Typist) Type(ctx context.Context, p control.TypeParams) (control.TypeResult, error) {
	text, err := t.prepare(p)
	if err != nil {
		return control.TypeResult{}, err
	}
	return text.send(ctx)
}

// A typing is one text, ready to be typed.
type typing struct {
	console Console
	text    []rune
	chars   [][]keyboard.Stroke // how to type each character of text
	delay   time.Duration       // between characters

	// Only with Confirm; otherwise digests is nil.
	digests *DigestWatcher
	limit   time.Duration // how long the guest may take to show a character
}

// prepare validates the params. If it returns an error, nothing has been typed.
func (t Typist) prepare(p control.TypeParams) (*typing, error) {
	if p.Layout == "" {
		p.Layout = "us"
	}
	l, ok := keyboard.Named(p.Layout)
	if !ok {
		return nil, errorf(control.CodeBadParams, "params.layout is %q: want one of %v",
			ndjson.Abbreviate([]byte(p.Layout)), keyboard.Names())
	}
	chars, unmappable := l.Keystrokes(p.Text)
	if len(unmappable) > 0 {
		return nil, errorf(control.CodeUnmappable, "the layout %s has no %s; nothing was typed",
			p.Layout, keyboard.NameRunes(unmappable))
	}
	ty := &typing{
		console: t.Console, text: []rune(keyboard.Normalize(p.Text)), chars: chars, delay: defaultCharDelay,
	}
	if p.Confirm {
		if t.Digests != nil {
			ty.digests = t.Digests()
		}
		if ty.digests == nil {
			return nil, errorf(control.CodeBadParams, "params.confirm: the server does not read digests")
		}
		ty.delay, ty.limit = 0, defaultConfirm
		if p.ConfirmMS != nil {
			ty.limit = time.Duration(*p.ConfirmMS) * time.Millisecond
		}
	}
	if p.DelayMS != nil {
		ty.delay = time.Duration(*p.DelayMS) * time.Millisecond
	}
	return ty, nil
}

// send types the text. Meanwhile Caps Lock is off and no modifier is down, if the console knows
// about them. Afterwards both are as before.
func (ty *typing) send(ctx context.Context) (res control.TypeResult, err error) {
	keys, err := makeNeutral(ctx, ty.console)
	if err != nil {
		return res, err
	}
	defer func() {
		if restoreErr := keys.restore(ctx); restoreErr != nil && err == nil {
			res.Anomalies = append(res.Anomalies, plain(restoreErr))
		}
	}()
	if ty.digests != nil {
		err = ty.sendConfirmed(ctx, &res)
		return res, err
	}
	n, err := typeChars(ctx, ty.console, ty.chars, ty.delay)
	res.CharsSent, res.KeysSent = n, keyEvents(ty.chars[:n])
	return res, err
}

// keyEvents counts the key events of typeStrokes.
func keyEvents(chars [][]keyboard.Stroke) int {
	n := 0
	for _, strokes := range chars {
		for _, st := range strokes {
			n += 2
			if st.Shift {
				n += 2
			}
			if st.AltGr {
				n += 2
			}
		}
	}
	return n
}

// A loop is the state of typing with Confirm.
type loop struct {
	typing  *typing
	res     *control.TypeResult
	wake    <-chan struct{}
	timer   *time.Timer
	seq     int    // of the newest digest that was checked
	late    []rune // characters that counted as lost
	latency []time.Duration
	prev    []json.RawMessage // keypresses of the previous digest
}

// sendConfirmed types each character and waits until a digest shows it.
func (ty *typing) sendConfirmed(ctx context.Context, res *control.TypeResult) error {
	wake, stop := wakeOn(ty.console, ty.digests)
	defer stop()
	lp := &loop{typing: ty, res: res, wake: wake, timer: time.NewTimer(ty.limit)}
	defer lp.timer.Stop()
	if err := lp.begin(ctx); err != nil {
		return err
	}
	pause := newPause(ty.delay)
	defer pause.stop()
	for i := range ty.chars {
		if i > 0 {
			if err := pause.wait(ctx); err != nil {
				return err
			}
		}
		sent := time.Now()
		if err := typeStrokes(ctx, ty.console, ty.chars[i]); err != nil {
			return err
		}
		res.CharsSent++
		res.KeysSent += keyEvents(ty.chars[i : i+1])
		if err := lp.await(ctx, i, sent); err != nil {
			return err
		}
	}
	res.Lost = len(lp.late)
	res.Latency = percentiles(lp.latency)
	return nil
}

// begin records what is on the screen now, so that it does not count.
func (lp *loop) begin(ctx context.Context) error {
	for {
		if d, ok := lp.typing.digests.Newest(); ok {
			_, lp.seq = lp.typing.digests.since(-1)
			lp.prev = keypresses(d)
			return nil
		}
		select {
		case <-lp.wake:
		case <-lp.timer.C:
			return errorf(control.CodeNoDigest, "no digest within %s: closed-loop typing needs a guest that shows one", lp.typing.limit)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// await waits until a digest shows character i, or until it counts as lost.
func (lp *loop) await(ctx context.Context, i int, sent time.Time) error {
	want := lp.typing.text[i]
	lp.timer.Reset(lp.typing.limit)
	for {
		var ds []control.Digest
		ds, lp.seq = lp.typing.digests.since(lp.seq)
		shown := false
		for _, d := range ds {
			shown = lp.take(d, want, sent) || shown
		}
		if shown {
			return nil
		}
		if st := lp.typing.console.Status(); !st.SPICEConnected {
			return errorf(control.CodeDisconnected, "the session ended after %d of %d characters: %s",
				i, len(lp.typing.text), cmp.Or(st.Error, "not connected"))
		}
		select {
		case <-lp.wake:
		case <-lp.timer.C:
			lp.late = append(lp.late, want)
			lp.anomaly("%q, character %d, was not shown within %s", want, i, lp.typing.limit)
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// take checks a new digest and reports whether it shows the awaited character.
func (lp *loop) take(d control.Digest, want rune, sent time.Time) bool {
	now := keypresses(d)
	// Two presses of one key have different times, so events are never confused.
	news := fresh.After(lp.prev, now, func(a, b json.RawMessage) bool { return bytes.Equal(a, b) })
	lp.prev = now
	shown := false
	for _, raw := range news {
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
				lp.anomaly("a key press that was not sent: %s", raw)
				continue
			}
			lp.late = slices.Delete(lp.late, i, i+1)
			lp.res.Reordered++
			lp.anomaly("late: %s", raw)
		}
	}
	return shown
}

func (lp *loop) anomaly(format string, args ...any) {
	if len(lp.res.Anomalies) < maxAnomalies {
		lp.res.Anomalies = append(lp.res.Anomalies, fmt.Sprintf(format, args...))
	}
}

// keypresses returns the key presses among a digest's newest events, oldest first.
func keypresses(d control.Digest) []json.RawMessage {
	var keys []json.RawMessage
	for _, raw := range d.Events {
		var ev map[string]json.RawMessage
		if json.Unmarshal(raw, &ev) == nil && ev["keypress"] != nil {
			keys = append(keys, raw)
		}
	}
	return keys
}

// keypressIs reports whether a keypress event is of the character. Enter shows as a carriage
// return.
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

// releaseWithin limits how long releasing a key may take.
const releaseWithin = 2 * time.Second

// typeChars types characters with a pause between them. It returns how many it has typed.
func typeChars(ctx context.Context, c Console, chars [][]keyboard.Stroke, delay time.Duration) (int, error) {
	pause := newPause(delay)
	defer pause.stop()
	for i, strokes := range chars {
		if i > 0 {
			if err := pause.wait(ctx); err != nil {
				return i, err
			}
		}
		if err := typeStrokes(ctx, c, strokes); err != nil {
			return i, err
		}
	}
	return len(chars), nil
}

// A pause is the time between two characters.
type pause struct {
	length time.Duration
	timer  *time.Timer
}

func newPause(length time.Duration) *pause {
	return &pause{length: length, timer: time.NewTimer(math.MaxInt64)}
}

func (p *pause) stop() { p.timer.Stop() }

// wait waits until the pause is over.
func (p *pause) wait(ctx context.Context) error {
	if p.length == 0 {
		return nil
	}
	p.timer.Reset(p.length)
	select {
	case <-p.timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// typeStrokes types one character. Every key that goes down comes up again, even if ctx ends in
// between.
func typeStrokes(ctx context.Context, console Console, strokes []keyboard.Stroke) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, st := range strokes {
		var keys []uint16
		if st.Shift {
			keys = append(keys, keyboard.Shift)
		}
		if st.AltGr {
			keys = append(keys, keyboard.AltGr)
		}
		keys = append(keys, st.Code)
		var err error
		down := 0
		for ; down < len(keys) && err == nil; down++ {
			err = console.SendKey(ctx, keys[down], true)
		}
		for i := down - 1; i >= 0; i-- {
			if upErr := release(ctx, console, keys[i]); err == nil {
				err = upErr
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// release releases a key, also if ctx has ended.
func release(ctx context.Context, console Console, code uint16) error {
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseWithin)
	defer cancel()
	return console.SendKey(within, code, false)
}
