package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/spice/control"
)

func newStatus() *cobra.Command {
	var asJSON, live, tests bool
	cmd := &cobra.Command{
		Use:   "status [NAME]",
		Short: "List lanes and their states",
		Long: `List the lanes, running and ended. --tests also lists the lanes of running tests; a
test's lane can always be named. For a single lane, the state of its console is
shown, too; --live shows it for all.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var states []registry.State
			var unread error
			if len(args) == 1 {
				s, err := registry.Find(args[0])
				if err != nil {
					return err
				}
				states = append(states, s)
				live = live || !asJSON
			} else {
				states, unread = registry.Registry{}.List()
				if tests {
					states = append(states, registry.RunningTests()...)
				}
			}
			rows := make([]laneRow, len(states))
			for i, s := range states {
				rows[i] = laneRow{State: s}
				if live {
					rows[i].Console = liveConsole(cmd.Context(), s)
				}
			}
			if asJSON {
				// Print one object per lane, one after the other.
				for _, r := range rows {
					if err := printJSON(cmd.OutOrStdout(), r); err != nil {
						return err
					}
				}
				return unread
			}
			if len(rows) == 0 && unread == nil {
				fmt.Fprintln(cmd.OutOrStdout(), "no lanes; bring one up with: spicelane up")
			}
			if len(args) == 1 {
				printLane(cmd.OutOrStdout(), rows[0])
				return nil
			}
			printLanes(cmd.OutOrStdout(), rows, live)
			if n := len(registry.RunningTests()); n > 0 && !tests {
				fmt.Fprintf(cmd.ErrOrStderr(), "%d more lanes of running tests (--tests)\n", n)
			}
			return unread
		},
	}
	f := cmd.Flags()
	f.BoolVar(&asJSON, "json", false, "print one JSON object per lane")
	f.BoolVar(&live, "live", false, "show the state of each lane's console, from its client")
	f.BoolVar(&tests, "tests", false, "also list the lanes of running tests")
	return cmd
}

// A laneRow is a lane and, if its client was asked, the client's answer.
type laneRow struct {
	registry.State
	Console *consoleState `json:"console,omitempty"`
}

// A consoleState is a client's answer about its console, or why there is none.
type consoleState struct {
	*control.Status
	Unasked string `json:"unasked,omitempty"`
}

// liveWait is how long status waits for one client. It is short, because the program that drives
// the lane has priority.
const liveWait = 500 * time.Millisecond

func liveConsole(ctx context.Context, s registry.State) *consoleState {
	if s.State != registry.StateReady || s.ControlSocket == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, liveWait)
	defer cancel()
	d, err := control.DriverConfig{Name: "spicelane status"}.Dial(ctx, s.ControlSocket)
	if err == nil {
		defer d.Close()
		var st control.Status
		if st, err = d.Status(ctx); err == nil {
			return &consoleState{Status: &st}
		}
	}
	if errors.Is(err, &control.Error{Code: control.CodeBusy}) {
		return &consoleState{Unasked: "somebody else is driving it"}
	}
	return &consoleState{Unasked: oneLine(err.Error())}
}

// summary describes the console in one line. The client may be anybody's program.
func (c *consoleState) summary() string { return oneLine(c.said()) }

func (c *consoleState) said() string {
	switch {
	case c == nil:
		return ""
	case c.Status == nil:
		return c.Unasked
	case !c.SPICEConnected:
		return join("not connected", c.Error)
	}
	var parts []string
	for _, s := range c.Surfaces {
		if s.SurfaceID == 0 {
			parts = append(parts, fmt.Sprintf("%d×%d", s.Width, s.Height))
		}
	}
	if c.AgentConnected {
		parts = append(parts, "agent")
	}
	if c.MouseMode != "" {
		parts = append(parts, "mouse: "+c.MouseMode)
	}
	for _, u := range c.Unsupported {
		parts = append(parts, fmt.Sprintf("NOT DECODED: %s (%d times)", u.What, u.Count))
	}
	return strings.Join(parts, ", ")
}

// stateColour has the terminal colour of each state, as an SGR parameter.
var stateColour = map[string]string{registry.StateReady: "32", registry.StateFailed: "31", registry.StateStarting: "33"}

func printLanes(w io.Writer, rows []laneRow, live bool) {
	if len(rows) == 0 {
		return
	}
	var b strings.Builder
	tw := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	head := "NAME\tSTATE\tFIXTURE\tACCEL\tSTART\tREADY\t"
	if live {
		head += "CONSOLE\t"
	}
	fmt.Fprintln(tw, head+"WHY")
	for _, r := range rows {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t", r.Name, r.State.State, r.Fixture, r.Accel, startedHow(r.State), ms(r.ReadyMS))
		if live {
			fmt.Fprintf(tw, "%s\t", r.Console.summary())
		}
		fmt.Fprintln(tw, oneLine(r.Reason))
	}
	_ = tw.Flush()
	// Colours come after the layout, because the columns must not count them.
	for i, line := range strings.SplitAfter(b.String(), "\n") {
		if i > 0 && i <= len(rows) {
			line = colourWord(w, line, rows[i-1].State.State)
		}
		fmt.Fprint(w, line)
	}
}

// colourWord colours the first state word in a line if w is a terminal.
func colourWord(w io.Writer, line, state string) string {
	colour := stateColour[state]
	if !isTerminalWriter(w) || colour == "" || os.Getenv("NO_COLOR") != "" {
		return line
	}
	return strings.Replace(line, " "+state, " \x1b["+colour+"m"+state+"\x1b[m", 1)
}

func printLane(w io.Writer, r laneRow) {
	var b strings.Builder
	printState(&b, r.State)
	for _, line := range strings.SplitAfter(b.String(), "\n") {
		if strings.HasPrefix(line, "state ") {
			line = colourWord(w, line, r.State.State)
		}
		fmt.Fprint(w, line)
	}
	if c := r.Console.summary(); c != "" {
		fmt.Fprintf(w, "console           %s\n", c)
	}
}

// printState prints one lane for a person.
func printState(w io.Writer, s registry.State) {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	row := func(k, v string) {
		if v != "" {
			fmt.Fprintf(tw, "%s\t%s\n", k, v)
		}
	}
	row("lane", s.Name)
	row("state", join(s.State, endedBy(s)))
	row("why", oneLine(s.Reason))
	row("fixture", s.Fixture)
	row("accelerator", join(s.Accel, s.AccelReason))
	row("started", join(startedHow(s), oneLine(s.ColdReason)))
	if s.ReadyMS > 0 {
		row("ready after", ms(s.ReadyMS))
	}
	row("directory", s.Dir)
	row("serial log", s.SerialLog)
	if s.State == registry.StateReady {
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

// endedBy says in words who ended a lane.
func endedBy(s registry.State) string {
	switch s.EndedBy {
	case registry.EndedByGuest:
		return "the guest switched itself off"
	case registry.EndedByRequest:
		return "on request"
	}
	return ""
}

// startedHow returns "warm" for a restored machine, "cold" for one that booted, and "" for one that
// was never started.
func startedHow(s registry.State) string {
	switch {
	case s.Warm:
		return "warm"
	case s.ColdReason != "":
		return "cold"
	}
	return ""
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
