package main

import (
	"errors"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spicelane/spicelane/harness/coverage"
	"github.com/spicelane/spicelane/harness/verdict"
)

func newCoverage() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "coverage [FILE|DIR]...",
		Short: "List which messages, drawings and image codecs runs have covered, and which they have not",
		Long: `Add up the coverage that runs of spicelane truth left in coverage.json, and lanes on
their timelines. Print what was seen, what never was, and what cannot be seen here and
why. Directories are searched for both. Without arguments, search artifacts/.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{"artifacts"}
			}
			found, err := coverage.Find(args...)
			if errors.Is(err, fs.ErrNotExist) {
				return usage("%w: run spicelane truth or a lane first", err)
			}
			if err != nil {
				return verdict.Classify("coverage", err)
			}
			if found.Runs == 0 && found.Lanes == 0 {
				return usage("no %s and no lane's timeline with coverage in %s: run spicelane truth or a lane first", coverage.File, strings.Join(args, ", "))
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), found.Rows)
			}
			return found.Print(cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the rows as JSON")
	return cmd
}
