// Package qmp talks to QEMU over the QEMU Machine Protocol.
//
//	c, err := qmp.Dial(ctx, "/run/lane/qmp.sock", qmp.Config{})
//	if err != nil {
//		return err
//	}
//	defer c.Close()
//	st, err := c.QueryStatus(ctx)
//
// One goroutine reads the connection, from before capabilities negotiation to its end. Replies are
// matched to commands by id, every subscriber has a bounded queue, and every call that can block
// takes a context. A command that QEMU does not answer fails after Config.Timeout, even if its
// context has no deadline.
//
// The package does not start QEMU (harness/qemu does), does not speak the guest agent's protocol,
// and does not negotiate out-of-band execution.
//
// To see the conversation, set Config.Transcript: it gets every line in either direction as one
// JSON object, with passwords and secrets redacted.
//
// QEMU's docs/interop/qmp-spec describes the protocol, and qapi/*.json the commands.
package qmp
