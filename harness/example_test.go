package harness_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/spicelane/spicelane/fixtures/digest"
	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/verdict"
)

// Up is for tests. This one boots Beacon behind the built-in proxy, presses a key, and waits until
// the guest reports it. On a host that cannot run a lane, the test skips and says why.
func ExampleUp() {
	test := func(t *testing.T) {
		lane := harness.Up(t, harness.Config{})
		ctx := lane.Context()
		if err := lane.Press(ctx, "a"); err != nil {
			t.Fatal(err)
		}
		_, err := lane.AwaitDigest(ctx, "a key press", func(d harness.Digest) bool {
			return slices.ContainsFunc(d.Events, func(e digest.Event) bool { return e.Name() == "keypress" })
		})
		if err != nil {
			t.Fatal(err) // says what was awaited, what was seen last, and where the evidence is
		}
	}
	_ = test
}

// Up takes the command line of any proxy or client. Placeholders stand for what the lane provides.
func ExampleUp_yourProxy() {
	test := func(t *testing.T) {
		lane := harness.Up(t, harness.Config{
			Proxy: harness.Command("./my-proxy --listen 127.0.0.1:{tls_port} --cert {tls}/server.pem --to {spice_host}:{spice_port}"),
		})
		if err := lane.AwaitScreensMatch(lane.Context()); err != nil {
			t.Fatal(err) // a pixel differs between QEMU and the client
		}
	}
	_ = test
}

// Start is for programs. Every error has a verdict: whose fault it is.
func ExampleStart() {
	program := func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		lane, err := harness.Start(ctx, harness.Config{Name: "demo"})
		if err != nil {
			return fmt.Errorf("%s fault: %w", verdict.Of(err), err)
		}
		defer lane.Close()
		return lane.Beat(ctx, "open the menu", func(ctx context.Context) error {
			return lane.Press(ctx, "F10")
		})
	}
	_ = program
}

// A configuration that cannot be right is refused before anything starts.
func ExampleConfig_Check() {
	err := harness.Config{Display: "vga"}.Check()
	fmt.Println(err)
	fmt.Println(verdict.Of(err))
	// Output:
	// Config.Display: "vga" is not one of qxl, virtio, std
	// harness
}
