// Package bisect finds the first bad commit, or the first bad build among archived results. It
// works for flaky failures, too.
//
// A [Model] has the posterior probability of each candidate, given how often each commit has passed
// and failed. A [Session] asks the model which commit to test next, tests it in a separate work
// tree, and records the outcome. It ends when one candidate is nearly certain. It can be killed and
// continued at any time. [Archived] applies the model to stored results, and runs no tests.
//
// Only failures of the product are evidence. A commit that cannot be built, and a failure of the
// harness or the host, are not.
package bisect
