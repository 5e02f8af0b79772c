package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/spicelane/spicelane/harness/headless"
	"github.com/spicelane/spicelane/harness/screen/text"
	"github.com/spicelane/spicelane/spice/vv"
)

func newClient() *cobra.Command {
	var (
		file, socket, timeline string
		wait                   time.Duration
		fonts                  []string
	)
	cmd := &cobra.Command{
		Use:   "client --vv FILE --socket PATH",
		Short: "Run the headless SPICE client by itself",
		Long: `Connect to the console of a virt-viewer file and open a control socket to drive
it. Run until the session ends or a signal ends the process.
docs/control-socket.md describes the protocol.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" || socket == "" {
				return usage("client needs --vv FILE and --socket PATH")
			}
			guest, err := text.LoadAll(fonts...)
			if err != nil {
				return usage("--font: %w", err)
			}
			// Read the file before anything else, so that a bad file is a usage error.
			first, err := readVV(cmd, file)
			if err != nil {
				return err
			}
			source := func(context.Context) (*vv.File, error) {
				if file == "-" {
					return first, nil
				}
				// The token opens one session; the process that keeps the file renews it.
				return vv.ReadFile(file)
			}
			return headless.RunClient(cmd.Context(), headless.ClientConfig{
				VV: source, Socket: socket, Timeline: timeline, TimelineStart: time.Now(), ConnectTimeout: wait,
				Fonts:  func() ([]*text.Font, error) { return guest, nil },
				Logger: slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil)),
			}, func(headless.Ready) error { return nil })
		},
	}
	f := cmd.Flags()
	f.StringVar(&file, "vv", "", "virt-viewer `FILE` of the console; - is standard input")
	f.StringVar(&socket, "socket", "", "`PATH` of the control socket to open")
	f.StringVar(&timeline, "timeline", "", "append keys and frames to this NDJSON `FILE`")
	f.StringArrayVar(&fonts, "font", nil, "a further `FONT` for the verbs that read text: its name or its file; may be given more than once")
	f.DurationVar(&wait, "timeout", 30*time.Second, "limit for connecting")
	return cmd
}

// readVV reads a virt-viewer file, or standard input for -. It prints the file's warnings on
// standard error.
func readVV(cmd *cobra.Command, file string) (*vv.File, error) {
	var v *vv.File
	var err error
	if file == "-" {
		var b []byte
		if b, err = readAll(cmd.Context(), cmd.InOrStdin()); err == nil {
			v, err = vv.Parse(file, b)
		}
	} else {
		v, err = vv.ReadFile(file)
	}
	if err != nil {
		return nil, usage("virt-viewer file: %w", err)
	}
	for _, odd := range v.Warnings {
		fmt.Fprintf(cmd.ErrOrStderr(), "spicelane: virt-viewer file %s\n", odd)
	}
	return v, nil
}
