//go:build !linux

package libvirt_test

import "syscall"

// dieWithThisProcess does nothing: only Linux can tie a command's life to this process.
func dieWithThisProcess(*syscall.SysProcAttr) {}
