package main

import (
	"cmp"
	"context"
	"fmt"
	"image"
	"time"

	"github.com/spf13/cobra"

	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/headless"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/control"
	"github.com/spicelane/spicelane/spice/wire"
)

func newScreenshot() *cobra.Command {
	var out, via, socket, region, vvFile string
	var p control.ScreenshotParams
	var display uint8
	var surface uint32
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "screenshot [NAME | --socket PATH | --vv FILE] -o FILE.png",
		Short: "Save the screen as a PNG file",
		Long: `Save the screen as PNG: the client's picture (--via client), or QEMU's own
(--via qmp). The two must be equal; if they differ, the fault is on the path between
QEMU and the client.

A guest with several heads has several display channels, or several surfaces on
one channel; choose with --display and --surface. The default is the primary
surface: surface 0 of the lowest display channel. spicelane status lists surfaces.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if out == "" {
				return usage("screenshot needs -o FILE.png")
			}
			var err error
			if p.Region, err = parseRegion(region); err != nil {
				return err
			}
			chosen := cmd.Flags().Changed("display") || cmd.Flags().Changed("surface")
			if cmd.Flags().Changed("display") {
				p.ChannelID = &display
			}
			if cmd.Flags().Changed("surface") {
				p.SurfaceID = &surface
			}
			var img image.Image
			switch {
			case vvFile != "":
				if len(args) > 0 || socket != "" || cmd.Flags().Changed("via") || p.Cursor {
					return usage("--vv makes its own connection: leave out the lane, --socket, --via and --cursor")
				}
				via = "a connection of its own"
				if img, err = firstPicture(cmd, vvFile, display, surface); err != nil {
					return err
				}
				if img, err = crop(img, p.Region); err != nil {
					return err
				}
			case via == "client":
				t, err := resolveTarget(arg(args, 0), socket)
				if err != nil {
					return err
				}
				err = withDriver(cmd, t, func(ctx context.Context, d *control.Driver) error {
					if p.Cursor && !d.Supports(control.MethodCursor) {
						return usage("--cursor: the client behind this control socket (%s) does not show the pointer", d.Server().ServerName)
					}
					if p.ChannelID != nil && !d.Supports(control.MethodAwait) {
						return usage("--display: the client behind this control socket (%s) shows the primary display only", d.Server().ServerName)
					}
					ctx, cancel := answering(ctx, 1)
					defer cancel()
					got, err := d.Image(ctx, p)
					if err != nil {
						return err
					}
					img = got
					if p.Region != nil && got.Rect.Size() != image.Pt(p.Region.Width, p.Region.Height) {
						// Regions are our extension: another client may send the whole screen.
						img, err = crop(got, p.Region)
					}
					return err
				})
				if err != nil {
					return err
				}
			case via == "qmp":
				if len(args) != 1 || socket != "" {
					return usage("--via qmp needs only a lane's name")
				}
				if p.Cursor {
					return usage("--cursor: QEMU's own picture has no pointer; leave out --via qmp")
				}
				if chosen {
					return usage("--display, --surface: QEMU's own picture is of the first head; leave out --via qmp")
				}
				s, err := registry.FindReady(args[0])
				if err != nil {
					return err
				}
				if img, err = qemu.ScreenshotVia(cmd.Context(), cmp.Or(s.QMPTools, s.QMP), s.Dir); err != nil {
					return &verdict.Error{Verdict: verdict.Harness, Op: "screenshot", Err: err}
				}
				if img, err = crop(img, p.Region); err != nil {
					return err
				}
			default:
				return usage("--via %s: use client or qmp", via)
			}
			if err := drive.WritePNG(out, img); err != nil {
				return err
			}
			b := img.Bounds()
			if asJSON {
				return printJSON(cmd.OutOrStdout(), struct {
					File   string `json:"file"`
					Width  int    `json:"width"`
					Height int    `json:"height"`
					Via    string `json:"via"`
				}{out, b.Dx(), b.Dy(), via})
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: %d×%d via %s\n", out, b.Dx(), b.Dy(), via)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVarP(&out, "output", "o", "", "the PNG `FILE`")
	f.StringVar(&via, "via", "client", "whose picture: `client|qmp`")
	f.StringVar(&region, "region", "", "only this part of the screen, as `WIDTHxHEIGHT+X+Y` in pixels from the top left")
	f.Uint8Var(&display, "display", 0, "the display channel's `NUMBER`")
	f.Uint32Var(&surface, "surface", 0, "the surface's `NUMBER` on that channel")
	f.BoolVar(&p.Cursor, "cursor", false, "draw the pointer into the picture")
	f.StringVar(&socket, "socket", "", "the control socket's `PATH`, instead of a lane's name")
	f.StringVar(&vvFile, "vv", "", "connect with this virt-viewer `FILE` (- is standard input), take the first picture and disconnect")
	f.BoolVar(&asJSON, "json", false, "print what was saved as JSON")
	return cmd
}

// parseRegion parses a part of the screen. It returns nil for the whole screen.
func parseRegion(s string) (*control.Rect, error) {
	if s == "" {
		return nil, nil
	}
	var r control.Rect
	var rest string
	n, _ := fmt.Sscanf(s+" .", "%dx%d+%d+%d %s", &r.Width, &r.Height, &r.X, &r.Y, &rest)
	if n != 5 || rest != "." || r.Width <= 0 || r.Height <= 0 || r.X < 0 || r.Y < 0 {
		return nil, usage("--region %s: want WIDTHxHEIGHT+X+Y, for example 180x180+844+588", s)
	}
	return &r, nil
}

// crop returns the region of a picture; nil means all of it.
func crop(img image.Image, r *control.Rect) (image.Image, error) {
	if r == nil {
		return img, nil
	}
	rect := r.Rectangle()
	sub, ok := img.(interface {
		SubImage(image.Rectangle) image.Image
	})
	if b := img.Bounds(); !ok || !rect.In(b) {
		return nil, usage("--region %dx%d+%d+%d is not within the screen, which has %d×%d", r.Width, r.Height, r.X, r.Y, b.Dx(), b.Dy())
	}
	return sub.SubImage(rect), nil
}

// pictureWait limits how long a console may take to show its first picture.
var pictureWait = 30 * time.Second

// firstPicture connects to a console, waits for its first complete picture and disconnects.
func firstPicture(cmd *cobra.Command, file string, display uint8, surface uint32) (image.Image, error) {
	v, err := readVV(cmd, file)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(cmd.Context(), pictureWait, fmt.Errorf("no picture within %v", pictureWait))
	defer cancel()
	cfg := spice.FromVV(v)
	// One picture needs neither keys nor a pointer.
	cfg.Channels = func(id wire.ChannelID) bool { return id == wire.ChannelID{Type: wire.ChannelDisplay, ID: display} }
	c, err := spice.Dial(ctx, cfg)
	if err != nil {
		return nil, &verdict.Error{Verdict: headless.Blame(err), Op: "screenshot", Err: err}
	}
	defer c.Close()
	if _, err := c.AwaitPicture(ctx, display); err != nil {
		return nil, &verdict.Error{Verdict: verdict.Product, Op: "screenshot", Err: err}
	}
	pic, err := c.Snapshot(display, surface, nil)
	if err != nil {
		return nil, &verdict.Error{Verdict: verdict.Product, Op: "screenshot", Err: err}
	}
	return pic.Image(), nil
}
