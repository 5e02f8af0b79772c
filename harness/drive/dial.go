// Package drive does what can be done to a console through a control driver, ours or
// another client's: keys, digests, waits, pictures, the smoke check, latencies. It needs no
// lane. Its errors carry verdicts.
package drive

import (
	"context"
	"errors"

	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice/control"
)

// VerdictOf tells whose fault an answer on the control socket is: a client
// that answers with an error of its own is the product, everything else (a bad
// request, a lost socket) the harness.
func VerdictOf(err error) verdict.Kind {
	var e *control.Error
	if errors.As(err, &e) {
		switch e.Code {
		case control.CodeNoSuchSurface, control.CodeInternal, control.CodeNoDigest, control.CodeAgentNotConnected:
			return verdict.Product
		}
	}
	return verdict.Harness
}

// Dial connects to a control socket. While it serves another client,
// which is not for long, it waits for its turn until ctx ends; every other
// error is final.
func Dial(ctx context.Context, name, socket string) (*control.Driver, error) {
	cfg := control.DriverConfig{Name: name}
	d, err := cfg.Dial(ctx, socket)
	if errors.Is(err, &control.Error{Code: control.CodeBusy}) {
		d, err = cfg.DialWait(ctx, socket)
	}
	if err != nil {
		return nil, &verdict.Error{Verdict: verdict.Harness, Op: "control socket", Err: err}
	}
	return d, nil
}
