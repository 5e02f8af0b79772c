// Package wire encodes and decodes the SPICE protocol: channel types, capabilities, message headers
// and every message of every channel, in both directions. It opens no connections and does no
// handshake; package link does the handshake. The frames of this package run over any io.Reader and
// io.Writer.
//
//	in := wire.NewFrameReader(conn, wire.FrameConfig{Mini: true})
//	for {
//		h, err := in.Next()
//		if err != nil {
//			return err
//		}
//		body, err := in.Body(nil)
//		if err != nil {
//			return err
//		}
//		m, err := wire.DecodeServer(wire.ChannelMain, h.Type, body)
//		if err != nil {
//			return err
//		}
//		switch m := m.(type) {
//		case *wire.Ping:
//			// answer with &wire.Pong{ID: m.ID, Timestamp: m.Timestamp}
//		case *wire.MainInit:
//			// m.SessionID is the connection id of the other channels
//		case *wire.Unknown:
//			// kept byte for byte
//		}
//	}
//
// Layouts and numbers are those of spice-protocol 0.14 (spice/protocol.h,
// spice/enums.h, spice/vd_agent.h) and, where those hold no structures, of
// spice-common's spice.proto. All integers are little-endian and unaligned.
//
// # Ownership
//
// Decoding copies no pixel and no payload: the []byte fields of a decoded
// message (Image.Data, AgentData.Data, …) are windows into the body that was
// decoded, and stay valid as long as that body is not overwritten. Everything
// else (rectangles, palettes, names) is owned by the message.
//
// # Safety
//
// All bytes come through [Reader]. It never reads outside the body, checks each count against the
// bytes that are left before it allocates memory, and remembers the first error. A malformed
// message is a [*DecodeError] that names channel, message and offset.
//
// # What it does not do
//
// It decodes no pixels (spice/codec), keeps no state between messages, and answers nothing. To see
// what goes over a channel, use a [Tracer] as its [Tap].
package wire
