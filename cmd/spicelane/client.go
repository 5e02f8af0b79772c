package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/headless"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice/vv"
)

func newClient() *cobra.Command {
	var (
		file, socket, timeline, through string
		startUS                         int64
		readyFD                         int
		wait                            time.Duration
	)
	cmd := &cobra.Command{
		Use:   "client --vv FILE --socket PATH",
		Short: "Run the headless SPICE client by itself",
		Long: `Connect to the console that a virt-viewer file leads to and open a control
socket to drive it; run until the session ends or the process is told to end.
The protocol is described in docs/control-socket.md.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" || socket == "" {
				return usage("client needs --vv FILE and --socket PATH")
			}
			// Read once before anything else: a bad file is a usage error.
			first, err := readVV(cmd.InOrStdin(), file)
			if err != nil {
				return err
			}
			source := func(context.Context) (*vv.File, error) {
				v := first
				if file != "-" {
					// Its token opens one session; whoever keeps the file renews it.
					var err error
					if v, err = readVV(nil, file); err != nil {
						return nil, err
					}
				}
				if through != "" {
					return headless.VVThrough(v, through)
				}
				return v, nil
			}
			cfg := headless.ClientConfig{
				VV: source, Socket: socket, Timeline: timeline, TimelineStart: time.Now(),
				Logger: slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil)),
			}
			if startUS > 0 {
				cfg.TimelineStart = time.UnixMicro(startUS)
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), wait)
			defer cancel()
			c, err := headless.StartClient(ctx, cfg)
			if err != nil {
				return err
			}
			if err := sayReady(readyFD, harness.Ready{Socket: socket}); err != nil {
				_ = c.Close()
				return err
			}
			select {
			case <-cmd.Context().Done():
				return c.Close()
			case <-c.Done():
				if err := c.Wait(); err != nil {
					return &verdict.Error{Verdict: verdict.Product, Op: "client", Err: err}
				}
				return nil
			}
		},
	}
	f := cmd.Flags()
	f.StringVar(&file, "vv", "", "virt-viewer `FILE` that leads to the console; - is standard input")
	f.StringVar(&socket, "socket", "", "`PATH` of the control socket to open")
	f.StringVar(&through, "through", "", "connect to this `HOST:PORT` instead of where the virt-viewer file leads")
	f.StringVar(&timeline, "timeline", "", "append keys and frames to this NDJSON `FILE`")
	f.Int64Var(&startUS, "timeline-start", 0, "when the timeline's clock began, in `MICROSECONDS` since the Unix epoch; default: now")
	f.IntVar(&readyFD, "ready-fd", 0, "write a line of JSON to this file `DESCRIPTOR` when ready")
	f.DurationVar(&wait, "timeout", 30*time.Second, "bound of connecting")
	return cmd
}

func readVV(stdin io.Reader, file string) (*vv.File, error) {
	var b []byte
	var err error
	if file == "-" {
		b, err = io.ReadAll(stdin)
	} else {
		b, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, usage("virt-viewer file: %w", err)
	}
	v, err := vv.Parse(file, b)
	if err != nil {
		return nil, usage("%w", err)
	}
	return v, nil
}

// sayReady tells whoever started this daemon that it is ready, if asked to.
func sayReady(fd int, r harness.Ready) error {
	if fd <= 2 {
		return nil
	}
	f := os.NewFile(uintptr(fd), "ready-fd")
	if f == nil {
		return usage("--ready-fd %d is not an open descriptor", fd)
	}
	defer f.Close()
	if err := printJSON(f, r); err != nil {
		return usage("--ready-fd %d: %w", fd, err)
	}
	return nil
}
