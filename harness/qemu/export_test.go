package qemu

// For tests of what the exported functions keep inside.
var (
	FindOVMFUnder    = findOVMF
	DecodeScreendump = decodeScreendump
)

// ForgetKVMAnswers makes this process one that has not tried KVM yet.
func ForgetKVMAnswers() {
	kvmTrial.Lock()
	defer kvmTrial.Unlock()
	clear(kvmAnswers)
}
