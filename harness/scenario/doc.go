// Package scenario holds the suites that lanes are put through: what a guest, a
// proxy and a client in front of it have to do so that a remote console can be
// worked with.
//
//	func TestMyProxy(t *testing.T) {
//		lane := harness.Up(t, harness.Config{Proxy: harness.Command("myproxy --sources {sources} …")})
//		scenario.Run(t, lane)
//	}
//
// A suite is a function of a test and a lane. Those that [Suites] lists leave the
// lane as they found it, so that one lane can go through all of them: the guest
// in its first scene, nothing held down, its first mode set. So do [Walk],
// [Flood] and [ForeignClipboard], which take their time. [Reset] leaves a guest
// that has booted again, [Typing] a machine that is switched off; so do [Full] and
// [Countdown], which want a fresh one; [Bare] wants a machine that lacks devices.
// [Native], the last that Suites lists, has a QXL device draw what firmware never asks it for.
// [NativeInterrupted] leaves a guest that has booted again. [Takeover] holds the proxy's
// policy for a second viewer of a console against what two sessions of its own live through.
// [Idle] leaves a guest whose keyboard is silent longer than a firewall on the way bears.
//
// Suites ask no more of a client than version 1.2 of the control socket. What
// needs more, the pointer for example, they leave out with a line in the test's
// log that says so; the same goes for devices that the guest does not report.
// Other channels of the console than the client's, such as sound, they open
// themselves with the lane's virt-viewer file.
//
// The guest is Beacon or one that reports like it (fixtures/guest/README.md).
// What reached it is read from the digest on its screen: a [Stream] follows it,
// demands a frame counter that rises, and recomputes the rolling hashes from
// the events that it has seen. At the end of its life the guest says the same on
// its serial line, from which [ReadFinalReport] reads it.
//
// To look into a failure: the test's artifact directory has a picture of each
// beat, and timeline.ndjson says what happened when.
package scenario
