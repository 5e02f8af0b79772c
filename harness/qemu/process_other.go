//go:build unix && !linux

package qemu

import (
	"os/exec"
	"syscall"
)

// setGroupAndDeathSignal can arrange only for the group here: only Linux tells
// a child of its parent's death.
func setGroupAndDeathSignal(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
}

// reap waits for the child and kills what it leaves of its group.
func (p *process) reap(cmd *exec.Cmd) {
	cmd.Wait() // what it returns is in ProcessState as well
	syscall.Kill(-p.pid, syscall.SIGKILL)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state, p.reaped = cmd.ProcessState, true
}
