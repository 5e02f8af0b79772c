// Package matrix has no code. Its tests run the suites of harness/scenario over the matrix:
// with each display device and compression, with and without the proxy and TLS, and
// through a proxy and a client that are not ours. It is a package of its own for the time
// budget that `go test` gives to each package.
package matrix
