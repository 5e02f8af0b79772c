package qemu

// For tests of what the exported functions keep inside.
var (
	FindOVMFUnder    = findOVMF
	DecodeScreendump = decodeScreendump
)
