package main

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/spicelane/spicelane/harness/host"
	"github.com/spicelane/spicelane/harness/verdict"
)

func newDoctor() *cobra.Command {
	var asJSON bool
	var fix string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check what this host can run and how to fix the rest",
		Long: `Check this host: QEMU and its SPICE server, firmware, KVM, memory, disk and the other
things that lanes need, and the programs that tests use. Each line is good, degraded
(lanes run, but slower, or some tests are skipped) or missing (no lane runs). For
each thing that is not good, print the command of this distribution that fixes it.

--fix prints only these commands, as lines for a shell. --fix=run runs them, one
after the other, and checks again. A command that fails does not stop the others.

Exit status: 0 if a lane can run here, 3 if not.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if fix == "print" && asJSON {
				return usage("--fix prints commands for a shell: leave out --json")
			}
			ctx, out := cmd.Context(), cmd.OutOrStdout()
			r := host.Doctor(ctx)
			switch fix {
			case "":
			case "print":
				for _, command := range r.Fixes() {
					fmt.Fprintln(out, command)
				}
				return r.Err()
			case "run":
				if err := runFixes(ctx, cmd.ErrOrStderr(), r.Fixes()); err != nil {
					return err
				}
				r = host.Doctor(ctx)
			default:
				return usage("--fix=%s: use print or run", fix)
			}
			if asJSON {
				if err := printJSON(out, r); err != nil {
					return err
				}
			} else {
				printReport(out, r)
			}
			return r.Err()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the findings as JSON")
	cmd.Flags().StringVar(&fix, "fix", "", "`print|run` the commands that fix what is not good")
	cmd.Flags().Lookup("fix").NoOptDefVal = "print"
	return cmd
}

func printReport(w io.Writer, r *host.Report) {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, c := range r.Checks {
		fmt.Fprintf(tw, "%s\t%s\t%s\n", c.State, c.Name, oneLine(c.Detail))
		for _, more := range []struct{ word, text string }{{"cause", c.Cause}, {"fix", c.Fix}, {"advice", c.Advice}} {
			if more.text != "" {
				fmt.Fprintf(tw, "\t\t  %s: %s\n", more.word, oneLine(more.text))
			}
		}
	}
	_ = tw.Flush()
}

// runFixes runs commands in a shell, one after the other, and prints each before it runs. If one
// fails, it says so and continues, because the others may fix what lanes need.
func runFixes(ctx context.Context, stderr io.Writer, commands []string) error {
	for _, command := range commands {
		fmt.Fprintln(stderr, "+ "+command)
		sh := exec.CommandContext(ctx, "sh", "-c", command)
		sh.Stdout, sh.Stderr = stderr, stderr
		err := sh.Run()
		if ctx.Err() != nil {
			return verdict.Classify("doctor --fix", context.Cause(ctx))
		}
		if err != nil {
			fmt.Fprintf(stderr, "spicelane: doctor --fix: %s: %v; fix that by hand\n", command, err)
		}
	}
	return nil
}
