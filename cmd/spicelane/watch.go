package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/termview"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/harness/viewer"
)

func newWatch() *cobra.Command {
	var (
		look    onlooker
		picture string
		asJSON  bool
	)
	cmd := &cobra.Command{
		Use:   "watch [NAME | --vv FILE --dir DIR]",
		Short: "Show a lane live in the terminal",
		Long: `Show a lane live in the terminal: its picture, its state, the last lines on its
serial console, the guest's digest, and the time from key to picture. This also
works for the lane of a running test, and does not disturb its driver.

Keys: p another kind of picture, r redraw everything, q quit.

Without a terminal, and with --json, print the lane's events line by line until the
lane ends.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(termview.Pictures(), picture) {
				return usage("--picture %s: use one of %s", picture, strings.Join(termview.Pictures(), ", "))
			}
			cfg, err := look.config(cmd, args)
			if err != nil {
				return err
			}
			v := viewer.Open(cfg)
			defer v.Close()
			out, ok := fileOf(cmd.OutOrStdout())
			if asJSON || !ok || !termview.IsTerminal(out) {
				if err := termview.Lines(cmd.Context(), v, cmd.OutOrStdout(), asJSON); err != nil {
					return usage("%w", err)
				}
				return nil
			}
			err = termview.Run(cmd.Context(), v, termview.Config{Out: out, Picture: termview.Picture(picture)})
			if errors.Is(err, termview.ErrNoTerminal) {
				return usage("watch needs a terminal to read keys from: %w", err)
			}
			if err != nil {
				return &verdict.Error{Verdict: verdict.Host, Op: "watch", Err: err}
			}
			if s := v.State(); s.Reason != "" {
				fmt.Fprintf(cmd.ErrOrStderr(), "lane %s is %s: %s\n", s.Name, s.Lane, oneLine(s.Reason))
			}
			return nil
		},
	}
	look.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&picture, "picture", string(termview.Auto), "how to show the picture: `"+strings.Join(termview.Pictures(), "|")+"`")
	f.BoolVar(&asJSON, "json", false, "print one JSON object per line instead")
	return cmd
}

// An onlooker selects the lane to view, by its name or by its files.
type onlooker struct{ vv, dir string }

func (o *onlooker) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.vv, "vv", "", "virt-viewer `FILE` of a console, instead of a lane's name")
	f.StringVar(&o.dir, "dir", "", "lane's `DIR`ectory with its serial log and timeline, instead of a lane's name")
}

func (o *onlooker) config(cmd *cobra.Command, args []string) (viewer.Config, error) {
	none := viewer.Config{}
	if o.vv != "" || o.dir != "" {
		if len(args) > 0 {
			return none, usage("a lane's name excludes --vv and --dir")
		}
		if o.vv == "-" {
			return none, usage("--vv -: want a virt-viewer file by its name: each session reads it")
		}
		if o.vv != "" {
			if _, err := readVV(cmd, o.vv); err != nil {
				return none, err
			}
		}
		if o.dir != "" {
			if st, err := os.Stat(o.dir); err != nil || !st.IsDir() {
				return none, usage("--dir %s is not a directory", o.dir)
			}
		}
		name := o.dir
		if o.vv != "" {
			name = o.vv
		}
		return viewer.Config{Name: name, VV: o.vv, Dir: o.dir}, nil
	}
	if len(args) == 0 {
		return none, usage("which lane? Give its name (see: spicelane status --tests), or --vv FILE and --dir DIR")
	}
	s, err := registry.FindReady(args[0])
	if err != nil {
		return none, err
	}
	return viewer.Of(s, func() (registry.State, error) {
		now, err := registry.Find(args[0])
		if err != nil {
			// A test's lane is registered only while the test runs.
			now = s
			now.State, now.Reason = registry.StateStopped, "its test has ended"
		}
		return now, nil
	}), nil
}
