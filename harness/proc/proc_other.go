//go:build unix && !linux

package proc

import (
	"os/exec"
	"syscall"
)

// setGroupAndDeathSignal sets only the group here: only Linux signals the death of a parent.
func setGroupAndDeathSignal(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
}

// reap waits for the child and kills the rest of its group.
func (p *Process) reap(cmd *exec.Cmd) {
	_ = cmd.Wait() // ProcessState has its result, too
	_ = syscall.Kill(-p.pid, syscall.SIGKILL)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state, p.reaped = cmd.ProcessState, true
}
