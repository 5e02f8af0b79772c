package libvirt_test

import "syscall"

// dieWithThisProcess makes a command die with the thread that starts it, so with this process.
func dieWithThisProcess(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }
