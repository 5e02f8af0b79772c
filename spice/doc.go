// Package spice is a headless SPICE client. It connects to a server or proxy, keeps the pictures of
// its displays exactly as a viewer would show them, and sends keys, mouse and clipboard.
//
//	c, err := spice.Dial(ctx, spice.Config{UnixPath: "/run/vm.spice"})
//	if err != nil { … }
//	defer c.Close()
//	s, err := c.AwaitPicture(ctx, 0)           // the first complete picture
//	pic, err := c.Snapshot(s.Channel, s.ID, nil)
//	err = c.Key(ctx, 0x1c, true)               // Enter, AT set 1
//
// # The picture is right, or says that it is not
//
// If something arrives that cannot be interpreted exactly (a message, an image type, a drawing
// operation), it is skipped. Stats.Unsupported counts it by name, and SurfaceInfo.Problem of the
// affected surface names it. Capabilities announce only what is implemented. Malformed messages,
// pixels and Opus packets end the session with a *ChannelError. So does a migration of the guest,
// with a *MigratedError in it that says where to dial next.
//
// # Goroutines
//
// One goroutine reads each channel and carries out its messages. A display channel has two: one
// reads ahead, the other draws, and further goroutines decode images ahead of their turn. The first
// error ends the whole session, and Wait returns it to every caller. Close ends the session and
// joins the goroutines. Methods of Client may be called from any goroutine. None of them delays a
// reader for longer than copying a surface takes.
//
// # Debugging
//
// Config.Logger at debug level names every channel and capability. Config.Tap observes every
// message (wire.Tracer prints them). Stats counts everything.
package spice
