package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/spicelane/spicelane/harness/termview"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/harness/viewer"
	"github.com/spicelane/spicelane/harness/webconsole"
)

func newConsole() *cobra.Command {
	var (
		look   onlooker
		cfg    webconsole.Config
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "console [NAME | --vv FILE --dir DIR]",
		Short: "Serve a lane's console on a browser page",
		Long: `Serve a page with a lane's live picture, which takes keyboard and mouse. Like
lane.html, it has the timeline, the logs and the screen at any moment so far. Print
the link to it. The link opens once, in one browser; press Enter here for another
link. The page is served only to this computer; to use it from another one, forward
the port with ssh -L. This also works for the lane of a running test. The control
socket stays free for other programs.

The page is served until the command is interrupted.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			vc, err := look.config(cmd, args)
			if err != nil {
				return err
			}
			cfg.Logger = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn}))
			v := viewer.Open(vc)
			defer v.Close()
			cfg.Viewer = v
			s, err := webconsole.Start(cfg)
			var open *webconsole.NotLoopbackError
			switch {
			case errors.As(err, &open):
				return usage("--listen: %w", err)
			case err != nil:
				return verdict.Classify("console: --listen", err)
			}
			defer s.Close()
			say := func() error {
				if asJSON {
					return printJSON(cmd.OutOrStdout(), map[string]string{"lane": vc.Name, "link": s.Link()})
				}
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", vc.Name, s.Link())
				return err
			}
			if err := say(); err != nil {
				return usage("%w", err)
			}
			lines := enterPressed(cmd)
			for {
				select {
				case <-cmd.Context().Done():
					return nil
				case <-lines:
					if err := say(); err != nil {
						return usage("%w", err)
					}
				}
			}
		},
	}
	look.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&cfg.Listen, "listen", "127.0.0.1:0", "loopback `ADDR` to serve on")
	f.DurationVar(&cfg.LinkLifetime, "link-lifetime", webconsole.DefaultLinkLifetime, "how long a link may stay unused")
	f.StringVar(&cfg.Needles, "needles", needleDir, "the `DIR`ectory where the page keeps reference images; empty for none")
	f.BoolVar(&asJSON, "json", false, "print the link as JSON")
	return cmd
}

// enterPressed returns a channel that gets a value for each Enter on the terminal. If standard
// input is not a terminal, it returns nil.
func enterPressed(cmd *cobra.Command) <-chan struct{} {
	in, ok := cmd.InOrStdin().(*os.File)
	if !ok || !termview.IsTerminal(in) {
		return nil
	}
	lines := make(chan struct{})
	go func() {
		b := make([]byte, 1)
		for {
			if _, err := in.Read(b); err != nil {
				return
			}
			if b[0] == '\n' {
				lines <- struct{}{}
			}
		}
	}()
	return lines
}
