package harness

// What the tests of this package look at from outside.

var (
	ProxyPlaceholders  = proxyPlaceholders
	ClientPlaceholders = clientPlaceholders
)
