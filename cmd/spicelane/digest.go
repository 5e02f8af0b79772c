package main

import (
	"context"
	"encoding/json"
	"fmt"
	"image"
	_ "image/png" // --png
	"io"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/spicelane/spicelane/fixtures/digest/qrscan"
	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/spice/control"
)

func newDigest() *cobra.Command {
	var socket, file string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "digest [NAME | --socket PATH | --png FILE]",
		Short: "Read what the guest says of itself on its screen",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var d harness.Digest
			if file != "" {
				if len(args) > 0 || socket != "" {
					return usage("--png, --socket and a lane's name exclude each other")
				}
				got, err := digestOfFile(file)
				if err != nil {
					return err
				}
				d = got
			} else {
				t, err := resolveTarget(arg(args, 0), socket)
				if err != nil {
					return err
				}
				err = withDriver(cmd, t, func(ctx context.Context, drv *control.Driver) error {
					ctx, cancel := context.WithTimeout(ctx, socketWait)
					defer cancel()
					// A look may fall between two draws: the next digest will do.
					d, err = harness.AwaitDigest(ctx, drv, "a digest", func(harness.Digest) bool { return true })
					return err
				})
				if err != nil {
					return err
				}
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), d)
			}
			return printDigest(cmd.OutOrStdout(), d)
		},
	}
	f := cmd.Flags()
	f.StringVar(&socket, "socket", "", "the control socket's `PATH`, instead of a lane's name")
	f.StringVar(&file, "png", "", "read it from this picture `FILE`")
	f.BoolVar(&asJSON, "json", false, "print it as JSON, with the names of digest_updated")
	return cmd
}

func digestOfFile(file string) (harness.Digest, error) {
	f, err := os.Open(file)
	if err != nil {
		return harness.Digest{}, usage("%w", err)
	}
	defer f.Close()
	img, _, err := image.Decode(f)
	if err != nil {
		return harness.Digest{}, usage("%s: %w", file, err)
	}
	res, err := qrscan.Scan(qrscan.FrameOf(img))
	if err != nil {
		return harness.Digest{}, &harness.Fault{Verdict: harness.Product, Op: file, Err: err}
	}
	return *res.Digest, nil
}

func printDigest(w io.Writer, d harness.Digest) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintf(tw, "frame counter\t%d\n", d.FrameCounter)
	fmt.Fprintf(tw, "framebuffer hash\t%08x\n", d.FramebufferHash)
	for _, e := range d.Events {
		b, err := json.Marshal(e)
		if err != nil {
			return err
		}
		fmt.Fprintf(tw, "%s\t%s\n", e.Name(), b)
	}
	return tw.Flush()
}
