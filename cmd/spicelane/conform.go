package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice/control"
	"github.com/spicelane/spicelane/spice/control/conform"
)

func newConform() *cobra.Command {
	var (
		opts    conform.Options
		timeout time.Duration
		asJSON  bool
	)
	cmd := &cobra.Command{
		Use:   "conform NAME|SOCKET",
		Short: "Check that any control socket follows protocol 1.2",
		Long: `Check that a control socket follows protocol 1.2: every verb, event and error
code, framing, ordering, and how it handles clients that are rude, slow or gone.
The argument is a lane's name or, if it contains a slash, a socket's path. The
guest gets a few harmless keys and the text "conform". No other client may be
connected to the socket meanwhile.

A check that is impossible with this server or guest is skipped and says why.

Exit status: 0 all checks passed, 1 a check failed, 2 the socket did not answer.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := nameOrSocket(args[0])
			if err != nil {
				return err
			}
			// If nothing answers at all, that is not a violation of the protocol.
			if err := withDriver(cmd, t, func(context.Context, *control.Driver) error { return nil }); err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			ctx, cancel := context.WithTimeoutCause(cmd.Context(), timeout,
				fmt.Errorf("the checks took longer than %v", timeout))
			defer cancel()
			var failed int // without those that the time did not suffice for
			opts.OnResult = func(r conform.Result) {
				if r.Outcome == conform.Fail && ctx.Err() == nil {
					failed++
				}
				if asJSON {
					_ = json.NewEncoder(out).Encode(r)
					return
				}
				fmt.Fprintln(out, oneLine(r.String()))
			}
			results := conform.Run(ctx, t.socket, opts)
			switch {
			case cmd.Context().Err() != nil:
				return usage("interrupted")
			case failed > 0:
				return &verdict.Error{Verdict: verdict.Product, Op: "conform", Err: fmt.Errorf("%d of %d checks failed", failed, len(results))}
			case ctx.Err() != nil:
				return usage("%w", context.Cause(ctx))
			}
			if !asJSON {
				fmt.Fprintf(out, "verdict: PASS, %d checks\n", len(results))
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.DurationVar(&opts.Patience, "patience", 5*time.Second, "how long to wait for an answer, or for an event that the guest causes")
	f.DurationVar(&timeout, "timeout", 5*time.Minute, "limit for all checks")
	f.BoolVar(&asJSON, "json", false, "print one JSON object per check")
	return cmd
}

// nameOrSocket returns the target that one word means: a path if it contains a slash, otherwise a
// lane.
func nameOrSocket(word string) (target, error) {
	if strings.Contains(word, "/") {
		return resolveTarget("", word)
	}
	t, err := resolveTarget(word, "")
	var f *verdict.Error
	if errors.As(err, &f) && f.Hint != "" {
		f.Hint += "; a socket's path needs a slash, as in ./" + word
	}
	return t, err
}
