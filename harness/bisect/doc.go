// Package bisect finds the first bad commit, or the first bad build among archived results, also if
// the failure is flaky.
//
// [Model] has the posterior probability of each candidate, given how often which commits failed. A
// [Session] asks it which commit to test next, tests it in a work tree of its own, writes down what
// came of it, and ends when one candidate is nearly certain. It can be killed and continued at any
// time. [Archived] asks the model about stored results only, and runs nothing.
//
// Only the product's failures are evidence. A commit that cannot be built, and a failure of the harness
// or the host, say nothing.
package bisect
