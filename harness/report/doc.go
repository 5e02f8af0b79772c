// Package report turns the results of a `go test -json` run into what people
// and CI systems read: JUnit XML, a summary in Markdown and a few lines on a
// terminal.
//
//	run, err := report.Read(os.Stdin, report.ReadOptions{Console: os.Stdout})
//	if err != nil { … }
//	err = run.WriteJUnit(xmlFile)
//	err = run.WriteSummary(mdFile, report.SummaryOptions{})
//	os.Exit(run.ExitCode())
//
// Any test's results do, whether it has lanes or not. Of those that have, the
// report says more: whose fault a failure is (from verdict.json in the test's
// artifact directory, else from the words "product fault:", "harness fault:" or
// "host fault:" in its output), the accelerator, warm or cold, how long the lane
// took to be ready, and where the evidence is. A test that ran several times
// (-count) gets its flake rate, with a confidence interval.
//
// Input that is cut off, mixed with other output or not a test's at all is
// reported as such, beside what could be read of it: see [Run.Problems]. A test
// that has no end in the stream has not passed.
//
// The package runs nothing. Artifact directories are looked at, if they can be
// reached, and never changed.
package report
