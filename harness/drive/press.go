package drive

import (
	"context"

	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice/control"
)

// Press presses and releases keys, one after the other. control.ParseKey defines how to write them:
// "Enter", "a", "F10", "Ctrl+Alt+Delete".
func Press(ctx context.Context, d *control.Driver, keys ...string) error {
	for _, k := range keys {
		codes, err := control.ParseKey(k)
		if err != nil {
			return &verdict.Error{Verdict: verdict.Harness, Op: "press " + k, Err: err}
		}
		if err := d.Chord(ctx, codes...); err != nil {
			return &verdict.Error{Verdict: VerdictOf(err), Op: "press " + k, Err: err}
		}
	}
	return nil
}
