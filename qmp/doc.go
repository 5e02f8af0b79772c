// Package qmp talks to QEMU over the QEMU Machine Protocol.
//
//	c, err := qmp.Dial(ctx, "/run/lane/qmp.sock", qmp.Config{})
//	if err != nil {
//		return err
//	}
//	defer c.Close()
//	st, err := c.QueryStatus(ctx)
//
// One goroutine reads the connection from before capabilities negotiation until
// its end. Replies are matched to commands by id, every subscriber has a bounded
// queue, and every call that can block takes a context. A command that QEMU does
// not answer ends after Config.Timeout even if its context has no end.
//
// The package does not start QEMU (harness/qemu does), does not speak the
// guest agent's protocol and does not negotiate out-of-band execution.
//
// To see what was said, set Config.Transcript: every line in either direction
// is written to it as one JSON object, with passwords and secrets redacted.
//
// The protocol is described in QEMU's docs/interop/qmp-spec and its commands
// in qapi/*.json.
package qmp
