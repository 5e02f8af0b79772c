// Package scenario has the suites for lanes: what a guest, a proxy and a client have to do so that
// people can work with a remote console.
//
//	func TestMyProxy(t *testing.T) {
//		lane := harness.Up(t, harness.Config{Proxy: harness.Command("myproxy --sources {sources} …")})
//		scenario.Run(t, lane)
//	}
//
// A suite is a function of a test and a lane. Those in [Suites] leave the lane as they found it, so
// that one lane can go through all of them: the guest in its first scene, no key held down, its
// first mode set. So do [Walk], [Flood] and [ForeignClipboard], which take longer. [Reset] leaves a
// guest that has booted again, [Typing] a machine that is switched off. So do [Full] and
// [Countdown], which need a fresh lane; [Bare] needs a machine without some devices. [Native], the
// last of Suites, has a QXL device draw what firmware never requests. [NativeInterrupted] leaves a
// guest that has booted again. [Takeover] compares the proxy's policy for a second viewer of a
// console with what happens to two sessions.
//
// Suites need only version 1.2 of the control socket. If something needs more, such as the pointer,
// they leave it out with a line in the test's log. The same applies to devices that the guest does
// not report. Other channels than the client's, such as sound, they open themselves with the lane's
// virt-viewer file.
//
// [ForAnyGuest] has suites for guests that report nothing: they read the text on the screen.
//
// The guest of the others is Beacon, or one with the same reports (fixtures/guest/README.md). They read
// from the digest on its screen what reached it. A [Stream] follows the digest, demands a rising
// frame counter, and recomputes the rolling hashes from the events. At its end the guest prints the
// same on its serial line, from which [ReadFinalReport] reads it.
//
// To look into a failure: the test's artifact directory has a picture of each beat, and
// timeline.ndjson says what happened when.
package scenario
