package control

import (
	"context"
	"fmt"
	"math"
	"runtime/debug"
	"time"
	"unicode/utf8"
)

// defaultCharDelay is the pause between pasted characters that the protocol
// names.
const defaultCharDelay = 10 * time.Millisecond

// releaseWithin bounds how long letting go of the keys of a cancelled text may take.
const releaseWithin = 2 * time.Second

// paste starts to type a text and answers at once; how it went comes as an event.
func (s *session) paste(c *call) (any, error) {
	defer func() {
		if c.after == nil { // nothing was begun
			s.pass(c)
		}
	}()
	var p PasteParams
	if err := decodeParams(c.Params, &p); err != nil {
		return nil, err
	}
	var work func(context.Context) (uint32, error)
	switch p.Via {
	case "", "keys":
		delay := defaultCharDelay
		if p.CharDelayMS != nil {
			delay = time.Duration(*p.CharDelayMS) * time.Millisecond
		}
		work = func(ctx context.Context) (uint32, error) { return s.pasteKeys(ctx, p.Text, delay) }
	case "clipboard":
		board, err := s.agentClipboard()
		if err != nil {
			return nil, err
		}
		work = func(ctx context.Context) (uint32, error) {
			if err := board.ClipboardSet(ctx, p.Text); err != nil {
				return 0, err
			}
			return clampCount(utf8.RuneCountInString(p.Text)), nil
		}
	default:
		return nil, errorf(CodeBadParams, `params.via is %q: want "keys" or "clipboard"`, abbreviate([]byte(p.Via)))
	}
	release, err := s.reserve(c.ID)
	if err != nil {
		return nil, err
	}
	// The answer comes first, so the paste begins when it is on the wire. If it
	// cannot be written the connection is over, and the id with it.
	c.after = func() {
		s.wg.Go(func() {
			defer close(c.turn.done) // when it has been reported, so that reports keep their order
			n, err := s.inTurn(c, work)
			release() // before the event: whoever hears it may use the id again
			s.reportPaste(c.ID, n, err)
		})
	}
	return nil, nil
}

func clampCount(n int) uint32 { return uint32(min(n, math.MaxUint32)) }

// reportPaste tells how a paste went.
func (s *session) reportPaste(id ID, n uint32, err error) {
	if err != nil {
		s.emit(EventPasteFailed, PasteFailedData{RequestID: id, Reason: err.Error()})
		return
	}
	s.emit(EventPasteCompleted, PasteCompletedData{RequestID: id, CharsSent: n})
}

// pass gives up a turn that has not been begun.
func (s *session) pass(c *call) {
	s.wg.Go(func() {
		defer close(c.turn.done)
		select {
		case <-c.turn.before:
		case <-s.ctx.Done():
		}
	})
}

// inTurn runs work when those who were to type before are done. The caller ends
// the turn. A panic becomes an error.
func (s *session) inTurn(c *call, work func(context.Context) (uint32, error)) (n uint32, err error) {
	select {
	case <-c.turn.before:
	case <-c.ctx.Done():
		return 0, c.ctx.Err()
	}
	defer func() {
		if p := recover(); p != nil {
			s.srv.cfg.logger().Error("control verb panicked", "method", c.Method, "panic", p, "stack", string(debug.Stack()))
			err = errorf(CodeInternal, "%s panicked: %v", c.Method, p)
		}
	}()
	return work(c.ctx)
}

// pasteKeys types a text in the US layout. A text with a character that the
// layout does not have is not begun.
func (s *session) pasteKeys(ctx context.Context, text string, delay time.Duration) (uint32, error) {
	chars, unmappable := layouts["us"].keystrokes(text)
	if len(unmappable) > 0 {
		return 0, fmt.Errorf("not representable in US-QWERTY: %s; nothing was typed", nameRunes(unmappable))
	}
	n, err := s.typeChars(ctx, chars, delay)
	if err != nil {
		return n, fmt.Errorf("after %d of %d characters: %w", n, len(chars), err)
	}
	return n, nil
}

// typeChars types characters with a pause between them, and says how many it
// did.
func (s *session) typeChars(ctx context.Context, chars [][]stroke, delay time.Duration) (uint32, error) {
	pause := time.NewTimer(math.MaxInt64)
	defer pause.Stop()
	for i, strokes := range chars {
		if err := s.typeStrokes(ctx, strokes); err != nil {
			return clampCount(i), err
		}
		if i == len(chars)-1 || delay == 0 {
			continue
		}
		pause.Reset(delay)
		select {
		case <-pause.C:
		case <-ctx.Done():
			return clampCount(i + 1), ctx.Err()
		}
	}
	return clampCount(len(chars)), nil
}

// typeStrokes types one character. Whatever goes down comes up again, also when
// ctx ends in between.
func (s *session) typeStrokes(ctx context.Context, strokes []stroke) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	console := s.srv.cfg.Console
	releaseCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseWithin)
	defer cancel()
	for _, st := range strokes {
		var keys []uint16
		if st.shift {
			keys = append(keys, KeyShift)
		}
		if st.altgr {
			keys = append(keys, KeyAltGr)
		}
		keys = append(keys, st.code)
		var err error
		down := 0
		for ; down < len(keys) && err == nil; down++ {
			err = console.SendKey(ctx, keys[down], true)
		}
		for i := down - 1; i >= 0; i-- {
			if upErr := console.SendKey(releaseCtx, keys[i], false); err == nil {
				err = upErr
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}
