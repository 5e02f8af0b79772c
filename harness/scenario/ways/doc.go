// Package ways has no code: its tests put lanes through the suites on every way to a
// console, with each display device and compression, with and without the proxy
// and TLS, and through a proxy and a client that are not ours.
package ways
