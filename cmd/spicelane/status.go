package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/spicelane/spicelane/harness"
)

func newStatus() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status [NAME]",
		Short: "Say which lanes are up and what became of those that are not",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			reg := harness.DefaultRegistry()
			var states []harness.State
			if len(args) == 1 {
				s, err := reg.Load(args[0])
				if err != nil {
					return err
				}
				states = append(states, s)
			} else {
				all, err := reg.List()
				if err != nil {
					return err
				}
				states = all
			}
			if asJSON {
				// One object a lane, one after the other.
				for _, s := range states {
					if err := printJSON(cmd.OutOrStdout(), s); err != nil {
						return err
					}
				}
				return nil
			}
			if len(states) == 0 {
				fmt.Fprintln(cmd.OutOrStdout(), "no lanes; bring one up with: spicelane up")
				return nil
			}
			if len(args) == 1 {
				printState(cmd.OutOrStdout(), states[0])
				return nil
			}
			tw := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
			fmt.Fprintln(tw, "NAME\tSTATE\tFIXTURE\tACCEL\tREADY\tWHY")
			for _, s := range states {
				fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\n", s.Name, s.State, s.Fixture, s.Accel, ms(s.ReadyMS), oneLine(s.Reason))
			}
			return tw.Flush()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a lane")
	return cmd
}

// printState shows one lane to a person.
func printState(w io.Writer, s harness.State) {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	row := func(k, v string) {
		if v != "" {
			fmt.Fprintf(tw, "%s\t%s\n", k, v)
		}
	}
	row("lane", s.Name)
	row("state", s.State)
	row("why", oneLine(s.Reason))
	row("fixture", s.Fixture)
	row("accelerator", join(s.Accel, s.AccelReason))
	if s.ReadyMS > 0 {
		row("ready after", ms(s.ReadyMS))
	}
	row("directory", s.Dir)
	row("serial log", s.SerialLog)
	if s.State == harness.StateReady {
		row("control socket", s.ControlSocket)
		row("qmp", s.QMP)
		row("spice", s.SPICE.Addr)
		row("proxy (tls)", s.Proxy.TLSAddr)
		row("proxy (plain)", s.Proxy.Addr)
		row("proxy api", s.Proxy.API)
		row("virt-viewer file", s.VV)
		row("pids", fmt.Sprintf("qemu %d, proxy %d, client %d, supervisor %d", s.PIDs.QEMU, s.PIDs.Proxy, s.PIDs.Client, s.PIDs.Supervisor))
	}
	_ = tw.Flush()
}

func join(a, b string) string {
	if b == "" {
		return a
	}
	return a + " (" + b + ")"
}

func ms(n int64) string {
	if n == 0 {
		return "-"
	}
	return (time.Duration(n) * time.Millisecond).Round(10 * time.Millisecond).String()
}
