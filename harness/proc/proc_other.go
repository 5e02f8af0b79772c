//go:build unix && !linux

package proc

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
func (p *Process) reap(cmd *exec.Cmd) {
	_ = cmd.Wait() // what it returns is in ProcessState as well
	_ = syscall.Kill(-p.pid, syscall.SIGKILL)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state, p.reaped = cmd.ProcessState, true
}
