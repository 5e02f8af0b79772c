package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/truth"
	"github.com/spicelane/spicelane/harness/truth/catalogue"
	"github.com/spicelane/spicelane/harness/verdict"
)

func newTruth() *cobra.Command {
	var (
		cfg          truth.Config
		only         string
		compressions []string
		seed         uint64
		replay       string
		noGtk        bool
		proxy        string
		client       string
		list, build  bool
		coarse       bool
		asJSON       bool
	)
	cmd := &cobra.Command{
		Use:   "truth",
		Short: "Compare a real spice-server's drawings with clients' pictures, direct and proxied",
		Long: `Have a real spice-server draw a catalogue of more than 3,000 steps. After each step,
compare the server's own memory, the picture of a client that is connected directly,
and the picture of a client behind a proxy. A step fails if its result is not the
stated one. The report names the hop that caused it, the first message that differs,
and the files with the pictures.

The server is a helper that uses libspice-server. It is compiled when it is first
needed, or by make truthserver. docs/truth.md describes the catalogue.

Exit status: 0 every step has the stated result, 1 a step has another result, 2 the run
itself failed, 3 the host lacks libspice-server's headers or a compiler.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			out := cmd.OutOrStdout()
			groups := catalogue.Groups()
			if cmd.Flags().Changed("seed") {
				groups = []catalogue.Group{catalogue.RandomGroup(seed)}
				cfg.Shrink = true
			}
			var err error
			if cfg.Groups, err = catalogue.Only(groups, only); err != nil {
				return usage("%w", err)
			}
			if list {
				for _, g := range cfg.Groups {
					for _, s := range g.Steps {
						fmt.Fprintf(out, "%s: %s\n", s.Name(), s.Expect)
					}
				}
				return nil
			}
			for _, c := range compressions {
				s, err := truth.ParseSetting(c)
				if err != nil {
					return usage("%w", err)
				}
				cfg.Settings = append(cfg.Settings, s)
			}
			if coarse {
				cfg.Pixels = catalogue.Coarse
			}
			if cfg.Helper, err = harness.TruthHelper(cmd.Context()); err != nil {
				return err
			}
			if build {
				fmt.Fprintln(out, cfg.Helper)
				return nil
			}
			if cfg.Dir == "" {
				cfg.Dir = filepath.Join("artifacts", "truth-"+time.Now().Format("20060102-150405"))
			}
			if err := truthParts(&cfg, proxy, client, cfg.Dir); err != nil {
				return err
			}
			if !noGtk {
				cfg.Gtk, _ = exec.LookPath("spicy-screenshot")
			}
			progress := newProgress(cmd.ErrOrStderr())
			cfg.Say = progress.say
			var r *truth.Report
			if replay != "" {
				r, err = truth.Replay(cmd.Context(), cfg, replay)
			} else {
				r, err = truth.Run(cmd.Context(), cfg)
			}
			progress.done()
			if err != nil {
				return verdict.Classify("truth", err)
			}
			if asJSON {
				err = printJSON(out, r)
			} else {
				err = r.WriteTable(out)
			}
			if err != nil {
				return err
			}
			if err := r.Err(); err != nil {
				return &verdict.Error{Verdict: verdict.Product, Op: "truth", Err: err}
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&proxy, "proxy", "", "`builtin|none|CMD`: the proxy between server and client, see docs/foreign-parts.md; default: builtin")
	f.StringVar(&client, "client", "", "`builtin|CMD`: another client behind the proxy, besides the built-in one; default: builtin")
	f.StringVar(&only, "only", "", "run only the steps that `PATTERN` names: a number, FROM-TO, or a glob of a group, an operation or a description; commas separate several")
	f.StringSliceVar(&compressions, "compression", nil, "use these `MODES`, such as off,glz+zlib,quic+jpeg; default: all")
	f.Uint64Var(&seed, "seed", 0, "run random steps that depend on `N` instead of the catalogue, and shrink failures")
	f.StringVar(&replay, "replay", "", "play this `FILE`, which was recorded with SPICE_WORKER_RECORD_FILENAME, plain or .gz, instead of the catalogue")
	f.BoolVar(&noGtk, "no-gtk", false, "do not compare with spice-gtk (spicy-screenshot) after each group")
	f.IntVar(&cfg.MostFailures, "stop-after", 100, "stop after this many failed steps")
	f.BoolVar(&coarse, "coarse", false, "draw images in squares of one colour, so that recordings compress well")
	f.StringVar(&cfg.Record, "record", "", "have spice-server record each group into this `DIR`ectory")
	f.StringVar(&cfg.Dir, "dir", "", "`DIR`ectory for pictures that differ; default: artifacts/truth-TIME")
	f.BoolVar(&list, "list", false, "only print the steps and their expected results")
	f.BoolVar(&build, "build", false, "only compile the helper and print its path")
	f.BoolVar(&asJSON, "json", false, "print the report as JSON")
	for _, flag := range []string{"seed", "only", "coarse"} { // these are of the catalogue
		cmd.MarkFlagsMutuallyExclusive(flag, "replay")
	}
	return cmd
}
