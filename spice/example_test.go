package spice_test

import (
	"context"
	"fmt"
	"time"

	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/spicetest"
)

// A client connects, waits for the first complete picture, and copies it. The server of this example
// plays a conversation that was recorded with QEMU; without DialFunc, the client dials Host.
func ExampleDial() {
	recorded, err := spicetest.Load("spicetest/testdata/conversations/qxl-off-plain")
	if err != nil {
		fmt.Println(err)
		return
	}
	server, err := spicetest.NewServer(recorded.Config())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()

	c, err := spice.Dial(ctx, spice.Config{Host: "localhost", Port: 5900, Password: "the-ticket", DialFunc: server.Dial})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	s, err := c.AwaitPicture(ctx, 0)
	if err != nil {
		fmt.Println(err)
		return
	}
	picture, err := c.Snapshot(s.Channel, s.ID, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(picture.Image().Bounds().Size(), "exact:", picture.Problem == "")
	// Output:
	// (640,480) exact: true
}
