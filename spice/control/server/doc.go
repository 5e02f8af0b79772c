// Package server is the server side of the control socket, for any remote console that implements
// [Console].
//
//	srv, err := server.Open("/run/lane/control.sock", server.Config{Console: c, Scan: scan})
//	defer srv.Close()
//
// Some types are useful without a socket, too: a [Typist] types on a Console, a [DigestReader] and
// a [DigestWatcher] read its digest, and an [Awaiter] waits for conditions on it.
//
// The package knows no protocol of consoles (package spiceconsole is for SPICE), and no QR codes:
// the caller provides a [DigestScanner].
package server
