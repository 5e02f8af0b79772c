// Package spicetest plays the other end of a SPICE connection in tests: a
// scripted server that can say anything, illegal bytes included, an in-memory
// pipe to reach it by, and recorded conversations with real servers that are
// played back.
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
//	client, err := spice.Connect(ctx, spice.Config{Host: "test", Port: 1, DialFunc: srv.Dial})
//
// A conversation that package recording wrote, with a Recorder as the client's Tap
// or by the control socket's record_start, is played by the same server:
//
//	conversation, err := spicetest.Load("testdata/qxl-glz")
//	srv := spicetest.Start(t, conversation.Config())
//
// The server never decides by itself what a good answer is; what the protocol
// asks of a server (acknowledging motions, sending pings) is up to the script.
// When a test hangs, the error names channel, step and the last message that
// came.
package spicetest
