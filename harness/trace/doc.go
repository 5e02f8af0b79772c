// Package trace says how long the parts of a run took: its tests, their lanes, the phases of each
// lane, and the steps, beats and waits in them.
//
//	root := trace.OfRun(run) // a *report.Run
//	err := trace.WriteChrome(w, root)
//
// WriteChrome writes the JSON that Perfetto (ui.perfetto.dev) and chrome://tracing open, with a row
// for each track of a lane's timeline. Package trace/otlp sends the spans to a collector.
//
// Spans are made after the run, from the output of go test -json and from what the lanes left
// behind. So they cost the run nothing, and a killed run also has them.
package trace
