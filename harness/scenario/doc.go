// Package scenario has the suites for lanes: what a guest, a proxy and a client have to do so that
// people can work with a remote console.
//
//	func TestMyProxy(t *testing.T) {
//		lane := harness.Up(t, harness.Config{Proxy: harness.Command("myproxy --sources {sources} …")})
//		scenario.Run(t, lane)
//	}
//
// A suite is a function of a test and a lane. Those in [Suites] leave the lane as they found it, so
// that one lane can go through all of them: the guest is in its first scene, no key is held down,
// and the first mode is set. [Walk], [Flood] and [ForeignClipboard] do so too, but take longer.
// [Native], the last of Suites, has a QXL device draw what firmware never requests.
//
// Other suites change the lane. After [Reset] and [NativeInterrupted] the guest has booted again.
// After [Typing], [Full] and [Countdown] the machine is switched off; Full and Countdown also need
// a fresh lane. [Bare] needs a machine without some devices. [Takeover] compares what happens to
// two sessions with the proxy's policy for a second viewer of a console.
//
// Suites need only version 1.2 of the control socket. If something needs more, such as the pointer,
// they leave it out with a line in the test's log. The same applies to devices that the guest does
// not report. For channels that the client does not open, such as sound, they open their own
// session with the lane's virt-viewer file.
//
// [ForAnyGuest] has suites for guests that report nothing: they read the text on the screen.
//
// All other suites need Beacon, or a guest with the same reports (fixtures/guest/README.md). They
// read from the digest on its screen what reached the guest. A [Stream] follows the digest, demands
// a rising frame counter, and recomputes the rolling hashes from the events. At its end the guest
// prints the same on its serial line, from which [ReadFinalReport] reads it.
//
// To examine a failure, look at the test's artifact directory. It has a picture of each beat, and
// timeline.ndjson says what happened when.
package scenario
