package qemu

import (
	"errors"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

func setGroupAndDeathSignal(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// reap waits for the child and kills what it leaves of its group. While the
// child is a zombie its pid, and so the group's number, cannot be anybody
// else's.
func (p *process) reap(cmd *exec.Cmd) {
	for errors.Is(unix.Waitid(unix.P_PID, p.pid, nil, unix.WEXITED|unix.WNOWAIT, nil), unix.EINTR) {
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	syscall.Kill(-p.pid, syscall.SIGKILL)
	cmd.Wait() // what it returns is in ProcessState as well
	p.state, p.reaped = cmd.ProcessState, true
}
