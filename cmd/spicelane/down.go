package main

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/spicelane/spicelane/harness/host"
	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/verdict"
)

// Limits for an orderly end. The supervisor limits each of its own steps; these limits are for a
// supervisor that hangs.
const (
	downGrace = 20 * time.Second
	killGrace = 5 * time.Second
)

func newDown() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "down NAME... | --all",
		Short: "End lanes",
		RunE: func(cmd *cobra.Command, args []string) error {
			reg := registry.Registry{}
			if all == (len(args) > 0) {
				return usage("down needs the names of lanes, or --all")
			}
			var errs []error
			if all {
				states, err := reg.List()
				errs = append(errs, err) // that is of other lanes than states
				for _, s := range states {
					args = append(args, s.Name)
				}
			}
			for _, name := range args {
				said, err := down(cmd.Context(), reg, name)
				if err != nil {
					errs = append(errs, err)
					continue
				}
				if said != "" && (!all || said != "was not up") {
					fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", name, said)
				}
			}
			return joined(errs)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "end every lane of this user")
	return cmd
}

// down ends one lane and waits until its supervisor has ended.
func down(ctx context.Context, reg registry.Registry, name string) (string, error) {
	s, err := reg.Load(name)
	if err != nil {
		return "", err
	}
	if !s.Terminate(syscall.SIGTERM) {
		return "was not up", nil
	}
	forced := ""
	if !host.AwaitExit(ctx, s.PIDs.Supervisor, downGrace) {
		if ctx.Err() != nil { // the lane ends by itself
			return "", usage("down %s: interrupted; the lane is still ending", name)
		}
		s.Terminate(syscall.SIGKILL)
		if !host.AwaitExit(ctx, s.PIDs.Supervisor, killGrace) {
			return "", &verdict.Error{Verdict: verdict.Host, Op: "down " + name, Err: fmt.Errorf("supervisor (pid %d) did not end, even after SIGKILL", s.PIDs.Supervisor)}
		}
		forced = " (its supervisor had to be killed)"
	}
	// Load records what a killed supervisor could not.
	if _, err := reg.Load(name); err != nil {
		return "", err
	}
	return "down" + forced + "; its logs are in " + s.Dir, nil
}
