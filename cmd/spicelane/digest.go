package main

import (
	"github.com/spicelane/spicelane/fixtures/digest"

	"context"
	"encoding/json"
	"fmt"
	"image"
	_ "image/png" // --png
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/spicelane/spicelane/fixtures/digest/qrscan"
	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice/control"
)

func newDigest() *cobra.Command {
	var socket, file string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "digest [NAME | --socket PATH | --png FILE]",
		Short: "Read the digest on the guest's screen",
		Long: `Read the digest on the guest's screen. For a running guest this is the next digest
that it draws, so it includes everything that was done before this command.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var d digest.Digest
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
					var fresh bool
					d, fresh, err = freshDigest(ctx, drv)
					if err == nil && !fresh {
						fmt.Fprintf(cmd.ErrOrStderr(), "the guest's frame counter has stopped at %d\n", d.FrameCounter)
					}
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
	f.StringVar(&file, "png", "", "read the digest from this picture `FILE`")
	f.BoolVar(&asJSON, "json", false, "print the digest as JSON, with the field names of digest_updated")
	return cmd
}

// freshWait is how long a guest may take to draw its next digest: Beacon draws two per second.
const freshWait = 3 * time.Second

// freshDigest returns the next digest that the guest draws, or the present one if it draws none.
func freshDigest(ctx context.Context, drv *control.Driver) (d digest.Digest, fresh bool, err error) {
	first, err := awaitDigest(ctx, drv, socketWait, "a digest", func(digest.Digest) bool { return true })
	if err != nil {
		return first, false, err
	}
	d, err = awaitDigest(ctx, drv, freshWait, "a newer digest", func(d digest.Digest) bool { return d.FrameCounter != first.FrameCounter })
	if err != nil {
		return first, false, ctx.Err()
	}
	return d, true, nil
}

func awaitDigest(ctx context.Context, drv *control.Driver, wait time.Duration, what string, f func(digest.Digest) bool) (digest.Digest, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	return drive.AwaitDigest(ctx, drv, what, f)
}

func digestOfFile(file string) (digest.Digest, error) {
	f, err := os.Open(file)
	if err != nil {
		return digest.Digest{}, usage("%w", err)
	}
	defer f.Close()
	img, _, err := image.Decode(f)
	if err != nil {
		return digest.Digest{}, usage("%s: %w", file, err)
	}
	res, err := qrscan.Scan(qrscan.FrameOf(img))
	if err != nil {
		return digest.Digest{}, &verdict.Error{Verdict: verdict.Product, Op: file, Err: err}
	}
	return *res.Digest, nil
}

func printDigest(w io.Writer, d digest.Digest) error {
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
