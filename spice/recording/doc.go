// Package recording writes the conversation of a client with a SPICE server as text, one file per
// channel, and parses it again:
//
//	rec, err := recording.NewRecorder(recording.Config{Dir: dir, Secrets: []string{password}})
//	client, err := spice.Dial(ctx, spice.Config{…, Password: password, Tap: rec.Tap})
//	…
//	err = rec.Close()
//
// A recording begins with the link of the main channel. So a client that plays it gets everything
// that the recorded client got, and shows the same picture at the end. Package spicetest plays
// recordings. The verbs record_start and record_stop of the control socket record a live session.
//
// A recording contains the capabilities of the link, but not its ticket, and secrets are replaced
// in messages. It does contain typed text and the clipboard.
package recording
