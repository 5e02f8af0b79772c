// Package proc owns child processes.
//
//	p, err := proc.Start(exec.Command("qemu-system-x86_64", args...))
//	if err != nil { … }
//	<-p.Exited()
//	fmt.Println(p.State())
//
// A child is the leader of a process group of its own, dies with this process
// (on Linux, SIGKILL and a test's -timeout panic included), takes what is left
// of its group with it, and is reaped by exactly one goroutine.
//
// It does not do pipes: give the command files for its output, so that what it
// said is there when this process is killed.
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
	state  *os.ProcessState // valid after exited; nil when waiting failed

	mu     sync.Mutex
	reaped bool // the pid may belong to somebody else
}

// Start starts cmd. Its SysProcAttr is replaced; its output has to go to files,
// not to Go writers.
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

// own starts the child and waits for it. It is locked to a thread for as long
// as the child lives: on Linux the death signal is sent when the *thread* that
// made the child ends.
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

// PID is the child's process id.
func (p *Process) PID() int { return p.pid }

// Exited is closed once the child has ended and was reaped.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// State is how the child ended; nil before it has.
func (p *Process) State() *os.ProcessState {
	select {
	case <-p.exited:
		return p.state
	default:
		return nil
	}
}

// Signal sends sig to the whole group, unless the child is gone.
func (p *Process) Signal(sig syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.reaped {
		_ = syscall.Kill(-p.pid, sig)
	}
}

// Stop ends the group: SIGTERM, after grace SIGKILL. It returns when the child
// is reaped, with an error only if even SIGKILL does not end it in 5 s.
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

// killGrace is how long a killed process may take to be gone; longer means
// that the kernel cannot end it (a hung file system, for example).
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
