package harness

// Exports for the external tests of this package.

var (
	ProxyPlaceholders  = proxyPlaceholders
	ClientPlaceholders = clientPlaceholders
)
