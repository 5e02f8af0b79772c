// Package control is the control socket: a Unix stream socket that speaks
// newline-delimited JSON, protocol 1.2, so that a test driver in any language
// can press keys, read the screen and hear what happens on a remote console.
//
// The protocol is the one the ryll client publishes in its
// docs/control-socket-protocol.md. Drivers written for ryll run unchanged
// against [Server], and [Driver] runs against ryll. What is added here is
// additive, is listed in the hello answer, and is described in
// docs/control-socket.md.
//
// Both halves and one set of types live here. The server half drives a
// [Console], an interface that this package declares: the SPICE client stands
// behind it through [NewSpiceConsole], and another protocol can.
//
//	srv, err := control.Open("/run/lane/control.sock", control.Config{Console: c, Scan: scan})
//	…
//	d, err := control.Dial(ctx, "/run/lane/control.sock")
//	st, err := d.Status(ctx)
//	err = d.SendKey(ctx, control.KeyEnter, control.Press)
//	sub, err := d.Subscribe(ctx, control.EventDigestUpdated)
//	ev, err := sub.Next(ctx)
//
// What it does not do: it has no authentication beyond the socket's mode 0600,
// it serves one client at a time, and it knows nothing of QR codes: what a
// digest is comes in through a [DigestScanner].
//
// To see what goes over a socket, put `socat -v` between the two ends, or talk
// to it by hand:
//
//	printf '%s\n' '{"id":1,"method":"hello","params":{"client_name":"me","protocol_version":"1.2"}}' \
//	  '{"id":2,"method":"status","params":{}}' | nc -U -q1 control.sock
package control
