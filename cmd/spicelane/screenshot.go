package main

import (
	"context"
	"fmt"
	"image"

	"github.com/spf13/cobra"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/spice/control"
)

func newScreenshot() *cobra.Command {
	var out, via, socket string
	cmd := &cobra.Command{
		Use:   "screenshot [NAME | --socket PATH] -o FILE.png",
		Short: "Save what is on the screen",
		Long: `Save what is on the screen as PNG: as the client has it (--via client), or as
QEMU has it (--via qmp). They must be equal; if they are not, the way between
them is at fault.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if out == "" {
				return usage("where to? Give -o FILE.png")
			}
			var img image.Image
			switch via {
			case "client":
				t, err := resolveTarget(arg(args, 0), socket)
				if err != nil {
					return err
				}
				err = withDriver(cmd, t, func(ctx context.Context, d *control.Driver) (err error) {
					img, err = d.Image(ctx, control.ScreenshotParams{})
					return err
				})
				if err != nil {
					return err
				}
			case "qmp":
				if len(args) != 1 {
					return usage("--via qmp needs a lane's name")
				}
				s, err := readyLane(args[0])
				if err != nil {
					return err
				}
				if img, err = qemu.ScreenshotVia(cmd.Context(), s.QMP, s.Dir); err != nil {
					return &harness.Fault{Verdict: harness.Harness, Op: "screenshot", Err: err}
				}
			default:
				return usage("--via %s: it is client or qmp", via)
			}
			if err := harness.WritePNG(out, img); err != nil {
				return err
			}
			b := img.Bounds()
			fmt.Fprintf(cmd.OutOrStdout(), "%s: %d×%d via %s\n", out, b.Dx(), b.Dy(), via)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVarP(&out, "output", "o", "", "the PNG `FILE`")
	f.StringVar(&via, "via", "client", "whose picture: `client|qmp`")
	f.StringVar(&socket, "socket", "", "the control socket's `PATH`, instead of a lane's name")
	return cmd
}
