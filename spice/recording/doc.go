// Package recording writes the conversation of a client with a SPICE server as
// text, one file a channel, and reads it again:
//
//	rec, err := recording.NewRecorder(recording.Config{Dir: dir, Secrets: []string{password}})
//	client, err := spice.Dial(ctx, spice.Config{…, Password: password, Tap: rec.Tap})
//	…
//	err = rec.Close()
//
// A recording begins with the link of the main channel, so that whoever plays it
// has all that the client had: its picture at the end is the one that was
// recorded. Package spicetest plays it, and the verbs record_start and
// record_stop of the control socket make one of a live session.
//
// The link's ticket is no part of a recording, only the capabilities are, and
// secrets are replaced in messages. What is typed and what is on the clipboard
// is in it.
package recording
