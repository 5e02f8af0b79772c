package qmp_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"

	"github.com/spicelane/spicelane/qmp"
)

// exampleQEMU plays QEMU's side of a QMP connection: it answers query-status, sends an event after
// system_powerdown, and refuses everything else. A program connects to a real one with qmp.Dial.
func exampleQEMU() net.Conn {
	client, server := net.Pipe()
	go func() {
		defer server.Close()
		fmt.Fprintln(server, `{"QMP":{"version":{"qemu":{"major":10,"minor":0,"micro":2},"package":""},"capabilities":[]}}`)
		for in := bufio.NewScanner(server); in.Scan(); {
			var cmd struct {
				Execute string
				ID      json.RawMessage
			}
			if json.Unmarshal(in.Bytes(), &cmd) != nil {
				return
			}
			switch cmd.Execute {
			case "qmp_capabilities", "system_powerdown":
				fmt.Fprintf(server, "{\"return\":{},\"id\":%s}\n", cmd.ID)
			case "query-status":
				fmt.Fprintf(server, "{\"return\":{\"status\":\"running\",\"running\":true},\"id\":%s}\n", cmd.ID)
			default:
				fmt.Fprintf(server, "{\"error\":{\"class\":\"CommandNotFound\",\"desc\":\"no such command\"},\"id\":%s}\n", cmd.ID)
			}
			if cmd.Execute == "system_powerdown" {
				fmt.Fprintln(server, `{"event":"POWERDOWN","timestamp":{"seconds":1,"microseconds":0}}`)
			}
		}
	}()
	return client
}

// A client answers questions about a machine, and its subscribers get QEMU's events.
func Example() {
	ctx := context.Background()
	c, err := qmp.NewClient(ctx, exampleQEMU(), qmp.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	st, err := c.QueryStatus(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("QEMU", c.Version(), st.State)

	events := c.Subscribe("POWERDOWN") // before the command, so that no event is missed
	defer events.Close()
	if err := c.Powerdown(ctx); err != nil {
		fmt.Println(err)
		return
	}
	e, err := events.Next(ctx)
	fmt.Println(e.Event, err)
	// Output:
	// QEMU 10.0.2 running
	// POWERDOWN <nil>
}

// Any command can be sent. What QEMU refuses is a typed error.
func ExampleClient_Do() {
	ctx := context.Background()
	c, err := qmp.NewClient(ctx, exampleQEMU(), qmp.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	err = c.Do(ctx, "x-no-such-command", map[string]any{"id": 1}, nil)
	var refused *qmp.Error
	if errors.As(err, &refused) {
		fmt.Println(refused.Class)
	}
	// Output:
	// CommandNotFound
}
