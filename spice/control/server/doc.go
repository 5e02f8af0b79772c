// Package server is the server half of the control socket, for any remote console:
// whoever implements [Console] can be driven through it.
//
//	srv, err := server.Open("/run/lane/control.sock", server.Config{Console: c, Scan: scan})
//	defer srv.Close()
//
// What the additional verbs do is of use without a socket, too: a [Typist] types on
// a Console, a [DigestReader] and a [DigestWatcher] read its digest, and an [Awaiter]
// waits for conditions on it.
//
// What it does not do: it knows no protocol that leads to a console (package
// spiceconsole is for SPICE), and it knows nothing of QR codes: a [DigestScanner]
// comes from outside.
package server
