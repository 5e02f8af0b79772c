// Package spicetest plays the other end of a SPICE connection in tests. It has a scripted server
// that can send anything, even illegal bytes, and an in-memory pipe to reach it. The server can
// also play recorded conversations with real servers.
//
// A script is a list of steps for each channel:
//
//	srv := spicetest.Start(t, spicetest.Config{
//		Scripts: map[wire.ChannelID]spicetest.Script{
//			{Type: wire.ChannelMain}: {Steps: []spicetest.Step{
//				spicetest.Send(&wire.MainInit{SessionID: 1}),
//				spicetest.Expect(&wire.MainAttachChannels{}),
//				spicetest.Send(&wire.MainChannelsList{}),
//				spicetest.Sync(),
//			}},
//		},
//	})
//	client, err := spice.Dial(ctx, spice.Config{Host: "test", Port: 1, DialFunc: srv.Dial})
//
// The same server plays a conversation that package recording wrote, with a Recorder as the
// client's Tap or by the control socket's record_start:
//
//	conversation, err := spicetest.Load("testdata/qxl-glz")
//	srv := spicetest.Start(t, conversation.Config())
//
// The server never decides by itself what to answer. What the protocol demands of a server
// (acknowledging motions, sending pings) is up to the script. If a test hangs, the error names
// channel, step and the last message received.
package spicetest
