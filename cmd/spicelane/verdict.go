package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/spicelane/spicelane/harness/bisect"
	"github.com/spicelane/spicelane/harness/verdict"
)

func newVerdict() *cobra.Command {
	var git bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "verdict -- COMMAND...",
		Short: "Run a command and say whose fault its failure is; --git for git bisect run",
		Long: `Run a command, and end with the status of its verdict. The command is this program, one
with the same exit statuses, or go test. The status of go test does not say whose fault a
failure is, so its results are read.

  spicelane verdict -- go test ./lanes/...
  git bisect run spicelane verdict --git -- go test -run TestBoot ./lanes

Exit status: that of the verdict: 0 passed; 1 product; 2 harness, a signal or a timeout; 3
host. With --git: 0 passed; 1 the product failed; 125 anything else, so that git skips the
commit; 130 interrupted, so that git stops.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			out, ok := fileOf(cmd.OutOrStdout())
			errOut, ok2 := fileOf(cmd.ErrOrStderr())
			if !ok || !ok2 {
				return errors.New("verdict: the output is no file")
			}
			a, err := bisect.Command{Argv: args, Env: os.Environ(), Stdout: out, Stderr: errOut, Timeout: timeout}.Run(cmd.Context())
			switch {
			case errors.Is(err, context.Canceled) && git:
				return &statusError{130, errors.New("interrupted")}
			case err != nil && git:
				return &statusError{125, err}
			case err != nil:
				return err
			case a.Good():
				return nil
			}
			err = &verdict.Error{Verdict: a.Verdict, Op: strings.Join(args, " "), Err: fmt.Errorf("%s fault: %s", a.Verdict, a.Reason)}
			if git {
				return &statusError{a.GitStatus(), err}
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&git, "git", false, "end with the statuses that git bisect run expects: 0, 1 and 125")
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "end the command after this `TIME`, which counts as the harness's fault; default: never")
	return cmd
}

// A statusError is an error with its own exit status.
type statusError struct {
	status int
	err    error
}

func (e *statusError) Error() string { return e.err.Error() }
func (e *statusError) Unwrap() error { return e.err }
