package server

import (
	"context"
	"fmt"
	"math"
	"runtime/debug"
	"time"
	"unicode/utf8"

	"github.com/spicelane/spicelane/spice/control"
	"github.com/spicelane/spicelane/spice/control/internal/keyboard"
	"github.com/spicelane/spicelane/spice/control/internal/ndjson"
)

// defaultCharDelay is the protocol's default pause between pasted characters.
const defaultCharDelay = 10 * time.Millisecond

// paste starts to type a text and answers at once. An event reports the outcome.
func (cn *connection) paste(c *call) (any, error) {
	defer func() {
		if c.after == nil { // nothing was started
			cn.pass(c)
		}
	}()
	var p control.PasteParams
	if err := decodeParams(c.Params, &p); err != nil {
		return nil, err
	}
	var work func(context.Context) (int, error)
	switch p.Via {
	case "", "keys":
		delay := defaultCharDelay
		if p.CharDelayMS != nil {
			delay = time.Duration(*p.CharDelayMS) * time.Millisecond
		}
		work = func(ctx context.Context) (int, error) { return cn.pasteKeys(ctx, p.Text, delay) }
	case "clipboard":
		board, err := cn.agentClipboard()
		if err != nil {
			return nil, err
		}
		work = func(ctx context.Context) (int, error) {
			if err := board.ClipboardSet(ctx, p.Text); err != nil {
				return 0, err
			}
			return utf8.RuneCountInString(p.Text), nil
		}
	default:
		return nil, errorf(control.CodeBadParams, `params.via is %q: want "keys" or "clipboard"`, ndjson.Abbreviate([]byte(p.Via)))
	}
	release, err := cn.reserve(c.ID)
	if err != nil {
		return nil, err
	}
	// The answer comes first, so the paste begins when it has been written. If it cannot be
	// written, the connection is over, and the id with it.
	c.after = func() {
		cn.wg.Go(func() {
			defer close(c.turn.done) // after the report, so that reports stay in order
			n := 0
			err := cn.inTurn(c, func(ctx context.Context) (err error) {
				n, err = work(ctx)
				return err
			})
			release() // before the event, after which the client may reuse the id
			cn.reportPaste(c.ID, n, err)
		})
	}
	return nil, nil
}

// reportPaste reports the outcome of a paste.
func (cn *connection) reportPaste(id control.ID, n int, err error) {
	if err != nil {
		cn.emit(control.EventPasteFailed, control.PasteFailedData{RequestID: id, Reason: err.Error()})
		return
	}
	cn.emit(control.EventPasteCompleted, control.PasteCompletedData{RequestID: id, CharsSent: uint32(min(n, math.MaxUint32))})
}

// pass gives up a turn that has not begun.
func (cn *connection) pass(c *call) {
	cn.wg.Go(func() {
		defer close(c.turn.done)
		select {
		case <-c.turn.before:
		case <-cn.ctx.Done():
		}
	})
}

// inTurn runs work when earlier verbs that type are done. The caller ends the turn. A panic becomes
// an error.
func (cn *connection) inTurn(c *call, work func(context.Context) error) (err error) {
	select {
	case <-c.turn.before:
	case <-c.ctx.Done():
		return c.ctx.Err()
	}
	defer func() {
		if p := recover(); p != nil {
			cn.srv.cfg.logger().Error("control verb panicked", "method", c.Method, "panic", p, "stack", string(debug.Stack()))
			err = errorf(control.CodeInternal, "%s panicked: %v", c.Method, p)
		}
	}()
	return work(c.ctx)
}

// pasteKeys types a text in the US layout. If the layout lacks a character, it types nothing.
func (cn *connection) pasteKeys(ctx context.Context, text string, delay time.Duration) (int, error) {
	us, _ := keyboard.Named("us")
	chars, unmappable := us.Keystrokes(text)
	if len(unmappable) > 0 {
		return 0, fmt.Errorf("not representable in US-QWERTY: %s; nothing was typed", keyboard.NameRunes(unmappable))
	}
	ty := &typing{console: cn.srv.cfg.Console, chars: chars, delay: delay}
	res, err := ty.send(ctx)
	if err != nil {
		return res.CharsSent, fmt.Errorf("after %d of %d characters: %w", res.CharsSent, len(chars), err)
	}
	return res.CharsSent, nil
}
