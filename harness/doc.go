// Package harness brings lanes up: a guest in QEMU, a SPICE proxy in front of
// it and a headless client behind that, for `go test` and for the spicelane
// command.
//
//	func TestConsole(t *testing.T) {
//		lane := harness.Up(t, harness.Config{})
//		ctx := lane.Context()
//		if err := lane.Press(ctx, "Enter"); err != nil {
//			t.Fatal(err)
//		}
//		_, err := lane.AwaitDigest(ctx, "Enter in the digest", func(d harness.Digest) bool {
//			return d.ChannelHashes.Keypress != 0
//		})
//		if err != nil {
//			t.Fatal(err)
//		}
//	}
//
// [Up] is for tests: it skips or fails by SPICELANE_LANES on a host that cannot
// run a lane, and ends the lane with the test. [Start] is its plain twin. Every
// error carries a verdict, see package verdict: whose fault it is.
//
// Under `go test` proxy and client run inside the test process, and QEMU dies
// with it, SIGKILL included. `go test -artifacts -outputdir DIR` keeps the files that a
// lane leaves behind, and docs/reading-a-red-lane.md says how to read them.
//
// What can be done to a lane (stop its parts, cut its connections, make its network
// bad) is in docs/faults.md.
//
// Parts that work without a lane are separate packages: drive acts through any control socket,
// headless runs the proxy and the client, registry knows the lanes that are up, and host knows the
// computer. docs/architecture.md shows them all.
//
// The package does not know what the guest is for; suites that do are in
// harness/scenario.
package harness
