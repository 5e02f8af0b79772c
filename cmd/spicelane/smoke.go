package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"image"
	"io"
	"net"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/host"
	"github.com/spicelane/spicelane/harness/qemu"
	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/verdict"
)

func newSmoke() *cobra.Command {
	var (
		cfg    drive.SmokeConfig
		socket string
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "smoke [NAME | --socket PATH]",
		Short: "Check that the console behind a control socket works",
		Long: `Check the console behind a control socket: the session is up, everything was
decoded, the primary surface shows a picture, and if there is a digest, it agrees
with the pixels around it and keeps counting.

Exit status: 0 all checks passed, 1 a check failed, 2 the socket did not answer.
For a lane that has ended, the exit status is that of the lane's own verdict.`,
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
				if socket := cmp.Or(t.lane.QMPTools, t.lane.QMP); socket != "" {
					dir := t.lane.Dir
					cfg.QEMUPicture = func(ctx context.Context) (*image.NRGBA, error) { return qemu.ScreenVia(ctx, socket, dir) }
				}
			}
			began := time.Now()
			var watchdog *host.Watchdog
			if t.lane != nil && t.lane.PIDs.QEMU != 0 {
				watchdog = host.StartWatchdog(t.lane.PIDs.QEMU, nil)
				defer watchdog.Close()
			}
			report, err := drive.Smoke(cmd.Context(), cfg)
			if err != nil && t.lane != nil {
				err = smokeReason(cmd.Context(), *t.lane, err, watchdog, began)
			}
			if err = notInterrupted(cmd.Context(), err); err != nil {
				report.Verdict, report.Hop, report.Reason = verdict.Of(err), verdict.HopOf(err), err.Error()
			}
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
	f.BoolVar(&cfg.RequireDigest, "require-digest", false, "fail unless there is a digest on the screen; implied by a fixture with a digest")
	f.StringVarP(&cfg.Picture, "output", "o", "", "write the screenshot to this PNG `FILE`; default: smoke.png in the lane's directory")
	f.DurationVar(&cfg.Timeout, "timeout", 15*time.Second, "limit for the whole check")
	f.BoolVar(&asJSON, "json", false, "print the report as JSON")
	return cmd
}

// smokeReason returns why the smoke check of a lane failed with err. If a part of the lane has
// ended, or is about to, that is the lane's own verdict. Otherwise it is err, with the host's fault
// if the host stalled.
func smokeReason(ctx context.Context, s registry.State, err error, w *host.Watchdog, began time.Time) error {
	alive := partsAlive(s)
	if !alive || socketLost(err) {
		if end := awaitLaneEnd(ctx, s.Name); end != nil {
			return end
		}
	}
	if alive {
		return w.Explain(began, err)
	}
	return err
}

// ended returns the lane's own verdict if err says that its client went away because the lane ends.
// It returns other errors as they are.
func (t target) ended(ctx context.Context, err error) error {
	if t.lane != nil && socketLost(err) {
		if end := awaitLaneEnd(ctx, t.lane.Name); end != nil {
			return end
		}
	}
	return err
}

// socketLost tells whether the other side of a socket went away. A process that was killed loses its
// sockets before it is gone.
func socketLost(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && !op.Timeout() || errors.Is(err, io.EOF)
}

// partsAlive tells whether every process of a lane is running.
func partsAlive(s registry.State) bool {
	for _, pid := range []int{s.PIDs.QEMU, s.PIDs.Proxy, s.PIDs.Client} {
		if pid != 0 && !host.Alive(pid) {
			return false
		}
	}
	return true
}

// endGrace is how long the owner of a lane may take to record why a part of it ended.
const endGrace = 5 * time.Second

// awaitLaneEnd waits until the owner of a lane has recorded its end, and returns that error. It
// returns nil if nothing was recorded.
func awaitLaneEnd(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, endGrace)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond) // nothing notifies of a change in the state file
	defer tick.Stop()
	for {
		if _, err := registry.FindReady(name); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
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
	result := "PASS"
	if !r.OK {
		result = "FAIL (" + string(r.Verdict) + ")"
	}
	fmt.Fprintf(w, "verdict: %s after %.2f s\n", result, float64(r.TookMS)/1000)
}

// arg returns the i-th argument, or "".
func arg(args []string, i int) string {
	if i < len(args) {
		return args[i]
	}
	return ""
}
