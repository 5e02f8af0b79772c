// Package drive acts on a console through a control driver, of our client or another one: keys,
// digests, waits, pictures, the smoke check, latencies. It needs no lane. Its errors have verdicts.
package drive

import (
	"context"
	"errors"

	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice/control"
)

// VerdictOf returns whose fault an error of the control socket is. It is Product if the client
// answers that it has no such surface, no digest or no agent, or that it failed internally.
// Everything else (a bad request, a lost socket) is Harness.
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

// Dial connects to a control socket. If the socket is busy with another client, Dial waits for its
// turn until ctx ends. Other errors are returned at once.
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
