// Package report converts the results of a `go test -json` run for people and CI systems: JUnit
// XML, a summary in Markdown, a page in HTML, and a few lines on a terminal.
//
//	run, err := report.Read(os.Stdin, report.ReadOptions{Console: os.Stdout})
//	if err != nil { … }
//	err = run.WriteJUnit(xmlFile, report.JUnitOptions{})
//	err = run.WriteSummary(mdFile, report.SummaryOptions{})
//	os.Exit(run.ExitCode())
//
// It accepts any test's results, with or without lanes. For tests with lanes the report says more:
// whose fault a failure is (from verdict.json in the test's artifact directory, or else from the
// words "product fault:", "harness fault:" or "host fault:" in its output), the accelerator, warm
// or cold, the time to ready, and where the evidence is. A test that ran several times (-count)
// gets its failure rate, with a confidence interval.
//
// If the input is cut off, mixed with other output, or not a test's, [Run.Problems] says so, and
// the rest is still reported. A test that has no end in the stream has not passed.
//
// The package runs nothing. It reads artifact directories if they exist. Only [Run.MakePages]
// writes to them.
package report
