package harness

import (
	"context"

	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice/control"
)

// PressKeys is Lane.Press on a control socket.
func PressKeys(ctx context.Context, d *control.Driver, keys ...string) error {
	for _, k := range keys {
		codes, err := control.ParseKey(k)
		if err != nil {
			return &verdict.Error{Verdict: verdict.Harness, Op: "press " + k, Err: err}
		}
		if err := d.Chord(ctx, codes...); err != nil {
			return &verdict.Error{Verdict: clientVerdict(err), Op: "press " + k, Err: err}
		}
	}
	return nil
}
