// Package control is the control socket: a Unix stream socket that speaks
// newline-delimited JSON, protocol 1.2, so that a test driver in any language
// can press keys, read the screen and hear what happens on a remote console.
//
//	d, err := control.Dial(ctx, "/run/lane/control.sock")
//	st, err := d.Status(ctx)
//	err = d.SendKey(ctx, control.KeyEnter, control.Press)
//	sub, err := d.Subscribe(ctx, control.EventDigestUpdated)
//	ev, err := sub.Next(ctx)
//
// The protocol is the one the ryll client publishes in its
// docs/control-socket-protocol.md. Drivers written for ryll work unchanged
// against our server, and [Driver] works against ryll. What is added here is
// additive, is listed in the hello answer, and is described in
// docs/control-socket.md.
//
// This package has the protocol's types and the driver half, and needs nothing but
// the standard library. Package server is the other half, for any console. Package
// spiceconsole makes a SPICE session such a console.
//
// What it does not do: it has no authentication beyond the socket's mode 0600, and
// a server serves one client at a time.
//
// To see what goes over a socket, put `socat -v` between the two ends, or talk
// to it by hand:
//
//	printf '%s\n' '{"id":1,"method":"hello","params":{"client_name":"me","protocol_version":"1.2"}}' \
//	  '{"id":2,"method":"status","params":{}}' | nc -U -q1 control.sock
//
// Names that were here before the package was split: Server, Config, Open, Listen,
// Console and what a console may implement, Picture, Cursor, the notices and
// DigestScanner are in package server. NewServer is server.New, and ErrServerClosed
// is server.ErrClosed. NewSpiceConsole is spiceconsole.New; NewRedialConsole and
// NewRecordConsole are spiceconsole.Dial. They have no aliases here, because this
// package must not import those.
package control
