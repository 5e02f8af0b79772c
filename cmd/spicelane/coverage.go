package main

import (
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/spicelane/spicelane/harness/truth"
	"github.com/spicelane/spicelane/harness/verdict"
)

func newCoverage() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "coverage [FILE|DIR]...",
		Short: "List which messages, drawings and image codecs runs have covered, and which not",
		Long: `Add up the coverage.json files that runs of spicelane truth have left, and print
what was seen, what never was, and what cannot be seen there and why. Without
arguments, use the runs in artifacts/.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{filepath.Join("artifacts", "*")}
			}
			var files []string
			for _, arg := range args {
				found, err := filepath.Glob(filepath.Join(arg, truth.CoverageFile))
				if err != nil {
					return usage("%s: %w", arg, err)
				}
				if len(found) == 0 {
					if found, err = filepath.Glob(arg); err != nil {
						return usage("%s: %w", arg, err)
					}
					if filepath.Ext(arg) != ".json" {
						found = nil
					}
				}
				files = append(files, found...)
			}
			if len(files) == 0 {
				return usage("no %s in %v: run spicelane truth first", truth.CoverageFile, args)
			}
			c, err := truth.ReadCoverage(files...)
			if err != nil {
				return verdict.Classify("coverage", err)
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), c)
			}
			return truth.WriteCoverage(cmd.OutOrStdout(), c)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the rows as JSON")
	return cmd
}
