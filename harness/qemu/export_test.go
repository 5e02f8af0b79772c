package qemu

import "io"

// For tests of what the exported functions keep inside.
var (
	FindOVMFUnder    = findOVMF
	DecodeScreendump = decodeScreendump
	EmptyOverlay     = emptyOverlay
)

// Qcow2Info is qcow2Info for tests.
type Qcow2Info struct {
	Size     int64
	Backing  string
	External bool
}

// ReadQcow2 is readQcow2 for tests.
func ReadQcow2(r io.ReaderAt) (Qcow2Info, error) {
	info, err := readQcow2(r)
	return Qcow2Info{info.size, info.backing, info.external}, err
}

// ForgetKVMAnswers makes this process one that has not tried KVM yet.
func ForgetKVMAnswers() {
	kvmTrial.Lock()
	defer kvmTrial.Unlock()
	clear(kvmAnswers)
}
