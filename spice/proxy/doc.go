// Package proxy leads SPICE clients to remote consoles without telling them
// where those are or what their tickets are.
//
//	bundle, err := pki.New(pki.Config{})
//	if err != nil { … }
//	p, err := proxy.Start(ctx, proxy.Config{TLS: bundle, Consoles: catalog})
//	if err != nil { … }
//	defer p.Close()
//	file, err := p.VV(ctx, "ci-direct-qemu", uuid) // a .vv with a fresh token
//
// A client connects to the TLS port and gives the token of its .vv as the SPICE
// password. The token chooses the console. The proxy links onward with the
// client's own capabilities and the console's ticket, and only when the console
// let it in is the client let in; from there on every byte of every channel is
// passed on untouched. The plaintext port does nothing but send clients to the
// TLS port.
//
// The channels of one client make a session. Its first main channel spends the
// token; its other channels need the same token and the connection id that the
// console gave the main channel.
//
// Package sources implements the [Catalog] that it asks. An HTTP API hands out
// .vv files, lists and ends sessions, and serves metrics; see
// [Config.ListenAPI].
//
// A firewall lets only those channels and messages pass that the protocol has, see
// [Firewall]. The proxy decodes no pixels and follows no migration to another host. When a client is refused, the log has a line "audit" with the
// reason, which the client itself is not told.
package proxy
