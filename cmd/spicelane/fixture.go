package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/spicelane/spicelane/fixtures"
	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/verdict"
)

func newFixture() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "fixture list|verify|build",
		Short: "List, verify and build guest images",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return usage("fixture needs a subcommand: list, verify or build")
		},
	}
	cmd.AddCommand(newFixtureList(), newFixtureVerify(), newFixtureBuild())
	return cmd
}

// fixtureRow is what `fixture list --json` prints for each fixture.
type fixtureRow struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	Source      string `json:"source"`
	SHA256      string `json:"sha256"`
	Firmware    string `json:"firmware"`
	MemoryMiB   int    `json:"memory_mib"`
	Banner      string `json:"banner"`
	Agent       bool   `json:"agent"`
	Digest      bool   `json:"digest"`
}

func newFixtureList() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the guest images",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := fixtures.Catalogue()
			if err != nil {
				return usage("%w", err)
			}
			tw := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
			if !asJSON {
				fmt.Fprintln(tw, "NAME\tFIRMWARE\tAGENT\tDIGEST\tBANNER\tDESCRIPTION")
			}
			for _, f := range all {
				row := fixtureRow{
					Name: f.Name, Description: f.Description, Source: f.Source(), SHA256: f.SHA256, Firmware: string(f.Firmware),
					MemoryMiB: f.MemoryMiB, Banner: f.Banner, Agent: f.Agent, Digest: f.Digest != nil,
				}
				if asJSON {
					if err := printJSON(cmd.OutOrStdout(), row); err != nil {
						return err
					}
					continue
				}
				fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\n", row.Name, row.Firmware, yesNo(row.Agent), yesNo(row.Digest), row.Banner, row.Description)
			}
			return tw.Flush()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object per fixture")
	return cmd
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func newFixtureVerify() *cobra.Command {
	return &cobra.Command{
		Use:   "verify [NAME|FILE.yaml]...",
		Short: "Verify the images' checksums; default: all built-in fixtures",
		RunE: func(cmd *cobra.Command, args []string) error {
			var list []*fixtures.Fixture
			if len(args) == 0 {
				all, err := fixtures.Catalogue()
				if err != nil {
					return usage("%w", err)
				}
				list = all
			}
			for _, name := range args {
				f, err := fixtures.Find(name)
				if err != nil {
					return usage("%w", err)
				}
				list = append(list, f)
			}
			var errs []error
			for _, f := range list {
				sum, err := f.Verify(cmd.Context())
				switch {
				case errors.As(err, new(*fixtures.SumError)):
					// The image does not have the checksum in its entry: an assertion failed.
					errs = append(errs, &verdict.Error{Verdict: verdict.Product, Err: err})
				case err != nil:
					errs = append(errs, verdict.Classify("", err))
				case f.Build != "":
					fmt.Fprintf(cmd.OutOrStdout(), "%s: has no image, it is built on this host\n", f.Name)
				case f.Image == "":
					fmt.Fprintf(cmd.OutOrStdout(), "%s: has no image\n", f.Name)
				case f.SHA256 == "":
					fmt.Fprintf(cmd.OutOrStdout(), "%s: no sha256 to compare with; the image has %s\n", f.Name, sum)
				default:
					fmt.Fprintf(cmd.OutOrStdout(), "%s: ok, sha256 %s\n", f.Name, sum)
				}
			}
			return joined(errs)
		},
	}
}

func newFixtureBuild() *cobra.Command {
	return &cobra.Command{
		Use:   "build [linux]",
		Short: "Build the built-in images from source, or the Linux guest from packages",
		Long: `Without a name, build the built-in images from source, in a checkout of this
repository.

With the name linux, build the Linux guest from packages of this host's distribution,
unless it exists. Lanes build it when they need it. Build it before if the host will have
no network.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch arg(args, 0) {
			case "":
			case fixtures.BuildLinux:
				guest, err := harness.BuildLinux(cmd.Context())
				if err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s\n%s\n", guest.Kernel, guest.Initrd)
				for _, p := range guest.Packages {
					fmt.Fprintf(cmd.OutOrStdout(), "from %s\n", p)
				}
				return nil
			default:
				return usage("fixture build: %q: only linux can be built by its name", args[0])
			}
			script := filepath.Join("scripts", "fixtures.sh")
			if _, err := os.Stat(script); err != nil {
				return usage("fixture build has to run at the root of a checkout: there is no %s here", script)
			}
			c := exec.CommandContext(cmd.Context(), script)
			c.Stdout, c.Stderr = cmd.OutOrStdout(), cmd.ErrOrStderr()
			if out, ok := fileOf(cmd.OutOrStdout()); ok {
				c.Stdout = out
			}
			if err := c.Run(); err != nil {
				return &verdict.Error{Verdict: verdict.Host, Op: "fixture build", Err: err, Hint: "it needs: sudo apt-get install -y clang lld mtools dosfstools qemu-utils"}
			}
			return nil
		},
	}
}
