package main

import (
	"github.com/spicelane/spicelane/fixtures/digest"

	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	_ "image/jpeg" // --png
	_ "image/png"  // --png
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/spicelane/spicelane/fixtures/digest/qrscan"
	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/screen/pixmap"
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
			var checksum string
			if file != "" {
				if len(args) > 0 || socket != "" {
					return usage("--png, --socket and a lane's name exclude each other")
				}
				var err error
				if d, checksum, err = digestOfFile(file); err != nil {
					return err
				}
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
			if checksum != "" {
				fmt.Fprintln(cmd.ErrOrStderr(), "checksum "+checksum)
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

// freshDigest returns the next digest that the guest draws and true. If the guest draws none within
// freshWait, it returns the current digest and false.
func freshDigest(ctx context.Context, drv *control.Driver) (d digest.Digest, fresh bool, err error) {
	first, err := awaitDigest(ctx, drv, socketWait, "a digest", func(digest.Digest) bool { return true })
	if err != nil {
		return first, false, err
	}
	d, err = awaitDigest(ctx, drv, freshWait, "a newer digest", func(d digest.Digest) bool { return d.FrameCounter != first.FrameCounter })
	switch {
	case err == nil:
		return d, true, nil
	case ctx.Err() == nil && !errors.Is(err, context.DeadlineExceeded):
		return first, false, err // the client has ended
	}
	return first, false, ctx.Err()
}

func awaitDigest(ctx context.Context, drv *control.Driver, wait time.Duration, what string, f func(digest.Digest) bool) (digest.Digest, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	return drive.AwaitDigest(ctx, drv, what, f)
}

// digestOfFile reads the digest in a picture: a screenshot, or one that was scaled, rotated,
// compressed or photographed. checksum says whether the pixels around it are those that the guest
// drew.
func digestOfFile(file string) (d digest.Digest, checksum string, err error) {
	f, err := os.Open(file)
	if err != nil {
		return d, "", usage("%w", err)
	}
	defer f.Close()
	// Check the size before allocating memory for it.
	cfg, _, err := image.DecodeConfig(f)
	if err != nil {
		return d, "", usage("%s: %w", file, err)
	}
	if int64(cfg.Width)*int64(cfg.Height) > pixmap.MaxPixels {
		return d, "", usage("%s: the picture has %d×%d pixels, which is more than the %d that are read",
			file, cfg.Width, cfg.Height, pixmap.MaxPixels)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return d, "", usage("%w", err)
	}
	img, _, err := image.Decode(f)
	if err != nil {
		return d, "", usage("%s: %w", file, err)
	}
	frame := qrscan.FrameOf(img)
	res, err := qrscan.Scan(frame)
	if err != nil {
		return d, "", &verdict.Error{Verdict: verdict.Product, Op: file, Err: err}
	}
	if res.Bounds != digest.Region(frame.Width, frame.Height) {
		return *res.Digest, "cannot be checked: the code has not the size and the place that it has on the guest's screen, so these are not the guest's pixels", nil
	}
	if res.Bounds == image.Rect(0, 0, frame.Width, frame.Height) {
		return *res.Digest, "cannot be checked: the picture has nothing but the code", nil
	}
	if crc := digest.FramebufferCRC(frame.Pix, frame.Width, frame.Height, 4*frame.Width); crc != res.Digest.FramebufferHash {
		return *res.Digest, fmt.Sprintf("does not match: the pixels around the code have %08x, so they are not those that the guest drew with it", crc), nil
	}
	return *res.Digest, "matches: the pixels are those that the guest drew", nil
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
