// Package proc owns child processes.
//
//	p, err := proc.Start(exec.Command("qemu-system-x86_64", args...))
//	if err != nil { … }
//	<-p.Exited()
//	fmt.Println(p.State())
//
// Each child is the leader of a new process group. It dies with this process (on Linux, even after
// SIGKILL or a test's -timeout panic). When it ends, the rest of its group is killed, and exactly
// one goroutine reaps it.
//
// The package has no pipes. Give the command files for its output, so that the output survives when
// this process is killed.
package proc

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// A Process is a running or ended child.
type Process struct {
	pid    int
	exited chan struct{}
	state  *os.ProcessState // valid after exited; nil if waiting failed

	mu     sync.Mutex
	reaped bool // the pid may belong to another process
}

// Start starts cmd. It replaces cmd's SysProcAttr. The output has to go to files, not to Go
// writers.
func Start(cmd *exec.Cmd) (*Process, error) {
	setGroupAndDeathSignal(cmd)
	p := &Process{exited: make(chan struct{})}
	started := make(chan error, 1)
	go p.own(cmd, started)
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// own starts the child and waits for it. Its goroutine is locked to a thread while the child lives:
// on Linux the death signal is sent when the *thread* that made the child ends.
func (p *Process) own(cmd *exec.Cmd, started chan<- error) {
	runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
	defer close(p.exited)
	if err := cmd.Start(); err != nil {
		started <- err
		return
	}
	p.pid = cmd.Process.Pid
	started <- nil

	p.reap(cmd)
}

// PID returns the child's process id.
func (p *Process) PID() int { return p.pid }

// Exited returns a channel that is closed when the child has ended and was reaped.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// State returns how the child ended; nil before it has.
func (p *Process) State() *os.ProcessState {
	select {
	case <-p.exited:
		return p.state
	default:
		return nil
	}
}

// Signal sends sig to the whole group, unless the child has been reaped.
func (p *Process) Signal(sig syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.reaped {
		_ = syscall.Kill(-p.pid, sig)
	}
}

// Stop ends the group with SIGTERM, and after grace with SIGKILL. It returns when the child is
// reaped. It returns an error only if SIGKILL does not end the child within 5 s.
func (p *Process) Stop(grace time.Duration) error {
	p.Signal(syscall.SIGTERM)
	if p.within(grace) {
		return nil
	}
	p.Signal(syscall.SIGKILL)
	if p.within(killGrace) {
		return nil
	}
	return fmt.Errorf("process %d does not end, even when killed", p.pid)
}

// killGrace is how long a killed process may take to end. If it takes longer, the kernel cannot end
// it, for example because of a hung file system.
const killGrace = 5 * time.Second

func (p *Process) within(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-p.exited:
		return true
	case <-t.C:
		return false
	}
}
