// Package spice is a headless SPICE client: it connects to a server or proxy, keeps the pictures of its displays exactly as a
// viewer would show them, and sends keys, mouse and clipboard.
//
//	c, err := spice.Dial(ctx, spice.Config{UnixPath: "/run/vm.spice"})
//	if err != nil { … }
//	defer c.Close()
//	s, err := c.AwaitPicture(ctx, 0)           // the first complete picture
//	pic, err := c.Snapshot(s.Channel, s.ID, nil)
//	err = c.Key(ctx, 0x1c, true)               // Enter, AT set 1
//
// # What is shown is right, or says that it is not
//
// Whatever arrives and cannot be interpreted exactly (a message, an image type, a drawing operation) is
// left out, counted by name in Stats.Unsupported, and noted in the SurfaceInfo.Problem of the surface concerned. Capabilities
// announce only what is implemented. Malformed messages, pixels and Opus packets end the session with a *ChannelError; so does a migration of the guest,
// with a *MigratedError in it that says where to dial again.
//
// # Goroutines
//
// One goroutine reads each channel and carries out its messages. A display channel has two: one reads ahead of the
// other, which draws, and further goroutines decode images ahead of their turn. The first error ends the whole session,
// and Wait gives it to everyone. Close ends the session and joins the goroutines. Methods of Client may be called from any
// goroutine, and never hold up a reader for longer than copying a surface takes.
//
// # Debugging
//
// Config.Logger at debug level names every channel and capability; Config.Tap shows every message (wire.Tracer prints them);
// Stats counts everything.
package spice
