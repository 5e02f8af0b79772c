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
// [Up] is for tests. It ends the lane with the test. On a host that cannot run a lane, it skips or
// fails the test, depending on SPICELANE_LANES. [Start] does the same without a test. Every error
// carries a verdict that says whose fault it is; see package verdict.
//
// Under `go test`, proxy and client run inside the test process. QEMU dies with that process, even
// if it is killed. `go test -artifacts -outputdir DIR` keeps the files that a lane leaves behind;
// docs/reading-a-red-lane.md says how to read them.
//
// docs/faults.md describes what a test can do to a lane: stop its parts, cut its connections,
// impair its network.
//
// Parts that work without a lane are separate packages: drive acts through any control socket,
// headless runs the proxy and the client, registry knows the lanes that are up, and host knows the
// computer. docs/architecture.md shows them all.
//
// The package does not know what the guest is for; suites that do are in
// harness/scenario.
package harness
