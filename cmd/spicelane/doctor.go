package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/spicelane/spicelane/harness/host"
)

func newDoctor() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check what this host can run and how to fix the rest",
		Long: `Check this host: QEMU and its SPICE server, firmware, KVM, memory and disk, and the
programs that tests use. For each thing that is missing, print the command that
installs it.

Exit status: 0 if a lane can run here, 3 if not.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r := host.Doctor(cmd.Context())
			if asJSON {
				if err := printJSON(cmd.OutOrStdout(), r); err != nil {
					return err
				}
			} else {
				tw := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
				for _, c := range r.Checks {
					word := "ok"
					switch {
					case c.OK:
					case c.Required:
						word = "MISSING"
					default:
						word = "no"
					}
					fmt.Fprintf(tw, "%s\t%s\t%s\n", word, c.Name, oneLine(c.Detail))
					if c.Fix != "" {
						fmt.Fprintf(tw, "\t\tfix: %s\n", c.Fix)
					}
				}
				_ = tw.Flush()
			}
			return r.Err()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the findings as JSON")
	return cmd
}
