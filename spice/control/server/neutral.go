package server

import (
	"context"
	"slices"
	"time"

	"github.com/spicelane/spicelane/spice/control"
	"github.com/spicelane/spicelane/spice/control/internal/keyboard"
)

// lockTime limits how long a guest may take to report that a lock key has switched. It takes some
// milliseconds even under TCG. A guest that does not read its keyboard never reports it.
const lockTime = 2 * time.Second

// A neutral is a keyboard prepared for a text: Caps Lock is off and no modifier is down.
type neutral struct {
	console Console
	keys    Keyboard
	caps    bool     // Caps Lock was on
	held    []uint16 // modifiers that were down
}

// makeNeutral releases modifiers that are down and switches Caps Lock off, if the console knows
// about them, so that the text arrives as written. Before it returns an error, it presses the
// modifiers again.
func makeNeutral(ctx context.Context, c Console) (*neutral, error) {
	keys, ok := as[Keyboard](c)
	if !ok {
		return &neutral{}, nil
	}
	n := &neutral{console: c, keys: keys}
	for _, code := range keys.Held() {
		if slices.Contains(keyboard.Modifiers, code) {
			n.held = append(n.held, code)
		}
	}
	for i, code := range n.held {
		if err := c.SendKey(ctx, code, false); err != nil {
			n.held = n.held[:i]
			n.restore(ctx)
			return nil, err
		}
	}
	if !keys.Locks().Caps {
		return n, nil
	}
	if err := n.switchCaps(ctx, false); err != nil {
		n.restore(ctx)
		return nil, err
	}
	n.caps = true
	return n, nil
}

// restore puts the keyboard back into its previous state. Its error says what failed.
func (n *neutral) restore(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseWithin+lockTime)
	defer cancel()
	var err error
	if n.caps {
		err = n.switchCaps(ctx, true)
	}
	for _, code := range n.held {
		if downErr := n.console.SendKey(ctx, code, true); err == nil {
			err = downErr
		}
	}
	return err
}

// switchCaps presses Caps Lock and waits until the guest reports that it is on, or off.
func (n *neutral) switchCaps(ctx context.Context, on bool) error {
	wake, stop := wakeOn(n.console, nil)
	defer stop()
	if err := typeStrokes(ctx, n.console, []keyboard.Stroke{{Code: control.KeyCapsLock}}); err != nil {
		return err
	}
	limit := time.NewTimer(lockTime)
	defer limit.Stop()
	for n.keys.Locks().Caps != on {
		select {
		case <-wake:
		case <-limit.C:
			if on {
				return errorf(control.CodeBadState, "Caps Lock was on before the text, and the guest did not switch it on again within %s", lockTime)
			}
			return errorf(control.CodeBadState,
				"Caps Lock is on in the guest, and it did not switch it off within %s of the key: nothing was typed", lockTime)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
