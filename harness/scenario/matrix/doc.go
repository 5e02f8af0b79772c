// Package matrix has no code. Its tests run the suites of harness/scenario over the matrix: with
// each display device and compression, with and without the proxy and TLS, and through another
// proxy and client. It is a separate package because `go test` limits the time of each package.
package matrix
