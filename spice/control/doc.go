// Package control is the control socket: a Unix stream socket that speaks newline-delimited JSON,
// protocol 1.2. With it, a test driver in any language can press keys, read the screen and receive
// events of a remote console.
//
//	d, err := control.Dial(ctx, "/run/lane/control.sock")
//	st, err := d.Status(ctx)
//	err = d.SendKey(ctx, control.KeyEnter, control.Press)
//	sub, err := d.Subscribe(ctx, control.EventDigestUpdated)
//	ev, err := sub.Next(ctx)
//
// The ryll client publishes this protocol in its docs/control-socket-protocol.md. Drivers written
// for ryll work unchanged with our server, and [Driver] works with ryll. Our extensions only add to
// the protocol. The hello answer lists them, and docs/control-socket.md describes them.
//
// This package has the protocol's types and the driver side, and needs only the standard library.
// Package server has the server side, for any console. Package spiceconsole makes a SPICE session
// such a console.
//
// It has no authentication beyond the socket's mode 0600, and a server serves one client at a time.
//
// To see what goes over a socket, put `socat -v` between the two ends, or talk to it by hand:
//
//	printf '%s\n' '{"id":1,"method":"hello","params":{"client_name":"me","protocol_version":"1.2"}}' \
//	  '{"id":2,"method":"status","params":{}}' | nc -U -q1 control.sock
//
// Some names were in this package before it was split. Server, Config, Open, Listen, Console and
// its optional interfaces, Picture, Cursor, the notices and DigestScanner are now in package
// server. NewServer is server.New, and ErrServerClosed is server.ErrClosed. NewSpiceConsole is
// spiceconsole.New; NewRedialConsole and NewRecordConsole are spiceconsole.Dial. They have no
// aliases here, because this package must not import those.
package control
