package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/spicelane/spicelane/harness/plan"
)

func newPlan() *cobra.Command {
	var schema bool
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Check a plan, draw it, print the schema of plans",
		Long: `A plan is a YAML file of jobs: which lanes to bring up and what to check on them.
"spicelane run" runs it; docs/plans.md describes it.

  spicelane plan check PLAN.yaml     check everything in it
  spicelane plan graph PLAN.yaml     draw its jobs
  spicelane plan --schema            the JSON schema of plans, for editors

Exit status: 0 the plan is valid, 2 it is not.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !schema {
				return usage("plan needs --schema or a command: check, graph")
			}
			b, err := plan.Schema()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), string(b))
			return err
		},
	}
	cmd.Flags().BoolVar(&schema, "schema", false, "print the JSON schema of plans")
	cmd.AddCommand(newPlanCheck(), newPlanGraph())
	return cmd
}

func newPlanCheck() *cobra.Command {
	return &cobra.Command{
		Use:   "check PLAN",
		Short: "Check everything in a plan without reading secrets or running commands",
		Long: `Check a plan: its text, its references, the types of its conditions, and each cell
with the configuration of its lanes. It reads no secret and runs no command.

Exit status: 0 the plan is valid; 2 it is not, and each mistake is shown with its line.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := plan.Load(cmd.Context(), args[0], plan.Options{Dry: true})
			if err != nil {
				return planError(cmd, err)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %d jobs, %d cells\n", args[0], len(l.Jobs), len(l.Cells))
			return err
		},
	}
}

func newPlanGraph() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "graph PLAN",
		Short: "Draw the jobs of a plan: text, Mermaid or DOT",
		Long: `Draw the jobs of a plan and what they need: for the terminal, as Mermaid, which
GitHub shows in Markdown, or as DOT, which Graphviz reads.

Exit status: 0 the graph is drawn, 2 the plan is not valid.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := plan.Load(cmd.Context(), args[0], plan.Options{Dry: true})
			if err != nil {
				return planError(cmd, err)
			}
			if err := l.WriteGraph(cmd.OutOrStdout(), format); err != nil {
				return usage("--format: %w", err)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&format, "format", plan.GraphText, "how to draw it: `text|mermaid|dot`")
	return cmd
}
