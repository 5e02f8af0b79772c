// Package proxy connects SPICE clients to remote consoles without revealing the consoles' addresses
// or tickets.
//
//	bundle, err := pki.New(pki.Config{})
//	if err != nil { … }
//	p, err := proxy.Start(ctx, proxy.Config{TLS: bundle, Consoles: catalog})
//	if err != nil { … }
//	defer p.Close()
//	file, err := p.VV(ctx, "ci-direct-qemu", uuid) // a .vv with a fresh token
//
// A client connects to the TLS port and sends the token of its virt-viewer file as the SPICE
// password. The token selects the console. The proxy links to it with the client's own capabilities
// and the console's ticket. Only when the console has accepted that does the proxy accept the
// client. From then on it passes on every byte of every channel unchanged. The plaintext port only
// redirects clients to the TLS port.
//
// A client in a browser uses the WebSocket port, see [Config.ListenWebSocket]. Apart from the
// transport, it is a client like any other.
//
// The channels of one client form a session. Its first main channel uses the token up. Its other
// channels need the same token, and the connection id that the console gave to the main channel.
//
// Package sources implements [Catalog]. An HTTP API hands out virt-viewer files, lists and ends
// sessions, and serves metrics; see [Config.ListenAPI].
//
// A firewall lets only those channels and messages through that the protocol has, see [Firewall].
// The proxy decodes no pixels, and follows no migration to another host. When it refuses a client,
// a line "audit" in the log has the reason, which the client does not get.
package proxy
