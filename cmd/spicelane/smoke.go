package main

import (
	"fmt"
	"io"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/spicelane/spicelane/harness/drive"
)

func newSmoke() *cobra.Command {
	var (
		cfg    drive.SmokeConfig
		socket string
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "smoke [NAME | --socket PATH]",
		Short: "Say whether the console behind a control socket is right",
		Long: `Ask a control socket whether the console behind it is right: the session is
up, everything that came was decoded, the primary surface shows a picture, and
a digest on it agrees with the pixels around it and goes on counting.

Exit status: 0 it holds, 1 it does not, 2 the socket could not be asked.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := resolveTarget(arg(args, 0), socket)
			if err != nil {
				return err
			}
			cfg.Socket = t.socket
			if t.lane != nil {
				if cfg.Picture == "" {
					cfg.Picture = filepath.Join(t.lane.Dir, "smoke.png")
				}
				cfg.RequireDigest = cfg.RequireDigest || showsDigest(t)
			}
			report, err := drive.Smoke(cmd.Context(), cfg)
			if asJSON {
				if jerr := printJSON(cmd.OutOrStdout(), report); jerr != nil {
					return jerr
				}
				return err
			}
			printSmoke(cmd.OutOrStdout(), report)
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&socket, "socket", "", "the control socket's `PATH`, instead of a lane's name")
	f.BoolVar(&cfg.RequireAgent, "require-agent", false, "fail unless the guest's agent is connected")
	f.BoolVar(&cfg.RequireDigest, "require-digest", false, "fail unless there is a digest on the screen; a fixture that shows one implies it")
	f.StringVarP(&cfg.Picture, "output", "o", "", "write the screenshot to this PNG `FILE`; default: smoke.png in the lane's directory")
	f.DurationVar(&cfg.Timeout, "timeout", 15*time.Second, "bound of the whole check")
	f.BoolVar(&asJSON, "json", false, "print the report as JSON")
	return cmd
}

func printSmoke(w io.Writer, r *drive.SmokeReport) {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, c := range r.Checks {
		word := "ok"
		if !c.OK {
			word = "FAIL"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\n", word, c.Name, oneLine(c.Detail))
	}
	_ = tw.Flush()
	if r.Picture != "" {
		fmt.Fprintf(w, "screenshot: %s\n", r.Picture)
	}
	verdict := "PASS"
	if !r.OK {
		verdict = "FAIL (" + string(r.Verdict) + ")"
	}
	fmt.Fprintf(w, "verdict: %s after %.2f s\n", verdict, float64(r.TookMS)/1000)
}

// arg is the i-th argument, or "".
func arg(args []string, i int) string {
	if i < len(args) {
		return args[i]
	}
	return ""
}
