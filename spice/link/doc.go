// Package link turns a connection into a channel: it does the SPICE link handshake and its RSA
// ticket over any net.Conn, for the client side and the server side.
//
// A client does it in one call per channel:
//
//	ch, err := link.Client(ctx, conn, link.Config{
//		Channel:      wire.ChannelID{Type: wire.ChannelMain},
//		CommonCaps:   link.CommonCaps,
//		Secret:       ticket,
//	})
//	if e := (*link.Error)(nil); errors.As(err, &e) && e.Code == wire.ResultPermissionDenied {
//		// wrong ticket
//	}
//	in := wire.NewFrameReader(conn, wire.FrameConfig{Mini: ch.Mini()})
//
// A server does it in steps, so that a proxy can decide between them:
//
//	hs, err := link.Accept(ctx, conn, link.ServerConfig{Key: key}) // the client's Request
//	err = hs.Reply(ctx, commonCaps, channelCaps)                   // or hs.Refuse(ctx, code)
//	ticket, err := hs.Secret(ctx)                                  // decrypted
//	err = hs.Finish(ctx, wire.ResultOK)
//
// No byte beyond the handshake is read from the connection. The context's deadline and cancellation
// interrupt every step. The connection's own deadlines are cleared when a step returns.
//
// The layouts are SpiceLinkHeader, SpiceLinkMess, SpiceLinkReply and their companions in
// spice/protocol.h. SASL is refused with an error that says so.
//
// Tickets and tokens never appear in an error of this package.
package link
