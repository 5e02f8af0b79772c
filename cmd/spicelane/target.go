package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice/control"
)

// A target is a control socket, given by a lane's name or by its path.
type target struct {
	socket string
	// lane is set if the target was given by a lane's name.
	lane *registry.State
}

// resolveTarget returns the control socket of the lane called name, or socket, whichever is given.
func resolveTarget(name, socket string) (target, error) {
	switch {
	case name != "" && socket != "":
		return target{}, usage("a lane's name and --socket exclude each other")
	case socket != "":
		return target{socket: socket}, nil
	case name == "":
		return target{}, usage("which lane? Give its name (see: spicelane status) or --socket PATH")
	}
	s, err := registry.FindControlled(name)
	if err != nil {
		return target{}, err
	}
	return target{socket: s.ControlSocket, lane: &s}, nil
}

// socketWait is how long a command waits for a control socket, which serves one client at a time.
const socketWait = 5 * time.Second

// answerWait limits how long a client may take to answer a request that needs no time in the guest.
var answerWait = 30 * time.Second

// answering returns the context for n such requests.
func answering(ctx context.Context, n int) (context.Context, context.CancelFunc) {
	limit := time.Duration(n) * answerWait
	return context.WithTimeoutCause(ctx, limit, fmt.Errorf("the client behind the control socket did not answer within %v", limit))
}

// withDriver connects to the target and runs f with the connection.
func withDriver(cmd *cobra.Command, t target, f func(ctx context.Context, d *control.Driver) error) error {
	ctx := cmd.Context()
	dialCtx, cancel := context.WithTimeout(ctx, socketWait)
	defer cancel()
	d, err := drive.Dial(dialCtx, "spicelane "+cmd.Name(), t.socket)
	if err != nil {
		return t.ended(ctx, err)
	}
	defer d.Close()
	err = t.ended(ctx, f(ctx, d))
	var e *control.Error
	if errors.As(err, &e) && e.Code == control.CodeNoDigest {
		return &verdict.Error{Verdict: verdict.Product, Err: err}
	}
	return err
}
